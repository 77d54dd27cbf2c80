from collections.abc import Sequence

import numpy as np
import pytest

from sift_ray.features import quality
from sift_ray.features.quality import FRAMES, WINDOW_SAMPLES, Dnsmos, MosScores, Window, dnsmos_windows
from tests.features.conftest import Clip
from tests.features.test_quality import by_speechmos
from tests.human_speech import recordings

torch = pytest.importorskip("torch")

from sift_ray.features.batched import dnsmos as batched  # noqa: E402
from sift_ray.features.batched.dnsmos import BatchedDnsmos  # noqa: E402


@pytest.fixture(scope="module")
def dnsmos() -> BatchedDnsmos:
    return BatchedDnsmos(device="cpu")


@pytest.fixture(scope="module")
def human() -> list[Clip]:
    """Twenty recordings of 0.7 to 5 s in four languages."""
    return [recording.samples for recording in recordings(20)[::4]]


def differences(one: Sequence[MosScores | None], other: Sequence[MosScores | None]) -> np.ndarray:
    assert [scores is None for scores in one] == [scores is None for scores in other]
    return np.abs(np.array([scores for scores in one if scores]) - np.array([scores for scores in other if scores]))


@pytest.mark.parametrize("seconds", [0.25, 1.733, 8.95, 11.3])
def test_a_synthetic_voice_is_judged_as_speechmos_does(
    seconds: float, dnsmos: BatchedDnsmos, voices: list[Clip]
) -> None:
    clip = np.concatenate(voices)[4000 : 4000 + round(seconds * 16000)]
    (window,) = dnsmos_windows(clip)
    assert dnsmos.score([clip])[0] == pytest.approx(by_speechmos(window.cut(0, WINDOW_SAMPLES)), abs=1e-3)


@pytest.mark.parametrize("half", [False, True])
def test_people_are_judged_as_speechmos_does(half: bool, human: list[Clip]) -> None:
    clips = human[:3] if half else human[3:6]
    scores = BatchedDnsmos(device="cpu", half=half).score(clips)
    for clip, found in zip(clips, scores, strict=True):
        (window,) = dnsmos_windows(clip)
        assert found == pytest.approx(by_speechmos(window.cut(0, WINDOW_SAMPLES)), abs=1e-3)


def test_mixed_lengths_are_judged_as_onnxruntime_does(dnsmos: BatchedDnsmos, human: list[Clip]) -> None:
    assert differences(dnsmos.score(human), Dnsmos().score(human)).max() < 1e-3


def test_silence_and_full_scale_are_judged_as_onnxruntime_does(dnsmos: BatchedDnsmos) -> None:
    square = np.where(np.arange(20_000) % 80 < 40, 1.0, -1.0).astype(np.float32)
    clips = [np.zeros(16_000, np.float32), square]
    assert differences(dnsmos.score(clips), Dnsmos().score(clips)).max() < 1e-3


def test_half_precision_moves_clicks_as_little_as_it_is_said_to() -> None:
    clicks = [np.eye(1, length, place, dtype=np.float32)[0] for length, place in ((16_000, 8_000), (6_400, 1))]
    apart = differences(BatchedDnsmos(device="cpu", half=True).score(clicks), Dnsmos().score(clicks))
    assert 1e-4 < apart.max() < 3e-3


def test_a_clip_is_judged_alone_as_in_a_batch(
    dnsmos: BatchedDnsmos, human: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [human[0], human[1][:100], human[1][:9000], human[2], np.concatenate(human[3:8])[:170_000], human[9]]
    together = dnsmos.score(clips)
    assert together[1] is None
    alone = [dnsmos.score([clip])[0] for clip in clips]
    assert differences(together, alone).max() < 1e-4
    # and with all but the longest in one group, whatever they need
    monkeypatch.setattr(batched, "_SHORTEST", 0.0)
    assert differences(dnsmos.score(clips[:4]), alone[:4]).max() < 1e-4


def test_windows_of_a_long_clip_are_averaged(voices: list[Clip]) -> None:
    clip = np.concatenate(voices)[: 14 * 16000]
    together = BatchedDnsmos(device="cpu", windows=2).score([voices[0][:8000], clip])
    assert differences(together, Dnsmos(windows=2).score([voices[0][:8000], clip])).max() < 1e-3


def test_a_clip_too_short_is_not_judged(dnsmos: BatchedDnsmos, voice: Clip) -> None:
    assert dnsmos.score([voice[:3999], voice[:0]]) == [None, None]
    assert dnsmos.score([]) == []


def test_groups_are_alike_and_fit_the_memory(rng: np.random.Generator) -> None:
    silence = np.zeros(WINDOW_SAMPLES, np.float32)
    shapes = set()
    for _ in range(20):
        periods = [*rng.integers(25, 900, rng.integers(300)).tolist(), *[25] * 200, *[901] * rng.integers(20)]
        windows = sorted((Window(silence[: period * 160]) for period in periods), key=lambda w: -w.head_frames)
        groups = list(batched._groups(windows))
        assert [id(window) for group in groups for window in group] == [id(window) for window in windows]
        for group in groups:
            longest, shortest = group[0].head_frames, group[-1].head_frames
            computed = batched._computed_frames(group[0])
            assert longest <= computed <= min(longest + 31, FRAMES)
            assert computed * len(group) <= 8 * FRAMES
            assert len(group) in (1, 2, 4, 8, 16, 32, 64)
            assert shortest >= 0.75 * longest
            shapes.add((len(group), computed))
        needed = sum(window.head_frames for window in windows)
        assert sum(batched._computed_frames(group[0]) * len(group) for group in groups) < 1.6 * needed
    assert len(shapes) < 100


def test_a_missing_model_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install speechmos"):
        BatchedDnsmos(device="cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_gpu_judges_as_onnxruntime_does(human: list[Clip]) -> None:
    click = np.eye(1, 16_000, 8_000, dtype=np.float32)[0]
    by_onnxruntime = Dnsmos().score([*human, click])
    for half in (None, False):
        apart = differences(BatchedDnsmos(device="cuda", half=half).score([*human, click]), by_onnxruntime)
        assert apart[:-1].max() < 1e-3
        assert apart[-1].max() < (1e-3 if half is False else 3e-3)
