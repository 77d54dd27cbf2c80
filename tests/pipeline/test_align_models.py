"""What each language is aligned with, and that it gets to workers that see nothing but the output root."""

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pytest

from sift_ray.align.phone_model import PhoneInterval, PhoneModel, observe
from sift_ray.align.protocol import AlignError
from sift_ray.align.viter_files import FACTS, FORMAT, MODEL, PHONES, REPORT, ModelFolder
from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline import align_models
from sift_ray.pipeline.align_models import _survey, ensure_models, fingerprints
from sift_ray.pipeline.model_making import MissingModel
from sift_ray.pipeline.model_place import (
    DICTIONARY_FILE,
    G2P_FILE,
    LexiconFiles,
    ModelPlace,
    fetch_lexicon,
    fetch_model,
    with_lexicons,
)
from sift_ray.pipeline.plan import run_plan
from sift_ray.pipeline.session import RaySession
from sift_ray.schema import SAMPLE_RATE
from sift_ray.storage import MANIFEST_NAME, LocalRoot, StorageError


class FarRoot:
    """A root that is not of this machine's disk: all goes by reading and putting whole files."""

    def __init__(self, folder: Path) -> None:
        self._root = LocalRoot(folder)
        self.uri = "far://away"
        self.put, self.read, self.exists = self._root.put, self._root.read, self._root.exists
        self.names, self.delete, self.locate = self._root.names, self._root.delete, self._root.locate

    @property
    def filesystem(self) -> pafs.FileSystem:
        return self._root.filesystem


@cache
def phone_model() -> PhoneModel:
    """One that has learnt two phones from noise."""
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    spoken = [PhoneInterval("a", 0.0, 0.5, 0), PhoneInterval("sil", 0.5, 1.0, -1)]
    return PhoneModel.fit([(observe(noise), spoken)])


def trained_folder(folder: Path, language: str = "de", dictionary: str | None = None) -> Path:
    """A model's folder as training leaves it, but for viter's own file."""
    folder.mkdir(parents=True)
    facts = {"format": FORMAT, "language": language, "recipe": "monophone", "phones": ["a"], "hears_echoes": False}
    (folder / FACTS).write_text(json.dumps(facts))
    (folder / MODEL).write_bytes(b"viter")
    phone_model().save(folder / PHONES)
    if dictionary is not None:
        (folder / DICTIONARY_FILE).write_text(dictionary)
    return folder


@pytest.fixture
def job(tmp_path: Path) -> str:
    """The YAML of a job of two planned languages, 30 s each of six speakers."""
    lines = ["id\taudio\ttranscript\tlanguage\tspeaker_id\tduration"]
    for number in range(20):
        (tmp_path / f"u{number}.wav").write_bytes(b"not read")
        lines.append(f"u{number}\tu{number}.wav\thallo\t{('de', 'en')[number % 2]}\ts{number % 6}\t3.0")
    (tmp_path / "m.tsv").write_text("\n".join(lines) + "\n")
    return f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: m, path: {tmp_path}/m.tsv}}]\n"


def configured(job: str, align: str, plan: str = "read_headers: false") -> Config:
    return parse_config(f"{job}plan: {{{plan}}}\nannotate: {{align: {{{align}}}}}\n", "job.yaml")


def survey(
    config: Config,
) -> tuple[dict[str, ModelPlace], dict[str, MissingModel]]:
    root = LocalRoot(config.output)
    places, missing = _survey(config, root, run_plan(config, root), ("de", "en"))
    return places, {model.language: model for model in missing}


