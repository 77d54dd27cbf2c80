"""The final table and `status`, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from sift_ray.report.state import StageState, Summary, summarise
from sift_ray.report.tables import by_language, count_text, duration_text, grid, largest_first
from sift_ray.report.yield_tables import instruction_tables
from sift_ray.report.yields import mix_as_json, rejects_as_json, yields_as_json, yields_by_place_as_json
from sift_ray.schema import LANGUAGES

__all__ = ["as_json", "render", "summarise"]

_FORMS = {"parquet": "Parquet", "jsonl": "JSON lines"}


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON values."""
    instructed = summary.stages["instructions"].counts
    return {
        "output": summary.output,
        "waves": summary.waves,
        "complete": summary.complete,
        "running": None if summary.holder is None else asdict(summary.holder),
        "stages": {name: _stage_json(state) for name, state in summary.stages.items()},
        "bins": summary.bins is not None,
        "release": summary.release,
        "left_out": summary.left_out,
        "yields": yields_as_json(instructed),
        "yields_by_language": yields_by_place_as_json(instructed),
        "rejected": rejects_as_json(instructed),
        "mix": mix_as_json(instructed),
    }


def _stage_json(state: StageState) -> dict[str, Any]:
    return {
        "waves_done": state.waves_done,
        "rows": state.rows,
        "seconds": state.seconds,
        "rows_per_s": state.per_second(state.rows),
        "audio_s_per_s": state.per_second(state.hours * 3600),
        "tokens_per_s": state.per_second(state.tokens),
        "eta_s": state.eta_s,
        "finished_at": state.finished_at,
        "counts": state.counts,
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
        forms = " and ".join(_FORMS[form] for form in summary.release["ingredients"]["release"]["formats"])
        console.print(f"{total:,} samples as {forms} in {summary.output}/release", soft_wrap=True)
        for line in _left_apart(summary.release):
            console.print(line, soft_wrap=True)
    console.print(_whose(summary), soft_wrap=True, highlight=False, markup=False, end="")


def _left_apart(release: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a release keeps apart and leaves out; nothing of what an older version did not record."""
    if "held_out" in release:
        # (where nobody is known to speak, no speakers were looked for)
        known = {kind: of for kind, of in sorted(release["held_out"].items(), reverse=True) if any(of.values())}
        parts = [f"{count:,} {kind}s of {split}" for kind, of in known.items() for split, count in of.items()]
        if parts:
            yield f"no {' or '.join(known)} in two splits: {', '.join(parts)} held out"
        else:
            yield "nothing held out"
    if repeated := release.get("repeated"):
        yield f"{repeated:,} pairs left out, as another task asks the same"


def _whose(summary: Summary) -> str:
    """Return the lines about who works on the output; none where all is done and nobody does."""
    if summary.holder is not None:
        holder = summary.holder
        return (
            f"Process {holder.process} on {holder.host} is running it, since {holder.since}. (One that was killed "
            "stands here until the next takes its place.)\n"
        )
    return "" if summary.complete else "Not complete, and no job is running: `sift-ray build` goes on from here.\n"


def _rate(amount: float | None) -> str:
    return "" if amount is None else f"{amount:,.1f}"


def _progress_table(summary: Summary) -> Table:
    rows = []
    for name, state in summary.stages.items():
        waves = "?" if summary.waves is None else str(summary.waves)
        speed = f"{_rate(state.per_second(state.tokens))} tokens/s" if state.tokens and state.seconds else ""
        if name == "annotations" and state.seconds:
            speed = f"{_rate(state.per_second(state.hours * 3600))}×"
        rows.append(
            (
                name,
                f"{state.waves_done} of {waves}",
                count_text(state.rows),
                f"{state.seconds:,.1f}",
                _rate(state.per_second(state.rows)),
                speed,
                duration_text(state.eta_s) if state.eta_s else "",
            )
        )
    heads = ("stage", "waves", "rows", "seconds", "rows/s", "speed", "left")
    if any(row[-1] for row in rows):
        return grid("Stages (left: at the rate of the waves done)", heads, rows)
    return grid("Stages", heads[:-1], [row[:-1] for row in rows])


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
