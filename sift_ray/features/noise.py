"""Signal-to-noise ratio from the signal alone, by two published methods that each serve where the other fails.

Above the noise floor's reach: quantile-based noise estimation (V. Stahl, A. Fischer, R. Bippus, "Quantile based
noise estimation for spectral subtraction and Wiener filtering", ICASSP 2000; in the manner of R. Martin's minimum
statistics, 2001). In every frequency some frames hold no speech, so a low quantile of the smoothed power over time,
corrected for its bias, is the noise.

At low SNR speech hides its own pauses, and WADA-SNR takes over (C. Kim, R. M. Stern, "Robust signal-to-noise ratio
estimation based on waveform amplitude distribution analysis", Interspeech 2008): amplitudes of speech are taken as
Gamma-distributed with shape 0.4, those of noise as Gaussian; then ln E|z| - E ln|z| of their sum z depends on the
ratio of their powers only. It alone saturates near 25 dB and lies 2-3 dB off on real voices.

Both need pauses: without one the quietest moments of the words pass for noise, and WADA finds too few low amplitudes.
Of clean human recordings cut to their loudest 0.3 s, 70 % read below 20 dB; to 0.5 s, 34 %; to 0.83 s, 8 %; to 1.2 s,
2 %. Neither the contrast of their levels nor what WADA makes of them tells those from noisy clips, so clips under
0.82 s are unknown. A longer one that holds no pause still reads low above 25 dB.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from sift_ray.features.spectrum import HOP, WINDOW

BACKEND: Final = "quantile_wada"

MIN_FRAMES: Final = 80  # 0.82 s, of which most clips hold a pause
SMOOTHING: Final = 3  # frames
QUANTILE: Final = 0.02
BIAS: Final = (0.155, 2.9)  # of that quantile over the mean, of white noise in n frames: 0.155 + 2.9 / n
DIGITAL_SILENCE: Final = 1e-10  # mean square; 16-bit rounding alone makes 7.8e-11
LEVEL_FRAMES: Final = 5  # that the level of a frame is the mean of
ACTIVE: Final = 2.0  # speech is where the level is so many times the noise's,
LEAST_ACTIVE: Final = 0.05  # unless that is a smaller share of the frames:
LOUD_QUANTILE: Final = 0.7  # then speech is where the level is in the upper 30 %
LEAST_AMPLITUDE: Final = 1e-10  # has a logarithm

_BLEND_DB: Final = (4.0, 16.0)  # WADA alone below, quantiles alone above

_GAMMA_SHAPE: Final = 0.4
_TABLE_DB: Final = np.arange(-20.0, 60.5, 0.5)


def snr(waveform: NDArray[np.float32], power: NDArray[np.float32]) -> tuple[float | None, str | None]:
    """Estimate the ratio of the power of active speech to that of noise.

    Args:
        waveform: float32 [n], 16 kHz, without its mean, not all zero.
        power: its `power_spectrogram`.

    Returns:
        SNR in dB (at least -20, the end of WADA's table) and None, or None and the reason: `too_short` under
        0.82 s, or `no_noise_floor` where less of the clip than that is more than digital silence.
    """
    if len(power) < MIN_FRAMES:
        return None, "too_short"
    energy = power.sum(axis=1)
    # a gated pause says nothing of the noise under the speech, nor do the frames that reach into it
    sounding = ndimage.binary_erosion(energy > DIGITAL_SILENCE, iterations=WINDOW // HOP, border_value=1)
    if np.count_nonzero(sounding) < MIN_FRAMES:
        return None, "no_noise_floor"
    by_quantile = _quantile_snr(power[sounding])
    if _quantile_share(by_quantile) == 1.0:
        return by_quantile, None
    heard = waveform[: len(power) * HOP][np.repeat(sounding, HOP)]
    return blended(by_quantile, _wada_snr(heard)), None


def ratio_db(active: float, noise: float) -> float:
    """Return the SNR in dB where active frames have the mean power `active`, and noise has `noise`; inf without any."""
    if noise <= 0.0:
        return math.inf  # which is out of range, so unknown
    # under 3 % of the noise's power the difference of two estimates means nothing
    speech = max(active - noise, 0.03 * noise)
    return float(10.0 * np.log10(speech / noise))


def wada_db(spread: float) -> float:
    """Return the SNR in dB of a signal whose ln E|z| - E ln|z| is `spread`: at least -20, at most 60."""
    return float(np.interp(spread, _wada_table(), _TABLE_DB))


def blended(by_quantile: float, by_amplitude: float) -> float:
    """Return the SNR in dB that the quantile method and WADA give together."""
    share = _quantile_share(by_quantile)
    return share * by_quantile + (1.0 - share) * by_amplitude


def _quantile_share(by_quantile: float) -> float:
    low, high = _BLEND_DB
    return min(max((by_quantile - low) / (high - low), 0.0), 1.0)


def _quantile_snr(power: NDArray[np.float32]) -> float:
    smooth = ndimage.uniform_filter1d(power, SMOOTHING, axis=0, mode="nearest")
    bias = BIAS[0] + BIAS[1] / len(power)
    noise = float(np.quantile(smooth, QUANTILE, axis=0).sum(dtype=np.float64)) / bias
    energy = power.sum(axis=1, dtype=np.float64)
    level = ndimage.uniform_filter1d(energy, LEVEL_FRAMES, mode="nearest")
    active = level > ACTIVE * noise
    if np.mean(active) < LEAST_ACTIVE:
        active = level >= np.quantile(level, LOUD_QUANTILE)
    return ratio_db(float(energy[active].mean()), noise)


def _wada_snr(waveform: NDArray[np.float32]) -> float:
    amplitude = np.maximum(np.abs(waveform.astype(np.float64)), LEAST_AMPLITUDE)
    return wada_db(float(np.log(amplitude.mean()) - np.log(amplitude).mean()))


@functools.cache
def _wada_table() -> NDArray[np.float64]:
    """Return ln E|z| - E ln|z| of Gamma speech in Gaussian noise at each SNR of `_TABLE_DB`, rising.

    Both expectations over the noise are closed forms for a given amplitude of speech; that over speech is summed on
    a logarithmic grid, as the Gamma density is infinite at 0.
    """
    log_x = np.linspace(-40.0, np.log(60.0), 6000)
    x = np.exp(log_x)
    weights = np.exp(_GAMMA_SHAPE * log_x - x)
    weights /= weights.sum()
    table = []
    for snr_db in _TABLE_DB:
        sigma = np.sqrt(_GAMMA_SHAPE * (_GAMMA_SHAPE + 1.0) / 10.0 ** (snr_db / 10.0))
        mean = x / sigma
        # a folded normal's mean
        magnitude = np.sqrt(2.0 / np.pi) * np.exp(-(mean**2) / 2.0) + mean * special.erf(mean / np.sqrt(2.0))
        table.append(np.log(weights @ magnitude) - weights @ _mean_log_of_shifted_normal(mean))
    return np.array(table)


def _mean_log_of_shifted_normal(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return E ln|mean + Z| of a standard normal Z: a Poisson mixture of log-chi-square means."""
    grid = np.linspace(0.0, 20.0, 1001)
    terms = np.arange(600)
    half = grid[:, None] ** 2 / 2.0
    poisson = np.exp(special.xlogy(terms, half) - half - special.gammaln(terms + 1.0))
    near = 0.5 * (poisson @ special.digamma(terms + 0.5) + np.log(2.0))
    far = np.maximum(mean, 1.0)
    return np.where(mean > 20.0, np.log(far) - 0.5 / far**2, np.interp(mean, grid, near))
