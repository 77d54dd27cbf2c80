import asyncio
import json
from dataclasses import replace

import pyarrow as pa
import pytest

from sift_ray.config import InstructConfig
from sift_ray.instruct.engine import EngineDied, Generation, RequestFailed
from sift_ray.instruct.judging import Judge
from sift_ray.instruct.ladder import failed_row, run_request
from sift_ray.instruct.requests import ACOUSTIC, CONTROLLABLE, Request
from sift_ray.instruct.synthesis import split_transcript
from sift_ray.instruct.writer import ModelWriter, TemplateWriter
from sift_ray.metadata.record import Fact
from sift_ray.schema import INSTRUCTIONS, conform

TRUE = json.dumps({"q": "How fast does this person speak?", "a": "The person speaks very slowly."})
FALSE = json.dumps({"q": "How fast does this person speak?", "a": "The person speaks very fast."})
FACTS = (Fact("speaking_rate", "very slowly"), Fact("transcript", "one two three"))


class ScriptedEngine:
    """Says its lines in turn; an exception among them is raised."""

    def __init__(self, *script, name="scripted"):
        self.name = name
        self.script = list(script)
        self.prompts = []

    async def generate(self, prompt):
        self.prompts.append(prompt)
        line = self.script.pop(0)
        if isinstance(line, Exception):
            raise line
        return Generation(line, "stop", 100, 80, 20)

    async def close(self):
        pass


def request(task=ACOUSTIC, pairs=1):
    return Request(7, task, "en", "train", "vctk_en", ("u",), ("/u.wav",), "vllm", FACTS, ("speaking_rate",), pairs, 11)


def run(*script, fallback=None, asked=None, **config):
    engine = ScriptedEngine(*script)
    settings = InstructConfig(**config)
    writer = ModelWriter({settings.models["default"]: engine}, settings)
    row = asyncio.run(run_request(asked or request(), writer, fallback, settings))
    conform(pa.Table.from_pylist([row], schema=INSTRUCTIONS), INSTRUCTIONS)
    return row, engine


def test_accepted_at_once():
    row, engine = run(TRUE)
    (pair,) = row["pairs"]
    assert pair["accepted"]
    assert pair["reason"] is None
    assert pair["generator"] == row["model"] == "scripted"
    assert pair["attempt"] == 0
    fact = {"key": "speaking_rate", "value": "very slowly", "ordinal": 0, "audio": 0, "position": 0}
    assert pair["evidence"] == [fact]
    assert pair["score"] is None
    assert (row["prompt_tokens"], row["cached_tokens"], row["generated_tokens"]) == (100, 80, 20)
    assert row["finish_reason"] == "stop"
    assert engine.script == []


def test_a_refused_attempt_is_tried_again_with_the_reasons():
    row, engine = run(FALSE, TRUE)
    assert [p["reason"] for p in row["pairs"]] == ["false_claim", None]
    assert [p["attempt"] for p in row["pairs"]] == [0, 1]
    first, second = engine.prompts
    assert first.seed != second.seed
    assert second.messages[:-1] == first.messages[:-1]
    assert "refused" in second.messages[-1].content
    assert "refused" not in first.messages[-1].content
    assert row["generated_tokens"] == 40


def test_without_fallback_it_ends_refused():
    row, _ = run(FALSE, "no json at all")
    assert [p["reason"] for p in row["pairs"]] == ["false_claim", "parse_no_pairs"]
    assert row["pairs"][1]["answer"] == "no json at all"


def test_the_fallback_is_marked():
    row, _ = run(FALSE, FALSE, fallback=TemplateWriter())
    assert [(p["generator"], p["accepted"], p["attempt"]) for p in row["pairs"]] == [
        ("scripted", False, 0),
        ("scripted", False, 1),
        ("template", True, 2),
    ]
    assert row["model"] == "scripted"
    assert row["generated_tokens"] == 40


def test_no_retries():
    row, engine = run(FALSE, TRUE, retries=0)
    assert [p["reason"] for p in row["pairs"]] == ["false_claim"]
    assert len(engine.prompts) == 1


def test_a_failed_request_is_a_counted_reject():
    row, _ = run(RequestFailed("prompt_too_long", "the prompt has 9 tokens"), TRUE)
    assert [p["reason"] for p in row["pairs"]] == ["prompt_too_long", None]
    assert row["pairs"][0]["answer"] == "the prompt has 9 tokens"
    row, _ = run(RequestFailed("engine_refused", "x"), RequestFailed("engine_refused", "x"))
    assert row["finish_reason"] == "error"
    assert row["generated_tokens"] == 0


