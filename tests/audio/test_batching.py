from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sift_ray.audio.batching import ShrinkingBatches, duration_buckets, out_of_memory


@given(st.lists(st.integers(0, 10_000)), st.integers(1, 30_000))
def test_every_clip_once_and_no_group_over_the_bound(lengths: list[int], max_total: int) -> None:
    groups = duration_buckets(lengths, max_total)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded = max(lengths[index] for index in group) * len(group)
        assert padded <= max_total or len(group) == 1


@given(st.lists(st.integers(1, 1000), min_size=1))
def test_groups_do_not_overlap_in_length(lengths: list[int]) -> None:
    groups = duration_buckets(lengths, 2000)
    ordered = [lengths[index] for group in groups for index in group]
    assert ordered == sorted(lengths, reverse=True)


def test_an_example() -> None:
    assert duration_buckets([10, 90, 50, 11, 100], 200) == [[4, 1], [2, 3, 0]]
    assert duration_buckets([], 200) == []


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="positive"):
        duration_buckets([1], 0)
    with pytest.raises(ValueError, match="negative"):
        duration_buckets([-1], 5)


class Device:
    """A device whose memory holds so many samples of padded clips; it says so as torch does."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.calls: list[int] = []
        self.released = 0

    def release(self) -> None:
        self.released += 1

    def lengths(self, clips: Sequence[NDArray[np.float32]]) -> list[int]:
        self.calls.append(len(clips))
        if max(map(len, clips)) * len(clips) > self.samples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return [len(clip) for clip in clips]


def clips_of(lengths: Sequence[int]) -> list[NDArray[np.float32]]:
    return [np.zeros(length, np.float32) for length in lengths]


def test_what_does_not_fit_is_halved_until_it_does_and_stays_so() -> None:
    device = Device(100)
    batches = ShrinkingBatches(800, device.release)
    assert batches.map(clips_of([50] * 16), device.lengths) == [50] * 16
    assert device.calls == [16, 8, 4, *[2] * 8]
    assert device.released == 3
    assert batches.max_total == 100
    assert batches.map(clips_of([25] * 8), device.lengths) == [25] * 8
    assert device.calls[-2:] == [4, 4]


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(20, 200), st.integers(1, 5000))
def test_only_clips_that_do_not_fit_alone_are_lost(lengths: list[int], memory: int, max_total: int) -> None:
    device = Device(memory)
    found = ShrinkingBatches(max_total, device.release).map(clips_of(lengths), device.lengths)
    assert found == [length if length <= memory else None for length in lengths]


def test_other_faults_are_not_hidden() -> None:
    def broken(clips: Sequence[NDArray[np.float32]]) -> list[int]:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="assert"):
        ShrinkingBatches(100).map(clips_of([5]), broken)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_memory_is_told_from_other_faults(error: RuntimeError, is_memory: bool) -> None:
    assert out_of_memory(error) is is_memory
