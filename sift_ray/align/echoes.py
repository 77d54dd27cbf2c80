"""The echo of a room taken from a clip, for an aligner: over it a word that begins softly is heard late.

A clip tells by itself whether it was recorded in a room. 100 ms after a loud sound its level in a band has often
fallen by any amount; in a room it can't fall faster than the echo does, there nearly all falls end at one depth.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sift_ray.align.mel import band_powers, mel_filters

_WINDOW = 512  # samples of 16 kHz, 32 ms; windows overlap by half
_STEP = _WINDOW // 2
_TAPER: Final = np.sqrt(np.hanning(_WINDOW + 1)[:-1]).astype(np.float32)

_DEEPEST = 0.1  # share of the falls that are taken to end in the echo
_BACKGROUND = 0.1, 2.0  # so many of the frames are quiet, and the mean of noise is so much over the loudest of them
_OVER_BACKGROUND = 100.0  # in power: a sound whose echo can be heard
_LEAST_SOUNDS = 50
_FIRST, _LAST = 2, 16  # steps of 16 ms between a sound and its echo
_TOLD_BY = 6
_ROOM_DB = -22.0, -5.0
"""A clip whose level falls deeper within 96 ms counts as dry, one where it hardly falls as held sounds (music). Of
synthetic clips (en, de, fr, 192) those in rooms with reverberation times of 0.25 to 0.9 s had -9 to -20.5, dry ones at
most -22.6 (chosen on these)."""
_SUBTRACTED, _FLOOR = 2.5, 0.01


def without_echoes(waveform: NDArray[np.float32], edge: int = 0) -> NDArray[np.float32]:
    """Return `waveform`, float32 `[n]` at 16 kHz, less the echo of its room; a dry clip comes back as it is.

    `edge` samples at either end are padding: the room is not measured there, where it may be quieter than it is.

    The echo's power in a band is that of the sounds before it times what is left of them after so long (Lebart,
    Boucher and Denbigh, Acta Acustica 87, 2001). What is left is measured: the depth that only a tenth of the
    falls pass. 2.5 times that is subtracted, and at most 20 dB (Berouti, Schwartz and Makhoul, ICASSP 1979), and
    never more than down to the background.
    """
    framed = np.pad(waveform, (_STEP, _STEP + -waveform.size % _STEP))
    widths, into_bins = _bands()
    power = band_powers(framed, _TAPER, _STEP) / widths
    outside = 1 + edge // _STEP  # the windows at the ends hold half a clip
    whole = power[outside:-outside]
    if whole.shape[0] <= _LAST:
        return waveform
    quantile, over = _BACKGROUND
    background = over * np.quantile((whole[:-2] + whole[1:-1] + whole[2:]) / 3, quantile, axis=0)
    dry, held = (10 ** (level / 10) for level in _ROOM_DB)
    if not dry <= _left_of_sounds(whole, background, _TOLD_BY) <= held:
        return waveform
    echo = np.zeros_like(power)
    for delay in range(_FIRST, _LAST + 1):
        left = _left_of_sounds(whole, background, delay)
        echo[delay:] = np.maximum(echo[delay:], left * power[:-delay])
    power = np.maximum(power, np.finfo(np.float32).tiny)
    kept = np.maximum(1 - _SUBTRACTED * echo / power, np.maximum(_FLOOR, np.minimum(background / power, 1)))
    frames = np.lib.stride_tricks.sliding_window_view(framed, _WINDOW)[::_STEP]
    spectrum = scipy.fft.rfft(frames * _TAPER, axis=1)
    spectrum *= np.asarray(np.sqrt(kept), np.float32) @ into_bins
    halves = scipy.fft.irfft(spectrum, _WINDOW, axis=1) * _TAPER
    joined = halves[:-1, _STEP:] + halves[1:, :_STEP]
    return np.asarray(joined.ravel()[: waveform.size], np.float32)


def _left_of_sounds(power: NDArray[np.float32], background: NDArray[np.float32], delay: int) -> float:
    """Return what share of a loud sound's power its band has `delay` frames later, at the least."""
    before, after = power[:-delay], np.maximum(power[delay:] - background, 0)
    loud = before > _OVER_BACKGROUND * background
    if np.count_nonzero(loud) < _LEAST_SOUNDS:
        return 0.0
    return float(np.quantile(after[loud] / before[loud], _DEEPEST))


@cache
def _bands() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the sum of each mel band's weights, and what spreads bands over bins again."""
    filters = mel_filters(_WINDOW)
    spread = filters.copy()
    edge = np.flatnonzero(filters.any(axis=1))[[0, -1]]
    spread[: edge[0], 0] = spread[edge[1] + 1 :, -1] = 1
    return filters.sum(axis=0), (spread / spread.sum(axis=1, keepdims=True)).T