class Strange(Exception):
    """An error that nobody foresaw."""


def test_a_fault_of_ours_goes_on_to_the_fallback():
    row, engine = run(FALSE, Strange("a\ud800" + "b" * 500), TRUE, fallback=TemplateWriter(), retries=2)
    assert [(p["reason"], p["generator"], p["attempt"]) for p in row["pairs"]] == [
        ("false_claim", "scripted", 0),
        ("internal_error", "scripted", 1),
        (None, "template", 2),
    ]
    assert row["pairs"][1]["answer"].startswith("Strange: a?bb")
    assert len(row["pairs"][1]["answer"]) == 300
    assert (row["finish_reason"], row["generated_tokens"]) == ("error", 20)
    assert engine.script == [TRUE]


def test_what_was_accepted_before_a_fault_of_ours_is_kept():
    row, _, judge = judged(
        [f"{TRUE}\n{OTHER}"],
        ['{"score": 9}', Strange("x")],
        asked=request(pairs=2),
        fallback=TemplateWriter(),
    )
    assert [(p["reason"], p["answer"]) for p in row["pairs"]] == [
        (None, "The person speaks very slowly."),
        ("internal_error", "Strange: x"),
    ]
    assert (row["finish_reason"], row["generated_tokens"]) == ("stop", 40)
    assert judge.script == []


def test_a_fault_of_the_fallback_keeps_what_the_model_wrote():
    class Broken(TemplateWriter):
        async def write(self, *_):
            raise Strange("x")

    row, _ = run(FALSE, FALSE, fallback=Broken())
    assert [(p["reason"], p["generator"]) for p in row["pairs"]] == [
        ("false_claim", "scripted"),
        ("false_claim", "scripted"),
        ("internal_error", "template"),
    ]
    assert row["finish_reason"] == "stop"


def test_a_synthesis_prompt_without_its_text_is_not_taken_for_accepted():
    read_out = json.dumps({"q": "Please read the following text very slowly.", "a": ""})
    without = replace(request(CONTROLLABLE), facts=FACTS[:1])
    row, _ = run(read_out, asked=without)
    assert [p["reason"] for p in row["pairs"]] == ["internal_error"]
    assert row["finish_reason"] == "error"


def test_the_row_of_a_request_that_has_none_says_why():
    row = failed_row(request(), TemplateWriter(), Strange("\ud800"))
    conform(pa.Table.from_pylist([row], schema=INSTRUCTIONS), INSTRUCTIONS)
    assert row["finish_reason"] == "error"
    assert [(p["reason"], p["answer"]) for p in row["pairs"]] == [("internal_error", "Strange: ?")]


def test_a_detail_of_an_engine_is_cut_and_can_be_written():
    row, _ = run(RequestFailed("engine_refused", "\ud800" * 500), retries=0)
    assert row["pairs"][0]["answer"] == "?" * 300


def test_a_dead_engine_is_not_swallowed():
    with pytest.raises(EngineDied):
        run(EngineDied("gone"))


@pytest.mark.parametrize(
    "text",
    ["a" * 10_000, '{"q": "<b>Hi</b>?", "a": "<script>x</script>"}', '{"q":"\\ud800?","a":"\ud800"}', "[" * 5_000, ""],
)
def test_rubbish_is_a_reject_that_a_table_can_hold(text):
    row, _ = run(text, text)
    assert len(row["pairs"]) == 2
    assert not any(p["accepted"] for p in row["pairs"])
    assert all(p["reason"] for p in row["pairs"])


def test_more_than_wanted_is_surplus_and_repeats_are_duplicates():
    other = json.dumps({"q": "At what speed is this spoken?", "a": "The speaker talks very slowly."})
    row, _ = run(f"{TRUE}\n{TRUE}\n{other}\n{other}", asked=request(pairs=2))
    assert [p["reason"] for p in row["pairs"]] == [None, "duplicate", None, "surplus"]


def test_a_synthesis_prompt_gets_its_text():
    row, _ = run(json.dumps({"q": "Please read the following text very slowly.", "a": ""}), asked=request(CONTROLLABLE))
    (pair,) = row["pairs"]
    assert pair["accepted"], pair
    assert pair["answer"] == ""
    assert split_transcript("en", pair["question"]) == (
        "Please read the following text very slowly.",
        "one two three",
    )


OTHER = json.dumps({"q": "At what speed is this spoken?", "a": "The speaker talks very slowly."})


