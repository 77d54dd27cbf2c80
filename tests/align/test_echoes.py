from __future__ import annotations

import numpy as np
import pytest

from sift_ray.align.echoes import without_echoes
from sift_ray.align.signal import PAD_SAMPLES, energy_db, pad
from sift_ray.corpora.demo_acoustics import room_response
from sift_ray.schema import SAMPLE_RATE

_QUIET = SAMPLE_RATE // 2
_GAP = slice(round(0.16 * SAMPLE_RATE), round(0.29 * SAMPLE_RATE))  # between two sounds, which come every 0.3 s


def _sounds(noise_db: float = -60.0) -> np.ndarray:
    """Return 0.5 s of quiet, 3 s of noise bursts, 150 ms long and of different spectra, and quiet; all in noise."""
    source = np.random.default_rng(3)
    clip = np.zeros(4 * SAMPLE_RATE)
    for number in range(10):
        burst = source.standard_normal(round(0.15 * SAMPLE_RATE))
        first = _QUIET + round(0.3 * number * SAMPLE_RATE)
        clip[first : first + burst.size] = 0.1 * np.convolve(burst, source.uniform(-1, 1, 4), "same")
    return clip + 0.1 * 10 ** (noise_db / 20) * source.standard_normal(clip.size)


def _in_room(clip: np.ndarray, t60_s: float, direct_db: float) -> np.ndarray:
    response = room_response(t60_s, direct_db, SAMPLE_RATE, np.random.default_rng(5))
    return np.convolve(clip, response)[: clip.size].astype(np.float32)


def _turns(clip: np.ndarray) -> np.ndarray:
    return clip[_QUIET:-_QUIET].reshape(10, -1)


def _gap_db(clip: np.ndarray) -> float:
    gaps = _turns(clip)[:, _GAP]
    return float(10 * np.log10(np.mean(np.square(gaps, dtype=np.float64))))


@pytest.mark.parametrize("t60_s", [0.4, 0.8])
@pytest.mark.parametrize("direct_db", [-3.0, 6.0])
def test_the_echo_between_sounds_is_taken_off_and_the_sounds_stay(t60_s: float, direct_db: float) -> None:
    heard = _in_room(_sounds(), t60_s, direct_db)
    cleaned = without_echoes(heard)
    assert cleaned.dtype == np.float32
    assert cleaned.shape == heard.shape
    assert _gap_db(cleaned) < _gap_db(heard) - 6
    begins = slice(0, round(0.05 * SAMPLE_RATE))
    before, after = (float(np.mean(np.square(_turns(clip)[:, begins]))) for clip in (heard, cleaned))
    assert abs(10 * np.log10(after / before)) < 3  # the echo under the sounds goes too


@pytest.mark.parametrize("noise_db", [-60.0, -12.0])
def test_a_dry_clip_comes_back_as_it_is(noise_db: float) -> None:
    clip = _sounds(noise_db).astype(np.float32)
    assert without_echoes(clip) is clip


def test_nothing_falls_under_the_background() -> None:
    source = np.random.default_rng(1)
    heard = _in_room(_sounds(), 0.6, 0.0) + 0.01 * source.standard_normal(4 * SAMPLE_RATE).astype(np.float32)
    cleaned = without_echoes(heard)
    assert not np.array_equal(cleaned, heard)
    assert float(energy_db(cleaned).min()) > -40 - 6  # the noise is at -40 dB


@pytest.mark.parametrize("samples", [0, 1, 255, 256, 4000, 20_001])
def test_any_length_comes_back(samples: int) -> None:
    heard = _in_room(_sounds(), 0.6, 0.0)[:samples]
    cleaned = without_echoes(heard)
    assert cleaned.shape == heard.shape
    assert np.isfinite(cleaned).all()
    assert np.isfinite(without_echoes(np.zeros(samples, np.float32))).all()


@pytest.mark.parametrize("noise_db", [-60.0, -20.0, -10.0, -5.0, 0.0])
def test_padding_makes_no_room_of_noise(noise_db: float) -> None:
    padded = pad(_sounds(noise_db).astype(np.float32))
    assert without_echoes(padded, PAD_SAMPLES) is padded


def test_a_padded_clip_of_a_room_is_told() -> None:
    heard = _in_room(_sounds(), 0.6, 0.0)
    cleaned = without_echoes(pad(heard), PAD_SAMPLES)
    assert _gap_db(cleaned[PAD_SAMPLES:-PAD_SAMPLES]) < _gap_db(heard) - 6


def test_sounds_that_are_held_stay() -> None:
    source = np.random.default_rng(8)
    held = np.convolve(source.standard_normal(4 * SAMPLE_RATE), np.hanning(5), "same")
    held *= np.repeat([0.001, 1, 0.001, 1], SAMPLE_RATE)
    padded = pad(0.1 * held.astype(np.float32))
    assert without_echoes(padded, PAD_SAMPLES) is padded
