"""Batches of clips whose lengths are alike, so that padding costs little, and that shrink where memory is short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Clip = NDArray[np.float32]


def duration_buckets(lengths: Sequence[int], max_total: int) -> list[list[int]]:
    """Group clips of like lengths so that a group, padded to its longest, has at most `max_total` samples.

    Greedy over the clips from long to short, ties by index, so the same lengths give the same groups.

    Args:
        lengths: Samples in each clip.
        max_total: Bound of (clips in a group) x (samples of its longest). A clip that is longer by
            itself gets a group of its own.

    Returns:
        Groups of indices into `lengths`; every index occurs once. The first group holds the longest
        clips, so that a batch too large for a device fails first rather than last.

    Raises:
        ValueError: `max_total` is not positive, or a length is negative.
    """
    if max_total <= 0:
        raise ValueError(f"max_total must be positive, not {max_total}")
    if any(length < 0 for length in lengths):
        raise ValueError("a length is negative")
    groups: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if groups and longest * (len(groups[-1]) + 1) <= max_total:
            groups[-1].append(index)
        else:
            groups.append([index])
            longest = lengths[index]
    return groups


class ShrinkingBatches:
    """Runs a function over clips in duration buckets, and halves the buckets when a device runs out of memory.

    A bucket is tried twice, with memory given back in between, as a neighbour on the device may have had it for a
    moment. A size that has never fitted is kept small for later calls; one that has is only made smaller for now.

    Args:
        max_total: samples of a bucket, as in `duration_buckets`, to begin with.
        release: called after a failure, to give cached memory back.

    Attributes:
        max_total: samples of a bucket now.
    """

    def __init__(self, max_total: int, release: Callable[[], None] = lambda: None) -> None:
        self.max_total = max_total
        self._release = release
        self._fitted = 0  # samples of the largest bucket that ever did

    def map(self, clips: Sequence[Clip], function: Callable[[Sequence[Clip]], Sequence[Result]]) -> list[Result | None]:
        """Return what `function` gives for each clip, in order; None for a clip that does not fit by itself.

        Args:
            clips: arrays [n].
            function: takes clips, gives as many results. Only lack of memory is caught, all else is raised.

        Raises:
            RuntimeError, MemoryError: memory was short for a clip by itself although more has fitted before, or it is
                not sure that memory was short: the call may be tried again.
        """
        results: list[Result | None] = [None] * len(clips)
        lengths = [len(clip) for clip in clips]
        pending = duration_buckets(lengths, self.max_total)
        while pending:
            group = pending.pop(0)
            total = lengths[group[0]] * len(group)
            found = self._attempt([clips[index] for index in group], function)
            if isinstance(found, BaseException):
                self._release()
                found = self._attempt([clips[index] for index in group], function)
            if not isinstance(found, BaseException):
                self._fitted = max(self._fitted, total)
                for index, result in zip(group, found, strict=True):
                    results[index] = result
                continue
            self._release()
            if len(group) > 1:
                half = max(1, lengths[group[0]] * (len(group) // 2))
                log.warning("out of memory with %d clips at once: going on with half", len(group))
                if total > self._fitted:
                    self.max_total = half
                left = sorted(group + [index for later in pending for index in later])
                buckets = duration_buckets([lengths[index] for index in left], half)
                pending = [[left[place] for place in bucket] for bucket in buckets]
            elif total <= self._fitted or _shortage(found) != "sure":
                raise found
            else:
                log.warning("a clip of %d samples does not fit into the device's memory", total)
        return results

    @staticmethod
    def _attempt(
        clips: Sequence[Clip], function: Callable[[Sequence[Clip]], Sequence[Result]]
    ) -> Sequence[Result] | RuntimeError | MemoryError:
        try:
            return function(clips)
        except (RuntimeError, MemoryError) as error:
            if _shortage(error) is None:
                raise
            # without its frames, which hold what the failed call had made
            return error.with_traceback(None)


# What torch, the CUDA libraries under it and a CPU's allocators say when memory is short,
_SURE: Final = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "can't allocate memory",
)
# and what they say then as well as for other reasons.
_PERHAPS: Final = (
    "CUFFT_INTERNAL_ERROR",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "find an engine",
    "valid cuDNN algorithm",
)


def _shortage(error: BaseException) -> Literal["sure", "perhaps"] | None:
    """Say whether an error tells that memory is short."""
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(s in text for s in _SURE):
        return "sure"
    return "perhaps" if any(sign in text for sign in _PERHAPS) else None
