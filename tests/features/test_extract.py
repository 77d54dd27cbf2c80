from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.audio.batching import ShrinkingBatches
from sift_ray.config import FeaturesConfig
from sift_ray.features.engine import Signal
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


@pytest.fixture(scope="module", params=["praat", "torch"])
def without_model(request: pytest.FixtureRequest) -> FeatureExtractor:
    return FeatureExtractor(FeaturesConfig(device="cpu", quality="none", engine=request.param))


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
        "pitch": "praat_ac",
        "intensity": "praat",
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
    assert features.speech_duration_s == pytest.approx(2.0, abs=1e-3)


def test_a_clip_that_is_cut_to_its_word_is_speech_throughout(without_model: FeatureExtractor) -> None:
    seconds = [0.1, 0.3, 0.5, 1.0]
    found = without_model.measure([tone(220.0, each) for each in seconds])
    assert [features.speech_duration_s for features in found] == pytest.approx(seconds, abs=1e-3)


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


def test_in_torch_a_clip_alone_is_as_in_a_batch(voices: list[Clip]) -> None:
    extractor = FeatureExtractor(FeaturesConfig(engine="torch", quality="none", batch_s=6))
    clips = [voices[0], voices[1][:9000], *list(bad_clips(voices[0]).values()), voices[2][:24000], voices[3]]
    together = extractor.measure(clips)
    for clip, one in zip(clips, together, strict=True):
        (alone,) = extractor.measure([clip])
        assert (alone.nulls, alone.reject_reason) == (one.nulls, one.reject_reason)
        for name in NUMBERS:
            expected = getattr(alone, name)
            assert getattr(one, name) == (None if expected is None else pytest.approx(expected, rel=1e-3, abs=1e-2))
        assert alone.tracks.f0_hz == pytest.approx(one.tracks.f0_hz, rel=1e-4)
        assert alone.tracks.intensity_db == pytest.approx(one.tracks.intensity_db, abs=1e-2)


def test_a_gpu_too_small_for_the_batch_measures_it_in_parts(
    voices: list[Clip], without_model: FeatureExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for a device whose memory holds 150,000 samples: three or four of these clips."""
    clips = [voices[0][:40_000]] * 9 + [np.tile(voices[0], 4)]
    expected = without_model.measure(clips)
    engine = without_model._signal
    sizes: list[int] = []

    class SmallDevice:
        backends = engine.backends

        def measure(self, clips: list[Clip]) -> list[Signal]:
            sizes.append(len(clips))
            if sum(map(len, clips)) > 150_000:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
            return engine.measure(clips)

    monkeypatch.setattr(without_model, "_signal", SmallDevice())
    monkeypatch.setattr(without_model, "_batches", ShrinkingBatches(10_000_000))
    found = without_model.measure(clips)
    assert [features.reject_reason for features in found] == [None] * 9 + ["out_of_memory"]
    assert "do not fit" in (found[-1].reject_detail or "")
    assert [features.pitch_median_hz for features in found[:9]] == pytest.approx(
        [features.pitch_median_hz for features in expected[:9]]
    )
    assert sizes[0] == 10
    assert max(sizes[-3:]) < 5


def test_what_is_off_is_null_and_says_so(voice: Clip) -> None:
    extractor = FeatureExtractor(FeaturesConfig(quality="none", room="none"))
    (features,) = extractor.measure([voice])
    assert_sound(features)
    assert extractor.backends == {"pitch": "praat_ac", "intensity": "praat"}
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
