"""The edit path of `g2p.in_context`, compiled by numba. To import it takes about a second: done when it is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.path_kernel import compiled


def _cheapest(apart: NDArray[np.float64], words: NDArray[np.int64], gap: float) -> NDArray[np.int64]:
    rows, columns = apart.shape
    cost = np.empty((rows + 1, columns + 1))
    for column in range(columns + 1):
        cost[0, column] = gap * column
    for row in range(rows):
        cost[row + 1, 0] = cost[row, 0] + gap
        for column in range(columns):
            matched = cost[row, column] + apart[row, column]
            cost[row + 1, column + 1] = min(matched, cost[row, column + 1] + gap, cost[row + 1, column] + gap)
    owners = np.zeros(columns, np.int64)
    row, column = rows, columns
    while column:
        here = cost[row, column]
        if row and here == cost[row - 1, column - 1] + apart[row - 1, column - 1]:
            row, column = row - 1, column - 1
            owners[column] = words[row]
        elif here == cost[row, column - 1] + gap:
            column -= 1
            # one phone more than the word alone has (a liaison): it goes with the word before it
            owners[column] = words[max(row - 1, 0)]
        else:
            row -= 1
    return owners


_cheapest_compiled = compiled(_cheapest, "int64[::1](float64[:, ::1], int64[::1], float64)")


def cheapest_owners(apart: NDArray[np.float64], words: NDArray[np.int64], gap: float) -> list[int]:
    """Return the word of the phone that each column is matched to by the cheapest edit path, as in `g2p`.

    Args:
        apart: what it costs to match a phone of ours to one of theirs, float64 `[ours, theirs]`.
        words: the word of each of ours.
        gap: what a phone without a match costs; all costs are multiples of a half, so that sums of them are exact.
    """
    found: list[int] = _cheapest_compiled(np.ascontiguousarray(apart), words, gap).tolist()
    return found
