"""What was found, by rule: how often, how bad, and where first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_EXAMPLES: Final = 5


class Severity(StrEnum):
    """How bad a finding is: an error is a defect, a warning is to be looked at, a note is to be known."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that a release must hold to.

    Attributes:
        name: a slug, unique.
        severity: of what breaks it.
        says: what must hold, for a person.
        slack: in a data set that has no evidence of its own (the published layout), breaches below this share of the
            rows are only warned of: texts that nobody verified are not all of them perfect.
    """

    name: str
    severity: Severity
    says: str
    slack: float = 0.0


class Example(NamedTuple):
    """One breach: the file, the row in it from 1 (None: the file as a whole), and what was seen."""

    file: str
    row: int | None
    detail: str


Tell = Callable[[str, int, Iterable[Example]], None]
"""Takes breaches: the rule, how many, and the first of them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Every breach of one rule.

    Attributes:
        rule, severity: which, and how bad it is here.
        form: the format of the files that break it.
        count: how many breaches.
        of: out of how many that were looked at; `unit` says of what (rows, files, …).
        examples: the first few.
    """

    rule: str
    severity: Severity
    form: str
    count: int
    of: int
    unit: str
    examples: tuple[Example, ...]

    @property
    def share(self) -> float:
        """`count` out of `of`, 0 to 1."""
        return min(1.0, self.count / self.of) if self.of else 1.0


@dataclass(slots=True)
class _Tally:
    count: int = 0
    examples: list[Example] = field(default_factory=list)


class Findings:
    """Gathers breaches while a release is read."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._found: dict[str, _Tally] = {}
        self._looked: dict[str, tuple[int, str]] = {}

    def add(self, rule: str, count: int, examples: Iterable[Example]) -> None:
        """Add breaches of a rule; of the examples the first few are kept."""
        if rule not in self._rules:
            raise KeyError(f"there is no rule {rule!r}")
        if not count:
            return
        tally = self._found.setdefault(rule, _Tally())
        tally.count += count
        for example in examples:
            if len(tally.examples) >= _EXAMPLES:
                break
            tally.examples.append(example)

    def rows(
        self,
        rule: str,
        file: str,
        numbers: NDArray[np.int64],
        mask: NDArray[np.bool_],
        detail: Callable[[int], str],
    ) -> None:
        """Add a breach for each row that `mask` (bool [rows]) marks.

        Args:
            rule: its name.
            file: that the rows are of.
            numbers: of each row in its file, from 1.
            mask: which of the rows break the rule.
            detail: from a row's index to what was seen there; called for the first few only.
        """
        places = np.flatnonzero(mask)
        self.add(rule, len(places), (Example(file, int(numbers[i]), detail(int(i))) for i in places[:_EXAMPLES]))

    def looked(self, rule: str, count: int, unit: str) -> None:
        """Say that a rule looked at `count` more of something other than all rows."""
        before, _ = self._looked.get(rule, (0, unit))
        self._looked[rule] = (before + count, unit)

    def settle(self, form: str, rows: int, *, verified: bool) -> list[Finding]:
        """Return a finding for each rule that was broken.

        Args:
            form: the format of what was read.
            rows: of all that was read: what a rule is broken out of, unless it said otherwise.
            verified: whether the release bears evidence, so that no rule has slack.
        """
        made = []
        for name, tally in self._found.items():
            rule = self._rules[name]
            of, unit = self._looked.get(name, (rows, "rows"))
            severity = rule.severity
            if severity is Severity.ERROR and not verified and tally.count < rule.slack * of:
                severity = Severity.WARNING
            made.append(Finding(name, severity, form, tally.count, of, unit, tuple(tally.examples)))
        return made


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings in order: the worst first, then by rule; of one rule as they are."""
    return tuple(sorted(findings, key=lambda finding: (list(Severity).index(finding.severity), finding.rule)))


def shown(text: str | None, length: int = 60) -> str:
    """Return a text for an example: in quotation marks, cut."""
    if text is None:
        return "null"
    return repr(text if len(text) <= length else f"{text[:length]}…")


def worst(findings: Iterable[Finding]) -> Severity | None:
    """Return the worst severity among the findings; None where there are none."""
    found = {finding.severity for finding in findings}
    order: Iterator[Severity] = (severity for severity in Severity if severity in found)
    return next(order, None)
