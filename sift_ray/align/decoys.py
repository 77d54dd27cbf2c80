"""How much better a transcript's phones explain a clip than other phones of the language do.

A wrong transcript finds some path too. So the clip is laid out, by its frames' phone likelihoods alone, once with
its own phones and once with each of a set of decoys: as many phones, taken from what the training clips say. A
right transcript beats them by far, a wrong one is one of them. (Utterance verification against anti-models, Rahim,
Lee and Juang, IEEE Trans. Speech and Audio Processing 5(3), 1997; here real phone strings are the anti-models.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CELLS = 2000  # phones of all decoys of a clip together: long strings need fewer, a chance likeness evens out
_FEWEST, _MOST = 12, 48


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
        sizes = np.array([phones.size for phones, _ in strings])
        begins = np.cumsum(sizes) - sizes
        rows = np.repeat(np.arange(sizes.size), sizes)
        begun = np.concatenate([starts for _, starts in strings])
        words = np.concatenate([[0], np.cumsum(begun)])  # begun before each phone of all
        widths = sizes + words[begins + sizes] - words[begins] + 1
        places = np.arange(rows.size) - begins[rows] + words[1:] - words[begins[rows]]
        columns = np.full((sizes.size, widths.max()), silence, np.int64)
        columns[rows, places] = np.concatenate([phones for phones, _ in strings])
        optional = np.zeros(columns.shape, np.bool_)
        optional[rows[begun], places[begun] - 1] = True
        optional[np.arange(sizes.size), widths - 1] = True
        return cls(columns, optional, widths - 1)


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
    places = (chosen[:, None] + np.arange(phones.size)) % spoken.size
    seen = {phones.astype(spoken.dtype).tobytes()}
    found = []
    for stretch, begun in zip(spoken[places], starts[places], strict=True):
        if (key := stretch.tobytes()) not in seen:
            seen.add(key)
            found.append((stretch, begun))
    return found


def path_scores(likelihoods: NDArray[np.float32], strings: PhoneStrings) -> NDArray[np.float32]:
    """Return the sum over frames of the best path of each string, float32 `[K]`; about -1e9 where none fits.

    Viterbi's search over `likelihoods`, float32 `[frames, columns]`: from the first frame to the last, phone after
    phone, each at least `LEAST_FRAMES`.
    """
    from sift_ray.align.path_kernel import best_paths

    return best_paths(likelihoods, strings.columns, strings.optional, strings.last)
