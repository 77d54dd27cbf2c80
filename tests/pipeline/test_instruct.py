import asyncio
import json
import os
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from sift_ray.config_file import parse_config
from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct import ladder, prompts, templates
from sift_ray.instruct.engine import EngineStartError
from sift_ray.instruct.prompts import PromptError, judge_hash
from sift_ray.instruct.requests import ACOUSTIC, OPEN_ENDED, Request
from sift_ray.metadata.record import Fact
from sift_ray.pipeline.instruct import Answering, answer_from_templates, data_file_hashes, run_instruct
from sift_ray.pipeline.wave_pieces import WAVE, piece_of
from sift_ray.schema import INSTRUCTIONS, LANGUAGES, REQUESTS, TASKS

from ..instruct.chat_server import ChatServer, chat, error, serving
from .json_lines import json_lines

WAVE_OF_ALL = 7
ANSWER = json.dumps({"q": "How fast does this person speak?", "a": "The person speaks very slowly."})


class Counted:
    """Progress, counted here."""

    rows = 0

    def add(self, rows: int) -> None:
        self.rows += rows


def request(unit: int, task: str = ACOUSTIC) -> Request:
    facts = (Fact("speaking_rate", "very slowly"),)
    return Request(
        unit, task, "en", "train", "vctk_en", ("u",), ("/u.wav",), "openai", facts, ("speaking_rate",), 1, unit
    )


def answering(server: ChatServer, progress: Counted, **more: object) -> Answering:
    config = InstructConfig.model_validate(
        {
            "engine": "openai",
            "models": {"default": "writer"},
            "openai": {"base_url": server.url, "retries": 0, "timeout_s": 5},
            "retries": 0,
            **more,
        }
    )
    return Answering(config, "writer", progress)  # type: ignore[arg-type]


async def tables(actor: Answering, *requests: Request) -> list[pa.Table]:
    batch = pa.Table.from_pylist([one.to_row() for one in requests], schema=REQUESTS)
    return [table async for table in actor(piece_of(WAVE_OF_ALL, batch))]


def answered(actor: Answering, *requests: Request) -> list[dict[str, object]]:
    (table,) = asyncio.run(tables(actor, *requests))
    assert table.column(WAVE).to_pylist() == [WAVE_OF_ALL] * len(requests)
    table = table.drop_columns([WAVE])
    assert table.schema.equals(INSTRUCTIONS)
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


def test_a_server_answers_a_batch_and_its_other_model_judges() -> None:
    with serving("writer", "judge") as server:
        server.script = [chat("{}"), chat("{}")]  # what the two engines ask at their start
        server.always = chat(ANSWER)
        progress = Counted()
        judge = {"model": "judge", "tasks": ["open_ended", "acoustic_level"], "threshold": 9}
        rows = answered(answering(server, progress, judge=judge), request(1), request(2, OPEN_ENDED))
    assert progress.rows == 2
    assert [row["model"] for row in rows] == ["writer"] * 2
    assert [asked["model"] for asked in server.asked[:2]] == ["writer", "judge"]
    # the judge speaks like the writer here, so that it gives no score
    reasons = [pair["reason"] for row in rows for pair in row["pairs"]]  # type: ignore[attr-defined]
    assert reasons == ["judge_unreadable"] * 2
    assert sorted(asked["model"] for asked in server.asked[2:]) == ["judge", "judge", "writer", "writer"]
    assert [row["prompt_tokens"] for row in rows] == [200, 200]


def test_engines_start_once_and_not_before_they_are_needed() -> None:
    with serving("writer") as server:
        server.always = chat(ANSWER)
        actor = answering(server, Counted())
        assert server.keys == []

        async def both() -> list[list[pa.Table]]:
            return await asyncio.gather(*(tables(actor, request(unit)) for unit in (1, 2)))

        rows = [row for batch in asyncio.run(both()) for table in batch for row in table.to_pylist()]
    assert [row["unit_id"] for row in rows] == [1, 2]
    assert all(row["pairs"][0]["accepted"] for row in rows)
    # one probe for both batches, and it comes first
    assert len(server.asked) == 3
    probe, *others = [asked["messages"][-1]["content"] for asked in server.asked]
    assert probe not in others
    assert len(server.keys) == 4  # (and one look at what is served)


