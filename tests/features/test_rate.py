import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.features.rate import speaking_rate, speaking_rates


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


def test_aligned_phones_take_the_place_of_the_pronunciation_and_both_are_kept() -> None:
    assert speaking_rates(30, 20, 2.0) == (
        {"speaking_rate_g2p_pps": 15.0, "speaking_rate_pps": 10.0, "speaking_rate_backend": "aligned"},
        [],
    )
    assert speaking_rates(30, None, 2.0) == (
        {"speaking_rate_g2p_pps": 15.0, "speaking_rate_pps": 15.0, "speaking_rate_backend": "g2p"},
        [],
    )


def test_a_transcript_that_is_not_believed_gives_no_rate() -> None:
    assert speaking_rates(30, None, 2.0, "no_path") == (
        {"speaking_rate_g2p_pps": 15.0, "speaking_rate_pps": None},
        ["speaking_rate_pps:no_path"],
    )


@pytest.mark.parametrize(
    ("phones", "aligned", "speech_s", "reasons"),
    [
        (None, None, 2.0, ["speaking_rate_g2p_pps:no_transcript", "speaking_rate_pps:no_transcript"]),
        (0, None, 2.0, ["speaking_rate_g2p_pps:no_phones", "speaking_rate_pps:no_phones"]),
        (10, 9, None, ["speaking_rate_g2p_pps:too_little_speech", "speaking_rate_pps:too_little_speech"]),
        (100, 20, 1.0, ["speaking_rate_g2p_pps:out_of_range"]),
        (20, 100, 1.0, ["speaking_rate_pps:out_of_range"]),
    ],
)
def test_each_rate_that_is_null_says_why(
    phones: int | None, aligned: int | None, speech_s: float | None, reasons: list[str]
) -> None:
    columns, told = speaking_rates(phones, aligned, speech_s)
    assert told == reasons
    null = {name for name in ("speaking_rate_pps", "speaking_rate_g2p_pps") if columns[name] is None}
    assert null == {reason.split(":")[0] for reason in reasons}
    assert ("speaking_rate_backend" in columns) == ("speaking_rate_pps" not in null)