def judged(writes, scores, *, fallback=None, asked=None, **config):
    """Run with a model of its own as the judge; `scores` are its replies."""
    writer, judge = ScriptedEngine(*writes, name="writer"), ScriptedEngine(*scores, name="judge")
    settings = InstructConfig(
        models={"default": "writer"},
        judge={"model": "judge", "tasks": ["acoustic_level"]},
        vllm={"gpu_memory_utilization": 0.4},
        **config,
    )
    engines = {"writer": writer, "judge": judge}
    running = run_request(
        asked or request(), ModelWriter(engines, settings), fallback, settings, Judge(engines, settings)
    )
    row = asyncio.run(running)
    conform(pa.Table.from_pylist([row], schema=INSTRUCTIONS), INSTRUCTIONS)
    return row, writer, judge


def test_what_the_verifier_accepts_is_judged_and_the_score_is_kept():
    row, _, judge = judged([TRUE], ['{"score": 8}'])
    (pair,) = row["pairs"]
    assert (pair["accepted"], pair["score"]) == (True, 8.0)
    assert (row["prompt_tokens"], row["cached_tokens"], row["generated_tokens"]) == (200, 160, 40)
    assert row["finish_reason"] == "stop"
    asked = json.loads(judge.prompts[0].messages[-1].content)
    assert (asked["question"], asked["answer"]) == tuple(json.loads(TRUE).values())


def test_a_low_score_is_a_reject_that_is_tried_again_with_the_reason():
    row, writer, _ = judged([TRUE, TRUE], ['{"score": 2}', '{"score": 9}'])
    # (the same pair, now liked better, is no duplicate of one that was not accepted)
    assert [(p["reason"], p["score"], p["attempt"]) for p in row["pairs"]] == [("judged_low", 2.0, 0), (None, 9.0, 1)]
    assert row["pairs"][0]["evidence"] == []
    assert "refused" in writer.prompts[1].messages[-1].content


def test_what_the_verifier_refuses_is_not_judged():
    row, _, judge = judged([FALSE, f"{TRUE}\n{TRUE}\n{OTHER}"], ['{"score": 9}'])
    assert [p["reason"] for p in row["pairs"]] == ["false_claim", None, "surplus", "surplus"]
    assert len(judge.prompts) == 1
    row, _, judge = judged([f"{TRUE}\n{TRUE}\n{OTHER}"], ['{"score": 9}'] * 2, asked=request(pairs=2))
    assert [p["reason"] for p in row["pairs"]] == [None, "duplicate", None]
    assert len(judge.prompts) == 2


@pytest.mark.parametrize(
    ("said", "reason"),
    [("very good", "judge_unreadable"), (RequestFailed("prompt_too_long", "x"), "judge_failed")],
)
def test_a_judge_that_gives_no_score_fails_closed_and_is_not_blamed_on_the_writer(said, reason):
    row, writer, _ = judged([TRUE, TRUE], [said, '{"score": 10}'])
    assert [(p["reason"], p["score"]) for p in row["pairs"]] == [(reason, None), (None, 10.0)]
    assert writer.prompts[1].messages == writer.prompts[0].messages


def test_templates_are_not_judged():
    row, _, judge = judged([TRUE], ['{"score": 1}'], fallback=TemplateWriter(), retries=0)
    assert [(p["generator"], p["accepted"], p["score"]) for p in row["pairs"]] == [
        ("writer", False, 1.0),
        ("template", True, None),
    ]
    assert len(judge.prompts) == 1


def test_other_tasks_are_not_judged():
    read_out = json.dumps({"q": "Please read the following text very slowly.", "a": ""})
    row, _, judge = judged([read_out], [], asked=request(CONTROLLABLE))
    assert row["pairs"][0]["accepted"]
    assert judge.prompts == []


def test_a_dead_judge_is_not_swallowed():
    with pytest.raises(EngineDied):
        judged([TRUE], [EngineDied("gone")])


def test_sampling_comes_from_the_config():
    _, engine = run(TRUE, sampling={"temperature": 0.3, "top_p": 0.5, "max_tokens": 60}, constrain="value")
    (prompt,) = engine.prompts
    assert (prompt.temperature, prompt.top_p, prompt.max_tokens) == (0.3, 0.5, 60)
    assert prompt.schema is not None


def test_templates_alone():
    row = asyncio.run(run_request(request(), TemplateWriter(), None, InstructConfig(engine="template")))
    (pair,) = row["pairs"]
    assert pair["accepted"]
    assert row["model"] == "template"
    assert row["generated_tokens"] == 0
