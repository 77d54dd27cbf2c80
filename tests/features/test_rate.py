import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.features.rate import speaking_rate


def test_phones_over_seconds_of_speech() -> None:
    assert speaking_rate(30, 2.5) == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("phones", "speech_s"),
    [(0, 2.0), (-1, 2.0), (10, None), (10, 0.0), (10, -1.0), (10, math.nan), (3, 0.05), (100, 1.0), (1, 3.0)],
)
def test_unknown_or_infeasible(phones: int, speech_s: float | None) -> None:
    assert speaking_rate(phones, speech_s) is None


@given(st.integers(-5, 10_000), st.one_of(st.none(), st.floats()))
def test_never_outside_the_feasible_range(phones: int, speech_s: float | None) -> None:
    rate = speaking_rate(phones, speech_s)
    assert rate is None or 1.0 <= rate <= 40.0
