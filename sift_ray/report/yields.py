"""What became of the requests: yields by task, language and rung, rejects by rule, and the mix beside the reference's.

All of it from the counts of manifests; `pipeline.counts.count_instructions` says what stands in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.pipeline.counts import ACCEPTED, RUNGS
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import Counts

REFERENCE: Final[Mapping[str, float]] = {
    "closed_ended_acoustic_level": 17.8,
    "closed_ended_content_level": 14.5,
    "closed_ended_word_align": 9.8,
    "closed_ended_comparison": 3.6,
    "open_ended": 4.3,
    "controllable_generation": 5.6,
}
"""Million pairs of each task in SIFT-50M's training split. Pairs with times in numbers are no part of it."""

ALL: Final = "all"
"""Stands in a `Place` for every task, or for every language."""

_BY_MODEL: Final = ("first", "retry")


class PairCount(NamedTuple):
    """How many pairs of one kind there are; `rule` is what refused them, or `ACCEPTED`."""

    task: str
    language: str
    rung: str
    rule: str
    number: float

    @property
    def accepted(self) -> bool:
        """Whether these are accepted pairs."""
        return self.rule == ACCEPTED


def pairs_told(counts: Counts) -> Iterator[PairCount]:
    """Yield what a wave's counts tell of its pairs."""
    for label, count in counts.get("pairs", {}).items():
        # (an earlier version's manifests have a model's name for the rung, which may hold a slash)
        task, language, *rung, rule = label.split("/")
        yield PairCount(task, language, "/".join(rung), rule, count)


def untold_told(counts: Counts) -> Iterator[PairCount]:
    """Yield what a wave's counts tell of its accepted pairs that say that something can't be told."""
    for label, count in counts.get("untold", {}).items():
        task, language, rung = label.split("/")
        yield PairCount(task, language, rung, ACCEPTED, count)


@dataclass(slots=True)
class Yield:
    """What came of one rung.

    Attributes:
        asked: requests that came to it.
        answered: those of them that got an accepted pair there.
        accepted: pairs.
        rejected: pairs.
    """

    asked: float = 0
    answered: float = 0
    accepted: float = 0
    rejected: float = 0

    @property
    def share(self) -> float | None:
        """The accepted pairs' share of those written, 0 to 1; None where nothing was."""
        written = self.accepted + self.rejected
        return self.accepted / written if written else None

    def add(self, other: Yield) -> None:
        """Add the numbers of `other`."""
        self.asked += other.asked
        self.answered += other.answered
        self.accepted += other.accepted
        self.rejected += other.rejected


class Place(NamedTuple):
    """What a yield is of; task and language may be `ALL`."""

    task: str
    language: str
    rung: str


def yields_by_place(counts: Counts) -> dict[Place, Yield]:
    """Return the yield of each task, language and rung that a request came to; no place has `ALL`."""
    found: defaultdict[Place, Yield] = defaultdict(Yield)
    for pairs in pairs_told(counts):
        cell = found[Place(pairs.task, pairs.language, pairs.rung)]
        if pairs.accepted:
            cell.accepted += pairs.number
        else:
            cell.rejected += pairs.number
    for label, count in counts.get("reached", {}).items():
        found[Place(*label.split("/"))].asked += count
    for label, count in counts.get("answered", {}).items():
        found[Place(*label.split("/"))].answered += count
    return dict(found)


def with_sums(found: Mapping[Place, Yield]) -> dict[Place, Yield]:
    """Return the yields, and beside them their sums over tasks, over languages, and over both, by rung."""
    sums: defaultdict[Place, Yield] = defaultdict(Yield)
    for (task, language, rung), cell in found.items():
        for place in ((task, language), (task, ALL), (ALL, language), (ALL, ALL)):
            sums[Place(*place, rung)].add(cell)
    return dict(sums)


def yields_of(counts: Counts) -> dict[tuple[str, str], Yield]:
    """Return the yield of each (task, rung), over all languages, in the order of tables."""
    found = with_sums(yields_by_place(counts))
    places = [place for place in in_order(found) if place.task != ALL and place.language == ALL]
    return {(place.task, place.rung): found[place] for place in places}


def in_order(places: Iterable[Place]) -> list[Place]:
    """Return the places by task, then rung, then language; what is of all comes after what it is the sum of."""
    return sorted(
        places, key=lambda place: (_rank(place.task, TASKS), _rank(place.rung, RUNGS), _rank(place.language, LANGUAGES))
    )


