from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.config import FeaturesConfig
from sift_ray.features.extract import ClipFeatures, FeatureExtractor
from sift_ray.schema import ANNOTATIONS, MEASURES
from tests.features.conftest import Clip, tone

NUMBERS = [
    field.name
    for field in fields(ClipFeatures)
    if field.name not in ("nulls", "reject_reason", "reject_detail", "tracks")
]


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(FeaturesConfig(device="cpu"))


@pytest.fixture(scope="module")
def without_model() -> FeatureExtractor:
    return FeatureExtractor(FeaturesConfig(device="cpu", quality="none"))


def bad_clips(voice: Clip) -> dict[str, Clip]:
    spoilt = voice.copy()
    spoilt[100] = np.nan
    return {
        "nan": spoilt,
        "infinite": np.where(np.arange(len(voice)) == 5, np.inf, voice).astype(np.float32),
        "empty": voice[:0],
        "stereo": np.stack([voice, voice]),
        "ten_ms": voice[8000:8160],
        "one_sample": np.array([0.5], np.float32),
        "dc": np.full(16000, 0.5, np.float32),
        "silence": np.zeros(16000, np.float32),
        "click": np.eye(1, 16000, 8000, dtype=np.float32)[0],
        "overloaded": np.clip(voice * 1000, -1, 1),
        "loud": voice * 1e6,
    }


def assert_sound(features: ClipFeatures) -> None:
    """Every number is feasible or None with one reason; no NaN anywhere."""
    reasons = dict(null.split(":") for null in features.nulls)
    assert len(reasons) == len(features.nulls)
    for name in NUMBERS:
        value = getattr(features, name)
        if value is not None:
            assert isinstance(value, float)
            assert np.isfinite(value)
            if name in MEASURES:
                assert MEASURES[name].low <= value <= MEASURES[name].high
        if features.reject_reason is None:
            assert (value is None) == (name in reasons)
        else:
            assert value is None
            assert features.reject_detail
    assert features.tracks.f0_hz.dtype == features.tracks.intensity_db.dtype == np.float32
    assert np.isfinite(features.tracks.f0_hz).all()
    assert np.isfinite(features.tracks.intensity_db).all()


def test_a_voice_is_measured_in_full(extractor: FeatureExtractor, voices: list[Clip]) -> None:
    for clip, features in zip(voices[:4], extractor.measure(voices[:4]), strict=True):
        assert_sound(features)
        assert features.nulls == ()
        assert features.speech_duration_s is not None
        assert 0.5 * len(clip) / 16000 < features.speech_duration_s <= len(clip) / 16000
        assert abs(len(features.tracks.f0_hz) - len(clip) / 160) < 10
    assert extractor.backends == {
        "snr": "quantile_wada",
        "c50": "decay_distribution",
        "distortion": "dnsmos_sig",
        "quality": "dnsmos_ovrl",
    }
    assert all(f"{name}_backend" in ANNOTATIONS.names for name in extractor.backends)


def test_a_tone_of_known_pitch_and_level(without_model: FeatureExtractor) -> None:
    (features,) = without_model.measure([tone(220.0, 2.0, 0.1) + np.float32(0.2)])  # the mean is taken away
    assert features.pitch_median_hz == pytest.approx(220.0, abs=0.5)
    assert features.intensity_db == pytest.approx(20 * np.log10(0.1 / 2e-5), abs=0.1)
    assert features.speech_duration_s == pytest.approx(2.0, abs=0.1)


def test_bad_clips_cost_only_themselves(extractor: FeatureExtractor, voice: Clip) -> None:
    bad = bad_clips(voice)
    measured = dict(zip([*bad, "good"], extractor.measure([*bad.values(), voice]), strict=True))
    for features in measured.values():
        assert_sound(features)
    assert {name: features.reject_reason for name, features in measured.items()} == {
        "nan": "non_finite",
        "infinite": "non_finite",
        "empty": "empty_audio",
        "stereo": "empty_audio",
        "ten_ms": None,
        "one_sample": "silent",
        "dc": "silent",
        "silence": "silent",
        "click": None,
        "overloaded": None,
        "loud": None,
        "good": None,
    }
    assert measured["good"].nulls == ()
    assert set(measured["ten_ms"].nulls) == {f"{name}:too_short" for name in NUMBERS}
    assert "pitch_median_hz:unvoiced" in measured["click"].nulls
    assert "intensity_db:out_of_range" in measured["loud"].nulls


def test_a_clip_alone_is_as_in_a_batch(extractor: FeatureExtractor, voices: list[Clip]) -> None:
    clips = [voices[0], voices[1][:9000], *list(bad_clips(voices[0]).values())[:3], voices[2][:24000]]
    together = extractor.measure(clips)
    backwards = extractor.measure(clips[::-1])[::-1]
    for clip, one, other in zip(clips, together, backwards, strict=True):
        (alone,) = extractor.measure([clip])
        for name in (*NUMBERS, "nulls", "reject_reason"):
            assert getattr(alone, name) == getattr(one, name) == getattr(other, name)
        assert np.array_equal(alone.tracks.f0_hz, one.tracks.f0_hz)
        assert np.array_equal(alone.tracks.intensity_db, one.tracks.intensity_db)


def test_what_is_off_is_null_and_says_so(voice: Clip) -> None:
    extractor = FeatureExtractor(FeaturesConfig(quality="none", room="none"))
    (features,) = extractor.measure([voice])
    assert_sound(features)
    assert extractor.backends == {}
    assert set(features.nulls) == {f"{name}:disabled" for name in ("snr_db", "c50_db", "distortion", "quality")}


def test_no_clips() -> None:
    assert FeatureExtractor(FeaturesConfig(quality="none")).measure([]) == []


def test_the_clip_is_not_changed(without_model: FeatureExtractor, voice: Clip) -> None:
    before = voice.copy()
    without_model.measure([voice])
    assert np.array_equal(before, voice)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 12_000),
    level=st.floats(0, 1e6),
    kind=st.sampled_from(["noise", "tone", "steps"]),
    offset=st.floats(-1, 1),
    seed=st.integers(0, 99),
)
def test_anything_is_measured_or_explained(
    without_model: FeatureExtractor, length: int, level: float, kind: str, offset: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    wave = {
        "noise": lambda: rng.standard_normal(length),
        "tone": lambda: np.sin(np.arange(length) * rng.uniform(0, 3)),
        "steps": lambda: np.repeat(rng.standard_normal(length // 500 + 1), 500)[:length],
    }[kind]()
    (features,) = without_model.measure([(level * wave + offset).astype(np.float32)])
    assert_sound(features)
