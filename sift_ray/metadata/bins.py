"""From a stream of measurements to rulers: the edges between categories, the same bit for bit in any order.

Method `equal_width` is Data-Speech's (huggingface/dataspeech, scripts/metadata_to_text.py): drop values that are
k·std or farther from the mean, cut the remaining min..max into equal bins (`np.histogram`), and put values beyond
the edges into the first or last bin. It takes two passes in bounded memory: `Moments` (count, mean, std in exact
integer arithmetic, a fine histogram) and `Inliers` (min and max of what is kept). `quantile` reads its edges from
the fine histogram, so they are exact to one of its `GRID` cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sift_ray.config import BinConfig
from sift_ray.metadata.categories import ATTRIBUTES, Attribute
from sift_ray.metadata.columns import Floats, codes, floats
from sift_ray.metadata.rulers import ALL, Ruler, Rulers
from sift_ray.schema import GENDERS, MEASURES

GRID: Final = 4096
"""Cells of the fine histogram over an attribute's feasible range."""

_SCALE: Final = 1 << 20  # fixed point: sums of rounded integers do not depend on order
_HALF: Final = 1 << 32
_REPORT_CELLS: Final = 64

Batches = Iterable[pa.RecordBatch | pa.Table]


class Group(NamedTuple):
    """Values that share a ruler; `corpus` may be `ALL`, `gender` is None where the attribute is not split by it."""

    attribute: str
    corpus: str
    gender: str | None