def test_a_given_model_and_its_dictionary_reach_a_worker_that_cannot_see_them(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = trained_folder(tmp_path / "given", dictionary="eins a\n")
    config = configured(job, f"models: {{de: {given}}}")
    places, missing = survey(config)
    assert set(missing) == {"en"}
    root = FarRoot(tmp_path / "out")
    for file in given.iterdir():
        file.unlink()
    for _ in range(2):  # (the second is from the cache)
        folder = fetch_model(root, places["de"])
        assert ModelFolder.read(folder).dictionary == folder / DICTIONARY_FILE
        files = fetch_lexicon(root, places["de"])
        assert files.dictionary is not None
        assert files.dictionary.read_text() == "eins a\n"
        assert files.g2p is None
    assert fetch_lexicon(root, places["en"]) == LexiconFiles()


def test_a_dictionary_of_the_config_takes_the_place_of_the_models_own(job: str, tmp_path: Path) -> None:
    given = trained_folder(tmp_path / "given", dictionary="eins a\n")
    (tmp_path / "mine.txt").write_text("eins a a\n")
    (tmp_path / "mine.zip").write_bytes(b"a model of MFA's")
    plain, _ = survey(configured(job, f"models: {{de: {given}}}"))
    config = configured(
        job, f"models: {{de: {given}}}, dictionaries: {{de: {tmp_path}/mine.txt}}, g2p: {{de: {tmp_path}/mine.zip}}"
    )
    places, _ = survey(config)
    root = LocalRoot(config.output)
    for folder in (places["de"].folder, places["de"].lexicon):
        assert root.read(f"{folder}/{DICTIONARY_FILE}") == b"eins a a\n"
        assert root.read(f"{folder}/{G2P_FILE}") == b"a model of MFA's"
    assert places["de"].fingerprint != plain["de"].fingerprint
    assert root.read(f"{plain['de'].folder}/{DICTIONARY_FILE}") == b"eins a\n"


def test_a_copy_of_a_model_is_the_same_model(job: str, tmp_path: Path) -> None:
    given = trained_folder(tmp_path / "given")
    places, _ = survey(configured(job, f"models: {{de: {given}}}"))
    copied = tmp_path / "out" / places["de"].folder
    again, _ = survey(configured(job, f"models: {{de: {copied}}}"))
    assert again == places


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / FACTS).unlink(), "not the description of an alignment model"),
        (lambda folder: (folder / MODEL).unlink(), "the model is missing"),
        (lambda folder: (folder / PHONES).write_bytes(b"?"), "no phone classifier"),
    ],
)
def test_a_broken_model_is_told_before_any_work(job: str, tmp_path: Path, spoil: Any, message: str) -> None:
    given = trained_folder(tmp_path / "given")
    spoil(given)
    with pytest.raises(AlignError, match=message):
        survey(configured(job, f"models: {{de: {given}}}"))


def test_a_model_of_another_language_is_refused(job: str, tmp_path: Path) -> None:
    given = trained_folder(tmp_path / "given", language="fr")
    with pytest.raises(AlignError, match="a model of 'fr' was given for 'de'"):
        survey(configured(job, f"models: {{de: {given}}}"))


def test_a_model_that_has_gone_is_not_trained_instead(job: str, tmp_path: Path) -> None:
    given = trained_folder(tmp_path / "given")
    config = configured(job, f"models: {{de: {given}}}")
    given.rename(tmp_path / "elsewhere")
    with pytest.raises(AlignError, match=r"models\.de: no such file or folder"):
        survey(config)


