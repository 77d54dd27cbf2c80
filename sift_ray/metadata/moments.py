"""The two passes over measurements that rulers are made of: mergeable, and the same bit for bit in any order.

Sums are of integers, so they do not depend on order; memory grows with groups, not with rows. A value is taken in
once, for the group that it is judged in; sums of wider groups are the sums of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sift_ray.config import BinConfig
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.columns import Floats, floats, places
from sift_ray.metadata.rulers import ALL, EVERYONE, Group, feasible
from sift_ray.schema import GENDERS, MEASURES

GRID: Final = 4096
"""Cells of the fine histogram over an attribute's feasible range."""

_SCALE: Final = 1 << 32  # fixed point: a float32 of 2^-9 or more is held whole
_HALF_BITS: Final = 21  # a value (at most 600 · 2^32) is split in two, so that its square is summed in int64 …
_AT_ONCE: Final = 1 << 20  # … of so many values: the largest sum is below 2^63

Batch: TypeAlias = pa.RecordBatch | pa.Table


@dataclass(slots=True)
class Moment:
    """Exact sums of one group's values."""

    count: int = 0
    total: int = 0  # of value · 2^32, rounded
    squares: int = 0
    low: float = math.inf
    high: float = -math.inf
    cells: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(GRID, np.int64))

    def add(self, values: Floats, low: float, high: float) -> None:
        """Add `values`, float64 of any length, all within the feasible range `low` to `high`."""
        for start in range(0, len(values), _AT_ONCE):
            part = values[start : start + _AT_ONCE]
            fixed = np.rint(part * _SCALE).astype(np.int64)
            upper, lower = fixed >> _HALF_BITS, fixed & ((1 << _HALF_BITS) - 1)
            self.count += len(part)
            self.total += int(fixed.sum())
            self.squares += (int(upper @ upper) << 2 * _HALF_BITS) + (int(upper @ lower) << _HALF_BITS + 1)
            self.squares += int(lower @ lower)
            self.low, self.high = min(self.low, float(part.min())), max(self.high, float(part.max()))
            cells = ((part - low) * (GRID / (high - low))).astype(np.int64)
            self.cells += np.bincount(np.minimum(cells, GRID - 1), minlength=GRID)

    def merge(self, other: Moment) -> None:
        """Add what `other` has seen."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.cells += other.cells

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without the empty cells, which are most."""
        used = np.flatnonzero(self.cells).astype(np.uint16)
        return _arrived, (self.count, self.total, self.squares, self.low, self.high, used, self.cells[used])

    @property
    def mean(self) -> float:
        """Mean of the values; the group must not be empty."""
        return float(Fraction(self.total, self.count * _SCALE))

    @property
    def std(self) -> float:
        """Population standard deviation."""
        return math.sqrt(Fraction(self.count * self.squares - self.total**2, (self.count * _SCALE) ** 2))


def _arrived(
    count: int,
    total: int,
    squares: int,
    low: float,
    high: float,
    used: npt.NDArray[np.uint16],
    counts: npt.NDArray[np.int64],
) -> Moment:
    moment = Moment(count, total, squares, low, high)
    moment.cells[used] = counts
    return moment


class Moments:
    """First pass: what the values of each group that is judged apart are like."""

    def __init__(self) -> None:
        self.judged: dict[Group, Moment] = {}

    def add(self, batch: Batch, config: BinConfig) -> None:
        """Take in rows with `corpus`, `language`, `gender` and the measured columns; what is unknown is left out."""
        for group, values in _judged_groups(batch, config):
            measure = MEASURES[ATTRIBUTES[group.attribute].column]
            self.judged.setdefault(group, Moment()).add(values, measure.low, measure.high)

    def merge(self, other: Moments) -> None:
        """Add what `other` has seen."""
        for group, moment in other.judged.items():
            self.judged.setdefault(group, Moment()).merge(moment)

    def groups(self, config: BinConfig) -> dict[Group, Moment]:
        """Return the sums of every group that has a ruler, wider ones too."""
        made: dict[Group, Moment] = {}
        for group, moment in self.judged.items():
            for wider in _measured_with(group, config):
                made.setdefault(wider, Moment()).merge(moment)
        return made

    def near_mean(self, config: BinConfig) -> Mapping[Group, NearMean]:
        """Return where each group's inliers lie."""
        return {
            group: NearMean(moment.mean, outlier_std(config, group.attribute) * moment.std)
            for group, moment in self.groups(config).items()
        }


class NearMean(NamedTuple):
    """The values that are less than `reach` (k·std) from `mean`."""

    mean: float
    reach: float


def outlier_std(config: BinConfig, attribute: str) -> float:
    """Return k of an attribute: the config's, else the attribute's default."""
    return config.outlier_std.get(attribute, ATTRIBUTES[attribute].outlier_std)


class Inliers:
    """Second pass: count, min and max of each group's values near its mean."""

    def __init__(self) -> None:
        self.ranges: dict[Group, tuple[int, float, float]] = {}

    def add(self, batch: Batch, config: BinConfig, near_mean: Mapping[Group, NearMean]) -> None:
        """Take in the same rows as the first pass, in any order."""
        for group, values in _judged_groups(batch, config):
            for wider in _measured_with(group, config):
                mean, reach = near_mean[wider]
                kept = values[np.abs(values - mean) < reach]
                if len(kept):
                    self._put(wider, (len(kept), float(kept.min()), float(kept.max())))

    def merge(self, other: Inliers) -> None:
        """Add what `other` has seen."""
        for group, seen in other.ranges.items():
            self._put(group, seen)

    def _put(self, group: Group, seen: tuple[int, float, float]) -> None:
        count, low, high = self.ranges.get(group, (0, math.inf, -math.inf))
        self.ranges[group] = (count + seen[0], min(low, seen[1]), max(high, seen[2]))


def _measured_with(group: Group, config: BinConfig) -> set[Group]:
    """Return the groups whose rulers the values of `group`, judged apart, shape."""
    everyone = group.gender in GENDERS and config.unknown_gender == "all_speakers"
    return {
        Group(group.attribute, corpus, language, gender)
        for corpus in (group.corpus, ALL)
        for language in (group.language, None)
        for gender in ((group.gender, EVERYONE) if everyone else (group.gender,))
    }


def _judged_groups(batch: Batch, config: BinConfig) -> Iterator[tuple[Group, Floats]]:
    """Yield the feasible values of the groups that are judged apart; a group may come more than once.

    Those of unknown gender are judged among `EVERYONE`, or nowhere.
    """
    at = places(batch.column("corpus"), batch.column("language"), batch.column("gender"))
    order = np.argsort(at.of.astype(np.min_scalar_type(len(at.distinct))), kind="stable")  # (a radix sort)
    ends = np.cumsum(np.bincount(at.of, minlength=len(at.distinct))).tolist()
    for attribute in ATTRIBUTES.values():
        numbers = floats(batch.column(attribute.column))[order] + 0.0  # (-0.0 becomes 0.0: neither is the lower)
        known = feasible(attribute.key, numbers)
        start = 0
        for place, end in zip(at.distinct, ends, strict=True):
            values = numbers[start:end][known[start:end]]
            start = end
            gender = place.gender if place.gender in GENDERS else EVERYONE
            if not len(values) or (attribute.by_gender and gender == EVERYONE and config.unknown_gender == "refuse"):
                continue
            language = place.language if attribute.key in config.by_language else None
            yield Group(attribute.key, place.corpus or ALL, language, gender if attribute.by_gender else None), values
