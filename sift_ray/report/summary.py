"""The final table and `status`: all of it read from manifests, so that it can be had from any machine at any time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from sift_ray.report.tables import grid
from sift_ray.schema import LANGUAGES, TASKS
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
    }


def render(summary: Summary, console: Console) -> None:
    """Print the tables."""
    tables = [_progress_table(summary), _corpus_table(summary)]
    if summary.stages["instructions"].rows:
        tables += [_task_table(summary), _yield_table(summary)]
    for table in (*tables, _reject_table(summary)):
        console.print(table)
        console.print()
    if summary.release is not None:
        total = sum(summary.release["rows"].values())
        console.print(f"{total:,} samples as Parquet in {summary.output}/release", soft_wrap=True)


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _rate(amount: float, seconds: float) -> str:
    return f"{amount / seconds:,.1f}" if seconds > 0 else ""


def _progress_table(summary: Summary) -> Table:
    rows = []
    for name, state in summary.stages.items():
        waves = "?" if summary.waves is None else str(summary.waves)
        hours = sum(state.counts.get("hours", {}).values())
        audio = _rate(hours * 3600, state.seconds) + "×" if name == "annotations" and state.seconds else ""
        tokens = state.counts.get("tokens", {}).get("generated", 0)
        rows.append(
            (
                name,
                f"{state.waves_done} of {waves}",
                _count(state.rows),
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
        for row in _by_language(utterances, sorted({corpus for corpus, _ in utterances}))
    ]
    aligned = sum(measured.counts.get("aligned", {}).values())
    title = "Utterances" + (f" ({_count(aligned)} of them with word spans)" if measured.rows else "")
    return grid(title, ("corpus", *LANGUAGES, "all", "hours"), rows)


def _by_language(cells: Mapping[tuple[str, str], float], names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return a row a name with its counts by language and their sum, and a last row of the sums."""
    names = list(names)

    def row(title: str, members: Sequence[str]) -> tuple[str, ...]:
        counts = [sum(cells.get((name, language), 0) for name in members) for language in LANGUAGES]
        return (title, *(_count(count) for count in counts), _count(sum(counts)))

    return [*(row(name, [name]) for name in names), row("all", names)]


def pairs_told(counts: Counts) -> Iterable[tuple[str, str, str, bool, float]]:
    """Yield (task, language, generator, accepted, count) of a wave's counts; a generator's name may hold slashes."""
    for label, count in counts.get("pairs", {}).items():
        task, language, *generator, fate = label.split("/")
        yield task, language, "/".join(generator), fate == "accepted", count


def _task_table(summary: Summary) -> Table:
    cells: dict[tuple[str, str], float] = {}
    for task, language, _, accepted, count in pairs_told(summary.stages["instructions"].counts):
        if accepted:
            cells[task, language] = cells.get((task, language), 0) + count
    return grid("Instructions accepted", ("task", *LANGUAGES, "all"), _by_language(cells, TASKS))


def _yield_table(summary: Summary) -> Table:
    asked = summary.stages["instructions"].counts.get("asked", {})
    cells: dict[tuple[str, str], list[float]] = {}
    for task, _, generator, accepted, count in pairs_told(summary.stages["instructions"].counts):
        cell = cells.setdefault((task, generator), [0.0, 0.0])
        cell[0 if accepted else 1] += count
    rows = [
        (
            task,
            generator,
            _count(asked.get(f"{task}/{generator}", 0)),
            _count(good),
            _count(bad),
            f"{good / (good + bad):.1%}",
        )
        for task in TASKS
        for (of, generator), (good, bad) in sorted(cells.items())
        if of == task
    ]
    return grid("Who wrote them", ("task", "generator", "requests", "accepted", "rejected", "yield"), rows)


def _reject_table(summary: Summary) -> Table:
    rows: list[tuple[str, str, str]] = []
    measured = summary.stages["annotations"]
    source = measured if measured.rows else summary.stages["utterances"]
    for label, count in _largest_first(source.counts.get("rejects", {})):
        rows.append(("utterance", label, _count(count)))
    for label, count in _largest_first(measured.counts.get("unaligned", {})):
        rows.append(("word spans", label, _count(count)))
    for label, count in _largest_first(measured.counts.get("unknown", {})):
        rows.append(("measure", label, _count(count)))
    for label, count in _largest_first(measured.counts.get("lexicon", {})):
        if count and not label.endswith("/words"):
            rows.append(("word", label, _count(count)))
    reasons: dict[str, float] = {}
    for label, count in summary.stages["instructions"].counts.get("rejects", {}).items():
        reason = label.split("/", 1)[1]
        reasons[reason] = reasons.get(reason, 0) + count
    rows += [("flagged", label, _count(count)) for label, count in measured.counts.get("flags", {}).items() if count]
    rows += [(f"left out of {name}", "hours", _count(count)) for name, count in summary.left_out.items()]
    rows += [("instruction", reason, _count(count)) for reason, count in _largest_first(reasons)]
    return grid("Rejected or unknown, by reason", ("what", "reason", "count"), rows or [("nothing", "", "0")])


def _largest_first(counts: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
