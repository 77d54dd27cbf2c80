import json
from pathlib import Path
from typing import get_args

import pytest

from sift_ray.config_file import ConfigError, parse_config
from sift_ray.config_instruct import InstructConfig, Task
from sift_ray.schema import TASKS

SERVED = "engine: openai, models: {default: m}"


def parsed(tmp_path: Path, instruct: str, *overrides: str) -> InstructConfig:
    (tmp_path / "clips.tsv").write_text("id\n")
    text = f"""\
output: out/x
corpora:
  - {{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}
instruct: {{{instruct}}}
"""
    return parse_config(text, "job.yaml", overrides).instruct


def refused(tmp_path: Path, instruct: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parsed(tmp_path, instruct)
    assert "job.yaml:4: instruct" in str(caught.value)
    return str(caught.value)


def test_short_names_stand_for_closed_ended_tasks(tmp_path: Path) -> None:
    config = parsed(
        tmp_path,
        "models: {default: a, open_ended: b, comparison: c, closed_ended_word_align: d}, "
        "tasks: {acoustic_level: {pairs: 3}, word_align_numeric: {fraction: 0.5}}, judge: {tasks: [content_level]}",
        "instruct.tasks.comparison.pairs=4",
    )
    assert dict(config.models) == {
        "default": "a",
        "open_ended": "b",
        "closed_ended_comparison": "c",
        "closed_ended_word_align": "d",
    }
    assert config.model_of("closed_ended_comparison") == "c"
    assert config.model_of("controllable_generation") == "a"
    assert config.task("closed_ended_acoustic_level").pairs == 3
    assert config.task("closed_ended_word_align_numeric").fraction == 0.5
    assert config.task("closed_ended_comparison").pairs == 4
    assert config.judge is not None
    assert config.judge.tasks == ("closed_ended_content_level",)


@pytest.mark.parametrize("section", ["models: {{default: m, {0}: m, {1}: m}}", "tasks: {{{0}: {{}}, {1}: {{}}}}"])
def test_a_task_is_named_once(tmp_path: Path, section: str) -> None:
    said = refused(tmp_path, section.format("comparison", "closed_ended_comparison"))
    assert "closed_ended_comparison: given twice, by its full and its short name; keep one" in said


def test_the_tasks_of_the_config_are_those_of_the_tables() -> None:
    assert set(get_args(Task)) == set(TASKS)


def test_names_that_are_no_task_are_refused(tmp_path: Path) -> None:
    assert "no task 'closed'; keys are default," in refused(tmp_path, "models: {default: m, closed: n}")
    assert "tasks" in refused(tmp_path, "tasks: {align: {pairs: 1}}")
    assert "name a default model" in refused(tmp_path, "models: {comparison: n}")


def test_a_server_is_called_without_a_gpu_and_vllm_gets_one(tmp_path: Path) -> None:
    assert parsed(tmp_path, SERVED).pool.num_gpus == 0
    assert parsed(tmp_path, f"{SERVED}, pool: {{actors: [1, 4]}}").pool.num_gpus == 0
    assert parsed(tmp_path, f"{SERVED}, pool: {{num_gpus: 0.5}}").pool.num_gpus == 0.5
    assert parsed(tmp_path, "").pool.num_gpus == 1
    assert parsed(tmp_path, "pool: {actors: [1, 4]}").pool.num_gpus == 1


def test_a_model_that_is_spread_over_gpus_gets_them(tmp_path: Path) -> None:
    spread = "engine: vllm, vllm: {tensor_parallel_size: 2}"
    assert "set pool.num_gpus to 2" in refused(tmp_path, spread)
    assert parsed(tmp_path, f"{spread}, pool: {{num_gpus: 2}}").pool.num_gpus == 2
    assert parsed(tmp_path, f"{spread}, pool: {{num_gpus: 0}}").pool.num_gpus == 0  # (on CPUs)
    assert parsed(tmp_path, "pool: {num_gpus: 0.5}").pool.num_gpus == 0.5  # (two actors a GPU, a model each)


def test_a_servers_model_is_named_as_the_server_has_it(tmp_path: Path) -> None:
    assert "name the model that the server serves" in refused(tmp_path, "engine: openai")
    far = parsed(tmp_path, "engine: openai, models: {default: /srv/on/the/server}, judge: {model: ~/there}")
    assert far.model_of("open_ended") == "/srv/on/the/server"
    assert "no such folder: /srv" in refused(tmp_path, "models: {default: /srv/on/the/server}")
    assert "no such folder: ~/there" in refused(tmp_path, "judge: {model: ~/there}")


def test_an_address_holds_no_secret(tmp_path: Path) -> None:
    said = refused(tmp_path, f"{SERVED}, openai: {{base_url: 'http://me:hunter2@host/v1'}}")
    assert "put a key in the variable api_key_env" in said
    assert "hunter2" not in said
    assert parsed(tmp_path, f"{SERVED}, openai: {{base_url: 'http://host/v1/@x'}}").openai.base_url.endswith("@x")
    assert "base_url" in refused(tmp_path, f"{SERVED}, openai: {{base_url: 'host:8000'}}")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("host:8000/v1", "must begin with http:// or https://"),
        ("ftp://host/v1", "must begin with http:// or https://"),
        ("http://", "names no host and port"),
        ("http:///v1", "names no host and port"),
        ("http://-host/v1", "names no host and port"),
        ("http://a,b/v1", "names no host and port"),
        ("http://host:/v1", "names no host and port"),
        ("http://host:0/v1", "names no host and port"),
        ("http://host:80800/v1", "is no address: Port out of range"),
        ("http://host:here/v1", "is no address: Port could not be cast"),
        ("http://[::1/v1", "is no address"),
        ("http://my host/v1", "holds blanks"),
        (" http://host/v1", "must begin with"),
        ("http://host/v1?key=1", "goes on behind a"),
    ],
)
def test_an_address_that_can_not_be_called_is_refused(tmp_path: Path, url: str, why: str) -> None:
    said = refused(tmp_path, f"{SERVED}, openai: {{base_url: {json.dumps(url)}}}")
    assert "openai.base_url" in said
    assert why in said


