from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.pipeline.counts import RUNGS, count_annotations, count_instructions, count_utterances
from sift_ray.schema import ANNOTATIONS, INSTRUCTIONS, LANGUAGES, UTTERANCES
from sift_ray.storage import add_counts


def utterance(number: int, **more: Any) -> dict[str, Any]:
    base = {
        "unit_id": number,
        "utterance_id": f"u{number}",
        "corpus": "c",
        "data_source": "c_en",
        "language": "en",
        "split": "train",
        "duration_s": 3600.0,
        "status": "ok",
    }
    return {**base, **more}


def bad(number: int, stage: str, reason: str) -> dict[str, Any]:
    return utterance(number, status="rejected", reject_stage=stage, reject_reason=reason, duration_s=None)


def test_utterances_are_counted_by_corpus_language_and_split() -> None:
    rows = [utterance(1), utterance(2, split="dev", duration_s=None), bad(3, "plan", "missing_audio")]
    counts = count_utterances(pa.Table.from_pylist(rows, schema=UTTERANCES))
    assert counts == {
        "status": {"ok": 2, "rejected": 1},
        "utterances": {"c/en/train": 1, "c/en/dev": 1},
        "hours": {"c/en/train": 1.0},
        "rejects": {"plan/missing_audio": 1},
    }


def test_annotations_count_what_was_not_aligned_and_not_measured() -> None:
    rows = [
        utterance(1, words=[], pitch_median_hz=120.0, null_reasons=[]),
        utterance(2, alignment_reason="low_confidence", null_reasons=["c50_db:too_short", "snr_db:too_short"]),
        utterance(3, alignment_reason="low_confidence", null_reasons=["c50_db:too_short"]),
        bad(4, "decode", "silent"),
    ]
    counts = count_annotations(pa.Table.from_pylist(rows, schema=ANNOTATIONS))
    assert counts["aligned"] == {"en": 1}
    assert counts["unaligned"] == {"en/low_confidence": 2}
    assert counts["unknown"] == {"c50_db:too_short": 2, "snr_db:too_short": 1}
    assert counts["rejects"] == {"decode/silent": 1}


def test_words_are_counted_where_there_are_transcripts_and_oov_where_there_is_a_dictionary() -> None:
    rows = [
        utterance(1, phonemes="hələʊ wɜːld", oov_words=1, unpronounced_words=1),
        utterance(2, phonemes=None, oov_words=2, unpronounced_words=2),
        utterance(3),  # no transcript
        utterance(4, language="de", phonemes="halo", unpronounced_words=0),
        bad(5, "decode", "silent"),
    ]
    counts = count_annotations(pa.Table.from_pylist(rows, schema=ANNOTATIONS))
    assert counts["lexicon"] == {
        "en/words": 5,
        "en/oov": 3,
        "en/unpronounced": 3,
        "de/words": 1,
        "de/unpronounced": 0,
    }


def fact(value: str | None) -> dict[str, Any]:
    return {"key": "gender", "value": value, "ordinal": None, "audio": 0, "position": 0}


def pair(
    reason: str | None, attempt: int = 0, by: str = "org/model", evidence: Sequence[str | None] | None = ("male",)
) -> dict[str, Any]:
    """A pair, accepted without a reason; `evidence` are the values of what it rests on."""
    return {
        "question": "q",
        "answer": "a",
        "accepted": reason is None,
        "reason": reason,
        "evidence": None if evidence is None else [fact(value) for value in evidence],
        "generator": by,
        "attempt": attempt,
    }


def request(number: int, pairs: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "unit_id": number,
        "task": "open_ended",
        "language": "de",
        "split": "train",
        "data_source": "c_de",
        "utterance_ids": ["u"],
        "audio_uris": ["/u.wav"],
        "model": "org/model",
        "prompt_hash": "0",
        "pairs": pairs,
        **more,
    }


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=INSTRUCTIONS)


REQUESTS = [
    # accepted after a retry, and one more than was wanted
    request(
        1,
        [pair("language"), pair(None, 1), pair(None, 1, evidence=["male", "low"]), pair("surplus", 1)],
        finish_reason="stop",
        prompt_tokens=100,
        cached_tokens=80,
    ),
    # refused twice
    request(2, [pair("language"), pair("length", 1)], finish_reason="length", generated_tokens=7),
    # the templates' in the end, one of two by their second rule
    request(
        3,
        [pair("echo", evidence=None), pair("echo", 1), pair(None, 2, "template"), pair("length", 2, "template")],
        finish_reason="stop",
        prompt_tokens=50,
        generated_tokens=3,
    ),
    # at once: one of the pairs says that something can't be told
    request(4, [pair(None), pair(None, evidence=[None]), pair("leak", evidence=[])], language="en"),
    # never asked of a model, though written at the second attempt
    request(
        5,
        [pair("length", 0, "template"), pair(None, 1, "template", [None, None])],
        task="closed_ended_word_align",
        model="template",
        language="it",
    ),
]


