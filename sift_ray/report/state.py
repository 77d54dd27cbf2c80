"""How far a job is, read from its manifests alone, so that it can be had from any machine at any time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sift_ray.lease import LEASE_NAME
from sift_ray.storage import Counts, OutputRoot, WaveManifest, add_counts, read_json, read_manifest

STAGES = ("utterances", "annotations", "instructions")
_WAVE = re.compile(r"wave=(\d{5,})")


@dataclass
class StageState:
    """How far one stage is.

    Attributes:
        waves_done: finished waves.
        rows: in them.
        seconds: that they took; of the first stage, that the plan took.
        counts: their sums.
        planned: rows of the plan in them.
        to_do: rows of the plan in the other waves; None while there is no plan.
        finished_at: when the last of them was finished, by the clock of the job's machine; None before.
    """

    waves_done: int = 0
    rows: int = 0
    seconds: float = 0.0
    counts: Counts = field(default_factory=dict)
    planned: int = 0
    to_do: int | None = None
    finished_at: str | None = None

    @property
    def hours(self) -> float:
        """Hours of audio in the finished waves."""
        return sum(self.counts.get("hours", {}).values())

    @property
    def tokens(self) -> float:
        """Tokens generated in the finished waves."""
        return sum(n for label, n in self.counts.get("tokens", {}).items() if label.endswith("generated"))

    @property
    def eta_s(self) -> float | None:
        """Seconds that the other waves take at the rate of the finished ones; None where nothing tells it.

        A wave under way counts as one not begun.
        """
        if self.to_do == 0:
            return 0.0
        return None if self.to_do is None or not self.planned else self.seconds * self.to_do / self.planned

    def per_second(self, amount: float) -> float | None:
        """Return the rate of something that the finished waves hold so much of."""
        return amount / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Holder:
    """The job that holds the output's lease; one that was killed holds it until another takes it over."""

    host: str
    process: str
    since: str


@dataclass
class Summary:
    """Everything that the tables show."""

    output: str
    waves: int | None
    stages: dict[str, StageState]
    bins: dict[str, Any] | None
    release: dict[str, Any] | None
    left_out: dict[str, int] = field(default_factory=dict)  # corpus/language → utterances beyond its `hours`
    holder: Holder | None = None

    @property
    def complete(self) -> bool:
        """Whether every stage has done every wave, and the release is out."""
        return (
            self.waves is not None
            and all(state.waves_done == self.waves for state in self.stages.values())
            and self.release is not None
        )


def summarise(root: OutputRoot) -> Summary:
    """Read the state of a job from its output root."""
    holder = _holder(root)  # (first: a job that ends meanwhile is then not told to be unfinished and gone)
    plan, release = read_json(root, "plan.json"), read_json(root, "release.json")
    manifests = {stage: manifests_of(root, stage) for stage in STAGES}
    planned = {manifest.wave: manifest.rows for manifest in manifests["utterances"]}
    stages = {stage: _stage_state(manifests[stage], planned) for stage in STAGES}
    if plan is not None:
        stages["utterances"].seconds = plan["seconds"]  # (the waves' own are those of writing alone)
        for state in stages.values():
            state.to_do = max(plan["rows"] - state.planned, 0)
    return Summary(
        output=root.uri,
        waves=None if plan is None else plan["waves"],
        stages=stages,
        bins=read_json(root, "bins.json"),
        release=release if release is not None and release["complete"] else None,
        left_out={name: cell["utterances"] for name, cell in (plan or {}).get("left_out", {}).items()},
        holder=holder,
    )


def manifests_of(root: OutputRoot, stage: str) -> list[WaveManifest]:
    """Return the manifests of a stage's finished waves, in order."""
    waves = sorted(int(match[1]) for name in root.names(stage) if (match := _WAVE.fullmatch(name)))
    found = (read_manifest(root, stage, wave) for wave in waves)
    return [manifest for manifest in found if manifest is not None]


def _holder(root: OutputRoot) -> Holder | None:
    lease = read_json(root, LEASE_NAME)
    if lease is None:
        return None
    process = str(lease.get("process", "")).partition("@")[0]
    return Holder(str(lease.get("host", "")), process, str(lease.get("since", "")))


def _stage_state(manifests: Sequence[WaveManifest], planned: Mapping[int, int]) -> StageState:
    return StageState(
        waves_done=len(manifests),
        rows=sum(manifest.rows for manifest in manifests),
        seconds=sum(manifest.seconds for manifest in manifests),
        counts=add_counts(manifest.counts for manifest in manifests),
        planned=sum(planned.get(manifest.wave, 0) for manifest in manifests),
        finished_at=max((ended for manifest in manifests if (ended := _ended(manifest))), default=None),
    )


def _ended(manifest: WaveManifest) -> str | None:
    try:
        started = datetime.fromisoformat(manifest.started_at)
    except ValueError:
        return None
    return (started + timedelta(seconds=manifest.seconds)).isoformat(timespec="seconds")
