from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.config import Config, ManifestConfig
from sift_ray.config_file import ConfigError, load_config, parse_config

GOOD = """\
output: out/x
corpora:
  - {type: manifest, name: mine, path: PATH}
plan:
  wave_rows: 7
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    (tmp_path / "clips.tsv").write_text("id\n")
    return GOOD.replace("PATH", str(tmp_path / "clips.tsv"))


def test_reads_sections_and_fills_defaults(good: str) -> None:
    config = parse_config(good, "job.yaml")
    assert config.plan.wave_rows == 7
    assert isinstance(config.corpora[0], ManifestConfig)
    assert config.annotate.features.quality == "dnsmos"


def test_an_unknown_key_names_key_and_line(good: str) -> None:
    with pytest.raises(ConfigError, match=r"job.yaml:6: plan.wave_row: unknown key"):
        parse_config(good + "  wave_row: 8\n", "job.yaml")


def test_an_unknown_key_of_a_corpus_names_its_line(good: str) -> None:
    text = good.replace("name: mine,", "name: mine, speed: 3,")
    with pytest.raises(ConfigError, match=r"job.yaml:3: corpora.0.speed: unknown key"):
        parse_config(text, "job.yaml")


def test_a_wrong_type_names_key_line_and_value(good: str) -> None:
    with pytest.raises(ConfigError, match=r"job.yaml:5: plan.wave_rows: .*integer.*'many'"):
        parse_config(good.replace("7", "many"), "job.yaml")


def test_a_missing_file_names_key_line_and_path(good: str) -> None:
    with pytest.raises(ConfigError, match=r"job.yaml:3: corpora.0.path: no such file or folder: .*gone.tsv"):
        parse_config(good.replace("clips.tsv", "gone.tsv"), "job.yaml")


def test_a_missing_section_is_named(good: str) -> None:
    with pytest.raises(ConfigError, match=r"output: missing"):
        parse_config(good.replace("output: out/x\n", ""), "job.yaml")


def test_an_unknown_corpus_type_lists_the_known(good: str) -> None:
    with pytest.raises(ConfigError, match=r"job.yaml:3: corpora.0.*type must be one of common_voice, demo"):
        parse_config(good.replace("type: manifest", "type: tape"), "job.yaml")


def test_a_key_given_twice_is_an_error(good: str) -> None:
    with pytest.raises(ConfigError, match=r"job.yaml:6: output: given twice, first on line 1"):
        parse_config(good + "output: other\n", "job.yaml")


def test_two_corpora_of_one_name(good: str) -> None:
    line = good.splitlines()[2]
    with pytest.raises(ConfigError, match="two of them are named mine"):
        parse_config(good.replace(line, f"{line}\n{line}"), "job.yaml")


def test_every_problem_is_told_at_once(good: str) -> None:
    text = good.replace("7", "-1") + "bin: {min_count: 1}\n"
    with pytest.raises(ConfigError) as raised:
        parse_config(text, "job.yaml")
    assert "job.yaml:5: plan.wave_rows" in str(raised.value)
    assert "job.yaml:6: bin.min_count" in str(raised.value)


def test_set_overrides_values_lists_and_missing_sections(good: str) -> None:
    config = parse_config(
        good, "job.yaml", ["plan.wave_rows=9", "corpora.0.name=yours", "bin.min_count=5", "output=s3://b/p"]
    )
    assert (config.plan.wave_rows, config.corpora[0].name, config.bin.min_count) == (9, "yours", 5)
    assert config.output == "s3://b/p"


@pytest.mark.parametrize("override", ["plan.wave_rows", "=3", "corpora.4.name=x", "output.deep=1", "plan.wave_rows=[1"])
def test_a_bad_override_is_quoted(good: str, override: str) -> None:
    with pytest.raises(ConfigError, match=r"--set "):
        parse_config(good, "job.yaml", [override])


def test_an_override_of_a_wrong_type_names_the_override_not_a_line(good: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set plan.wave_rows=few: plan.wave_rows: "):
        parse_config(good, "job.yaml", ["plan.wave_rows=few"])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("{engine: praat, device: cuda, pool: {num_gpus: 1}}", "engine praat runs on the CPU only"),
        ("{device: cuda}", r"set pool\.num_gpus"),
        ("{pitch_floor: 700}", "must be less than pitch_ceiling"),
        ("{squim_model: ./gone.pth}", r"no such file or folder: \./gone\.pth"),
        ("{squim_model: models/gone.pth}", r"no such file or folder: models/gone\.pth"),
        ("{batch_s: 0.1}", "batch_s"),
        ("{pitch_floor: 9000}", "pitch_floor"),
        ("{labels: [{column: gender, model: /gone}]}", "no such file or folder: /gone"),
        ("{labels: [{column: age, model: a/b}, {column: age, model: c/d}]}", "age is labelled twice"),
        ("{labels: [{column: height, model: a/b}]}", "height"),
    ],
)
def test_measuring_that_can_not_be_is_told_at_once(good: str, features: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(good + f"annotate: {{features: {features}}}\n", "job.yaml")


def test_yaml_tags_that_build_objects_are_refused() -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        parse_config("output: !!python/object/apply:os.system ['true']\n", "job.yaml")


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        load_config(tmp_path / "gone.yaml")


@pytest.mark.parametrize("name", ["demo.yaml"])
def test_shipped_configs_are_valid(name: str) -> None:
    assert isinstance(load_config(Path("jobs") / name), Config)


def test_the_production_config_lacks_only_its_corpora() -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(Path("jobs/production.yaml"))
    assert all("no such file or folder: /data/" in line for line in str(raised.value).splitlines())


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    try:
        parse_config(text, "job.yaml")
    except ConfigError as error:
        assert "job.yaml" in str(error) or "output" in str(error)
