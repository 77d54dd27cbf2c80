"""From a stream of measurements to rulers: the edges between categories, the same bit for bit in any order.

Method `equal_width` is Data-Speech's (huggingface/dataspeech, scripts/metadata_to_text.py): drop values that are
k·std or farther from the mean, cut the remaining min..max into equal bins (`np.histogram`), and put values beyond
the edges into the first or last bin. It takes two passes in bounded memory: `Moments` (count, mean, std in exact
integer arithmetic, a fine histogram) and `Inliers` (min and max of what is kept). `quantile` reads its edges from
the fine histogram, so they are exact to one of its `GRID` cells. One more pass, `Tally`, counts what the rulers make
of the data set; rulers from elsewhere need only that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np

from sift_ray.config import BinConfig
from sift_ray.metadata.categories import ATTRIBUTES, Attribute
from sift_ray.metadata.columns import Floats
from sift_ray.metadata.moments import GRID, Batch, Inliers, Moment, Moments, NearMean
from sift_ray.metadata.rulers import Group, Ruler, Rulers, in_order
from sift_ray.metadata.tally import Tally
from sift_ray.schema import MEASURES

_REPORT_CELLS: Final = 64

Batches = Iterable[Batch]


def build_rulers(batches: Callable[[], Batches], config: BinConfig) -> Rulers:
    """Build the rulers of all that `batches()` yields, and count what they make of it; it is called once a pass.

    Batches need the columns `corpus`, `language`, `gender`, `null_reasons` and those of `categories.ATTRIBUTES`;
    rejected rows are to be left out by the caller. The result does not depend on the order of rows or batches.
    """
    moments = measure(batches(), config)
    inliers = Inliers()
    if config.method == "equal_width":
        inliers = keep_inliers(batches(), config, moments.near_mean(config))
    rulers = finish(moments, inliers, config)
    return count(batches(), rulers).put_into(rulers)


def measure(batches: Batches, config: BinConfig) -> Moments:
    """Make the first pass."""
    moments = Moments()
    for batch in batches:
        moments.add(batch, config)
    return moments


def keep_inliers(batches: Batches, config: BinConfig, near_mean: Mapping[Group, NearMean]) -> Inliers:
    """Make the second pass."""
    inliers = Inliers()
    for batch in batches:
        inliers.add(batch, config, near_mean)
    return inliers


def count(batches: Batches, rulers: Rulers) -> Tally:
    """Make the last pass."""
    tally = Tally()
    for batch in batches:
        tally.add(batch, rulers)
    return tally


def finish(moments: Moments, inliers: Inliers, config: BinConfig) -> Rulers:
    """Turn the first two passes, merged, into rulers."""
    made = []
    for group, moment in sorted(moments.groups(config).items(), key=lambda item: in_order(item[0])):
        attribute = ATTRIBUTES[group.attribute]
        bins = len(attribute.labels)
        # nothing is strictly inside where all values are equal, or k is small: then all are kept
        kept, low, high = inliers.ranges.get(group, (moment.count, moment.low, moment.high))
        if config.method == "quantile":
            edges = _quantile_edges(moment, attribute, bins)
        else:
            # (the same edges as np.histogram_bin_edges of the kept values, ±0.5 about a constant included)
            edges = np.histogram_bin_edges(np.array([low, high]), bins=bins)
        made.append(
            Ruler(
                **group._asdict(),
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


def _quantile_edges(moment: Moment, attribute: Attribute, bins: int) -> Floats:
    _, _, lowest, highest = MEASURES[attribute.column]
    uppers = lowest + (highest - lowest) / GRID * np.arange(1, GRID + 1)
    wanted = [-(-moment.count * part // bins) for part in range(1, bins)]  # ceil, in integers
    inner = uppers[np.searchsorted(np.cumsum(moment.cells), wanted, side="left")]
    return np.clip(np.concatenate([[moment.low], inner, [moment.high]]), moment.low, moment.high)


def _report_histogram(moment: Moment, attribute: Attribute) -> tuple[float, float, tuple[int, ...]]:
    """Return low end, high end and counts of at most 64 equal cells that span the values."""
    _, _, lowest, highest = MEASURES[attribute.column]
    used = np.flatnonzero(moment.cells)
    first, last = int(used[0]), int(used[-1]) + 1
    width = -(-(last - first) // _REPORT_CELLS)
    starts = list(range(first, last, width))
    counts = np.add.reduceat(moment.cells[:last], starts)
    cell = (highest - lowest) / GRID
    end = first + width * len(starts)
    return lowest + cell * first, lowest + cell * end, tuple(int(c) for c in counts)
