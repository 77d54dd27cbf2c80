from __future__ import annotations

import numpy as np
import pytest

from sift_ray.corpora.demo_acoustics import Scene, clarity_db, in_room, record, room_response


@pytest.mark.parametrize("t60_s", [0.2, 0.5, 1.0])
def test_a_room_decays_by_60_db_in_its_time(t60_s: float) -> None:
    response = room_response(t60_s, 0.0, 16_000, np.random.default_rng(0))
    assert response[0] == 1.0
    assert np.sum(response[1:] ** 2) == pytest.approx(1.0)
    # Schroeder's backward integral falls by 20 dB in a third of the time
    decay = 10 * np.log10(np.cumsum(response[:0:-1] ** 2)[::-1])
    first = int(np.argmax(decay < -5))
    second = int(np.argmax(decay < -25))
    assert (second - first) / 16_000 == pytest.approx(t60_s / 3, rel=0.1)


@pytest.mark.parametrize("sizes", [(2, 2), (48_000, 2), (3, 8_000), (47_999, 12_801)])
def test_a_room_is_a_convolution_to_the_bit(sizes: tuple[int, int]) -> None:
    from scipy.signal import fftconvolve

    draw = np.random.default_rng(0)
    dry, response = (draw.standard_normal(size) for size in sizes)
    assert np.array_equal(in_room(dry, response), fftconvolve(dry, response))


def test_clarity_of_a_response_worked_by_hand() -> None:
    response = np.zeros(2000)
    response[0], response[999] = 1.0, 0.1  # 62 ms at 16 kHz
    assert clarity_db(response, 16_000) == pytest.approx(20.0)


def test_clarity_falls_with_reverberation() -> None:
    values = [
        clarity_db(room_response(t60_s, 0.0, 16_000, np.random.default_rng(0)), 16_000) for t60_s in (0.2, 0.4, 0.8)
    ]
    assert values == sorted(values, reverse=True)


def scene(**changes: float | None) -> Scene:
    values = {"snr_db": 20.0, "t60_s": None, "direct_db": 0.0, "level_dbfs": -25.0, "head_s": 0.25, "tail_s": 0.1}
    return Scene(noise="white", **(values | changes))  # type: ignore[arg-type]


def test_times_move_by_the_head_alone() -> None:
    dry = np.zeros(22_050, np.int16)
    dry[11_025] = 30_000
    for rate in (16_000, 48_000):
        recording = record(dry, (22_050, rate), scene(snr_db=60.0), (0.4, 0.6), np.random.default_rng(0))
        assert len(recording.samples) == round(1.35 * rate)
        assert int(np.abs(recording.samples).argmax()) == pytest.approx(0.75 * rate, abs=1)


def test_level_and_noise_are_those_of_the_scene() -> None:
    dry = (3000 * np.sin(np.arange(22_050) / 10)).astype(np.int16)
    recording = record(dry, (22_050, 16_000), scene(), (0.0, 1.0), np.random.default_rng(0))
    noise, mixed = recording.samples[:4000], recording.samples[4000:20_000]
    assert 10 * np.log10(np.mean(noise**2)) == pytest.approx(-45, abs=0.3)
    assert 10 * np.log10(np.mean(mixed**2)) == pytest.approx(-25, abs=0.3)
    assert recording.level_dbfs == -25.0
    assert recording.c50_db is None


def test_a_clip_that_would_overload_is_turned_down_and_says_so() -> None:
    dry = (3000 * np.sin(np.arange(22_050) / 10)).astype(np.int16)
    recording = record(dry, (22_050, 16_000), scene(level_dbfs=3.0), (0.0, 1.0), np.random.default_rng(0))
    assert float(np.abs(recording.samples).max()) == pytest.approx(0.95, abs=1e-6)
    assert recording.level_dbfs < 3.0
