"""The shapes of a data set's measurements, counted batch by batch, in memory that does not grow with the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from sift_ray.metadata.categories import ATTRIBUTES, Attribute
from sift_ray.metadata.columns import Floats, Places, codes, floats, places
from sift_ray.metadata.rulers import Group, Rulers, feasible
from sift_ray.schema import LANGUAGES

CELLS: Final = 48
LONGEST_S: Final = 32.0
"""Where the histogram of durations ends; longer clips are counted in its last cell."""

_MARGIN: Final = 0.12  # of what lies between the outer edges, drawn beyond them

COLUMNS: Final = (
    "corpus",
    "language",
    "gender",
    "duration_s",
    "alignment_score",
    "alignment_reason",
    *(attribute.column for attribute in ATTRIBUTES.values()),
)
"""What `Shapes.add` reads."""

_Cells = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of equal cells from `low` to `high`; what lies beyond is in the first and the last."""

    low: float
    high: float
    counts: tuple[int, ...]


class Shapes:
    """Histograms of rows with status ok: each attribute by the group that it is judged in, durations, scores.

    Args:
        rulers: give each attribute's histogram its range; without them there are none.
    """

    def __init__(self, rulers: Rulers | None) -> None:
        self._rulers = rulers
        self._measures: dict[Group, _Cells] = {}
        self._durations: dict[str, _Cells] = {}
        self._used: dict[str, _Cells] = {}
        self._refused: dict[str, _Cells] = {}

    def add(self, batch: Any) -> None:
        """Take in rows, all of status ok, with `COLUMNS`."""
        at = places(batch.column("corpus"), batch.column("language"), batch.column("gender"))
        if self._rulers is not None:
            for attribute in ATTRIBUTES.values():
                numbers = floats(batch.column(attribute.column))
                self._add_measure(attribute, numbers, at, self._rulers)
        _add(self._durations, batch.column("corpus"), floats(batch.column("duration_s")), LONGEST_S)
        scores = floats(batch.column("alignment_score"))
        used = np.asarray(pc.is_null(batch.column("alignment_reason")), dtype=bool)
        _add(self._used, batch.column("language"), np.where(used, scores, np.nan), 1.0)
        _add(self._refused, batch.column("language"), np.where(used, np.nan, scores), 1.0)

    def _add_measure(self, attribute: Attribute, numbers: Floats, at: Places, rulers: Rulers) -> None:
        groups = [rulers.group_of(attribute.key, p.corpus, p.gender, p.language) for p in at.distinct]
        ranges = np.array([(0.0, 1.0) if g is None else self.range_of(g) or (0.0, 1.0) for g in groups]).reshape(-1, 2)
        fits = np.flatnonzero(feasible(attribute.key, numbers))
        of = at.of[fits]
        low, high = ranges[of, 0], ranges[of, 1]
        cells = np.clip(((numbers[fits] - low) / (high - low) * CELLS).astype(np.int64), 0, CELLS - 1)
        found = np.bincount(of * CELLS + cells, minlength=len(groups) * CELLS).reshape(-1, CELLS)
        for group, counts in zip(groups, found, strict=True):
            if group is not None and self.range_of(group) is not None and counts.any():
                _put(self._measures, group, counts)

    def range_of(self, group: Group) -> tuple[float, float] | None:
        """Return where a group's histogram begins and ends, None where nothing judges the group."""
        judge = None if self._rulers is None else self._rulers.judge(group)
        if judge is None:
            return None
        low, high = judge.edges[0], judge.edges[-1]
        margin = _MARGIN * (high - low) or 1.0
        return low - margin, high + margin

    def measures(self) -> dict[Group, Histogram]:
        """Return the histogram of each group of an attribute that has any value."""
        return {
            group: Histogram(*reach, tuple(counts.tolist()))
            for group, counts in self._measures.items()
            if (reach := self.range_of(group)) is not None
        }

    def durations(self) -> dict[str, Histogram]:
        """Return the histogram of each corpus's durations, s."""
        return _finished(dict(sorted(self._durations.items())), LONGEST_S)

    def scores(self) -> dict[str, tuple[Histogram, Histogram]]:
        """Return by language the alignment scores, 0 to 1: of the alignments that are used, and of those refused."""
        languages = [language for language in LANGUAGES if language in {*self._used, *self._refused}]
        none = np.zeros(CELLS, np.int64)
        used = _finished({language: self._used.get(language, none) for language in languages}, 1.0)
        refused = _finished({language: self._refused.get(language, none) for language in languages}, 1.0)
        return {language: (used[language], refused[language]) for language in languages}


def _add(cells_of: dict[str, _Cells], names: Any, numbers: Floats, high: float) -> None:
    """Count numbers between 0 and `high` by name; NaN and what has no name are left out."""
    distinct, of = codes(names)
    known = np.flatnonzero(np.isfinite(numbers) & (of >= 0))
    cells = np.clip((numbers[known] / high * CELLS).astype(np.int64), 0, CELLS - 1)
    found = np.bincount(of[known] * CELLS + cells, minlength=len(distinct) * CELLS).reshape(-1, CELLS)
    for name, counts in zip(distinct, found, strict=True):
        if counts.any():
            _put(cells_of, name, counts)


def _put(cells_of: dict[Any, _Cells], key: Any, counts: _Cells) -> None:
    cells_of[key] = cells_of[key] + counts if key in cells_of else counts.copy()


def _finished(cells_of: Mapping[str, _Cells], high: float) -> dict[str, Histogram]:
    return {name: Histogram(0.0, high, tuple(cells.tolist())) for name, cells in cells_of.items()}