def test_what_a_trained_model_depends_on(job: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hallo h a\n")
    (tmp_path / "b.txt").write_text("hallo h a l\n")
    changes = ["", "seed: 1", "recipe: monophone", "train_hours: 0.003", f"dictionaries: {{de: {tmp_path}/a.txt}}"]
    changes += [f"dictionaries: {{de: {tmp_path}/b.txt}}", f"g2p: {{de: {tmp_path}/b.txt}}"]
    marks = [survey(configured(job, f"min_train_s: 5, {change}"))[0]["de"].fingerprint for change in changes]
    assert len(set(marks)) == len(marks)
    for same in ("min_score: 0.5", "pool: {actors: [1, 4]}", "min_train_s: 4"):
        assert survey(configured(job, same))[0]["de"].fingerprint == marks[0]


@pytest.mark.parametrize(("old", "new"), [("\thallo\t", "\tadieu\t"), ("u2.wav", "u1.wav"), ("\ts2\t", "\ts7\t")])
def test_a_trained_model_depends_on_what_is_heard_and_said(job: str, tmp_path: Path, old: str, new: str) -> None:
    """The utterances' ids, and thus their `unit_id`, stay the same."""
    marks = []
    for name in ("first", "second"):
        config = configured(job.replace("/out\n", f"/{name}\n"), "min_train_s: 5")
        root = LocalRoot(config.output)
        places, _ = _survey(config, root, run_plan(config, root), ("de",))
        marks.append(places["de"].fingerprint)
        manifest = tmp_path / "m.tsv"
        manifest.write_text(manifest.read_text().replace(old, new))
    assert None not in marks
    assert marks[0] != marks[1]


def test_where_lengths_are_unknown_a_model_depends_on_how_much_is_decoded(job: str, tmp_path: Path) -> None:
    manifest = tmp_path / "m.tsv"
    for unknown in (False, True):
        if unknown:
            manifest.write_text(manifest.read_text().replace("\t3.0", "\t"))
        sized = job.replace("/out\n", f"/unknown-{unknown}\n")
        marks = {survey(configured(sized, f"train_hours: {hours}"))[0]["de"].fingerprint for hours in (10, 20)}
        assert len(marks) == 1 + unknown


def test_a_given_model_is_told_by_what_aligns(job: str, tmp_path: Path) -> None:
    given = trained_folder(tmp_path / "given")
    first, _ = survey(configured(job, f"models: {{de: {given}}}"))
    (given / REPORT).write_text("{}")
    (given / "thesis.tex").write_text("years of work")
    assert survey(configured(job, f"models: {{de: {given}}}"))[0] == first
    other = trained_folder(tmp_path / "other")
    (other / REPORT).write_text("{}")
    (other / "thesis.tex").write_text("years of work")
    (other / MODEL).write_bytes(b"viter too")
    second, _ = survey(configured(job, f"models: {{de: {other}}}"))
    assert second["de"].fingerprint != first["de"].fingerprint
    names = {file.name for file in (tmp_path / "out" / second["de"].folder).iterdir()}
    assert names == {FACTS, MODEL, PHONES, REPORT, MANIFEST_NAME}


def test_a_node_keeps_models_of_two_roots_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = ModelPlace("same", "models/align/de-same")
    for name in ("one", "two"):
        root = FarRoot(tmp_path / name)
        with pytest.raises(StorageError, match=r"_MANIFEST\.json is gone"):
            fetch_model(root, place)
        root.put(f"{place.folder}/{MODEL}", name.encode())
        root.put(f"{place.folder}/{MANIFEST_NAME}", f'{{"took_s": "{name}"}}'.encode())
        assert (fetch_model(root, place) / MODEL).read_bytes() == name.encode()


def test_a_training_that_failed_binds_nobody_to_its_recipe(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(*arguments: Any) -> None:
        asked.append([model.place.fingerprint for model in arguments[-1]])
        raise AlignError("no model")

    monkeypatch.setattr(align_models, "make_models", fail)
    for recipe in ("monophone", "triphone"):
        config = configured(job, f"recipe: {recipe}")
        root = LocalRoot(config.output)
        with pytest.raises(AlignError, match="no model"):
            ensure_models(RaySession(config), config, root, run_plan(config, root))
    assert asked[0] != asked[1]
    assert root.names("annotations") == []


def test_too_little_speech_for_a_given_file_asks_for_no_other_file(
    job: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "one.viter").write_bytes(b"1")
    with caplog.at_level(logging.WARNING):
        survey(configured(job, f"min_train_s: 60, models: {{de: {tmp_path}/one.viter}}"))
    german, english = (record.message for record in caplog.records)
    assert f"too few to learn from them how the phones of {tmp_path}/one.viter look" in german
    assert "give the folder of a trained model as annotate.align.models.de" in german
    assert "give a trained model as annotate.align.models.en" in english


def test_an_imported_model_depends_on_its_file_and_not_on_how_training_goes(job: str, tmp_path: Path) -> None:
    source = tmp_path / "one.viter"
    marks = []
    for content, more in ((b"1", ""), (b"1", "seed: 3, recipe: monophone"), (b"2", "")):
        source.write_bytes(content)
        _, missing = survey(configured(job, f"models: {{de: {source}}}, {more}"))
        assert missing["de"].source == source
        assert missing["en"].source is None
        marks.append(missing["de"].place.fingerprint)
    assert marks[0] == marks[1] != marks[2]


def test_too_little_speech_is_no_model_and_a_warning(
    job: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "de.txt").write_text("hallo h a\n")
    config = configured(job, f"min_train_s: 60, dictionaries: {{de: {tmp_path}/de.txt}}")
    with caplog.at_level(logging.WARNING):
        places, missing = survey(config)
    assert missing == {}
    assert fingerprints(places) == {}
    assert sum("too few to train an aligner" in record.message for record in caplog.records) == 2
    # its words are looked up all the same
    assert fetch_lexicon(LocalRoot(config.output), places["de"]).dictionary is not None


@pytest.mark.parametrize(("backend", "name"), [("ctc", "an/id"), ("mfa", "a-name")])
def test_a_language_that_a_backend_has_no_model_for(
    job: str, caplog: pytest.LogCaptureFixture, backend: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "en.dict").write_text("one w a n\n")
    lexicon = f"dictionaries: {{en: {tmp_path}/en.dict}}"
    config = configured(job, f"backend: {backend}, models: {{en: {name}}}, {lexicon}")
    root = LocalRoot(config.output)
    with caplog.at_level(logging.WARNING):
        places = ensure_models(RaySession(config), config, root, run_plan(config, root))
    assert set(fingerprints(places)) == {"en"}
    assert places["de"] == ModelPlace(None)
    told = [record.message for record in caplog.records]
    assert told == [f"de: its utterances get no word spans: {backend} has no model for it (annotate.align.models.de)"]
    files = fetch_lexicon(root, places["en"])
    local = with_lexicons(config.annotate.align, {"en": files, "de": LexiconFiles()})
    assert local.dictionary("en") == files.dictionary == tmp_path / "out" / places["en"].lexicon / DICTIONARY_FILE
    assert local.dictionary("de") is None


def test_a_dictionary_named_as_mfa_names_it_is_found_here_or_left_to_the_workers(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "mfa/pretrained_models/dictionary"
    kept.mkdir(parents=True)
    (kept / "english_mfa.dict").write_text("one w a n\n")
    monkeypatch.setenv("MFA_ROOT_DIR", str(tmp_path / "mfa"))
    names = "models: {en: e, de: d}, dictionaries: {en: english_mfa, de: german_mfa}"
    config = configured(job, f"backend: mfa, {names}")
    places, _ = survey(config)
    files = fetch_lexicon(LocalRoot(config.output), places["en"])
    assert files.dictionary is not None
    assert files.dictionary.read_text() == "one w a n\n"
    assert places["de"].lexicon == ""
    assert with_lexicons(config.annotate.align, {"de": LexiconFiles()}).dictionaries["de"] == "german_mfa"


def test_no_aligner_needs_no_model_but_keeps_its_dictionary(job: str, tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_text("hallo h a\n")
    config = configured(job, f"backend: none, dictionaries: {{de: {tmp_path}/de.txt}}")
    places, missing = survey(config)
    assert missing == {}
    assert fingerprints(places) == {}
    assert fetch_lexicon(LocalRoot(config.output), places["de"]).dictionary is not None
