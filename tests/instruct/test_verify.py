"""Labelled pairs in five languages: true ones are let through, subtly false ones are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sift_ray.instruct.verify import verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES, TASKS

DATA = Path(__file__).parent / "data"
LEAST = {"en": 10, "de": 10, "fr": 5, "it": 5, "es": 5}


def load(language: str) -> dict[str, Any]:
    return yaml.safe_load((DATA / f"verify_{language}.yaml").read_text(encoding="utf-8"))


def cases(kind: str) -> list[Any]:
    made = []
    for language in LANGUAGES:
        data = load(language)
        for task in TASKS:
            facts = [Fact(*row) for row in data[task]["facts"]]
            for number, case in enumerate(data[task][kind]):
                made.append(pytest.param(language, task, facts, *case[:2], case[2:], id=f"{language}-{task}-{number}"))
    return made


@pytest.mark.parametrize(("language", "task", "facts", "question", "answer", "rest"), cases("true"))
def test_true_pairs_pass(language, task, facts, question, answer, rest):
    verdict = verify(task, language, question, answer, facts)
    assert verdict.accepted, f"{verdict.reason}: {verdict.detail}: {question} | {answer}"
    assert verdict.reason is None
    assert verdict.evidence
    assert set(verdict.evidence) <= set(facts)


@pytest.mark.parametrize(("language", "task", "facts", "question", "answer", "rest"), cases("false"))
def test_false_pairs_do_not(language, task, facts, question, answer, rest):
    verdict = verify(task, language, question, answer, facts)
    assert not verdict.accepted, f"{question} | {answer} rests on {verdict.evidence}"
    assert verdict.evidence == ()
    if rest:
        assert verdict.reason == rest[0], verdict.detail


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_task_has_enough_cases(language):
    data = load(language)
    for task in TASKS:
        assert len(data[task]["true"]) >= LEAST[language]
        assert len(data[task]["false"]) >= LEAST[language]
