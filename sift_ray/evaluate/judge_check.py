"""How far a judge is to be trusted: what it says of answers that are known to be right, and of ones known to be wrong.

Right are the reference answers themselves. Wrong is the reference answer of another recording, on the same things that
have other values there (open-ended: on things most of which have); or, where no evidence tells what answers rest on,
one in other words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from sift_ray.evaluate.judge import Verdict
from sift_ray.evaluate.samples import OPEN_ENDED, Sample
from sift_ray.evaluate.verdicts import form_of
from sift_ray.storage import stable_id

_LOOKED_AT: Final = 200  # of the other samples, for one that contradicts
_MOST: Final = 0.7


class Probe(NamedTuple):
    """An answer whose verdict is known."""

    sample: Sample
    answer: str
    right: bool


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """What a judge said of probes.

    Attributes:
        form: `closed_ended` or `open_ended`.
        right, wrong: how many probes of each kind were given a verdict.
        right_mean, wrong_mean: of their verdicts, 0 to 1, of open-ended ones 0 to 10; None where there are none.
        unjudged: probes without a verdict.
    """

    form: str
    right: int
    right_mean: float | None
    wrong: int
    wrong_mean: float | None
    unjudged: int

    @property
    def blind(self) -> bool:
        """Whether right and wrong answers are less than half the scale apart, so that its scores say little."""
        if self.right_mean is None or self.wrong_mean is None:
            return True
        return self.right_mean - self.wrong_mean < 0.5 * (10.0 if self.form == "open_ended" else 1.0)


def probes_of(samples: Sequence[Sample], count: int) -> list[Probe]:
    """Return up to `count` right and as many wrong answers of each form, the same in every run.

    Samples are taken in the order of a hash of their ids; those to which no wrong answer is found are passed over.
    """
    ordered = sorted(samples, key=lambda sample: stable_id("probe", sample.sample_id))
    alike: dict[tuple[object, ...], list[Sample]] = {}
    for sample in ordered:
        alike.setdefault(_about(sample), []).append(sample)
    made: dict[str, list[Probe]] = {}
    for sample in ordered:
        mine = made.setdefault(form_of(sample.task), [])
        if len(mine) >= 2 * count:
            continue
        others = islice(alike[_about(sample)], _LOOKED_AT)
        other = next((other for other in others if _contradicts(sample, other)), None)
        if sample.answer is not None and other is not None and other.answer is not None:
            mine += [Probe(sample, sample.answer, True), Probe(sample, other.answer, False)]
    return [probe for probes in made.values() for probe in probes]


def _about(sample: Sample) -> tuple[object, ...]:
    """Return what an answer and one that takes its place have in common."""
    apart = sample.task == OPEN_ENDED or sample.evidence is None
    return sample.task, sample.language, None if apart else tuple(_values(sample))


def _values(sample: Sample) -> Mapping[tuple[str, int], str]:
    """Return what the evidence says of whole recordings; nothing where it says what nobody can tell, or of words."""
    facts = sorted(sample.evidence or (), key=lambda fact: (fact.key, fact.audio))
    if sample.task != OPEN_ENDED and any(fact.position or fact.value is None for fact in facts):
        return {}
    return {(fact.key, fact.audio): fact.value for fact in facts if not fact.position and fact.value is not None}


def _contradicts(sample: Sample, other: Sample) -> bool:
    if sample.evidence is None or other.evidence is None:
        return sample.answer != other.answer and sample.utterance_ids != other.utterance_ids
    mine, theirs = _values(sample), _values(other)
    shared = mine.keys() & theirs.keys()
    share = sum(mine[key] != theirs[key] for key in shared) / max(len(shared), 1)
    return bool(shared) and share >= (_MOST if sample.task == OPEN_ENDED else 1.0)


def check_of(probes: Sequence[Probe], verdicts: Sequence[Verdict]) -> list[JudgeCheck]:
    """Return what a judge said of the probes, by form."""
    made = []
    for form in sorted({form_of(probe.sample.task) for probe in probes}):
        mine = [(p, v.score) for p, v in zip(probes, verdicts, strict=True) if form_of(p.sample.task) == form]
        right, wrong = ([score for p, score in mine if p.right is kind and score is not None] for kind in (True, False))
        unjudged = len(mine) - len(right) - len(wrong)
        made.append(JudgeCheck(form, len(right), _mean(right), len(wrong), _mean(wrong), unjudged))
    return made


def _mean(scores: Sequence[float]) -> float | None:
    return float(np.mean(scores)) if scores else None
