"""The search of `decoys.path_scores`, compiled by numba. To import it takes about a second: done when it is needed."""

from __future__ import annotations

from typing import Any, Final

import numba  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

LEAST_FRAMES: Final = 3
"""A phone or a pause lasts 30 ms or more, as in viter."""

NEVER: Final = np.float32(-1e9)
"""About what a path scores that can't be."""

_Rows = tuple[NDArray[np.float32], ...]


def compiled(function: Any, types: str) -> Any:
    """Compile `function` for arguments of `types`, and keep the result on disk where that can be done.

    What it calls must be compiled without being kept (`numba.njit`): a fault of the disk is met here alone.
    """
    try:
        return numba.njit(types, nogil=True, cache=True)(function)
    except Exception:
        # nothing may be written, the disk is full, what was kept is damaged (each says so in its own way); a fault of
        # the function itself comes again
        return numba.njit(types, nogil=True)(function)


def _larger_of(one: np.float32, other: np.float32) -> np.float32:
    return one if one > other else other  # one instruction: max() would mind NaN


_larger = numba.njit(nogil=True)(_larger_of)


def _stay_in_four(gains: _Rows, best: _Rows) -> None:
    """Stay in a phone from frame to frame wherever that is better than `best`, to enter it; four strings in turns.

    Each sum waits for the one before: meanwhile those of the other strings are made.
    """
    gains_a, gains_b, gains_c, gains_d = gains
    best_a, best_b, best_c, best_d = best
    in_a = in_b = in_c = in_d = NEVER
    for t in range(gains_a.size):
        in_a = _larger(in_a + gains_a[t], best_a[t])
        best_a[t] = in_a
        in_b = _larger(in_b + gains_b[t], best_b[t])
        best_b[t] = in_b
        in_c = _larger(in_c + gains_c[t], best_c[t])
        best_c[t] = in_c
        in_d = _larger(in_d + gains_d[t], best_d[t])
        best_d[t] = in_d


_stay = numba.njit(nogil=True)(_stay_in_four)


def _search(
    likelihoods: NDArray[np.float32],
    columns: NDArray[np.int64],
    optional: NDArray[np.bool_],
    last: NDArray[np.int64],
    first: NDArray[np.int64],
    until: NDArray[np.int64],
) -> NDArray[np.float32]:
    phones, frames = likelihoods.shape
    count, width = columns.shape
    # what the frames give that it takes to enter a phone, of which each frame is the last
    entering = np.full((phones, frames), NEVER, np.float32)
    for p in range(phones):
        for t in range(LEAST_FRAMES - 1, frames):
            entering[p, t] = likelihoods[p, t - 2] + likelihoods[p, t - 1] + likelihoods[p, t]
    # the best path of each string up to frame t is at t + LEAST_FRAMES: for a phone and, by turns, the two before it
    best = np.full((3, count, LEAST_FRAMES + frames), NEVER, np.float32)
    best[2, :, LEAST_FRAMES - 1] = 0
    found = np.full(count, NEVER, np.float32)
    for place in range(width):
        ends, before, skipped = best[place % 3], best[(place + 2) % 3], best[(place + 1) % 3]
        come = slice(first[place], until[place])
        become = slice(LEAST_FRAMES + first[place], LEAST_FRAMES + until[place])
        for k in range(count):
            ends[k, : LEAST_FRAMES + first[place]] = NEVER
            end, gain = ends[k, become], entering[columns[k, place], come]
            of_one, of_two = before[k, come], skipped[k, come]
            if place > 0 and optional[k, place - 1]:
                for t in range(end.size):
                    end[t] = _larger(of_one[t], of_two[t]) + gain[t]
            else:
                for t in range(end.size):
                    end[t] = of_one[t] + gain[t]
        for a in range(0, count, 4):
            b, c, d = min(a + 1, count - 1), min(a + 2, count - 1), min(a + 3, count - 1)
            _stay(
                (likelihoods[columns[a, place], come], likelihoods[columns[b, place], come],
                 likelihoods[columns[c, place], come], likelihoods[columns[d, place], come]),
                (ends[a, become], ends[b, become], ends[c, become], ends[d, become]),
            )  # fmt: skip
        for k in range(count):
            if last[k] - 1 <= place <= last[k]:
                found[k] = max(found[k], ends[k, -1])
    return found


_search_compiled = compiled(
    _search, "float32[::1](float32[:, ::1], int64[:, ::1], boolean[:, ::1], int64[::1], int64[::1], int64[::1])"
)


def best_paths(
    likelihoods: NDArray[np.float32], columns: NDArray[np.int64], optional: NDArray[np.bool_], last: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the score of each string's best path, float32 `[K]`; see `decoys.path_scores`.

    `likelihoods` is float32 `[frames, P]`, the rest as in `decoys.PhoneStrings`. Phone by phone, the best path that
    ends in it is found at all frames where a whole path can be, before the next is looked at.
    """
    frames = likelihoods.shape[0]
    # each phone before a place and after it needs its frames; what may be left out needs none
    passed = np.cumsum(~optional, axis=1)
    needed = np.take_along_axis(passed, last[:, None], axis=1)
    first = np.minimum(LEAST_FRAMES * (passed - ~optional).min(axis=0), frames)
    until = np.clip(frames - LEAST_FRAMES * (needed - passed).min(axis=0), first, frames)
    by_phone = np.ascontiguousarray(likelihoods.T, np.float32)
    found: NDArray[np.float32] = _search_compiled(by_phone, columns, optional, last, first, until)
    return found