@dataclass(slots=True)
class Moment:
    """Exact sums of one group's values."""

    count: int = 0
    total: int = 0  # of value · 2^20, rounded
    squares: int = 0
    low: float = math.inf
    high: float = -math.inf
    cells: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(GRID, np.int64))

    def add(self, values: Floats, low: float, high: float) -> None:
        """Add `values`, float64 of any length, all within the feasible range `low` to `high`."""
        if not len(values):
            return
        fixed = np.rint(values * _SCALE).astype(np.int64)
        squared = fixed * fixed  # at most (600 · 2^20)², which int64 holds; their sum is split to be held too
        self.count += len(values)
        self.total += int(fixed.sum())
        self.squares += int((squared // _HALF).sum()) * _HALF + int((squared % _HALF).sum())
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        cells = ((values - low) * (GRID / (high - low))).astype(np.int64)
        self.cells += np.bincount(np.minimum(cells, GRID - 1), minlength=GRID)

    def merge(self, other: Moment) -> None:
        """Add what `other` has seen."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.cells = self.cells + other.cells

    @property
    def mean(self) -> float:
        """Mean of the values; the group must not be empty."""
        return float(Fraction(self.total, self.count * _SCALE))

    @property
    def std(self) -> float:
        """Population standard deviation."""
        variance = Fraction(self.count * self.squares - self.total**2, (self.count * _SCALE) ** 2)
        return math.sqrt(variance)


class Moments:
    """First pass: what each group's values are like. Mergeable; memory grows with groups, not with rows."""

    def __init__(self) -> None:
        self.groups: dict[Group, Moment] = {}

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take in rows with `corpus`, `gender` and the measured columns; values out of range are not counted."""
        for attribute in ATTRIBUTES.values():
            measure = MEASURES[attribute.column]
            for group, values in _grouped(batch, attribute):
                self.groups.setdefault(group, Moment()).add(values, measure.low, measure.high)

    def merge(self, other: Moments) -> None:
        """Add what `other` has seen."""
        for group, moment in other.groups.items():
            self.groups.setdefault(group, Moment()).merge(moment)

    def within(self, config: BinConfig) -> Mapping[Group, tuple[float, float]]:
        """Return each group's open interval of inliers, mean ± k·std."""
        intervals = {}
        for group, moment in self.groups.items():
            reach = outlier_std(config, group.attribute) * moment.std
            intervals[group] = (moment.mean - reach, moment.mean + reach)
        return intervals


def outlier_std(config: BinConfig, attribute: str) -> float:
    """Return k of an attribute: the config's, else the attribute's default."""
    return config.outlier_std.get(attribute, ATTRIBUTES[attribute].outlier_std)


class Inliers:
    """Second pass: count, min and max of each group's values inside its interval. Mergeable."""

    def __init__(self, intervals: Mapping[Group, tuple[float, float]]) -> None:
        self.intervals = intervals
        self.ranges: dict[Group, tuple[int, float, float]] = {}

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take in the same rows as the first pass, in any order."""
        for attribute in ATTRIBUTES.values():
            for group, values in _grouped(batch, attribute):
                low, high = self.intervals[group]
                kept = values[(values > low) & (values < high)]
                if len(kept):
                    self._put(group, (len(kept), float(kept.min()), float(kept.max())))

    def merge(self, other: Inliers) -> None:
        """Add what `other` has seen."""
        for group, seen in other.ranges.items():
            self._put(group, seen)

    def _put(self, group: Group, seen: tuple[int, float, float]) -> None:
        count, low, high = self.ranges.get(group, (0, math.inf, -math.inf))
        self.ranges[group] = (count + seen[0], min(low, seen[1]), max(high, seen[2]))


def build_rulers(batches: Callable[[], Batches], config: BinConfig) -> Rulers:
    """Build the rulers of all that `batches()` yields; it is called twice for `equal_width`.

    Batches need the columns `corpus`, `gender` and those of `categories.ATTRIBUTES`; rejected rows are to be left
    out by the caller. The result does not depend on the order of rows or batches.
    """
    moments = Moments()
    for batch in batches():
        moments.add(batch)
    inliers = Inliers(moments.within(config))
    if config.method == "equal_width":
        for batch in batches():
            inliers.add(batch)
    return finish(moments, inliers, config)


def finish(moments: Moments, inliers: Inliers, config: BinConfig) -> Rulers:
    """Turn the merged passes into rulers."""
    made = []
    for group in sorted(moments.groups, key=lambda g: (g.attribute, g.corpus, g.gender or "")):
        moment = moments.groups[group]
        attribute = ATTRIBUTES[group.attribute]
        bins = len(attribute.labels)
        # nothing is strictly inside where all values are equal, or k is small: then all are kept
        kept, low, high = inliers.ranges.get(group, (moment.count, moment.low, moment.high))
        if config.method == "quantile":
            edges = _quantile_edges(moment, attribute, bins)
            kept = moment.count
        else:
            # (the same edges as np.histogram_bin_edges of the kept values, ±0.5 about a constant included)
            edges = np.histogram_bin_edges(np.array([low, high]), bins=bins)
        made.append(
            Ruler(
                attribute=group.attribute,
                corpus=group.corpus,
                gender=group.gender,
                count=moment.count,
                kept=kept,
                low=moment.low,
                high=moment.high,
                mean=moment.mean,
                std=moment.std,
                edges=tuple(edges.tolist()),
                histogram=_report_histogram(moment, attribute),
            )
        )
    return Rulers(made, method=config.method, min_count=config.min_count)


def _grouped(batch: pa.RecordBatch | pa.Table, attribute: Attribute) -> Iterator[tuple[Group, Floats]]:
    """Yield the feasible values of every group in `batch`, those of `ALL` too."""
    measure = MEASURES[attribute.column]
    values = floats(batch.column(attribute.column))
    with np.errstate(invalid="ignore"):
        known = (values >= measure.low) & (values <= measure.high)
    corpora, corpus_of = codes(batch.column("corpus"))
    genders, gender_of = codes(batch.column("gender"))
    for gender in GENDERS if attribute.by_gender else (None,):
        mask = known
        if gender is not None:
            if gender not in genders:
                continue
            mask = known & (gender_of == genders.index(gender))
        if mask.any():
            yield Group(attribute.key, ALL, gender), values[mask]
        for index, corpus in enumerate(corpora):
            mine = values[mask & (corpus_of == index)]
            if len(mine):
                yield Group(attribute.key, corpus, gender), mine


def _quantile_edges(moment: Moment, attribute: Attribute, bins: int) -> Floats:
    measure = MEASURES[attribute.column]
    uppers = measure.low + (measure.high - measure.low) / GRID * np.arange(1, GRID + 1)
    wanted = [-(-moment.count * part // bins) for part in range(1, bins)]  # ceil, in integers
    inner = uppers[np.searchsorted(np.cumsum(moment.cells), wanted, side="left")]
    return np.clip(np.concatenate([[moment.low], inner, [moment.high]]), moment.low, moment.high)


def _report_histogram(moment: Moment, attribute: Attribute) -> tuple[float, float, tuple[int, ...]]:
    """Return low end, high end and counts of at most 64 equal cells that span the values."""
    measure = MEASURES[attribute.column]
    used = np.flatnonzero(moment.cells)
    first, last = int(used[0]), int(used[-1]) + 1
    width = -(-(last - first) // _REPORT_CELLS)
    starts = list(range(first, last, width))
    counts = np.add.reduceat(moment.cells[:last], starts)
    cell = (measure.high - measure.low) / GRID
    end = first + width * len(starts)
    return measure.low + cell * first, measure.low + cell * end, tuple(int(c) for c in counts)
