from collections import deque

import pytest

from sift_ray.align.viter_training import TrainingLines
from sift_ray.pipeline.progress import Pace, Progress, describe


def test_a_line_gives_rows_rate_and_time_left() -> None:
    readings = deque([(0.0, 0), (10.0, 100)])
    line = describe("annotations wave 1 of 2", 100, 300, 10.0, readings)
    assert line == "annotations wave 1 of 2: 100 of 300 rows, 10.0 rows/s, 10 s so far, 20 s left"


def test_the_rate_is_that_of_the_kept_readings_not_of_the_slow_start() -> None:
    readings = deque([(60.0, 0), (70.0, 50)])
    assert "5.0 rows/s, 70 s so far, 10 s left" in describe("x", 50, 100, 70.0, readings)


def test_before_the_first_row_there_is_no_estimate() -> None:
    assert "no estimate yet" in describe("x", 0, 100, 15.0, deque([(0.0, 0), (15.0, 0)]))


def test_without_a_counter_nothing_is_sent() -> None:
    Progress().add(5)


def test_parts_are_told_with_rate_and_time_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    pace = Pace("release", 4, interval_s=0.0)
    pace.step()
    assert "release: 1 of 4 parts" in caplog.text
    assert "s left" in caplog.text


def test_parts_that_come_fast_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Pace("release", 4).step()
    assert caplog.text == ""


def test_training_is_told_with_time_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    TrainingLines("de", interval_s=0.0)({"fraction": 0.25, "eta": 30.4})
    TrainingLines("de", interval_s=0.0)({"fraction": 0.01, "eta": None})
    assert "alignment model de: 25 % trained, 30 s left" in caplog.text
    assert "1 % trained, no estimate yet" in caplog.text
