"""Choose some of many samples so that no label stands in many more of them than another of its key.

A sample has a label for every fact that it rests on, and cannot be taken for one of them alone: nine in ten voices
of a benchmark may be of moderate pitch though one drawn fact of each was balanced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final

import numpy as np

_ROUNDS: Final = 256
"""Up to so many samples are taken one by one; of more, some at once, which costs little evenness and saves hours."""

_NO_LABEL: Final = ("",)


def key_of(label: str) -> str:
    """Return the key of a label `key: value`, or of one that is a key alone."""
    return label.partition(": ")[0]


def balanced(labels: Sequence[Sequence[str]], total: int) -> list[int]:
    """Return the places of `total` samples, or of all if there are no more, in rising order.

    Every key is due an even share of the facts, and every value an even share of its key's. Those samples are taken
    first which add least to the sum over labels of (samples that have it)² / share, on the mean of their own labels,
    so that samples of few facts are not preferred; of equals the first.

    Args:
        labels: of each sample, in the order in which they are to be preferred; none is none.
        total: how many are wanted.
    """
    if len(labels) <= total:
        return list(range(len(labels)))
    each = [sorted(set(of)) or _NO_LABEL for of in labels]
    every = sorted(set(chain.from_iterable(each)))
    values = Counter(map(key_of, every))
    due = np.array([1.0 / (len(values) * values[key_of(label)]) for label in every])
    codes = {label: code for code, label in enumerate(every)}
    lengths = np.array([len(of) for of in each])
    flat = np.array([codes[label] for of in each for label in of])
    starts = np.cumsum(lengths) - lengths
    held = np.zeros(len(every), np.int64)
    waiting = np.ones(len(each), bool)
    left = total
    while left > 0:
        costs = np.add.reduceat(((2 * held + 1) / due)[flat], starts) / lengths
        costs[~waiting] = np.inf
        now = np.argsort(costs, kind="stable")[: min(left, max(1, total // _ROUNDS))]
        waiting[now] = False
        left -= len(now)
        for place in now:
            held[flat[starts[place] : starts[place] + lengths[place]]] += 1
    return [int(place) for place in np.flatnonzero(~waiting)]
