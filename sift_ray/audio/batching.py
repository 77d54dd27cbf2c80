"""Batches of clips whose lengths are alike, so that padding costs little."""

from __future__ import annotations

from collections.abc import Sequence


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
