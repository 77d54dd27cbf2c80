"""The final table and `status`: all of it read from manifests, so that it can be had from any machine at any time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from sift_ray.report.tables import by_language, count_text, grid, largest_first
from sift_ray.report.yields import instruction_tables, mix_as_json, yields_as_json
from sift_ray.schema import LANGUAGES
from sift_ray.storage import Counts, OutputRoot, WaveManifest, add_counts, read_json, read_manifest

STAGES = ("utterances", "annotations", "instructions")
_WAVE = re.compile(r"wave=(\d{5,})")


@dataclass
class StageState:
    """How far one stage is."""

    waves_done: int = 0
    rows: int = 0
    seconds: float = 0.0
    counts: Counts = field(default_factory=dict)


@dataclass
class Summary:
    """Everything that the tables show."""

    output: str
    waves: int | None
    stages: dict[str, StageState]
    bins: dict[str, Any] | None
    release: dict[str, Any] | None
    left_out: dict[str, int] = field(default_factory=dict)  # corpus/language → utterances beyond its `hours`

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
    plan, release = read_json(root, "plan.json"), read_json(root, "release.json")
    stages = {stage: _stage_state(_manifests(root, stage)) for stage in STAGES}
    if plan is not None:
        stages["utterances"].seconds = plan["seconds"]  # (the waves' own are those of writing alone)
    return Summary(
        output=root.uri,
        waves=None if plan is None else plan["waves"],
        stages=stages,
        bins=read_json(root, "bins.json"),
        release=release if release is not None and release["complete"] else None,
        left_out={name: cell["utterances"] for name, cell in (plan or {}).get("left_out", {}).items()},
    )


def _manifests(root: OutputRoot, stage: str) -> Iterable[WaveManifest]:
    for name in root.names(stage):
        match = _WAVE.fullmatch(name)
        manifest = read_manifest(root, stage, int(match[1])) if match else None
        if manifest is not None:
            yield manifest


def _stage_state(manifests: Iterable[WaveManifest]) -> StageState:
    state = StageState()
    for manifest in manifests:
        state.waves_done += 1
        state.rows += manifest.rows
        state.seconds += manifest.seconds
        state.counts = add_counts([state.counts, manifest.counts])
    return state


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON values."""
    return {
        "output": summary.output,
        "waves": summary.waves,
        "complete": summary.complete,
        "stages": {name: vars(state) for name, state in summary.stages.items()},
        "release": summary.release,
        "left_out": summary.left_out,
        "yields": yields_as_json(summary.stages["instructions"].counts),
        "mix": mix_as_json(summary.stages["instructions"].counts),
    }


def render(summary: Summary, console: Console) -> None:
    """Print the tables."""
    tables = [_progress_table(summary), _corpus_table(summary), _reject_table(summary)]
    if summary.stages["instructions"].rows:
        tables += instruction_tables(summary.stages["instructions"].counts)
    for table in tables:
        console.print(table)
        console.print()
    if summary.release is not None:
        total = sum(summary.release["rows"].values())
        console.print(f"{total:,} samples as Parquet in {summary.output}/release", soft_wrap=True)


def _rate(amount: float, seconds: float) -> str:
    return f"{amount / seconds:,.1f}" if seconds > 0 else ""


def _progress_table(summary: Summary) -> Table:
    rows = []
    for name, state in summary.stages.items():
        waves = "?" if summary.waves is None else str(summary.waves)
        hours = sum(state.counts.get("hours", {}).values())
        audio = _rate(hours * 3600, state.seconds) + "×" if name == "annotations" and state.seconds else ""
        tokens = sum(n for label, n in state.counts.get("tokens", {}).items() if label.endswith("generated"))
        rows.append(
            (
                name,
                f"{state.waves_done} of {waves}",
                count_text(state.rows),
                f"{state.seconds:,.1f}",
                _rate(state.rows, state.seconds),
                audio or (f"{_rate(tokens, state.seconds)} tokens/s" if tokens else ""),
            )
        )
    return grid("Stages", ("stage", "waves", "rows", "seconds", "rows/s", "speed"), rows)


def _corpus_table(summary: Summary) -> Table:
    measured = summary.stages["annotations"]
    state = measured if measured.rows else summary.stages["utterances"]
    utterances: dict[tuple[str, str], float] = {}
    hours: dict[str, float] = {}
    for label, number in state.counts.get("utterances", {}).items():
        corpus, language, _ = label.split("/")
        utterances[corpus, language] = utterances.get((corpus, language), 0) + number
    for label, number in state.counts.get("hours", {}).items():
        corpus = label.split("/")[0]
        hours[corpus] = hours.get(corpus, 0) + number
    rows = [
        (*row, f"{hours.get(row[0], sum(hours.values())):,.3f}")
        for row in by_language(utterances, sorted({corpus for corpus, _ in utterances}))
    ]
    aligned = sum(measured.counts.get("aligned", {}).values())
    title = "Utterances" + (f" ({count_text(aligned)} of them with word spans)" if measured.rows else "")
    return grid(title, ("corpus", *LANGUAGES, "all", "hours"), rows)


def _reject_table(summary: Summary) -> Table:
    rows: list[tuple[str, str, str]] = []
    measured = summary.stages["annotations"]
    source = measured if measured.rows else summary.stages["utterances"]
    for label, count in largest_first(source.counts.get("rejects", {})):
        rows.append(("utterance", label, count_text(count)))
    for label, count in largest_first(measured.counts.get("unaligned", {})):
        rows.append(("word spans", label, count_text(count)))
    for label, count in largest_first(measured.counts.get("unknown", {})):
        rows.append(("measure", label, count_text(count)))
    for label, count in largest_first(measured.counts.get("lexicon", {})):
        if count and not label.endswith("/words"):
            rows.append(("word", label, count_text(count)))
    flags = measured.counts.get("flags", {}).items()
    rows += [("flagged", label, count_text(count)) for label, count in flags if count]
    rows += [(f"left out of {name}", "hours", count_text(count)) for name, count in summary.left_out.items()]
    return grid("Rejected or unknown, by reason", ("what", "reason", "count"), rows or [("nothing", "", "0")])
