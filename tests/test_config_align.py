from pathlib import Path

import pytest

from sift_ray.config_align import AlignConfig
from sift_ray.config_file import ConfigError, parse_config


def _parsed(tmp_path: Path, align: str) -> AlignConfig:
    (tmp_path / "clips.tsv").write_text("id\n")
    text = f"""\
output: out/x
corpora:
  - {{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}
annotate:
  align: {align}
"""
    return parse_config(text, "job.yaml").annotate.align


def test_a_trained_model_is_the_default(tmp_path: Path) -> None:
    align = _parsed(tmp_path, "{}")
    assert (align.backend, align.recipe, align.models) == ("viter", "auto", {})
    assert align.model("en") is None
    assert align.dictionary("en") is None
    assert align.g2p_model("en") is None


def test_files_are_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "en.dict").write_text("a ɐ\n")
    align = _parsed(tmp_path, f"{{dictionaries: {{en: {tmp_path}/en.dict}}}}")
    assert align.dictionary("en") == tmp_path / "en.dict"
    assert align.dictionary("de") is None
    with pytest.raises(ConfigError, match=r"en: .* is a folder; give a file"):
        _parsed(tmp_path, f"{{dictionaries: {{en: {tmp_path}}}}}")
    for key in ("models", "dictionaries", "g2p"):
        with pytest.raises(ConfigError, match=rf"job.yaml:5: annotate.align.{key}: en: no such file or folder: gone"):
            _parsed(tmp_path, f"{{{key}: {{en: gone}}}}")


def test_names_of_models_are_only_taken_where_a_backend_knows_names(tmp_path: Path) -> None:
    align = _parsed(tmp_path, "{backend: ctc, models: {en: facebook/wav2vec2-base-960h}}")
    assert align.model("en") == "facebook/wav2vec2-base-960h"
    named = "{backend: mfa, models: {en: english_mfa}, dictionaries: {en: english_mfa}, g2p: {en: english_us_mfa}}"
    align = _parsed(tmp_path, named)
    assert align.model("en") == "english_mfa"
    assert align.dictionary("en") is None
    with pytest.raises(ConfigError, match=r"no such file or folder: ./gone"):
        _parsed(tmp_path, "{backend: ctc, models: {en: ./gone}}")
    with pytest.raises(ConfigError, match=r"no such file or folder: english_us_mfa.zip"):
        _parsed(tmp_path, named.replace("english_us_mfa", "english_us_mfa.zip"))


def test_a_backend_that_cannot_train_needs_a_model(tmp_path: Path) -> None:
    for backend in ("mfa", "ctc"):
        with pytest.raises(ConfigError, match=f"backend {backend} needs a model"):
            _parsed(tmp_path, f"{{backend: {backend}}}")
    with pytest.raises(ConfigError, match="needs a dictionary for 'en'"):
        _parsed(tmp_path, "{backend: mfa, models: {en: english_mfa}}")


def test_a_gpu_is_only_used_where_actors_have_one(tmp_path: Path) -> None:
    cuda = "{backend: ctc, models: {en: a/b}, ctc: {device: cuda}}"
    with pytest.raises(ConfigError, match="needs a GPU for each actor"):
        _parsed(tmp_path, cuda)
    assert _parsed(tmp_path, cuda[:-1] + ", pool: {num_gpus: 1}}").ctc.device == "cuda"


def test_unknown_keys_and_recipes_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"annotate.align.recipe"):
        _parsed(tmp_path, "{recipe: nnet}")
    with pytest.raises(ConfigError, match=r"annotate.align.ctc.size: unknown key"):
        _parsed(tmp_path, "{ctc: {size: 3}}")
