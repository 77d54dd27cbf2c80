"""What a verification says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sift_ray.metadata.record import Fact


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a pair may be published, why not (a slug and a detail), and the facts that its answer rests on.

    `unknown` are topics of which the answer says that they can't be told.
    """

    accepted: bool
    reason: str | None = None
    detail: str = ""
    evidence: tuple[Fact, ...] = ()
    unknown: tuple[str, ...] = ()

    def evidence_rows(self) -> list[dict[str, Any]]:
        """Return the rows of `schema.FACT` that are stored with the pair; the value of what can't be told is null."""
        nothing = {"value": None, "ordinal": None, "audio": 0, "position": 0}
        return [*(fact.to_row() for fact in self.evidence), *({"key": topic, **nothing} for topic in self.unknown)]


class Refused(Exception):  # noqa: N818 - a finding, not a fault
    """A rule is broken. `reason` is the rule's slug."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
