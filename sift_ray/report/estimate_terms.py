"""The terms of an estimate: how much there is, how fast it goes, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Basis = Literal["measured", "assumed", "given"]
"""Where a number comes from: a benchmark or a job, nowhere, or the config."""

REQUESTS: Final = "requests"
"""The unit of a rate by requests."""

HOUR_S: Final = 3600.0


class EstimateError(ValueError):
    """Nothing can be estimated; the message says what is missing."""


_TOGETHER: Final = {
    "decode": "annotate",
    "features": "annotate",
    "align": "annotate",
    "templates": "instruct",
    "verify": "instruct",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number comes from."""

    basis: Basis
    where: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """How much there is.

    Attributes:
        hours: of audio, by language.
        utterances: all of them.
        source: a sentence.
    """

    hours: Mapping[str, float]
    utterances: float
    source: str

    @property
    def seconds(self) -> float:
        """Seconds of audio, over all languages."""
        return sum(self.hours.values()) * HOUR_S


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a step goes.

    Attributes:
        per_second: units that one core does in a second, or one GPU.
        unit: what they are.
        source: of `per_second`.
        gpu: whether it is a GPU that does them.
    """

    per_second: float
    unit: str
    source: Source
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class TaskRate:
    """What a task comes to.

    Attributes:
        requests: of an utterance, to a model and to the templates together.
        by_model: the share of them that goes to a model, 0 to 1.
        pairs: written for a request; so are the rest counted.
        tokens: generated.
        accepted: pairs.
        accepted_by_model: pairs that a model wrote.
        source: of these numbers.
    """

    requests: float
    by_model: float
    pairs: float
    tokens: float
    accepted: float
    accepted_by_model: float
    source: Source


@dataclass(frozen=True, slots=True)
class Rates:
    """All that an estimate is made of, besides the corpus and the config.

    Attributes:
        steps: by the names of `config_estimate.Step`; a step that is not there is not part of the job.
        tasks: by name.
        bytes: of a unit of each table's, by the table's name: an utterance, a second of audio in `annotations`, a
            pair written, a sample released.
        sizes: where `bytes` come from.
        utterance_s: an utterance's length in seconds.
        length: where that comes from.
        notes: sentences about what could not be told.
    """

    steps: Mapping[str, Rate]
    tasks: Mapping[str, TaskRate]
    bytes: Mapping[str, float]
    sizes: Mapping[str, Source]
    utterance_s: float
    length: Source
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One step.

    Attributes:
        amount: of `rate.unit`.
        rate: that it goes at.
        core_hours: of work on CPUs; cores that stand beside a GPU are not counted.
        gpu_hours: of work on GPUs.
        wall_hours: with the config's largest pools; None where nothing in the config bounds it.
        machine: that it is priced on; None: none is priced, or it is done on the cores beside another step's GPUs.
        machine_hours: of that machine.
        money: for them; None without a machine.
    """

    amount: float
    rate: Rate
    core_hours: float
    gpu_hours: float
    wall_hours: float | None
    machine: str | None
    machine_hours: float
    money: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The whole."""

    corpus: Corpus
    rates: Rates
    lines: Mapping[str, Line]
    storage: Mapping[str, float]  # bytes, by table
    storage_money: float
    currency: str
    requests: float
    tokens: float
    pairs: float
    accepted: Mapping[str, float]  # pairs, by task
    accepted_by_model: float
    notes: tuple[str, ...] = ()

    @property
    def core_hours(self) -> float:
        """Over all steps."""
        return sum(line.core_hours for line in self.lines.values())

    @property
    def gpu_hours(self) -> float:
        """Over all steps."""
        return sum(line.gpu_hours for line in self.lines.values())

    @property
    def wall_hours(self) -> float:
        """Of steps one after another; those of a stage that run beside each other take as long as the longest."""
        longest: dict[str, float] = {}
        for step, line in self.lines.items():
            together = _TOGETHER.get(step, step)
            longest[together] = max(longest.get(together, 0.0), line.wall_hours or 0.0)
        return sum(longest.values())

    @property
    def machine_money(self) -> float | None:
        """Over all steps; None where no step has a price."""
        known = [line.money for line in self.lines.values() if line.money is not None]
        return sum(known) if known else None

    @property
    def money(self) -> float | None:
        """For machines and storage; None where no step has a price."""
        return None if self.machine_money is None else self.machine_money + self.storage_money

    @property
    def tokens_per_accepted(self) -> float | None:
        """Tokens generated for a pair that a model wrote and that was accepted."""
        return self.tokens / self.accepted_by_model if self.accepted_by_model else None