def in_rank(names: Iterable[str], ranks: Collection[str]) -> list[str]:
    """Return each name once: those of `ranks` in its order, then others by the alphabet, and `ALL` last."""
    return sorted(set(names), key=lambda name: _rank(name, ranks))


def _rank(name: str, ranks: Collection[str]) -> tuple[int, bool, str]:
    return [*ranks, name].index(name), name == ALL, name


def rejects_told(counts: Counts) -> list[PairCount]:
    """Return what a wave's counts tell of its rejected pairs, by task, rung, language and number, the most first."""
    refused = [pairs for pairs in pairs_told(counts) if not pairs.accepted]
    refused.sort(key=lambda pairs: (-pairs.number, pairs.rule))
    order = {place: rank for rank, place in enumerate(in_order({_place(pairs) for pairs in refused}))}
    return sorted(refused, key=lambda pairs: order[_place(pairs)])


def _place(pairs: PairCount) -> Place:
    return Place(pairs.task, pairs.language, pairs.rung)


@dataclass(frozen=True, slots=True)
class TaskShare:
    """What a task has got, and what it cost.

    Attributes:
        accepted: pairs, whoever wrote them.
        untold: those of them that say that something can't be told.
        share: of the accepted pairs of all tasks that the reference has, 0 to 1; None for a task that it has not.
        reference: the same in SIFT-50M's training split.
        per_1000_tokens: accepted pairs that a model wrote, by 1,000 tokens that it generated; None without tokens.
        cached: the share of the prompts' tokens that the prefix cache had, 0 to 1; None without tokens.
    """

    accepted: float
    untold: float
    share: float | None
    reference: float | None
    per_1000_tokens: float | None
    cached: float | None


def mix_of(counts: Counts) -> dict[str, TaskShare]:
    """Return each task's part of the mix, and that of `all`, by its name."""
    accepted: dict[str, float] = defaultdict(float)
    by_model: dict[str, float] = defaultdict(float)
    untold: dict[str, float] = defaultdict(float)
    tokens: dict[tuple[str, str], float] = defaultdict(float)
    for pairs in pairs_told(counts):
        if pairs.accepted:
            for name in (pairs.task, "all"):
                accepted[name] += pairs.number
                by_model[name] += pairs.number if pairs.rung in _BY_MODEL else 0
    for pairs in untold_told(counts):
        for name in (pairs.task, "all"):
            untold[name] += pairs.number
    for label, count in counts.get("tokens", {}).items():
        task, _, kind = label.rpartition("/")
        for name in (task, "all"):
            tokens[name, kind] += count
    whole = sum(accepted[task] for task in REFERENCE)
    shares = {task: accepted[task] / whole for task in REFERENCE} if whole else {}
    return {
        name: TaskShare(
            accepted=accepted[name],
            untold=untold[name],
            share=shares.get(name),
            reference=REFERENCE[name] / sum(REFERENCE.values()) if name in REFERENCE else None,
            per_1000_tokens=_ratio(1000 * by_model[name], tokens[name, "generated"]),
            cached=_ratio(tokens[name, "cached"], tokens[name, "prompt"]),
        )
        for name in (*asked_tasks(counts), "all")
    }


def asked_tasks(counts: Counts) -> list[str]:
    """Return the tasks that belong into tables: all but the one that is only done on demand, unless it was."""
    asked = {label.split("/")[0] for label in counts.get("asked", {})}
    return [task for task in TASKS if task != WORD_TIMES or task in asked]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def yields_as_json(counts: Counts) -> list[dict[str, Any]]:
    """Return the rows of the table of yields: a task and rung each, over all languages."""
    return [
        {"task": task, "rung": rung, **asdict(cell), "yield": cell.share}
        for (task, rung), cell in yields_of(counts).items()
    ]


def yields_by_place_as_json(counts: Counts) -> list[dict[str, Any]]:
    """Return a row each task, language and rung that a request came to."""
    found = yields_by_place(counts)
    return [{**place._asdict(), **asdict(found[place]), "yield": found[place].share} for place in in_order(found)]


def rejects_as_json(counts: Counts) -> list[dict[str, Any]]:
    """Return a row each task, language, rung and rule that refused pairs there, with their number."""
    return [pairs._asdict() for pairs in rejects_told(counts)]


def mix_as_json(counts: Counts) -> dict[str, dict[str, float | None]]:
    """Return the rows of the table of the mix, by task."""
    return {task: asdict(part) for task, part in mix_of(counts).items()}
