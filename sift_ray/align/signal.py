"""Sound prepared for alignment: faint noise around a clip, echoes taken off it, frame energies, cepstra.

All of it depends on the one clip alone, so that a clip aligned by itself and in any batch comes out the same.
"""

from __future__ import annotations

import math
import zlib
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sift_ray.align.echoes import without_echoes
from sift_ray.align.mel import MELS, mel_filters
from sift_ray.schema import SAMPLE_RATE

PAD_S: Final = 0.3
STEP_S: Final = 0.01
WINDOW_S: Final = 0.025
CEPSTRA: Final = 13
_STEP = round(STEP_S * SAMPLE_RATE)
_WINDOW = round(WINDOW_S * SAMPLE_RATE)
_BLOCK = math.gcd(_STEP, _WINDOW)
_AT_ONCE = 64  # frames: their spectra stay in the processor's cache
_FFT = 512
_PREEMPHASIS = 0.97
_FLOOR_DB = -100.0
_UNDER_DB = 50.0
_QUIETEST_DB = -90.0  # digital silence has no cepstra
_PAD_BELOW_DB = 12.0

_FINE_STEP_S: Final = 0.001
_FINE_WINDOW_S: Final = 0.005
_FALL_BEFORE_S, _FALL_AFTER_S = 0.03, 0.005
_LEAST_FALL_DB = 6.0
_LEAST_SIDE = 3  # fine steps on either side of a fall


def frame_count(samples: int) -> int:
    """Return how many whole windows of 25 ms, 10 ms apart, lie in `samples`."""
    return 0 if samples < _WINDOW else 1 + (samples - _WINDOW) // _STEP