def test_instructions_are_counted_by_task_language_rung_and_rule() -> None:
    counts = count_instructions(table_of(REQUESTS))
    assert counts == {
        "requests": {"all": 5, "answered": 4},
        "asked": {"open_ended/org/model": 4, "closed_ended_word_align/template": 1},
        "reached": {
            "open_ended/de/first": 3,
            "open_ended/de/retry": 3,
            "open_ended/de/fallback": 1,
            "open_ended/en/first": 1,
            "closed_ended_word_align/it/template": 1,
        },
        "answered": {
            "open_ended/de/retry": 1,
            "open_ended/de/fallback": 1,
            "open_ended/en/first": 1,
            "closed_ended_word_align/it/template": 1,
        },
        "pairs": {
            "open_ended/de/first/language": 2,
            "open_ended/de/first/echo": 1,
            "open_ended/de/retry/accepted": 2,
            "open_ended/de/retry/surplus": 1,
            "open_ended/de/retry/length": 1,
            "open_ended/de/retry/echo": 1,
            "open_ended/de/fallback/accepted": 1,
            "open_ended/de/fallback/length": 1,
            "open_ended/en/first/accepted": 2,
            "open_ended/en/first/leak": 1,
            "closed_ended_word_align/it/template/length": 1,
            "closed_ended_word_align/it/template/accepted": 1,
        },
        "untold": {"open_ended/en/first": 1, "closed_ended_word_align/it/template": 1},
        "rejects": {
            "open_ended/language": 2,
            "open_ended/surplus": 1,
            "open_ended/length": 2,
            "open_ended/echo": 2,
            "open_ended/leak": 1,
            "closed_ended_word_align/length": 1,
        },
        "faults": {},
        "finish": {"stop": 2, "length": 1, "unknown": 2},
        "tokens": {"open_ended/prompt": 150, "open_ended/cached": 80, "open_ended/generated": 10},
    }


@pytest.mark.parametrize(
    ("pairs", "finish", "faults"),
    [
        ([pair("prompt_too_long"), pair("engine_busy", 1)], "error", {"prompt_too_long": 1}),
        ([pair("language"), pair("no_chat_template", 1)], "error", {"no_chat_template": 1}),
        ([pair("internal_error")], "error", {"internal_error": 1}),
        ([pair("judge_failed"), pair("length")], "stop", {"judge_failed": 1}),
        # the templates' answer is not that of those who were asked
        ([pair("engine_refused"), pair(None, 1, "template")], "error", {"engine_refused": 1}),
        ([pair("something_new")], "error", {"error": 1}),
        ([pair("internal_error", 0, "template")], "error", {"internal_error": 1}),
        ([pair("judge_failed"), pair(None)], "stop", {}),
        ([pair("engine_busy"), pair(None, 1)], "stop", {}),
        ([pair("judged_low"), pair("parse_no_pairs", 1), pair("engines")], "length", {}),
    ],
)
def test_requests_that_a_fault_cost_are_counted_once_by_its_reason(
    pairs: Sequence[Mapping[str, Any]], finish: str, faults: Mapping[str, int]
) -> None:
    before, after = request(1, [pair(None)]), request(3, [])
    asked = "template" if pairs[0]["generator"] == "template" else "org/model"
    rows = [before, request(2, pairs, finish_reason=finish, model=asked), after]
    assert count_instructions(table_of(rows))["faults"] == faults


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_the_counts_of_chunks_and_shards_are_those_of_the_whole(cut: int) -> None:
    whole = count_instructions(table_of(REQUESTS))
    parts = [table_of(REQUESTS[:cut]), table_of(REQUESTS[cut:])]
    assert count_instructions(pa.concat_tables(parts)) == whole
    assert add_counts(map(count_instructions, parts)) == whole


PAIRS = st.builds(
    pair,
    st.sampled_from([None, "echo", "length"]),
    st.integers(0, 2),
    st.sampled_from(["m", "template"]),
    st.sampled_from([None, [], ["male"], [None], ["male", None]]),
)
ROWS = st.builds(
    request,
    st.integers(0, 9),
    st.lists(PAIRS, max_size=4),
    model=st.sampled_from(["m", "template"]),
    language=st.sampled_from(LANGUAGES),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=6))
def test_every_pair_and_every_answered_request_is_counted_once(rows: list[dict[str, Any]]) -> None:
    counts = count_instructions(table_of(rows))
    pairs = [pair for row in rows for pair in row["pairs"]]
    assert sum(counts["pairs"].values()) == len(pairs)
    assert {label.split("/")[2] for label in counts["pairs"]} <= set(RUNGS)
    accepted = sum(number for label, number in counts["pairs"].items() if label.endswith("/accepted"))
    assert accepted == sum(pair["accepted"] for pair in pairs)
    assert sum(counts["rejects"].values()) == len(pairs) - accepted
    assert counts["requests"]["answered"] == sum(any(pair["accepted"] for pair in row["pairs"]) for row in rows)
    without_value = [
        pair for pair in pairs if pair["accepted"] and any(f["value"] is None for f in pair["evidence"] or ())
    ]
    assert sum(counts["untold"].values()) == len(without_value)
    assert counts["answered"].keys() <= counts["reached"].keys()


def test_an_empty_shard_counts_nothing() -> None:
    counts = count_instructions(INSTRUCTIONS.empty_table())
    assert counts.pop("requests") == {"all": 0, "answered": 0}
    assert not any(counts.values())
