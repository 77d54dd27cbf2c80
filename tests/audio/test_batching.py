from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.audio.batching import duration_buckets


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
