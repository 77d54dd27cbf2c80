import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.features.rate import speaking_rate


def test_phones_over_seconds_of_speech() -> None:
    assert speaking_rate(30, 2.5) == (pytest.approx(12.0), None)


@pytest.mark.parametrize(
    ("phones", "speech_s", "reason"),
    [
        (0, 2.0, "no_phones"),
        (-1, 2.0, "no_phones"),
        *((10, speech_s, "too_little_speech") for speech_s in (None, 0.0, -1.0, math.nan, 0.05)),
        (100, 1.0, "out_of_range"),
        (1, 3.0, "out_of_range"),
    ],
)
def test_unknown_or_infeasible(phones: int, speech_s: float | None, reason: str) -> None:
    assert speaking_rate(phones, speech_s) == (None, reason)


@given(st.integers(-5, 10_000), st.one_of(st.none(), st.floats()))
def test_never_outside_the_feasible_range(phones: int, speech_s: float | None) -> None:
    rate, reason = speaking_rate(phones, speech_s)
    assert (rate is None) != (reason is None)
    assert rate is None or 1.0 <= rate <= 40.0
