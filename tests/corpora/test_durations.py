from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sift_ray.corpora.durations import DurationTable

NAMES = st.text(st.characters(), max_size=20)
DURATIONS = st.floats(min_value=0.001, max_value=100_000)


@given(known=st.dictionaries(NAMES, DURATIONS), others=st.sets(NAMES))
@example(known={"a\udcff": 1.5, "": 2.5}, others={"a\udcfe"})
def test_a_table_tells_what_it_was_given_and_nothing_else(known: dict[str, float], others: set[str]) -> None:
    table = DurationTable.from_pairs(known.items())
    assert table.nbytes == 12 * len(known)
    for name, seconds in known.items():
        assert table.get(name) == np.float32(seconds)
    for name in others - known.keys():
        assert table.get(name) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, 1e300, 1e-300])
def test_what_is_no_duration_is_left_out(seconds: float) -> None:
    table = DurationTable.from_pairs([("a", seconds), ("b", 2.0)])
    assert (table.get("a"), table.get("b")) == (None, 2.0)


def test_the_first_of_two_stands() -> None:
    pairs = [*((f"other {number}", 9.0) for number in range(5000)), ("a", 1.0), ("a", 2.0)]
    assert DurationTable.from_pairs(pairs).get("a") == 1.0


def test_pairs_are_not_kept() -> None:
    import tracemalloc

    def pairs() -> Iterator[tuple[str, float]]:
        for number in range(200_000):
            yield f"common_voice_de_{number:010}.mp3", 1.0 + number % 7

    tracemalloc.start()
    try:
        table = DurationTable.from_pairs(pairs())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 200_000
    assert table.get("common_voice_de_0000000010.mp3") == 4.0
