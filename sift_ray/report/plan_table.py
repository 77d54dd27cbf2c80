"""The tables of `plan --dry-run`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from sift_ray.pipeline.plan_preview import Cell, Preview
from sift_ray.pipeline.stages import NO_ERRORS
from sift_ray.report.tables import grid
from sift_ray.schema import LANGUAGES, SPLITS


def render(preview: Preview, console: Console) -> None:
    """Print what a plan would hold, and what it would not."""
    console.print(_usable_table(preview))
    console.print()
    if preview.rejects:
        rejects = sorted(preview.rejects.items(), key=lambda item: (-item[1].rows, item[0]))
        rows = [(*name, f"{of.rows:,}", of.example) for name, of in rejects]
        console.print(_grid("Rejected, by reason", ("corpus", "reason", "rows", "for example"), rows))
        console.print()
    if preview.skipped:
        skips = [(corpus, f"{n:,}", why) for corpus, of in preview.skipped.items() for why, n in of.items()]
        console.print(_grid("Skipped, as never asked for", ("corpus", "rows", "why"), skips))
        console.print()
    if preview.left_out:
        left = [
            (corpus, language, f"{of.utterances:,}", f"{of.hours:,.3f}")
            for (corpus, language), of in sorted(preview.left_out.items())
        ]
        console.print(_grid("Left out by `hours`", ("corpus", "language", "rows", "hours"), left))
        console.print()
    rejected = sum(of.rows for of in preview.rejects.values())
    waves = "1 wave" if preview.waves == 1 else f"{preview.waves:,} waves"
    console.print(
        f"{preview.rows:,} rows, {rejected:,} of them rejected, would make {waves} of at most {preview.wave_rows:,}.",
        highlight=False,
    )
    errors = sum(of.rows for (_, reason), of in preview.rejects.items() if f"plan/{reason}" not in NO_ERRORS)
    if errors > preview.error_budget * preview.rows:
        console.print(
            f"{errors / preview.rows:.1%} are rejected for what is wrong with them; annotate stops where it is more "
            f"than {preview.error_budget:.1%} of a wave (annotate.error_budget).",
            highlight=False,
        )
    console.print("Nothing was written: this was a dry run.")


def _usable_table(preview: Preview) -> Table:
    def place(name: tuple[str, str, str]) -> tuple[str, int, int]:
        return name[0], LANGUAGES.index(name[1]), SPLITS.index(name[2])

    cells = {name: preview.cells[name] for name in sorted(preview.cells, key=place)}
    rows = [(*name, *_counts([cell])) for name, cell in cells.items()]
    heads = ("corpus", "language", "split", "utterances", "hours", "speakers", "no text", "no gender", "no duration")
    return _grid("Usable", heads, [*rows, ("all", "", "", *_counts(list(cells.values())))])


def _counts(cells: Sequence[Cell]) -> tuple[str, ...]:
    speakers = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(cell.speakers for cell in cells)]))
    return (
        f"{sum(cell.utterances for cell in cells):,}",
        f"{sum(cell.hours for cell in cells):,.3f}",
        f"{speakers.size:,}",
        f"{sum(cell.no_transcript for cell in cells):,}",
        f"{sum(cell.no_gender for cell in cells):,}",
        f"{sum(cell.no_duration for cell in cells):,}",
    )


_WORDS = ("corpus", "language", "split", "reason")


def _grid(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    return grid(title, heads, rows, words=_WORDS, sentences=("why", "for example"))