@pytest.mark.parametrize("url", ["http://h_1:8000/v1", "https://a-b.c.d", "http://[::1]:80/v1", "http://10.0.0.7/v1/"])
def test_an_address_is_taken_as_it_is(tmp_path: Path, url: str) -> None:
    assert parsed(tmp_path, f"{SERVED}, openai: {{base_url: '{url}'}}").openai.base_url == url


def test_an_address_without_a_scheme_tells_no_secret_either(tmp_path: Path) -> None:
    assert "hunter2" not in refused(tmp_path, f"{SERVED}, openai: {{base_url: 'me:hunter2@host/v1'}}")


@pytest.mark.parametrize("name", ["", " ", "a ", "a\nb"])
def test_a_model_has_a_name(tmp_path: Path, name: str) -> None:
    quoted = json.dumps(name)
    for section in (f"models: {{default: {quoted}}}", f"models: {{default: a, comparison: {quoted}}}"):
        assert "is no model's name" in refused(tmp_path, section)
    assert "is no model's name" in refused(tmp_path, f"judge: {{model: {quoted}}}")


def test_a_grammar_of_values_needs_a_server_that_follows_it(tmp_path: Path) -> None:
    said = refused(tmp_path, f"{SERVED}, constrain: value, openai: {{structured: none}}")
    assert "drop openai.structured: none" in said


def test_who_judges(tmp_path: Path) -> None:
    models = "models: {default: a, open_ended: b}"
    config = parsed(tmp_path, f"{models}, judge: {{tasks: [open_ended, comparison]}}")
    assert config.judge_of("open_ended") == "b"
    assert config.judge_of("closed_ended_comparison") == "a"
    assert config.judge_of("closed_ended_acoustic_level") is None
    assert parsed(tmp_path, models).judge_of("open_ended") is None
    assert parsed(tmp_path, f"{models}, judge: {{model: b}}").judge_of("open_ended") == "b"


def test_a_judge_that_can_not_work_is_refused(tmp_path: Path) -> None:
    assert "no model to judge with" in refused(tmp_path, "engine: template, judge: {}")
    assert "has no answers to judge" in refused(tmp_path, "judge: {tasks: [controllable_generation]}")
    assert "name the tasks to judge" in refused(tmp_path, "judge: {tasks: []}")


def test_two_models_share_a_gpu_only_if_both_fit(tmp_path: Path) -> None:
    two = "models: {default: a}, judge: {model: b}"
    assert "vllm.gpu_memory_utilization may be 0.45 at most, not 0.9" in refused(tmp_path, two)
    parsed(tmp_path, f"{two}, vllm: {{gpu_memory_utilization: 0.45}}")
    parsed(tmp_path, f"{two}, pool: {{num_gpus: 0}}")  # on the CPU there is none to share
    parsed(tmp_path, f"engine: openai, {two}")
    # the judge writes what it judges
    parsed(tmp_path, "models: {default: a, open_ended: b}, judge: {model: b}")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("base_url: 'http://there/v1'", "base_url: 'http://here/v1'", True),
        ("timeout_s: 1, retries: 9", "concurrency: 1, api_key_env: MINE", True),
        ("structured: json_schema", "structured: none", False),
    ],
)
def test_where_a_server_runs_changes_nothing_that_is_written(tmp_path: Path, left: str, right: str, same: bool) -> None:
    one, other = (parsed(tmp_path, f"{SERVED}, openai: {{{keys}}}").settled() for keys in (left, right))
    assert (one == other) == same


def test_what_an_unused_engine_would_do_changes_nothing(tmp_path: Path) -> None:
    def settled(instruct: str) -> InstructConfig:
        return parsed(tmp_path, instruct).settled()

    assert settled(SERVED) == settled(f"{SERVED}, vllm: {{max_model_len: 999, dtype: float16}}")
    assert settled("") == settled("openai: {structured: none}")
    assert settled("") == settled("vllm: {start_attempts: 9}")
    assert settled("") != settled("vllm: {max_model_len: 999}")
    assert settled("retries: 1") != settled("retries: 2")
    assert settled("judge: {}") != settled("")
