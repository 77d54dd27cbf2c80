from __future__ import annotations

import re
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sift_ray.audio.batching import ShrinkingBatches, duration_buckets


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

    def __init__(self, samples: int, message: str = "CUDA out of memory. Tried to allocate 2.00 GiB.") -> None:
        self.samples = samples
        self.message = message
        self.taken = 0  # by a neighbour
        self.calls: list[int] = []
        self.released = 0

    def release(self) -> None:
        self.released += 1

    def lengths(self, clips: Sequence[NDArray[np.float32]]) -> list[int]:
        self.calls.append(len(clips))
        if max(map(len, clips)) * len(clips) > self.samples - self.taken:
            raise RuntimeError(self.message)
        return [len(clip) for clip in clips]


def clips_of(lengths: Sequence[int]) -> list[NDArray[np.float32]]:
    return [np.zeros(length, np.float32) for length in lengths]


def test_what_does_not_fit_is_halved_until_it_does_and_stays_so() -> None:
    device = Device(100)
    batches = ShrinkingBatches(800, device.release)
    assert batches.map(clips_of([50] * 16), device.lengths) == [50] * 16
    assert device.calls == [16, 16, 8, 8, 4, 4, *[2] * 8]
    assert device.released == 6
    assert batches.max_total == 100
    assert batches.map(clips_of([25] * 8), device.lengths) == [25] * 8
    assert device.calls[-2:] == [4, 4]


def test_a_neighbour_that_takes_memory_for_a_while_does_not_shrink_later_calls() -> None:
    device = Device(1000)
    batches = ShrinkingBatches(1000, device.release)
    batches.map(clips_of([50] * 20), device.lengths)
    device.taken = 700
    assert batches.map(clips_of([50] * 20), device.lengths) == [50] * 20
    assert batches.max_total == 1000
    device.taken = 980
    with pytest.raises(RuntimeError, match="out of memory"):  # and no clip is given up for it
        batches.map(clips_of([50]), device.lengths)
    device.taken = 0
    device.calls.clear()
    assert batches.map(clips_of([50] * 20), device.lengths) == [50] * 20
    assert device.calls == [20]


def test_a_failure_that_passes_at_once_costs_nothing() -> None:
    device = Device(0)
    batches = ShrinkingBatches(1000, lambda: setattr(device, "samples", 1000))
    assert batches.map(clips_of([50] * 20), device.lengths) == [50] * 20
    assert device.calls == [20, 20]
    assert batches.max_total == 1000


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(20, 200), st.integers(1, 5000))
def test_only_clips_that_do_not_fit_alone_are_lost(lengths: list[int], memory: int, max_total: int) -> None:
    device = Device(memory)
    found = ShrinkingBatches(max_total, device.release).map(clips_of(lengths), device.lengths)
    assert found == [length if length <= memory else None for length in lengths]


def test_a_failed_call_holds_no_memory_while_the_next_one_runs() -> None:
    held: list[weakref.ref[NDArray[np.float32]]] = []

    def measure(clips: Sequence[NDArray[np.float32]]) -> list[int]:
        assert all(reference() is None for reference in held)
        if len(clips) > 1:
            made = np.zeros(1000, np.float32)
            held.append(weakref.ref(made))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [len(clip) for clip in clips]

    assert ShrinkingBatches(1000).map(clips_of([5] * 4), measure) == [5] * 4
    assert len(held) == 4


MEMORY = (
    "CUDA out of memory.",
    "CUDA driver error: out of memory",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
)
PERHAPS_MEMORY = (
    "cuFFT error: CUFFT_INTERNAL_ERROR",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "GET was unable to find an engine to execute this computation",
)
OTHER = ("CUDA error: device-side assert triggered", "CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize("message", [*MEMORY, *PERHAPS_MEMORY])
def test_every_way_to_say_it_makes_batches_smaller(message: str) -> None:
    device = Device(100, message)
    assert ShrinkingBatches(800).map(clips_of([50] * 16), device.lengths) == [50] * 16


@pytest.mark.parametrize("message", [*PERHAPS_MEMORY, *OTHER])
def test_a_clip_is_only_given_up_when_memory_is_surely_short(message: str) -> None:
    device = Device(10, message)
    with pytest.raises(RuntimeError, match=re.escape(message)):
        ShrinkingBatches(800).map(clips_of([50]), device.lengths)
    device = Device(10, MEMORY[0])
    assert ShrinkingBatches(800).map(clips_of([50]), device.lengths) == [None]


def test_other_faults_are_not_tried_again() -> None:
    device = Device(10, OTHER[0])
    with pytest.raises(RuntimeError, match="assert"):
        ShrinkingBatches(800).map(clips_of([5, 6, 7]), device.lengths)
    assert device.calls == [3]


def test_a_cpu_without_memory_counts_too() -> None:
    def measure(clips: Sequence[NDArray[np.float32]]) -> list[int]:
        if len(clips) > 1:
            raise MemoryError
        return [1]

    assert ShrinkingBatches(100).map(clips_of([5, 5]), measure) == [1, 1]
