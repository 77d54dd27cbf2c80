"""The labelled sets that the verifier is judged by: whole, well-formed, and true and false of the same facts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.metadata.categories import (
    ATTRIBUTES,
    CONTENT_KEYS,
    KEYS,
    TIME_KEYS,
    WORD_ATTRIBUTES,
    WORD_KEY,
    labels_of,
)
from sift_ray.schema import LANGUAGES, TASKS

LABELLED = Path(__file__).parent / "labelled"
FACT_SETS = 5
OF_EACH_KIND = 40
OF_WORDS = {"closed_ended_word_align": WORD_ATTRIBUTES, WORD_TIMES: TIME_KEYS}
QUOTED = re.compile('"([^"]+)"|«([^»]+)»')


def load(language: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((LABELLED / f"{language}.yaml").read_text(encoding="utf-8"))
    return data


def fact_sets(language: str) -> Iterator[tuple[str, dict[str, Any]]]:
    data = load(language)
    for task in TASKS:
        for fact_set in data[task]:
            yield task, fact_set


def plain(text: str) -> str:
    """Return the words of `text` without case and punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_task_has_its_answers(language: str) -> None:
    data = load(language)
    assert data.pop("language") == language
    assert tuple(data) == TASKS
    for task, sets in data.items():
        assert len(sets) >= FACT_SETS, task
        for kind in ("true", "false"):
            assert sum(len(fact_set[kind]) for fact_set in sets) == OF_EACH_KIND, (task, kind)
        for fact_set in sets:
            assert set(fact_set) == {"facts", "true", "false"}
            assert fact_set["true"]
            assert fact_set["false"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_facts_are_such_as_the_record_has(language: str) -> None:
    for task, fact_set in fact_sets(language):
        seen = set()
        audios = set()
        words = {row[3]: row[1] for row in fact_set["facts"] if row[0] == WORD_KEY}
        for row in fact_set["facts"]:
            key, value, audio, position = [*row, 0, 0][:4]
            assert key in KEYS, row
            assert isinstance(value, str), row
            if labels_of(key):
                assert value in labels_of(key), row
            assert (key, audio, position) not in seen, row
            seen.add((key, audio, position))
            audios.add(audio)
            if position:
                assert key in (WORD_KEY, *OF_WORDS[task]), row
                assert position in words, row
                if key in TIME_KEYS:
                    assert re.fullmatch(r"\d+\.\d\d", value), row
            else:
                assert key in (*ATTRIBUTES, *CONTENT_KEYS), row
        assert audios == ({0, 1} if task == "closed_ended_comparison" else {0})
        transcripts = [row[1] for row in fact_set["facts"] if row[0] == "transcript"]
        if words:
            assert " ".join(words[position] for position in sorted(words)) == transcripts[0]
        assert bool(words) == (task in OF_WORDS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_pairs_are_well_formed_and_no_two_the_same(language: str) -> None:
    for task, fact_set in fact_sets(language):
        seen = set()
        for kind, width in (("true", 2), ("false", 3)):
            for row in fact_set[kind]:
                assert len(row) == width, row
                assert all(isinstance(text, str) and text == text.strip() for text in row), row
                question, answer = row[:2]
                assert question, row
                assert bool(answer) == (task != "controllable_generation"), row
                pair = (plain(question), plain(answer))
                assert pair not in seen, row
                seen.add(pair)
                if kind == "false":
                    assert re.fullmatch("[a-z]+(_[a-z]+)*", row[2]), row


@pytest.mark.parametrize("language", LANGUAGES)
def test_true_answers_quote_what_is_said(language: str) -> None:
    for _, fact_set in fact_sets(language):
        said = [plain(row[1]) for row in fact_set["facts"] if row[0] == "transcript"]
        for row in fact_set["true"]:
            for groups in QUOTED.findall(" ".join(row)):
                quoted = plain("".join(groups))
                assert any(f" {quoted} " in f" {transcript} " for transcript in said), row


def test_true_answers_are_of_many_wordings() -> None:
    answers = []
    for language in LANGUAGES:
        for _, fact_set in fact_sets(language):
            answers += [tuple(row) for row in fact_set["true"]]
    assert len(set(answers)) >= 0.97 * len(answers)
