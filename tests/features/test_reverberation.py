import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.stats import spearmanr

from sift_ray.corpora.demo_acoustics import clarity_db, room_response
from sift_ray.features.reverberation import c50, decay_rate
from sift_ray.features.spectrum import power_spectrogram
from tests.features.conftest import Clip

T60_S = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.2)


def reverberated(clip: Clip, response: np.ndarray) -> Clip:
    wet = fftconvolve(clip, response)
    return (0.5 * wet / np.abs(wet).max()).astype(np.float32)


@pytest.mark.parametrize("noise_db", [None, 25.0])
def test_c50_follows_that_of_the_room(noise_db: float | None, voices: list[Clip], rng: np.random.Generator) -> None:
    truth, found = [], []
    for clip in voices:
        for t60 in T60_S:
            response = room_response(t60, float(rng.uniform(-3, 6)), 16000, rng)
            wet = reverberated(clip, response)
            if noise_db is not None:
                wet += (rng.standard_normal(len(wet)) * np.sqrt(np.mean(wet**2) / 10 ** (noise_db / 10))).astype("f4")
            value, reason = c50(power_spectrogram(wet))
            assert reason is None
            truth.append(clarity_db(response, 16000))
            found.append(value)
    assert spearmanr(truth, found).statistic >= 0.85
    assert np.median(np.abs(np.array(found) - truth)) < 4.0


def test_a_dry_voice_is_close(voices: list[Clip]) -> None:
    values = [c50(power_spectrogram(clip))[0] for clip in voices]
    assert all(value is not None and value > 25.0 for value in values)


def test_level_does_not_matter(voice: Clip) -> None:
    quiet, loud = (decay_rate(power_spectrogram(voice * np.float32(gain))) for gain in (0.03, 1.0))
    assert quiet == pytest.approx(loud, rel=1e-3)


@pytest.mark.parametrize("t60", [0.2, 0.5, 1.0])
def test_bursts_decay_at_the_rate_of_the_room(t60: float, rng: np.random.Generator) -> None:
    # noise bursts that stop at once leave nothing but the room to hear; no band falls much faster than it
    bursts = np.concatenate([np.r_[rng.standard_normal(4800), np.zeros(9600)] for _ in range(6)]).astype(np.float32)
    rate = decay_rate(power_spectrogram(reverberated(bursts, room_response(t60, -30.0, 16000, rng))))
    assert rate is not None
    assert 60 / t60 * 0.8 < rate < 60 / t60 * 2.0


def test_too_little_is_unknown(voice: Clip, rng: np.random.Generator) -> None:
    assert c50(power_spectrogram(voice[:6000])) == (None, "too_short")
    assert c50(power_spectrogram(np.empty(0, np.float32))) == (None, "too_short")
    steady = np.sin(np.arange(16000) * 0.3).astype(np.float32)
    assert c50(power_spectrogram(steady)) == (None, "no_decays")