@pytest.mark.parametrize("templates_alone", [True, False])
def test_a_fault_is_logged_with_its_wave_and_unit(monkeypatch: pytest.MonkeyPatch, templates_alone: bool) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the transcript is quoted here")

    monkeypatch.setattr(ladder, "parse_pairs", broken)
    batch = pa.Table.from_pylist([request(41).to_row()], schema=REQUESTS)
    with json_lines("sift_ray.instruct.ladder") as lines, serving("writer") as server:
        server.always = chat(ANSWER)
        if templates_alone:
            answer_from_templates(piece_of(WAVE_OF_ALL, batch), InstructConfig(), Counted())  # type: ignore[arg-type]
        else:
            answered(answering(server, Counted()), request(41))
    (line,) = lines()
    assert (line["stage"], line["wave"], line["unit_id"]) == ("instruct", WAVE_OF_ALL, 41)
    assert "the transcript" not in json.dumps(line)


def test_a_server_that_is_not_there_stops_the_job_with_a_sentence() -> None:
    with serving("writer") as server:
        actor = answering(server, Counted())
    with pytest.raises(EngineStartError, match="no server answers"):
        answered(actor, request(1))


def test_the_actor_leaves_when_its_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(BaseException):
        pass

    def leave(status: int) -> None:
        assert status == 1
        raise Left

    monkeypatch.setattr(os, "_exit", leave)
    with serving("writer") as server:
        server.script = [chat("{}")]
        server.always = error(404, "the model `writer` does not exist")
        with pytest.raises(Left):
            answered(answering(server, Counted()), request(1))


def test_the_judges_prompts_are_among_what_the_stage_is_made_from() -> None:
    hashes = data_file_hashes()
    assert {hashes[f"prompts.judge.{language}"] for language in LANGUAGES} == {judge_hash(lang) for lang in LANGUAGES}


@pytest.mark.parametrize(
    ("section", "asked"),
    [
        pytest.param({}, ["smollm2"], id="all by the engine"),
        pytest.param({"engine": "template"}, ["template"], id="all by templates"),
        pytest.param({"tasks": {"open_ended": {"engine_share": 0.5}}}, ["smollm2", "template"], id="one task by both"),
        pytest.param({"tasks": {task: {"engine_share": 0.0} for task in TASKS}}, ["template"], id="none by the engine"),
        pytest.param({"tasks": {task: {"fraction": 0.0} for task in TASKS}}, ["template"], id="nothing is asked"),
        pytest.param({"models": {"default": "smollm2", "open_ended": "big"}}, ["big", "smollm2"], id="two models"),
        pytest.param(
            {"models": {"default": "smollm2", "open_ended": "big"}, "tasks": {"open_ended": {"fraction": 0.0}}},
            ["smollm2"],
            id="a model without a task",
        ),
    ],
)
def test_only_models_that_may_be_asked_get_a_pool(section: dict[str, object], asked: list[str]) -> None:
    assert InstructConfig.model_validate(section).models_asked() == asked


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (prompts, "prompt .*: 'nobody' is undefined"),
        (templates, r"templates/en\.yaml, [a-z_.]+\.\d: .*unknown placeholder nobody"),
    ],
)
def test_a_fault_in_a_text_ends_the_job_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, message: str
) -> None:
    caches = (prompts._template, prompts._static, templates.templates)
    whole = getattr(module._source, "__wrapped__", module._source)

    def source(*names: str) -> str:
        text: str = whole(*names)
        return text.replace("{x}", "{nobody}").replace("{{ pairs }}", "{{ nobody }}")

    monkeypatch.setattr(module, "_source", source)
    for cache in caches:
        cache.cache_clear()
    try:
        config = parse_config("{output: /nowhere, corpora: [{type: demo, name: d, path: /nowhere}]}", "job.yaml")
        nothing: Any = None
        assert config.instruct.engine == "vllm"
        with pytest.raises(PromptError, match=message):
            # (there is no session, no output and no model: none of them may be touched)
            run_instruct(nothing, config, nothing, nothing, nothing, nothing)
    finally:
        monkeypatch.undo()
        for cache in caches:
            cache.cache_clear()
