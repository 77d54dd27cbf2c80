from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sift_ray.audio.av_stream import read_stream, stream_format
from sift_ray.audio.decode import DecodeError
from sift_ray.audio.selection import Selection
from sift_ray.corpora.audio_uri import AudioUri
from tests.audio.make import decoded, tone, write_av

FORMATS = {
    "a.m4a": {"container": "ipod"},
    "fast_start.m4a": {"container": "ipod", "options": {"movflags": "faststart"}},
    "fragmented.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "lossless.m4a": {"codec": "alac", "container": "ipod"},
    "a.webm": {"codec": "libopus", "container": "webm"},
    "a.mka": {"container": "matroska"},
    "a.aac": {"container": "adts"},
}


def reason(address: Path | str, **options: Any) -> str:
    with pytest.raises(DecodeError) as caught:
        decoded(address, **options)
    assert Path(str(address).partition("#")[0]).name in caught.value.detail
    return caught.value.reason


def sweep(rate: int, seconds: float) -> Any:
    """From 200 to 1500 Hz: no two places of it are alike."""
    time = np.arange(round(rate * seconds)) / rate
    return 0.4 * np.sin(2 * np.pi * (200 * time + 650 * time**2 / seconds))


@pytest.mark.parametrize("name", FORMATS)
def test_what_libsndfile_can_not_read_is_read(tmp_path: Path, name: str) -> None:
    write_av(tmp_path / name, sweep(48_000, 3.0), 48_000, **FORMATS[name])  # type: ignore[arg-type]
    clip = decoded(tmp_path / name)
    # the header of a fragmented file and a bare stream do not tell the encoder's delay
    assert len(clip.samples) == pytest.approx(48_000, abs=1100)
    expected = sweep(16_000, 3.0)[8000:40_000]
    found = [
        float(np.corrcoef(clip.samples[8000 + shift : 40_000 + shift], expected)[0, 1]) for shift in range(-50, 800)
    ]
    assert max(found) > 0.98  # (a delay may be no whole number of samples)
    if name in ("a.m4a", "fast_start.m4a", "lossless.m4a", "a.webm"):
        assert abs(int(np.argmax(found)) - 50) <= 2
    assert np.std(clip.samples[8000:40_000] / 32768) == pytest.approx(np.std(expected), rel=0.05)


def test_the_container_is_told_by_its_first_bytes() -> None:
    assert stream_format(b"\x00\x00\x00\x1cftypM4A ") == "mov"
    assert stream_format(b"\xff\xf1\x50\x80\x00\x1f") == "aac"
    assert stream_format(b"\x1a\x45\xdf\xa3\x01\x00") == "matroska"
    for other in (
        b"",
        b"\xff",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"#EXTM3U\nhttp://",
        b"\xff\xfb\x90\x00",
        b"ffconcat version",
    ):
        assert stream_format(other) is None


def test_a_file_of_names_of_other_files_opens_none(tmp_path: Path) -> None:
    (tmp_path / "list.m4a").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.m4a\n")
    assert reason(tmp_path / "list.m4a") == "unreadable_audio"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.3, 1.3), (2.0, 3.5), (4.9, 5.8)])
def test_a_span_is_a_slice_of_the_whole(tmp_path: Path, name: str, start: float, end: float) -> None:
    path = tmp_path / name
    rate = 48_000 if name == "a.webm" else 16_000
    noise = np.random.default_rng(0).normal(0, 0.1, 6 * rate)
    write_av(path, noise, rate, **FORMATS[name])  # type: ignore[arg-type]
    whole = decoded(path).samples
    span = decoded(AudioUri(str(path), start_s=start, end_s=end)).samples  # type: ignore[arg-type]
    assert len(span) == round((end - start) * 16_000)
    edge = 200 if rate == 48_000 else 0
    expected = whole[round(start * 16_000) + edge : round(end * 16_000) - edge]
    np.testing.assert_allclose(span[edge : len(span) - edge], expected, atol=8 if edge else 1)


