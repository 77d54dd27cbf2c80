"""Sound prepared for alignment: faint noise around a clip, frame energies, cepstra.

All of it depends on the one clip alone, so that a clip aligned by itself and in any batch comes out the same.
"""

from __future__ import annotations

import math
import zlib
from functools import cache
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from sift_ray.align.mel import band_powers
from sift_ray.schema import SAMPLE_RATE

PAD_S: Final = 0.3
PAD_SAMPLES: Final = round(PAD_S * SAMPLE_RATE)
STEP_S: Final = 0.01
WINDOW_S: Final = 0.025
CEPSTRA: Final = 13
_STEP = round(STEP_S * SAMPLE_RATE)
_WINDOW = round(WINDOW_S * SAMPLE_RATE)
_BLOCK = math.gcd(_STEP, _WINDOW)
_FFT = 512
_PREEMPHASIS = 0.97
_FLOOR_DB = -100.0
_UNDER_DB = 50.0
_QUIETEST_DB = -90.0  # digital silence has no cepstra
_PAD_BELOW_DB = 12.0
_NOISE = 1 << 16  # samples, which come again in a longer clip
_SEEDING = 16  # every so many samples tell where in it a clip's noise begins

_FINE_STEP_S: Final = 0.001
_FINE_WINDOW_S: Final = 0.005
_FALL_BEFORE_S, _FALL_AFTER_S = 0.03, 0.005
_LEAST_FALL_DB = 6.0
_LEAST_SIDE = 3  # fine steps on either side of a fall


def frame_count(samples: int) -> int:
    """Return how many whole windows of 25 ms, 10 ms apart, lie in `samples`."""
    return 0 if samples < _WINDOW else 1 + (samples - _WINDOW) // _STEP


def _frames(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    if waveform.size < _WINDOW:
        return np.zeros((0, _WINDOW), np.float32)
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
        """Take the `waveform` (padded), whose level is measured in windows of 5 ms each millisecond."""
        self._waveform = np.ascontiguousarray(waveform, np.float32)

    def near(self, time_s: float, earliest_s: float) -> float:
        """Return where the level falls most between 30 ms before `time_s` and 5 ms after, not before `earliest_s`.

        It is the split that parts the levels on either side best (the largest variance between the two groups).
        Without a fall of at least 6 dB the time stays as it is.
        """
        from sift_ray.align.fall_kernel import steepest_fall

        first = max(round((time_s - _FALL_BEFORE_S) / _FINE_STEP_S), math.ceil(earliest_s / _FINE_STEP_S), 0)
        left, fall_db = steepest_fall(
            self._waveform,
            first,
            round((time_s + _FALL_AFTER_S) / _FINE_STEP_S),
            step=round(_FINE_STEP_S * SAMPLE_RATE),
            window=round(_FINE_WINDOW_S * SAMPLE_RATE),
            least=_LEAST_SIDE,
            floor=10 ** (_FLOOR_DB / 10),
        )
        if fall_db < _LEAST_FALL_DB:
            return time_s
        # a fine window holds the sound too until half of it has left
        return round((first + left - 0.5) * _FINE_STEP_S - _FINE_WINDOW_S / 2, 4)


def pad(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put `PAD_S` of noise before and after `waveform`, and a breath of noise under all.

    Silence-trimmed clips leave an aligner's silence model untaught, and it swallows a vowel. The noise at the ends
    has the spectrum and level of the quietest tenth of the clip's own frames, kept at least 12 dB under the clip's
    middle level, so that the model meets the background as it is. The white noise under all, 55 dB below the loud
    parts, makes one silence of the floors of very clean clips, which differ by codec and are nothing to hear. Both
    are pieces of one noise, begun where a checksum of the clip's samples says.
    """
    length = PAD_SAMPLES
    waveform = np.ascontiguousarray(waveform, np.float32)
    levels = energy_db(waveform)
    quiet, middle, loud = np.percentile(levels, [10, 50, 95]) if levels.size else [_FLOOR_DB] * 3
    # by samples, not by levels: what is computed may differ in the last bit on another processor
    source = np.roll(_white(), zlib.crc32(waveform[::_SEEDING].tobytes()) % _NOISE)
    white = source[-2 * length :].reshape(2, length)
    background = _background(_frames(waveform)[np.flatnonzero(levels <= quiet)], middle - _PAD_BELOW_DB, length)
    noise = np.fft.irfft(np.fft.rfft(white, axis=1) * background, length, axis=1)
    padded = np.concatenate([noise[0], waveform, noise[1]], dtype=np.float32)
    source *= np.float32(10 ** (max(loud - _UNDER_DB, _QUIETEST_DB) / 20))
    for first in range(0, padded.size, _NOISE):
        part = padded[first : first + _NOISE]
        part += source[: part.size]
    return padded


@cache
def _white() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(_NOISE, np.float32)


def _background(quiet: NDArray[np.float32], loudest_db: float, length: int) -> NDArray[np.float64]:
    """Return the amplitude of the `quiet` frames at each frequency of a transform of `length` samples.

    White noise of unit power through it has the frames' power, or `loudest_db` where that is less.
    """
    bins = np.linspace(0, 1, length // 2 + 1)
    if quiet.shape[0] == 0:
        return np.zeros(bins.size)
    window = np.hanning(_WINDOW).astype(np.float32)
    parts = scipy.fft.rfft(quiet * window, _FFT, axis=1).view(np.float32)  # real and imaginary by turns
    power = np.einsum("ij,ij->j", parts, parts).reshape(-1, 2).sum(axis=1) / (quiet.shape[0] * np.sum(window**2))
    amplitude = np.interp(bins, np.linspace(0, 1, power.size), np.sqrt(power))
    level = float(np.sqrt(np.mean(np.square(amplitude))))
    return np.asarray(amplitude * min(1.0, 10 ** (loudest_db / 20) / level) if level > 0 else amplitude, np.float64)


def cepstra(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mel-frequency cepstra, float32 `[frames, CEPSTRA]`, less the clip's mean.

    Pre-emphasis 0.97, Hamming window, 26 mel bands of 20–7600 Hz, orthonormal DCT-II (Davis and Mermelstein,
    IEEE ASSP 28(4), 1980, with the mel scale of O'Shaughnessy, 1987).
    """
    if frame_count(waveform.size) == 0:
        return np.zeros((0, CEPSTRA), np.float32)
    emphasised = np.empty(waveform.size, np.float32)
    emphasised[0] = waveform[0]
    np.multiply(waveform[:-1], np.float32(-_PREEMPHASIS), out=emphasised[1:])
    emphasised[1:] += waveform[1:]
    bands = band_powers(emphasised, np.hamming(_WINDOW).astype(np.float32), _STEP)
    coefficients = scipy.fft.dct(np.log(np.maximum(bands, 1e-10)), type=2, norm="ortho", axis=1)[:, :CEPSTRA]
    return np.asarray(coefficients - coefficients.mean(axis=0), np.float32)


def splice(features: NDArray[np.float32], context: int) -> NDArray[np.float32]:
    """Set each frame between its `context` neighbours on either side: `[n, d]` to `[n, (2·context+1)·d]`.

    The clip's ends stand in for what lies beyond them.
    """
    frames, width = features.shape[0], features.shape[1] * (2 * context + 1)
    if frames == 0:
        return np.zeros((0, width), np.float32)
    padded = np.ascontiguousarray(np.pad(features, ((context, context), (0, 0)), mode="edge"))
    # neighbours lie one behind the other in memory
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(padded, (frames, width), padded.strides))
