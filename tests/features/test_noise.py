import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from sift_ray.features.intensity import intensity_track, speech_activity
from sift_ray.features.noise import _TABLE_DB, MIN_FRAMES, _wada_snr, _wada_table, snr
from sift_ray.features.spectrum import power_spectrogram
from tests.features.conftest import Clip

LEVELS = range(-5, 41, 5)


def measured(clip: Clip) -> float:
    value, reason = snr(clip, power_spectrogram(clip))
    assert reason is None
    assert value is not None
    return value


def mix(clip: Clip, noise: Clip, level_db: float) -> Clip:
    """Add `noise` at `level_db` under the active speech of `clip`."""
    levels, start = intensity_track(clip, pitch_floor=75.0)
    active = np.interp(np.arange(len(clip)) / 16000, start + 0.01 * np.arange(len(levels)), speech_activity(levels))
    power = np.mean(clip[active > 0.5].astype(np.float64) ** 2)
    gain = np.sqrt(power / np.mean(noise.astype(np.float64) ** 2) / 10 ** (level_db / 10))
    return (clip + gain * noise).astype(np.float32)


def white(length: int, voices: list[Clip], rng: np.random.Generator) -> Clip:
    return rng.standard_normal(length).astype(np.float32)


def babble(length: int, voices: list[Clip], rng: np.random.Generator) -> Clip:
    pool = np.concatenate(voices)
    return sum(np.roll(pool, int(rng.integers(len(pool))))[:length] for _ in range(12))


@pytest.mark.parametrize("noise", [white, babble])
def test_snr_follows_the_mix(noise, voices: list[Clip], rng: np.random.Generator) -> None:
    truth, found = [], []
    for clip in voices:
        for level in LEVELS:
            truth.append(level)
            found.append(measured(mix(clip, noise(len(clip), voices, rng), level)))
    assert spearmanr(truth, found).statistic >= 0.95
    errors = np.abs(np.array(found) - truth)[(np.array(truth) >= 0) & (np.array(truth) <= 30)]
    assert np.median(errors) <= 3.0


def test_level_does_not_matter(voice: Clip, rng: np.random.Generator) -> None:
    clip = mix(voice, white(len(voice), [], rng), 15)
    assert measured(clip * np.float32(0.1)) == pytest.approx(measured(clip), abs=0.01)


def test_digital_silence_between_words_is_not_the_noise_floor(voice: Clip, rng: np.random.Generator) -> None:
    clip = mix(voice, white(len(voice), [], rng), 15)
    gated = np.concatenate([np.zeros(8000, np.float32), clip, np.zeros(8000, np.float32)])
    assert measured(gated) == pytest.approx(measured(clip), abs=2.0)


def test_pure_noise_is_very_noisy(rng: np.random.Generator) -> None:
    assert measured((0.1 * rng.standard_normal(48000)).astype(np.float32)) < -5.0


def test_too_little_is_unknown(voice: Clip) -> None:
    enough = (MIN_FRAMES - 1) * 160 + 512
    assert enough / 16000 == pytest.approx(0.82, abs=0.005)
    for length in (4000, enough - 1):
        short = voice[8000:][:length]
        assert snr(short, power_spectrogram(short)) == (None, "too_short")
    assert np.isfinite(measured(voice[8000:][:enough]))
    gated = np.concatenate([voice[8000:20_000], np.zeros(16000, np.float32)])
    assert snr(gated, power_spectrogram(gated)) == (None, "no_noise_floor")
    click = np.zeros(16000, np.float32)
    click[8000] = 0.5
    assert snr(click, power_spectrogram(click)) == (None, "no_noise_floor")


def test_wada_table_is_that_of_the_paper() -> None:
    table = _wada_table()
    assert np.all(np.diff(table) > 0)
    at = {db: float(np.interp(db, _TABLE_DB, table)) for db in (-20, 0, 20)}
    # pure noise: ln E|z| - E ln|z| of a Gaussian is ln sqrt(2 / pi) + (ln 2 + euler) / 2
    assert at[-20] == pytest.approx(0.5 * np.log(2 / np.pi) + (np.log(2) + np.euler_gamma) / 2, abs=1e-3)
    assert at[0] < at[20] < np.log(0.4) + 2.5614  # a pure Gamma(0.4): ln 0.4 - digamma(0.4)


@pytest.mark.parametrize("level", [0, 10, 20])
def test_wada_recovers_the_snr_of_its_own_model(level: int, rng: np.random.Generator) -> None:
    speech = rng.gamma(0.4, size=400_000) * rng.choice([-1, 1], 400_000)
    noise = rng.standard_normal(400_000) * np.sqrt(np.mean(speech**2) / 10 ** (level / 10))
    assert _wada_snr((speech + noise).astype(np.float32)) == pytest.approx(level, abs=0.5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), length=st.integers(0, 20000), level=st.floats(1e-7, 1.0))
def test_any_signal_gives_a_number_or_a_reason(seed: int, length: int, level: float) -> None:
    clip = (level * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)
    value, reason = snr(clip, power_spectrogram(clip))
    assert (value is None) != (reason is None)
    assert value is None or np.isfinite(value)