def test_spans_and_lengths_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    write_av(path, sweep(16_000, 3.0), 16_000, container="ipod")
    assert reason(f"{path}#t=2,3.2") == "span_outside"
    assert reason(f"{path}#t=7") == "span_outside"
    assert len(decoded(f"{path}#t=2,3.04").samples) == pytest.approx(16_000, abs=64)
    assert reason(path, max_s=2.0) == "too_long"
    assert reason(f"{path}#t=0.5,2.7", max_s=2.0) == "too_long"
    clip = decoded(path, max_s=2.0, long_clips="cut")
    assert clip.cut
    np.testing.assert_array_equal(clip.samples, decoded(path).samples[:32_000])


@pytest.mark.parametrize("name", ["a.aac", "a.webm"])
def test_no_more_is_decoded_than_the_longest_clip_and_a_second(tmp_path: Path, name: str) -> None:
    write_av(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, 1_920_000), 48_000, **FORMATS[name])  # type: ignore[arg-type]
    content = (tmp_path / name).read_bytes()
    for cut in (False, True):
        file = BytesIO(content)
        selection = Selection("x", 0.0, None, None, max_s=2.0, cut=cut)
        container = stream_format(content[:12])
        assert container is not None
        if cut:
            assert len(read_stream(file, container, selection).samples) == 96_000
        else:
            with pytest.raises(DecodeError) as caught:
                read_stream(file, container, selection)
            assert caught.value.reason == "too_long"
        assert file.tell() < len(content) / 4


def test_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    left = tone(16_000, 2.0)[:, 0]
    write_av(path, np.stack([left, np.zeros_like(left)], axis=1), 16_000, container="ipod")
    middle = slice(4000, 28_000)
    both, one = decoded(path).samples[middle], decoded(f"{path}#channel=0").samples[middle]
    assert np.std(one / 32768) == pytest.approx(np.std(left), rel=0.05)
    assert np.std(both) == pytest.approx(np.std(one) / 2, rel=0.05)
    assert reason(f"{path}#channel=1") == "silent"
    assert reason(f"{path}#channel=2") == "no_such_channel"


def test_eight_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    channels = np.stack([tone(48_000, 2.0)[:, 0] * (number == 2) for number in range(8)], axis=1)
    write_av(path, channels, 48_000, container="ipod")
    code = """
import sys, numpy as np
from tests.audio.make import decoded
mixed, third = decoded(sys.argv[1]).samples[4000:28000], decoded(sys.argv[1] + "#channel=2").samples[4000:28000]
assert third.flags.c_contiguous
print(np.std(mixed / 32768), np.std(third / 32768))
"""
    # a decoder that reads beyond its memory would end the tests
    child = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert child.returncode == 0, (child.returncode, child.stderr)
    mixed, third = map(float, child.stdout.split())
    assert third == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert mixed == pytest.approx(third / 8, rel=0.05)


def test_tags_need_not_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    write_av(path, sweep(16_000, 1.0), 16_000, container="ipod", tags={"title": "Ungehoert"})
    content = path.read_bytes()
    assert content.count(b"Ungehoert") == 1
    path.write_bytes(content.replace(b"Ungehoert", b"Ungeh\xf6rt "))
    assert len(decoded(path).samples) == 16_000


@pytest.mark.parametrize("share", [0.01, 0.3, 0.8, 0.97])
@pytest.mark.parametrize("name", ["a.m4a", "fast_start.m4a", "lossless.m4a", "a.webm"])
def test_a_truncated_file_is_told(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    write_av(path, np.random.default_rng(0).normal(0, 0.1, 480_000), 48_000, **FORMATS[name])  # type: ignore[arg-type]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert reason(path) in ("truncated_audio", "unreadable_audio")


def test_a_film_without_sound(tmp_path: Path) -> None:
    import av

    path = tmp_path / "film.mp4"
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        for _ in range(10):
            file.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        file.mux(stream.encode(None))
    assert reason(path) == "unreadable_audio"


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.m4a"
    write_av(path, sweep(16_000, 1.0), 16_000, container="ipod")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DecodeError) as caught:
        decoded(path)
    assert caught.value.reason == "unsupported_format"
    assert "sift-ray[m4a]" in caught.value.detail
