"""How much better a transcript's phones explain a clip than other phones of the language do.

A wrong transcript finds some path too. So the clip is laid out, by its frames' phone likelihoods alone, once with
its own phones and once with each of a set of decoys: as many phones, taken from what the training clips say. A
right transcript beats them by far, a wrong one is one of them. (Utterance verification against anti-models, Rahim,
Lee and Juang, IEEE Trans. Speech and Audio Processing 5(3), 1997; here real phone strings are the anti-models.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST_FRAMES: Final = 3
"""A phone or a pause lasts 30 ms or more, as in viter."""

_CELLS = 2000  # phones of all decoys of a clip together: long strings need fewer, a chance likeness evens out
_FEWEST, _MOST = 12, 48
_NEVER = np.float32(-1e9)


@dataclass(frozen=True, slots=True)
class PhoneStrings:
    """`K` strings of phones to lay over a clip, filled up to `N` at their right.

    Attributes:
        columns: the likelihoods' column of each phone, int64 `[K, N]`.
        optional: which may be left out, bool `[K, N]`: the pauses around and between words.
        last: where each string's last pause is, int64 `[K]`.
    """

    columns: NDArray[np.int64]
    optional: NDArray[np.bool_]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[tuple[NDArray[np.int64], NDArray[np.bool_]]], silence: int) -> PhoneStrings:
        """Set out `(phones, whether a word begins there)`, with a pause of column `silence` around each word."""
        widths = [phones.size + int(starts.sum()) + 1 for phones, starts in strings]
        columns = np.full((len(strings), max(widths)), silence, np.int64)
        optional = np.zeros(columns.shape, np.bool_)
        for row, (phones, starts) in enumerate(strings):
            places = np.arange(phones.size) + np.cumsum(starts)
            columns[row, places] = phones
            optional[row, places[starts] - 1] = True
            optional[row, widths[row] - 1] = True
        return cls(columns, optional, np.array(widths) - 1)


def decoys_of(
    phones: NDArray[np.int64], spoken: NDArray[np.int64], starts: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Return strings of as many phones as `phones`, none equal to it or to each other, and where their words begin.

    They are stretches of `spoken`, the phones of the training clips, from words' beginnings (`starts`) that lie
    evenly over all of it. They depend on nothing else.
    """
    count = int(np.clip(_CELLS // max(phones.size, 1), _FEWEST, _MOST))
    beginnings = np.flatnonzero(starts)
    if phones.size == 0 or beginnings.size == 0:
        return []
    chosen = beginnings[np.unique(np.linspace(0, beginnings.size - 1, count).astype(np.int64))]
    seen = {phones.tobytes()}
    found = []
    for first in chosen:
        places = np.arange(first, first + phones.size) % spoken.size
        stretch = spoken[places]
        if stretch.tobytes() not in seen:
            seen.add(stretch.tobytes())
            found.append((stretch, starts[places]))
    return found


def path_scores(likelihoods: NDArray[np.float32], strings: PhoneStrings) -> NDArray[np.float32]:
    """Return the sum over frames of the best path of each string, float32 `[K]`; about -1e9 where none fits.

    Viterbi's search over `likelihoods`, float32 `[frames, columns]`: from the first frame to the last, phone after
    phone, each at least `LEAST_FRAMES`. All strings go through a frame at once.
    """
    frames = likelihoods.shape[0]
    count, width = strings.columns.shape
    # the sum of the LEAST_FRAMES frames that end at each: what it takes to enter a phone
    entering = np.full_like(likelihoods, _NEVER)
    if frames >= LEAST_FRAMES:
        entering[LEAST_FRAMES - 1 :] = np.lib.stride_tricks.sliding_window_view(likelihoods, LEAST_FRAMES, 0).sum(2)
    skipping = np.full((count, width), _NEVER, np.float32)
    skipping[:, 1:][strings.optional[:, :-1]] = 0.0
    # two columns before the strings: nothing, and what comes before the first phone
    recent = [np.full((count, width + 2), _NEVER, np.float32) for _ in range(LEAST_FRAMES)]
    recent[-1][:, 1] = 0.0
    staying = np.empty((count, width), np.float32)
    for frame in range(frames):
        before = recent[0]
        current = np.empty((count, width + 2), np.float32)
        current[:, :2] = _NEVER
        own = current[:, 2:]
        np.add(before[:, :-2], skipping, out=own)
        np.maximum(own, before[:, 1:-1], out=own)
        own += entering[frame].take(strings.columns)
        np.add(recent[-1][:, 2:], likelihoods[frame].take(strings.columns), out=staying)
        np.maximum(own, staying, out=own)
        recent = [*recent[1:], current]
    rows = np.arange(count)
    return np.asarray(np.maximum(recent[-1][rows, strings.last + 2], recent[-1][rows, strings.last + 1]), np.float32)
