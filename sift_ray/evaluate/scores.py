"""From verdicts and measurements to scores by task and language, each with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from sklearn.metrics import cohen_kappa_score, confusion_matrix  # type: ignore[import-untyped]

from sift_ray.evaluate.bootstrap import Interval, clusters, kappa_interval, mean_interval
from sift_ray.evaluate.generation import GENDER, MEASURED_KEYS, MISSING, Outcome
from sift_ray.evaluate.judge import Verdict
from sift_ray.evaluate.samples import OPEN_ENDED, Sample
from sift_ray.evaluate.verdicts import form_of
from sift_ray.metadata.categories import ATTRIBUTES, labels_of
from sift_ray.schema import CLOSED_ENDED, LANGUAGES

ALL: Final = "all"
"""All languages together; of tasks, `closed_ended` is all of them together."""

_CLOSED: Final = "closed_ended"

T = TypeVar("T")


class Answered(NamedTuple):
    """A sample whose answer is a text, and the verdict on what a model answered; None: it answered nothing."""

    sample: Sample
    verdict: Verdict | None


class Estimate(NamedTuple):
    """A score; None where nothing can be said. The interval is None where all of it is of utterances drawn together."""

    value: float | None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class TextScore:
    """How good the answers in text of a task and language are.

    Attributes:
        task: one of `schema.TASKS`, or `closed_ended`.
        language: or `all`.
        metric: `accuracy` (0 to 1), or `score` (0 to 10).
        samples: of the split.
        missing: without a prediction; with the value 0 among the scored ones, unless they are left out.
        unjudged: by reason, for want of a verdict; never among the scored ones.
        scored: what the score is the mean of.
        score: the mean.
    """

    task: str
    language: str
    metric: str
    samples: int
    missing: int
    unjudged: Mapping[str, int]
    scored: int
    score: Estimate


@dataclass(frozen=True, slots=True)
class SpokenScore:
    """What became of a characteristic that was asked of generated audio.

    Attributes:
        key: the characteristic.
        language: or `all`.
        asked: how often it was asked for.
        missing: without audio.
        faulty: by reason, audio on which it could not be measured.
        unjudged: by reason, for want of what we would need to judge it; never among the scored ones.
        scored: what the scores are from. Missing and faulty ones count as wrong, in an `OrdinalScore` as the category
            farthest from the one asked for; without missing ones, where these are left out.
        confusion: counts of what was measured, rows are what was asked for, both in the order of `labels`; nothing but
            what was measured.
        labels: of the categories, from low to high.
    """

    key: str
    language: str
    asked: int
    missing: int
    faulty: Mapping[str, int]
    unjudged: Mapping[str, int]
    scored: int
    confusion: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrdinalScore(SpokenScore):
    """How well generated audio has the category that was asked for.

    Attributes:
        mae: mean absolute error in categories.
        qwk: quadratic weighted kappa; undefined where all is of one category.
    """

    mae: Estimate
    qwk: Estimate


@dataclass(frozen=True, slots=True)
class GenderScore(SpokenScore):
    """How often generated audio has the gender that was asked for."""

    accuracy: Estimate


def text_scores(answers: Iterable[Answered], seed: int, *, only_predicted: bool = False) -> list[TextScore]:
    """Return the scores of answers in text by task and language, with the sums over both.

    Args:
        answers: all samples of the split.
        seed: of the bootstrap.
        only_predicted: leave out what was not predicted, instead of scoring it 0.
    """
    given = list(answers)
    by_task = _grouped(given, lambda answer: answer.sample.task)
    closed = [answer for task in CLOSED_ENDED for answer in by_task.get(task, ())]
    groups = {_CLOSED: closed} if closed else {}
    groups |= {task: by_task[task] for task in (*CLOSED_ENDED, OPEN_ENDED) if task in by_task}
    return [
        _text_score(task, language, mine, seed, only_predicted=only_predicted)
        for task, answered in groups.items()
        for language, mine in _by_language(answered, lambda answer: answer.sample.language)
    ]


def _text_score(task: str, language: str, answers: Sequence[Answered], seed: int, *, only_predicted: bool) -> TextScore:
    unjudged: Counter[str] = Counter()
    values: list[float] = []
    scored: list[Sample] = []
    missing = 0
    for sample, verdict in answers:
        value = 0.0 if verdict is None else verdict.score
        if verdict is None:
            missing += 1
        elif value is None:
            unjudged[verdict.reason or "unknown"] += 1
        if value is not None and not (only_predicted and verdict is None):
            values.append(value)
            scored.append(sample)
    score = _mean(values, scored, seed)
    metric = "score" if form_of(task) == "open_ended" else "accuracy"
    return TextScore(task, language, metric, len(answers), missing, dict(unjudged), len(values), score)


def ordinal_scores(outcomes: Iterable[Outcome], seed: int, *, only_predicted: bool = False) -> list[OrdinalScore]:
    """Return the scores of each ordinal characteristic that was asked for, by language and over all of them."""
    by_key = _grouped(outcomes, lambda outcome: outcome.key)
    return [
        _ordinal_score(key, language, mine, seed, only_predicted=only_predicted)
        for key in MEASURED_KEYS
        for language, mine in _by_language(by_key.get(key, ()), lambda outcome: outcome.sample.language)
    ]


def _ordinal_score(
    key: str, language: str, outcomes: Sequence[Outcome], seed: int, *, only_predicted: bool
) -> OrdinalScore:
    attribute = ATTRIBUTES[key]
    last = len(attribute.labels) - 1
    scored = _scored(outcomes, only_predicted=only_predicted)
    asked = [attribute.ordinal(outcome.asked) for outcome in scored]
    found = [
        attribute.ordinal(outcome.found) if outcome.found is not None else (0 if 2 * wanted >= last else last)
        for outcome, wanted in zip(scored, asked, strict=True)
    ]
    samples = [outcome.sample for outcome in scored]
    mae = _mean(np.abs(np.subtract(asked, found)).tolist(), samples, seed)
    qwk = Estimate(None)
    if len({*asked, *found}) > 1:
        kappa = float(cohen_kappa_score(asked, found, weights="quadratic", labels=range(last + 1)))
        qwk = Estimate(kappa, kappa_interval(asked, found, last + 1, _units(samples), seed))
    return OrdinalScore(**_counted(key, language, outcomes, scored, attribute.labels), mae=mae, qwk=qwk)


def gender_scores(outcomes: Iterable[Outcome], seed: int, *, only_predicted: bool = False) -> list[GenderScore]:
    """Return how often the gender that was asked for was heard, by language and over all; empty: none was asked for."""
    mine = [outcome for outcome in outcomes if outcome.key == GENDER]
    made = []
    for language, group in _by_language(mine, lambda outcome: outcome.sample.language):
        scored = _scored(group, only_predicted=only_predicted)
        right = [outcome.found == outcome.asked for outcome in scored]
        accuracy = _mean(right, [outcome.sample for outcome in scored], seed)
        made.append(GenderScore(**_counted(GENDER, language, group, scored, labels_of(GENDER)), accuracy=accuracy))
    return made


def _scored(outcomes: Sequence[Outcome], *, only_predicted: bool) -> list[Outcome]:
    return [o for o in outcomes if o.judged and not (only_predicted and o.reason == MISSING)]


def _counted(
    key: str, language: str, outcomes: Sequence[Outcome], scored: Sequence[Outcome], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Return the fields of a `SpokenScore`."""
    lacking = [outcome for outcome in outcomes if outcome.found is None and outcome.reason != MISSING]
    faulty = Counter(str(outcome.reason) for outcome in lacking if outcome.judged)
    unjudged = Counter(str(outcome.reason) for outcome in lacking if not outcome.judged)
    return {
        "key": key,
        "language": language,
        "asked": len(outcomes),
        "missing": sum(outcome.reason == MISSING for outcome in outcomes),
        "faulty": dict(faulty),
        "unjudged": dict(unjudged),
        "scored": len(scored),
        "confusion": _confusion(scored, labels),
        "labels": labels,
    }


