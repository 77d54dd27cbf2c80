from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.report.page import clips
from sift_ray.report.page.clips import (
    DRAWN_PER_S,
    LONGEST_S,
    Sound,
    SoundReader,
    Span,
    data_uri,
    peaks_of,
    spans_of,
)
from sift_ray.report.page.strips import draw_strips
from sift_ray.schema import SAMPLE_RATE

from .page_job import parsed, write_clip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    corpora = f"corpora: [{{type: demo, name: demo, path: {tmp_path}}}]"
    return parse_config(f"output: {tmp_path}\n{corpora}\nannotate: {{decode: {{max_s: 60}}}}", "clips.yaml")


def voice(hz: float, seconds: float) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * hz * np.arange(round(seconds * 16_000)) / 16_000)).astype(np.int16)


@pytest.mark.parametrize("kinds", [("MP3", "OGG", "WAV"), ("OGG", "WAV"), ("WAV",)])
def test_a_clip_is_encoded_whole_in_the_first_format_there_is(
    kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = soundfile.check_format
    monkeypatch.setattr(soundfile, "check_format", lambda kind, subtype: kind in kinds and real(kind, subtype))
    head, _, body = data_uri(voice(220, 2.0)).partition(",")
    assert head == {"MP3": "data:audio/mpeg;base64", "OGG": "data:audio/ogg;base64"}.get(
        kinds[0], "data:audio/wav;base64"
    )
    heard, rate = soundfile.read(BytesIO(base64.b64decode(body)))
    assert rate == 16_000 or kinds[0] == "OGG"
    assert len(heard) / rate == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * rate / len(heard) == pytest.approx(220, abs=2)
    if kinds[0] != "WAV":
        assert len(body) < 20_000


def test_peaks_are_the_greatest_amplitudes_of_hundredths() -> None:
    wave = np.zeros(1650, np.float32)
    wave[[10, 170, 1649]] = [0.5, -0.75, 0.25]
    peaks = peaks_of(wave)
    assert len(peaks) == 11
    assert [(place, float(peak)) for place, peak in enumerate(peaks) if peak] == [(0, 0.5), (1, 0.75), (10, 0.25)]


def test_a_clip_is_read_measured_and_cut(config: Config, tmp_path: Path) -> None:
    write_clip(tmp_path / "short.wav", 150)
    write_clip(tmp_path / "long.wav", 200, LONGEST_S + 2)
    with SoundReader(config, 10 << 20) as reader:
        short, long = reader.read(str(tmp_path / "short.wav")), reader.read(str(tmp_path / "long.wav"))
        missing, nowhere = reader.read(str(tmp_path / "none.wav")), reader.read(None)
    assert isinstance(short, Sound)
    assert isinstance(long, Sound)
    assert (short.seconds, short.cut, len(short.peaks)) == (1.5, False, 150)
    assert float(np.median(short.f0_hz[short.f0_hz > 0])) == pytest.approx(150, abs=1)
    assert (long.seconds, long.cut) == (LONGEST_S, True)
    assert isinstance(missing, str)
    assert "missing_audio" in missing
    assert nowhere == "no audio is known"


def test_what_has_no_room_is_drawn_but_not_played(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "a.wav", 150)
    samples = soundfile.read(tmp_path / "a.wav", dtype="int16")[0]
    drawn = round(len(samples) / SAMPLE_RATE * DRAWN_PER_S)
    monkeypatch.setattr(clips, "data_uri", lambda _: "data:".ljust(2 * drawn))
    with SoundReader(config, 5 * drawn) as reader:
        *sounds, last = [reader.read(str(tmp_path / "a.wav")) for _ in range(4)]
    assert all(isinstance(sound, Sound) and len(sound.f0_hz) for sound in sounds)
    played = [bool(sound.source) for sound in sounds if isinstance(sound, Sound)]
    assert played == [True, False, False]
    assert last == "The page has no room for it."


def a_sound(seconds: float, f0: list[float]) -> Sound:
    return Sound("", seconds, False, np.full(round(seconds * 100), 0.5, np.float32), np.array(f0, np.float32), 0.0)


@pytest.mark.parametrize(("seconds", "strips"), [(0.4, 1), (2.4, 1), (2.41, 2), (9.6, 4), (30.0, 13)])
def test_a_clip_is_drawn_in_strips_of_equal_time(seconds: float, strips: int) -> None:
    drawn = draw_strips(a_sound(seconds, [120.0] * round(seconds * 100)), ())
    assert len(drawn) == strips
    assert {next(parsed(strip).all("svg")).attributes["viewbox"] for strip in drawn} == {"0 0 336 184"}


def test_the_curve_has_gaps_where_there_is_no_pitch_and_no_octave_errors() -> None:
    f0 = [100.0] * 40 + [0.0] * 10 + [120.0] * 40 + [400.0] * 10 + [0.0] * 20
    (strip,) = draw_strips(a_sound(1.2, f0), ())
    paths = {e.attributes["class"]: e.attributes["d"] or "" for e in parsed(strip).all("path")}
    assert paths["f0"].count("M") == 2
    assert paths["f0"].count("L") == 78
    assert paths["wave"].count("M") == 120
    assert {e.text() for e in parsed(strip).all("text") if e.text().isdigit()} <= {"100", "150"}


def test_a_word_is_boxed_over_its_time_and_named_once() -> None:
    words = [Span("one", 0.1, 0.5), Span("two <&>", 1.0, 2.0), Span("three", 2.1, 2.2)]
    drawn = [parsed(strip) for strip in draw_strips(a_sound(2.6, [0.0] * 260), words)]
    labels = [[e.text() for e in strip.all("text") if e.attributes["class"] == "label"] for strip in drawn]
    assert labels == [["one"], ["two <&>", "three"]]
    boxes = [
        (float(e.attributes["x"] or 0), float(e.attributes["width"] or 0)) for strip in drawn for e in strip.all("rect")
    ]
    px_per_s = 336 / 1.3
    assert boxes[0] == pytest.approx((0.1 * px_per_s, 0.4 * px_per_s), abs=0.1)
    assert boxes[1] == pytest.approx((1.0 * px_per_s, 0.3 * px_per_s), abs=0.1)  # to the end of its strip
    assert boxes[2] == pytest.approx((0.0, 0.7 * px_per_s), abs=0.1)


def test_words_without_a_place_have_no_span() -> None:
    words = [{"word": "a", "start_s": 0.1, "end_s": 0.2}, {"word": "b", "start_s": None, "end_s": 0.2}]
    assert spans_of(words) == [Span("a", 0.1, 0.2)]
    assert spans_of(None) == []
