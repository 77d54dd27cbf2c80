"""The rooms, noises and levels of the demo: what happens to dry speech before it is a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import fft

Noise = Literal["floor", "white", "pink"]

_PEAK = 0.95


@dataclass(frozen=True, slots=True)
class Scene:
    """How a clip is recorded.

    Attributes:
        snr_db: Mean power of the speech, from its first to its last word, over that of the noise.
        noise: Kind of noise; `floor` is the faint white noise of an otherwise clean recording.
        t60_s: Reverberation time, or None for a dry room.
        direct_db: Energy of the direct sound over that of the reverberation; without meaning when dry.
        level_dbfs: RMS of the speech, from its first to its last word, re full scale.
        head_s: Quiet before the speech.
        tail_s: Quiet after it.
    """

    snr_db: float
    noise: Noise
    t60_s: float | None
    direct_db: float
    level_dbfs: float
    head_s: float
    tail_s: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded clip.

    Attributes:
        samples: float32 [n], mono, in [-1, 1].
        level_dbfs: Of the speech, as it came out (a clip that would overload is turned down).
        c50_db: Clarity of the room's impulse response; None when dry.
    """

    samples: NDArray[np.float32]
    level_dbfs: float
    c50_db: float | None


def record(
    dry: NDArray[np.int16],
    rates: tuple[int, int],
    scene: Scene,
    active_s: tuple[float, float],
    rng: np.random.Generator,
) -> Recording:
    """Resample, place in the room, set the level, add noise.

    Times move by exactly `scene.head_s`: soxr's filter has no delay, and the direct sound comes first.

    Args:
        dry: int16 [n].
        rates: Its rate and that of the result, in Hz.
        scene: The conditions.
        active_s: Start of the first word and end of the last one, in the dry clip.
        rng: Source of the noise and of the room.
    """
    rate_in, rate_out = rates
    head, tail = round(scene.head_s * rate_out), round(scene.tail_s * rate_out)
    speech = soxr.resample(dry.astype(np.float64) / 32768.0, rate_in, rate_out, quality="HQ")
    speech = np.concatenate([np.zeros(head), speech, np.zeros(tail)])
    c50 = None
    if scene.t60_s is not None:
        response = room_response(scene.t60_s, scene.direct_db, rate_out, rng)
        c50 = clarity_db(response, rate_out)
        speech = in_room(speech, response)[: len(speech)]
    start, end = (head + round(second * rate_out) for second in active_s)
    speech *= _from_db(scene.level_dbfs) / _rms(speech[start:end])
    noise = _noise(scene.noise, len(speech), rng)
    noise *= _from_db(scene.level_dbfs - scene.snr_db) / _rms(noise)
    mixed = speech + noise
    turned_down = min(1.0, _PEAK / float(np.abs(mixed).max()))
    return Recording(
        samples=(mixed * turned_down).astype(np.float32),
        level_dbfs=scene.level_dbfs + 20 * float(np.log10(turned_down)),
        c50_db=c50,
    )


def room_response(t60_s: float, direct_db: float, rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a synthetic impulse response: a unit direct sound, then noise that falls by 60 dB in `t60_s`.

    The exponentially decaying noise is Polack's model of late reverberation; it starts 4 ms after the
    direct sound.
    """
    length = max(1, round(t60_s * rate))
    response = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    response[: round(0.004 * rate)] = 0.0
    response *= _from_db(-direct_db) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    return np.asarray(response)


def in_room(dry: NDArray[np.float64], response: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the convolution, float64 [n + m - 1], of a sound [n] and a room's response [m]; both longer than 1.

    To the bit what scipy.signal.fftconvolve gives; importing that takes longer than a second.
    """
    length = dry.size + response.size - 1
    size = fft.next_fast_len(length, real=True)
    product = fft.rfft(dry, size) * fft.rfft(response, size)
    return np.asarray(fft.irfft(product, size)[:length])


def clarity_db(response: NDArray[np.float64], rate: int) -> float:
    """Return C50 (ISO 3382): energy of the first 50 ms over that of the rest, in dB."""
    energy = response**2
    early = round(0.05 * rate)
    return 10 * float(np.log10(energy[:early].sum() / energy[early:].sum()))


def _noise(kind: Noise, length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    white = rng.standard_normal(length)
    if kind != "pink":
        return white
    spectrum = np.fft.rfft(white)
    # power falls by 3 dB an octave; the first bins are held level so that no rumble dominates
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), length / 2000))
    return np.fft.irfft(spectrum, length)


def _rms(samples: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def _from_db(level_db: float) -> float:
    return float(10 ** (level_db / 20))