def _confusion(outcomes: Sequence[Outcome], labels: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    pairs = [(outcome.asked, outcome.found) for outcome in outcomes if outcome.found is not None]
    if not pairs:
        return ((0,) * len(labels),) * len(labels)
    asked, found = zip(*pairs, strict=True)
    return tuple(tuple(int(n) for n in row) for row in confusion_matrix(asked, found, labels=list(labels)))


def _mean(values: Sequence[float], samples: Sequence[Sample], seed: int) -> Estimate:
    """Return the mean of a value of each sample, with its interval."""
    return Estimate(float(np.mean(values)), mean_interval(values, _units(samples), seed)) if samples else Estimate(None)


def _units(samples: Sequence[Sample]) -> list[Hashable]:
    """Return for each sample what names the utterances that are drawn together with its own."""
    # (one whose id names no utterance may be of any of its source)
    return clusters([[(s.language, s.data_source, name) for name in s.utterance_ids or ("",)] for s in samples])


def _grouped(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _by_language(items: Sequence[T], language_of: Callable[[T], str]) -> list[tuple[str, Sequence[T]]]:
    """Return the items of each language that has some, and all of them at the end."""
    groups = _grouped(items, language_of)
    mine: list[tuple[str, Sequence[T]]] = [(name, groups[name]) for name in LANGUAGES if name in groups]
    return [*mine, (ALL, items)] if mine else []