def _frames(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.lib.stride_tricks.sliding_window_view(waveform, _WINDOW)[::_STEP]


def energy_db(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the energy of each frame in dB re full scale, float32 `[frames]`, not under -100."""
    blocks = waveform[: waveform.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    energies = np.einsum("ij,ij->i", blocks, blocks)  # each is part of two or three frames
    frames = frame_count(waveform.size)
    power = np.zeros(frames, np.float32)
    for first in range(_WINDOW // _BLOCK):
        power += energies[first :: _STEP // _BLOCK][:frames]
    return np.asarray(10.0 * np.log10(np.maximum(power / _WINDOW, 10 ** (_FLOOR_DB / 10))), np.float32)


class Falls:
    """Finds where the sound really falls off near a boundary that was found in frames of 25 ms.

    Such a frame holds a loud sound until all of it has left, so an aligner lays the end of a vowel before a closure
    or a fricative half a frame late: 12.5 ms, within 1 ms, on clean synthetic speech. Rises have no such lag.
    """

    def __init__(self, waveform: NDArray[np.float32]) -> None:
        """Measure the level of `waveform` (padded) in windows of 5 ms each millisecond."""
        step, window = round(_FINE_STEP_S * SAMPLE_RATE), round(_FINE_WINDOW_S * SAMPLE_RATE)
        total = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
        centres = np.arange(0, waveform.size, step)
        first, last = np.maximum(centres - window // 2, 0), np.minimum(centres + window // 2, waveform.size)
        power = (total[last] - total[first]) / np.maximum(last - first, 1)
        self._levels = 10.0 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))

    def near(self, time_s: float, earliest_s: float) -> float:
        """Return where the level falls most between 30 ms before `time_s` and 5 ms after, not before `earliest_s`.

        It is the split that parts the levels on either side best (the largest variance between the two groups).
        Without a fall of at least 6 dB the time stays as it is.
        """
        first = max(round((time_s - _FALL_BEFORE_S) / _FINE_STEP_S), int(np.ceil(earliest_s / _FINE_STEP_S)), 0)
        levels = self._levels[first : round((time_s + _FALL_AFTER_S) / _FINE_STEP_S)]
        if levels.size < 2 * _LEAST_SIDE:
            return time_s
        left = np.arange(_LEAST_SIDE, levels.size - _LEAST_SIDE + 1)
        total = np.cumsum(levels)
        falls = total[left - 1] / left - (total[-1] - total[left - 1]) / (levels.size - left)
        best = int(np.argmax(falls * np.sqrt(left * (levels.size - left))))
        if falls[best] < _LEAST_FALL_DB:
            return time_s
        # a fine window holds the sound too until half of it has left
        return round((first + int(left[best]) - 0.5) * _FINE_STEP_S - _FINE_WINDOW_S / 2, 4)


def pad(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put `PAD_S` of noise before and after `waveform`, a breath of noise under all, and take a room's echo off it.

    Silence-trimmed clips leave an aligner's silence model untaught, and it swallows a vowel. The noise at the ends
    has the spectrum and level of the quietest tenth of the clip's own frames, kept at least 12 dB under the clip's
    middle level, so that the model meets the background as it is. The white noise under all, 55 dB below the loud
    parts, makes one silence of the floors of very clean clips, which differ by codec and are nothing to hear. Both
    are seeded by the clip's checksum.
    """
    length = round(PAD_S * SAMPLE_RATE)
    waveform = np.ascontiguousarray(waveform, np.float32)
    source = np.random.default_rng(zlib.crc32(waveform.data))
    white = source.standard_normal((2, length), np.float32)
    levels = energy_db(waveform)
    noise = np.fft.irfft(np.fft.rfft(white, axis=1) * _background(waveform, levels, length), length, axis=1)
    padded = np.concatenate([noise[0], waveform, noise[1]], dtype=np.float32)
    loud = float(np.percentile(levels, 95)) if levels.size else _FLOOR_DB
    under = 10 ** (max(loud - _UNDER_DB, _QUIETEST_DB) / 20)
    padded += np.float32(under) * source.standard_normal(padded.size, np.float32)
    return without_echoes(padded)


def _background(waveform: NDArray[np.float32], levels: NDArray[np.float32], length: int) -> NDArray[np.float64]:
    """Return the amplitude of the quiet parts at each frequency of a transform of `length` samples.

    `levels` is the waveform's `energy_db`. White noise of unit power through it has the background's power.
    """
    bins = np.linspace(0, 1, length // 2 + 1)
    if levels.size == 0:
        return np.zeros(bins.size)
    window = np.hanning(_WINDOW).astype(np.float32)
    quiet = _frames(waveform)[np.flatnonzero(levels <= np.percentile(levels, 10))]
    quiet *= window
    power = np.mean(np.square(np.abs(scipy.fft.rfft(quiet, _FFT, axis=1))), axis=0) / np.sum(window**2)
    amplitude = np.interp(bins, np.linspace(0, 1, power.size), np.sqrt(power))
    loudest = 10 ** ((float(np.median(levels)) - _PAD_BELOW_DB) / 20)
    level = float(np.sqrt(np.mean(np.square(amplitude))))
    return np.asarray(amplitude * min(1.0, loudest / level) if level > 0 else amplitude, np.float64)


def cepstra(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mel-frequency cepstra, float32 `[frames, CEPSTRA]`, less the clip's mean.

    Pre-emphasis 0.97, Hamming window, 26 mel bands of 20–7600 Hz, orthonormal DCT-II (Davis and Mermelstein,
    IEEE ASSP 28(4), 1980, with the mel scale of O'Shaughnessy, 1987).
    """
    frames = frame_count(waveform.size)
    if frames == 0:
        return np.zeros((0, CEPSTRA), np.float32)
    emphasised = _frames(np.append(waveform[:1], waveform[1:] - np.float32(_PREEMPHASIS) * waveform[:-1]))
    window = np.hamming(_WINDOW).astype(np.float32)
    filled = np.zeros((min(frames, _AT_ONCE), _FFT), np.float32)
    bands = np.empty((frames, MELS), np.float32)
    for first in range(0, frames, _AT_ONCE):
        part = emphasised[first : first + _AT_ONCE]
        np.multiply(part, window, out=filled[: len(part), :_WINDOW])
        spectrum = scipy.fft.rfft(filled[: len(part)], axis=1)
        bands[first : first + _AT_ONCE] = np.square(np.abs(spectrum)) @ mel_filters(_FFT)
    coefficients = scipy.fft.dct(np.log(np.maximum(bands, 1e-10)), type=2, norm="ortho", axis=1)[:, :CEPSTRA]
    return np.asarray(coefficients - coefficients.mean(axis=0), np.float32)


def splice(features: NDArray[np.float32], context: int) -> NDArray[np.float32]:
    """Set each frame beside its `context` neighbours on either side: `[n, d]` to `[n, d·(2·context+1)]`."""
    if features.shape[0] == 0:
        return np.zeros((0, features.shape[1] * (2 * context + 1)), np.float32)
    padded = np.pad(features, ((context, context), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * context + 1, axis=0)
    return np.ascontiguousarray(windows).reshape(features.shape[0], -1)
