"""Batches of clips whose lengths are alike, so that padding costs little, and that shrink where memory is short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

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

    The smaller size is kept for later calls: what did not fit once would not fit again.

    Args:
        max_total: samples of a bucket, as in `duration_buckets`, to begin with.
        release: called after a failure, to give cached memory back.

    Attributes:
        max_total: samples of a bucket now.
    """

    def __init__(self, max_total: int, release: Callable[[], None] = lambda: None) -> None:
        self.max_total = max_total
        self._release = release

    def map(self, clips: Sequence[Clip], function: Callable[[Sequence[Clip]], Sequence[Result]]) -> list[Result | None]:
        """Return what `function` gives for each clip, in order; None for a clip that does not fit by itself.

        Args:
            clips: arrays [n].
            function: takes clips, gives as many results. Only lack of memory is caught, all else is raised.
        """
        results: list[Result | None] = [None] * len(clips)
        pending = duration_buckets([len(clip) for clip in clips], self.max_total)
        while pending:
            group = pending.pop(0)
            found = self._attempt([clips[index] for index in group], function)
            if found is not None:
                for index, result in zip(group, found, strict=True):
                    results[index] = result
                continue
            # after the failed call has ended, so that nothing of it still holds memory
            self._release()
            if len(group) == 1:
                log.warning("a clip of %d samples does not fit into the device's memory", len(clips[group[0]]))
                continue
            left = sorted(group + [index for later in pending for index in later])
            self.max_total = max(1, len(clips[group[0]]) * (len(group) // 2))
            log.warning("out of memory with %d clips at once: going on with half", len(group))
            pending = [
                [left[place] for place in bucket]
                for bucket in duration_buckets([len(clips[index]) for index in left], self.max_total)
            ]
        return results

    @staticmethod
    def _attempt(
        clips: Sequence[Clip], function: Callable[[Sequence[Clip]], Sequence[Result]]
    ) -> Sequence[Result] | None:
        try:
            return function(clips)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return None


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch, or a CUDA library under it, says that device memory is short."""
    text = str(error)
    return type(error).__name__ == "OutOfMemoryError" or any(
        sign in text for sign in ("CUDA out of memory", "CUDA error: out of memory", "ALLOC_FAILED")
    )
