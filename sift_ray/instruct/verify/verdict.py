"""What a verification says."""

from __future__ import annotations

from dataclasses import dataclass

from sift_ray.metadata.record import Fact


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a pair may be published, why not (a slug and a detail), and the facts that its answer rests on."""

    accepted: bool
    reason: str | None = None
    detail: str = ""
    evidence: tuple[Fact, ...] = ()


class Refused(Exception):  # noqa: N818 - a finding, not a fault
    """A rule is broken. `reason` is the rule's slug."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
