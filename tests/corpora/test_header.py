from __future__ import annotations

import struct
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from sift_ray.corpora.header import HeaderError, container_of, header_duration

RATE = 48_000
SECONDS = 12.5


@pytest.fixture(scope="module")
def samples() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Noise that comes and goes, so that encoders with a variable rate vary it."""
    rng = np.random.default_rng(0)
    count = round(SECONDS * RATE)
    loudness = 0.3 * (np.sin(np.arange(count) / RATE) > 0)
    return (loudness * rng.standard_normal(count)).clip(-0.99, 0.99).astype(np.float32)


def encoded(samples: Any, format: str, subtype: str | None = None, **options: Any) -> bytes:
    file = BytesIO()
    sf.write(file, samples, RATE, format=format, subtype=subtype, **options)
    return file.getvalue()


def packed(samples: Any, container: str, codec: str, **options: str) -> bytes:
    """Encode with PyAV what libsndfile can't write."""
    av = pytest.importorskip("av")
    file = BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def both_ways(content: bytes, path: Path) -> list[float]:
    path.write_bytes(content)
    return [header_duration(str(path), "a"), header_duration(BytesIO(content), "a")]


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("AIFF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_formats_of_libsndfile(samples: Any, tmp_path: Path, format: str, subtype: str) -> None:
    # (the name's suffix tells nothing)
    assert both_ways(encoded(samples, format, subtype), tmp_path / "clip") == [SECONDS] * 2


def without_first_frame(mp3: bytes) -> bytes:
    """Take off the frame whose tag tells the length."""
    assert b"Xing" in mp3[:64] or b"Info" in mp3[:64]
    following = mp3.index(b"\xff\xfb", 4)
    return mp3[following:]


def test_an_mp3_without_a_tag_is_taken_to_have_one_bit_rate(samples: Any, tmp_path: Path) -> None:
    constant = encoded(samples, "MP3", bitrate_mode="CONSTANT", compression_level=0.5)
    for duration in both_ways(without_first_frame(constant), tmp_path / "a.mp3"):
        assert duration == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize(
    ("container", "codec", "options", "slack"),
    [
        ("mp4", "aac", {}, 0.0),
        ("ipod", "aac", {}, 0.0),
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}, 0.05),
        ("adts", "aac", {}, 0.05),  # with the encoder's delay, which nothing tells
        ("webm", "libopus", {}, 0.05),
        ("webm", "libopus", {"live": "1"}, 0.05),
    ],
)
def test_formats_of_pyav(
    samples: Any, tmp_path: Path, container: str, codec: str, options: dict[str, str], slack: float
) -> None:
    for duration in both_ways(packed(samples, container, codec, **options), tmp_path / "clip"):
        assert duration == pytest.approx(SECONDS, abs=slack + 1e-9)


def test_without_pyav_the_error_says_what_to_install(
    samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = packed(samples, "ipod", "aac")
    wav = encoded(samples, "WAV")
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(content)
    with pytest.raises(HeaderError, match=r"name of it: .*pip install 'sift-ray\[m4a\]'") as caught:
        header_duration(str(tmp_path / "a.m4a"), "name of it")
    assert caught.value.reason == "unreadable_header"
    assert header_duration(BytesIO(wav), "a") == SECONDS  # needs no PyAV


def test_what_pyav_could_open_elsewhere_is_not_opened(tmp_path: Path) -> None:
    """Lists that name other files, and containers with bytes of no sense, are unreadable."""
    (tmp_path / "secret.wav").write_bytes(b"RIFF")
    for content in (
        f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n".encode(),
        f"#EXTM3U\n#EXTINF:10,\nfile://{tmp_path}/secret.wav\n".encode(),
        b"\0\0\0\x18ftypM4A " + bytes(200),
        b"\0\0\0\x18ftypM4A ",
        b"\x1a\x45\xdf\xa3" + bytes(100),
        b"\xff\xf1" + b"#EXTM3U" * 30,
        b"\xff\xf1",
        b"no audio at all",
        b"x",
        b"",
    ):
        path = tmp_path / "clip"
        path.write_bytes(content)
        for file in (str(path), BytesIO(content)):
            with pytest.raises(HeaderError) as caught:
                header_duration(file, "the file")
            assert caught.value.reason in ("unreadable_header", "empty_audio")
            assert caught.value.detail.startswith("the file: ")


def test_headers_without_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, np.zeros(0), 16_000)
    with pytest.raises(HeaderError, match="empty_audio"):
        header_duration(str(path), "a")
    path.rename(tmp_path / "a.raw")  # soundfile goes by this suffix: it has no header
    with pytest.raises(HeaderError, match="unreadable_header"):
        header_duration(str(tmp_path / "a.raw"), "a")
    with pytest.raises(HeaderError, match=r"unreadable_header: none\.wav"):
        header_duration(str(tmp_path / "none.wav"), "none.wav")


def test_a_flac_that_tells_no_length(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, np.zeros(16_000), 16_000)
    content = bytearray(path.read_bytes())
    # the last 36 bits of STREAMINFO's rate, channels, depth and length
    content[21] &= 0xF0
    content[22:26] = struct.pack(">I", 0)
    with pytest.raises(HeaderError, match="tells no length"):
        header_duration(BytesIO(bytes(content)), "a")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x20ftypisom", "mp4"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "matroska"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\xff\xf9\x50\x80", "aac"),
        (b"\xff\xfb\x90\x64", None),  # MP3
        (b"RIFF\0\0\0\0WAVE", None),
        (b"", None),
    ],
)
def test_containers_are_known_by_their_first_bytes(head: bytes, expected: str | None) -> None:
    assert container_of(head) == expected


@pytest.mark.parametrize(("format", "subtype"), [("WAV", None), ("FLAC", None), ("OGG", "OPUS"), ("MP3", None)])
def test_a_header_costs_little_of_a_long_file(samples: Any, format: str, subtype: str | None) -> None:
    class Counting(BytesIO):
        count = 0

        def readinto(self, buffer: Any) -> int:
            read = super().readinto(buffer)
            self.count += read
            return read

    file = Counting(encoded(np.tile(samples, 3), format, subtype))
    assert header_duration(file, "a") == 3 * SECONDS
    assert file.count < 100_000 < len(file.getvalue())
