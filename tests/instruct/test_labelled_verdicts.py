"""How good the verifier is: on the labelled sets, and at scale on template answers whose facts are changed."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from sift_ray.instruct.verify import verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES, TASKS
from tests.benchmarks.verifier import cases
from tests.instruct.test_verify_rules import changeable, otherwise, written

TRUE_ACCEPTED = 0.85
FALSE_ACCEPTED = 0.01
CHANGED_REJECTED = 0.995
SHUFFLED_REJECTED = 0.99
ANSWERS = 5_000


class Told(NamedTuple):
    """An accepted template answer."""

    task: str
    language: str
    question: str
    answer: str
    facts: tuple[Fact, ...]
    evidence: tuple[Fact, ...]

    def survives(self, facts: tuple[Fact, ...]) -> bool:
        """Say whether the pair is still accepted where other facts hold."""
        return verify(self.task, self.language, self.question, self.answer, facts).accepted


@functools.cache
def judged() -> tuple[tuple[str, str, bool, bool, str], ...]:
    """Return task, language, whether it is true, whether it was accepted, and the text of every labelled pair."""
    return tuple(
        (case.task, case.language, not case.kind, case.judge()[0], f"{case.question} | {case.answer}")
        for case in cases(LANGUAGES)
    )


def share_accepted(*, true: bool, task: str | None = None, language: str | None = None) -> float:
    found = [
        accepted
        for its_task, its_language, is_true, accepted, _ in judged()
        if is_true == true and task in (None, its_task) and language in (None, its_language)
    ]
    assert found
    return sum(found) / len(found)


@pytest.mark.parametrize("task", TASKS)
def test_true_answers_are_accepted_in_every_task(task: str) -> None:
    assert share_accepted(true=True, task=task) >= TRUE_ACCEPTED


@pytest.mark.parametrize("language", LANGUAGES)
def test_true_answers_are_accepted_in_every_language(language: str) -> None:
    assert share_accepted(true=True, language=language) >= TRUE_ACCEPTED


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_true_answers_are_accepted_in_every_task_and_language(task: str, language: str) -> None:
    refused = [row for row in judged() if row[:3] == (task, language, True) and not row[3]]
    assert share_accepted(true=True, task=task, language=language) >= TRUE_ACCEPTED, refused


def test_false_answers_are_refused() -> None:
    passed = [row for row in judged() if not row[2] and row[3]]
    assert share_accepted(true=False) <= FALSE_ACCEPTED, passed


@pytest.mark.parametrize("task", TASKS)
def test_false_answers_are_refused_in_every_task(task: str) -> None:
    passed = [row for row in judged() if row[0] == task and not row[2] and row[3]]
    assert share_accepted(true=False, task=task) <= FALSE_ACCEPTED, passed


@pytest.mark.parametrize("language", LANGUAGES)
def test_false_answers_are_refused_in_every_language(language: str) -> None:
    passed = [row for row in judged() if row[1] == language and not row[2] and row[3]]
    assert share_accepted(true=False, language=language) <= FALSE_ACCEPTED, passed


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_false_answers_are_refused_in_every_task_and_language(task: str, language: str) -> None:
    passed = [row for row in judged() if row[:2] == (task, language) and not row[2] and row[3]]
    assert share_accepted(true=False, task=task, language=language) <= FALSE_ACCEPTED, passed


def template_answers(task: str, language: str, wanted: int) -> Iterator[Told]:
    """Yield accepted template answers until so many rest on what could be otherwise in an utterance of the language."""
    dice = random.Random(f"{task} {language}")
    seed = 100
    while wanted:
        facts, pairs = written(dice, language, task, seed)
        seed += 1
        for question, answer in pairs:
            verdict = verify(task, language, question, answer, facts)
            assert verdict.accepted, (verdict, question, answer)
            yield Told(task, language, question, answer, tuple(facts), verdict.evidence)
            wanted -= any(fact.key != "language" for fact in changeable(verdict.evidence))
            if not wanted:
                return


@functools.cache
def told() -> tuple[Told, ...]:
    """Return accepted template answers, as many that could be otherwise of every task in every language."""
    each = -(-ANSWERS // (len(TASKS) * len(LANGUAGES)))
    return tuple(t for task in TASKS for language in LANGUAGES for t in template_answers(task, language, each))


def test_an_answer_is_rejected_once_a_fact_under_it_changes() -> None:
    dice = random.Random(1)
    tried: Counter[str] = Counter()
    survived = []
    for pair in told():
        graded = changeable(pair.evidence)
        if not graded:
            continue
        fact = dice.choice(graded)
        other = otherwise(dice, fact, pair.facts)
        tried[pair.task] += 1
        if pair.survives(tuple(f._replace(value=other) if f == fact else f for f in pair.facts)):
            survived.append((pair, fact, other))
    assert sum(tried.values()) >= ANSWERS, tried
    assert min(tried[task] for task in TASKS) >= ANSWERS / len(TASKS), tried
    assert len(survived) <= (1 - CHANGED_REJECTED) * sum(tried.values()), survived[:10]


def test_an_answer_is_rejected_under_another_utterance_of_which_it_is_not_true() -> None:
    dice = random.Random(2)
    tried: Counter[str] = Counter()
    survived = []
    by_kind: dict[tuple[str, str], list[Told]] = {}
    for pair in told():
        by_kind.setdefault((pair.task, pair.language), []).append(pair)
    for pairs in by_kind.values():
        utterances = list(dict.fromkeys(pair.facts for pair in pairs))
        for pair in pairs:
            others = [facts for facts in utterances if not set(pair.evidence) <= set(facts)]
            if not others:
                continue
            facts = dice.choice(others)
            tried[pair.task] += 1
            if pair.survives(facts):
                survived.append((pair, facts))
    assert sum(tried.values()) >= ANSWERS, tried
    assert min(tried[task] for task in TASKS) >= ANSWERS / len(TASKS), tried
    assert len(survived) <= (1 - SHUFFLED_REJECTED) * sum(tried.values()), survived[:10]
