import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.features import quality
from sift_ray.features.quality import WINDOW_SAMPLES, Dnsmos, dnsmos_windows
from tests.features.conftest import Clip


@pytest.fixture(scope="module")
def dnsmos() -> Dnsmos:
    return Dnsmos()


def by_speechmos(window: np.ndarray) -> tuple[float, float, float]:
    from speechmos import dnsmos as reference

    scores = reference.run(window, 16000)
    return scores["sig_mos"], scores["bak_mos"], scores["ovrl_mos"]


@pytest.mark.parametrize("seconds", [0.25, 1.733, 8.7, 9.01, 11.3])
def test_a_window_is_judged_as_speechmos_does(seconds: float, dnsmos: Dnsmos, voices: list[Clip]) -> None:
    clip = np.concatenate(voices)[4000 : 4000 + round(seconds * 16000)]
    (window,) = dnsmos_windows(clip)
    (scores,) = dnsmos.score([clip])
    assert scores == pytest.approx(by_speechmos(window.cut(0, WINDOW_SAMPLES)), abs=1e-3)


def test_a_clip_of_half_a_window_is_near_speechmos_itself(dnsmos: Dnsmos, voice: Clip) -> None:
    # 75,050 samples: speechmos doubles the clip and hears one window of it; here the cut to whole hops takes 10, and
    # the repetition falls into the frames as the first time did, which a dry synthetic voice shows at its worst
    (scores,) = dnsmos.score([voice[:75_050]])
    assert scores == pytest.approx(by_speechmos(voice[:75_050]), abs=0.3)


def test_several_windows_are_averaged(voices: list[Clip]) -> None:
    clip = np.concatenate(voices)[: 14 * 16000]
    windows = dnsmos_windows(clip, 2)
    assert len(windows) == 2
    each = [Dnsmos().score([window.cut(0, WINDOW_SAMPLES)])[0] for window in windows]
    assert Dnsmos(windows=2).score([clip])[0] == pytest.approx(np.mean(each, axis=0), abs=1e-6)


def test_a_period_and_its_edges_hold_the_whole_window(dnsmos: Dnsmos, voice: Clip) -> None:
    for seconds in (0.26, 0.9, 8.9):
        (window,) = dnsmos_windows(np.resize(voice, round(seconds * 16000)))
        whole = dnsmos._run_front(window.cut(0, WINDOW_SAMPLES)[None])
        assert np.allclose(dnsmos._features(window), whole, atol=1e-4)


def test_noise_costs_quality(dnsmos: Dnsmos, voices: list[Clip], rng: np.random.Generator) -> None:
    noisy = [clip + (0.05 * rng.standard_normal(len(clip))).astype(np.float32) for clip in voices[:3]]
    for clean, spoilt in zip(dnsmos.score(voices[:3]), dnsmos.score(noisy), strict=True):
        assert clean is not None
        assert spoilt is not None
        assert spoilt.ovrl < clean.ovrl
        assert spoilt.bak < clean.bak


def test_a_clip_too_short_is_not_judged(dnsmos: Dnsmos, voice: Clip) -> None:
    assert dnsmos.score([voice[:3999], voice[:0]]) == [None, None]
    assert dnsmos.score([]) == []


@given(length=st.integers(0, 400_000), windows=st.integers(1, 16))
def test_windows_are_whole_and_lie_in_the_clip(length: int, windows: int) -> None:
    clip = np.arange(length, dtype=np.float32)
    cut = dnsmos_windows(clip, windows)
    assert len(cut) <= windows
    assert bool(cut) == (length >= quality.MIN_SAMPLES)
    for window in cut:
        samples = window.cut(0, WINDOW_SAMPLES)
        assert len(samples) == WINDOW_SAMPLES
        if length >= WINDOW_SAMPLES:
            assert np.array_equal(np.diff(samples[[0, -1]]), [WINDOW_SAMPLES - 1])
        else:
            assert samples[window.period * 160] == samples[0]
    if len(cut) == 1 and length >= WINDOW_SAMPLES:
        assert abs((length - WINDOW_SAMPLES) // 2 - cut[0].heard[0]) <= 1


@given(length=st.integers(quality.MIN_SAMPLES, 200_000), start=st.integers(0, WINDOW_SAMPLES), data=st.data())
def test_a_part_of_a_window_is_that_of_the_repeated_clip(length: int, start: int, data: st.DataObject) -> None:
    clip = np.arange(length, dtype=np.float32)
    (window,) = dnsmos_windows(clip)
    assert np.shares_memory(window.heard, clip)
    whole = np.resize(clip[: length // 160 * 160], WINDOW_SAMPLES) if length < WINDOW_SAMPLES else window.heard
    count = data.draw(st.integers(0, WINDOW_SAMPLES - start))
    assert np.array_equal(window.cut(start, count), whole[start : start + count])


def test_short_clips_become_windows_without_memory() -> None:
    clips = [np.zeros(16_000, np.float32) for _ in range(600)]
    tracemalloc.start()
    windows = [dnsmos_windows(clip) for clip in clips]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(windows) == 600
    assert peak < 1e6


def test_a_missing_model_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install speechmos"):
        Dnsmos()


def test_another_model_is_refused() -> None:
    other = quality._model_path().with_name("model_v8.onnx")
    with pytest.raises(ValueError, match="not the DNSMOS model"):
        quality.load_model(other)
