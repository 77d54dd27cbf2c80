import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.features.batched import ragged, spectrum
from sift_ray.features.batched.ragged import RaggedBatch, padded_chunks
from sift_ray.features.batched.spectrum import PowerSpectrograms, power_spectrograms, quantile
from sift_ray.features.spectrum import power_spectrogram
from tests.features.conftest import Clip

NOISE = (0.1 * np.random.default_rng(3).standard_normal(200_000)).astype(np.float32)


def by_clip(power: PowerSpectrograms) -> dict[int, np.ndarray]:
    return {
        clip: rows[:frames].numpy()
        for group in power.groups
        for clip, rows, frames in zip(group.clips, group.power, group.frames.tolist(), strict=True)
    }


def assert_as_each(clips: list[Clip]) -> None:
    power = power_spectrograms(RaggedBatch.of(clips, "cpu"))
    found = by_clip(power)
    for place, clip in enumerate(clips):
        expected = power_spectrogram(clip)
        assert power.frames[place] == len(expected)
        if len(expected):
            np.testing.assert_allclose(found.pop(place), expected, rtol=1e-4, atol=1e-6 * float(expected.max()))
    assert not found


def test_voices_are_as_each_alone(voices: list[Clip]) -> None:
    assert_as_each(voices)
    assert_as_each(voices[::-1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12_000), max_size=8))
def test_any_lengths(lengths: list[int]) -> None:
    assert_as_each([NOISE[length : 2 * length] for length in lengths])


def test_few_numbers_of_frames_are_transformed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ragged.ROW_STEP, "cpu", 64)
    monkeypatch.setattr(spectrum, "_CHUNK_FRAMES", 256)
    rows = set()
    transform = torch.fft.rfft

    def counted(frames: torch.Tensor) -> torch.Tensor:
        rows.add(len(frames))
        return transform(frames)

    monkeypatch.setattr(torch.fft, "rfft", counted)
    assert_as_each([NOISE[:length] for length in (*range(500, 30_000, 900), 200_000)])
    assert rows <= {64, 128, 192, 256}


@pytest.mark.parametrize(
    ("rows", "step", "lengths"), [(1, 4, [4]), (8, 4, [8]), (21, 4, [8, 8, 8]), (21, 1, [8, 8, 5])]
)
def test_the_last_chunk_is_filled_with_the_last_row(
    rows: int, step: int, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ragged.ROW_STEP, "cpu", step)
    chunks = padded_chunks(torch.arange(rows), 8)
    assert [len(chunk) for chunk in chunks] == lengths
    assert torch.equal(torch.cat(chunks), torch.arange(sum(lengths)).clamp(max=rows - 1))


def test_past_the_end_the_last_frame_is_repeated() -> None:
    (group,) = power_spectrograms(RaggedBatch.of([NOISE[:8000], NOISE[:6000]], "cpu")).groups
    assert group.clips == (1, 0)
    assert group.frames.tolist() == [35, 47]
    assert group.valid.sum(1).tolist() == [35, 47]
    assert torch.equal(group.power[0, 35:], group.power[0, 34].expand(12, -1))


def test_clips_of_very_different_lengths_do_not_share_a_group() -> None:
    clips = [NOISE[:length] for length in (*range(500, 30_000, 900), 200_000, 190_000)]
    power = power_spectrograms(RaggedBatch.of(clips, "cpu"))
    padded = sum(group.valid.numel() for group in power.groups)
    assert padded < 1.3 * sum(power.frames)
    assert len(power.groups) < 8


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "_GROUP_FRAMES_CPU", 100)
    power = power_spectrograms(RaggedBatch.of([NOISE[:length] for length in (8000, 8000, 8000, 60_000)], "cpu"))
    assert [group.clips for group in power.groups] == [(0, 1), (2,), (3,)]


def test_measured_comes_back_in_the_order_of_the_clips() -> None:
    power = power_spectrograms(RaggedBatch.of([NOISE, NOISE[:100], NOISE[:6000], NOISE[:5000]], "cpu"))
    rows = power.to_host([group.frames[:, None].double() for group in power.groups])
    assert rows.tolist() == [[1247.0], [0.0], [35.0], [29.0]]
    assert power_spectrograms(RaggedBatch.of([], "cpu")).to_host([]).shape == (0, 0)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), min_size=1, max_size=5),
    share=st.floats(0.0, 1.0),
)
def test_quantiles_are_those_of_numpy(values: list[list[float]], share: float) -> None:
    longest = max(map(len, values))
    padded = torch.tensor([row + [torch.inf] * (longest - len(row)) for row in values], dtype=torch.float64)
    found = quantile(padded, torch.tensor([len(row) for row in values]), share)
    assert found.tolist() == pytest.approx([np.quantile(row, share) for row in values], rel=1e-9, abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same(voices: list[Clip]) -> None:
    for group in power_spectrograms(RaggedBatch.of(voices, "cuda")).groups:
        for clip, rows, frames in zip(group.clips, group.power.cpu().numpy(), group.frames.tolist(), strict=True):
            expected = power_spectrogram(voices[clip])
            np.testing.assert_allclose(rows[:frames], expected, rtol=1e-4, atol=1e-6 * float(expected.max()))
