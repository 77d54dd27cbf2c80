"""What became of the requests: yields by task and rung, rejects by rule, and the mix of tasks beside the reference's.

All of it from the counts of manifests; `pipeline.counts.count_instructions` says what stands in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from rich.table import Table

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.pipeline.counts import ACCEPTED, RUNGS
from sift_ray.report.tables import by_language, count_text, grid, largest_first
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

_BY_MODEL: Final = ("first", "retry")
_RULES_SHOWN: Final = 12


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


def yields_of(counts: Counts) -> dict[tuple[str, str], Yield]:
    """Return the yield of each (task, rung), over all languages."""
    found: defaultdict[tuple[str, str], Yield] = defaultdict(Yield)
    for pairs in pairs_told(counts):
        cell = found[pairs.task, pairs.rung]
        if pairs.accepted:
            cell.accepted += pairs.number
        else:
            cell.rejected += pairs.number
    for label, count in counts.get("reached", {}).items():
        task, _, rung = label.split("/")
        found[task, rung].asked += count
    for label, count in counts.get("answered", {}).items():
        task, _, rung = label.split("/")
        found[task, rung].answered += count
    return dict(found)


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
    """Return the rows of the table of yields."""
    found = yields_of(counts)
    return [
        {"task": task, "rung": rung, **asdict(cell), "yield": cell.share}
        for (task, rung), cell in sorted(found.items(), key=lambda item: _order(*item[0]))
    ]


def mix_as_json(counts: Counts) -> dict[str, dict[str, float | None]]:
    """Return the rows of the table of the mix, by task."""
    return {task: asdict(part) for task, part in mix_of(counts).items()}


def instruction_tables(counts: Counts) -> list[Table]:
    """Return all tables about instructions."""
    tables = [_accepted_table(counts), _mix_table(counts), _yield_table(counts)]
    return [*tables, _rule_table(counts)] if any(not pairs.accepted for pairs in pairs_told(counts)) else tables


def _accepted_table(counts: Counts) -> Table:
    cells: dict[tuple[str, str], float] = defaultdict(float)
    for pairs in pairs_told(counts):
        if pairs.accepted:
            cells[pairs.task, pairs.language] += pairs.number
    return grid("Instructions accepted", ("task", *LANGUAGES, "all"), by_language(cells, asked_tasks(counts)))


def _mix_table(counts: Counts) -> Table:
    rows = [
        (
            task,
            count_text(part.accepted),
            _percent(part.share),
            _percent(part.reference),
            count_text(part.untold),
            "" if part.per_1000_tokens is None else f"{part.per_1000_tokens:,.2f}",
            _percent(part.cached),
        )
        for task, part in mix_of(counts).items()
    ]
    heads = ("task", "accepted", "share", "SIFT-50M", "untold", "per 1k tokens", "cached")
    return grid("The mix (untold: pairs that say that it can't be told)", heads, rows)


def _yield_table(counts: Counts) -> Table:
    found = yields_of(counts)
    for (_, rung), cell in list(found.items()):
        found.setdefault(("all", rung), Yield()).add(cell)
    rows = []
    last = ""
    for (task, rung), cell in sorted(found.items(), key=lambda item: _order(*item[0])):
        numbers = map(count_text, (cell.asked, cell.answered, cell.accepted, cell.rejected))
        rows.append((task if task != last else "", rung, *numbers, _percent(cell.share)))
        last = task
    heads = ("task", "rung", "requests", "answered", "accepted", "rejected", "yield")
    return grid("Yields", heads, rows, words=("rung",))


def _order(task: str, rung: str) -> tuple[int, int, str]:
    return _place(task, TASKS), _place(rung, RUNGS), rung


def _place(name: str, names: Collection[str]) -> int:
    return [*names, name].index(name)


def _rule_table(counts: Counts) -> Table:
    cells: dict[tuple[str, str], float] = defaultdict(float)
    rules: dict[str, float] = defaultdict(float)
    for pairs in pairs_told(counts):
        if not pairs.accepted:
            rules[pairs.rule] += pairs.number
    order = [rule for rule, _ in largest_first(rules)]
    shown = order if len(order) <= _RULES_SHOWN + 1 else order[:_RULES_SHOWN]
    others = f"{len(order) - len(shown)} other rules"
    for pairs in pairs_told(counts):
        if not pairs.accepted:
            cells[pairs.rule if pairs.rule in shown else others, pairs.language] += pairs.number
    names = shown if len(shown) == len(order) else [*shown, others]
    return grid("Instructions rejected, by rule", ("rule", *LANGUAGES, "all"), by_language(cells, names))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
