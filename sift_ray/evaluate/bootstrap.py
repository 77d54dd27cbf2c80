"""Percentile intervals by the bootstrap over utterances (Efron 1979; Field and Welsh 2007 on resampling clusters).

Samples about one utterance share its voice and room, so utterances are drawn, not samples: all that is said of one goes
along with it. Utterances that are compared with each other are drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
_AT_ONCE: Final = 1 << 21  # clusters drawn at once: 16 MiB of indices

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """The ends of a confidence interval of `LEVEL`."""

    low: float
    high: float


def clusters(utterances: Sequence[Sequence[Hashable]]) -> list[Hashable]:
    """Return for each sample a name of the utterances that are drawn together with its own.

    A comparison ties its two utterances, and those that they are tied with already. But each is compared with two
    others by default, so that chains go through a whole corpus, which drawn as one would leave no interval: of n
    utterances √n / 2 are tied at most (2 at least), and a comparison of two such pieces goes with its first utterance.
    Pieces that grow with n keep more and more of what samples have in common, as in the bootstrap of blocks
    (Künsch 1989).

    Args:
        utterances: those of each sample, one or more.
    """
    tied: dict[Hashable, list[Hashable]] = {
        name: [name] for names in utterances for name in names
    }  # (lists are shared)
    most = max(2, math.isqrt(len(tied)) // 2)
    for first, *others in utterances:
        for other in others:
            mine, theirs = tied[first], tied[other]
            if mine is not theirs and len(mine) + len(theirs) <= most:
                mine += theirs
                tied.update(dict.fromkeys(theirs, mine))
    return [tied[names[0]][0] for names in utterances]


def mean_interval(values: ArrayLike, units: Sequence[Hashable], seed: int) -> Interval | None:
    """Return the interval of the mean of `values`, one a sample; `units` names each sample's cluster; see `clusters`.

    None: there are fewer than two clusters, which say nothing of how much others would differ.
    """
    numbers = np.asarray(values, np.float64)
    of, count = numbered(units)
    if count < 2:
        return None
    sums = np.zeros((count, 2))
    np.add.at(sums, of, np.stack([numbers, np.ones(len(numbers))], axis=1))
    drawn = resampled_sums(sums, seed)
    return _percentiles(drawn[:, 0] / drawn[:, 1])


def kappa_interval(
    asked: ArrayLike, found: ArrayLike, categories: int, units: Sequence[Hashable], seed: int
) -> Interval | None:
    """Return the interval of the quadratic weighted kappa between ordinals from 0 to `categories` - 1.

    Resamples in which it is undefined (all of one category) are left out. None: as `mean_interval`, or it is undefined
    in all of them.
    """
    of, count = numbered(units)
    if count < 2:
        return None
    cells = categories * categories
    cell = np.asarray(asked, np.int64) * categories + np.asarray(found, np.int64)
    sums = np.bincount(of * cells + cell, minlength=count * cells).reshape(count, cells).astype(np.float64)
    kappas = quadratic_kappa(resampled_sums(sums, seed).reshape(-1, categories, categories))
    defined = kappas[np.isfinite(kappas)]
    return _percentiles(defined) if defined.size else None


def quadratic_kappa(confusions: Floats) -> Floats:
    """Return the quadratic weighted kappa (Cohen 1968) of confusion tables, float64 [..., k, k]; NaN where undefined.

    1 - Σ (i - j)² o_ij / Σ (i - j)² e_ij, with o the counts and e what the margins alone would give.
    """
    categories = confusions.shape[-1]
    places = np.arange(categories, dtype=np.float64)
    weights = (places[:, None] - places) ** 2
    rows, columns = confusions.sum(-1), confusions.sum(-2)
    expected = (weights * (rows[..., :, None] * columns[..., None, :])).sum((-1, -2))
    observed = (weights * confusions).sum((-1, -2)) * confusions.sum((-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        made: Floats = np.where(expected > 0, 1.0 - observed / expected, np.nan)
    return made


def numbered(units: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    """Return the number of each sample's cluster, from 0 in order of appearance, and how many there are."""
    numbers: dict[Hashable, int] = {}
    of = np.array([numbers.setdefault(unit, len(numbers)) for unit in units], np.int64)
    return of, len(numbers)


def resampled_sums(sums: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return the columns' sums over resamples of the rows, as many rows drawn with replacement as there are.

    Args:
        sums: float64 [rows, columns].
        seed: the same seed and number of rows draw the same rows.
        resamples: how many.

    Returns:
        float64 [resamples, columns].
    """
    rows, columns = sums.shape
    random = np.random.default_rng(seed)
    made = np.empty((resamples, columns))
    step = max(1, min(resamples, _AT_ONCE // rows))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = random.integers(rows, size=(size, rows)) + np.arange(size)[:, None] * rows
        times = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        made[start : start + size] = times @ sums
    return made


def _percentiles(values: Floats) -> Interval:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))
