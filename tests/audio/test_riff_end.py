from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from sift_ray.audio.decode import DecodeError
from sift_ray.audio.riff_end import bytes_behind_data
from tests.audio.make import NOISE, decoded, write_av


def written(path: Path, channels: int = 1, **options: Any) -> bytes:
    sf.write(path, np.stack([NOISE] * channels, axis=1), 16_000, **options)
    return path.read_bytes()


def claiming(content: bytes, share: float) -> bytes:
    """The file with a header that claims a share of its audio."""
    place = content.index(b"data") + 4
    (size,) = struct.unpack("<I", content[place : place + 4])
    return content[:place] + struct.pack("<I", int(size * share)) + content[place + 4 :]


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "options", [{"subtype": kind} for kind in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "PCM_U8")] + [{"format": "WAVEX"}]
)
def test_audio_behind_the_claim_is_told(tmp_path: Path, options: dict[str, str], channels: int, share: float) -> None:
    path = tmp_path / "a.wav"
    content = written(path, channels, **options)
    assert len(decoded(path).samples) == 48_000
    path.write_bytes(claiming(content, share))
    assert sf.info(path).frames < 48_000  # libsndfile believes it
    with pytest.raises(DecodeError) as caught:
        decoded(path, min_s=0.01)
    assert caught.value.reason == "wrong_length"
    assert "a.wav" in caught.value.detail


def test_a_part_before_the_claimed_end_can_be_had(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(claiming(written(path), 0.5))
    assert len(decoded(f"{path}#t=0,1").samples) == 16_000
    assert len(decoded(path, max_s=1.0, long_clips="cut").samples) == 16_000


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize(
    "behind",
    [
        b"",
        b"\x01\x02\x03",
        bytes(5000),
        bytes(5000) + b"\x01\x02",
        chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 14) + b"Lavf61.1.100\0\0"),
        chunk(b"LIST", bytes(1000))[:500],
        chunk(b"id3 ", b"ID3\x03" + bytes(77)),
        chunk(b"bext", bytes(603)) + chunk(b"LIST", b"INFO"),
        chunk(b"_PMX", b"<x/>"),
        b"ID3\x03\x00\x00" + bytes(range(200)),
        b"TAG" + b"a title".ljust(125, b" "),
    ],
)
def test_what_may_follow_the_audio(tmp_path: Path, behind: bytes, odd: bool) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, NOISE[: 47_999 if odd else 48_000], 16_000, subtype="PCM_U8")
    content = path.read_bytes()
    content = content[: content.index(b"data") + 8 + (47_999 if odd else 48_000)]
    for padding in (b"", b"\0") if odd else (b"",):
        path.write_bytes(content + padding + behind)
        assert len(decoded(path).samples) == (47_999 if odd else 48_000)


def test_bytes_are_counted() -> None:
    head = b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", bytes(16)) + chunk(b"JUNK", bytes(5001))
    noise = b"\x80\x7f" * 600_000
    assert bytes_behind_data(BytesIO(head + chunk(b"data", bytes(100)))) == 0
    assert bytes_behind_data(BytesIO(head + chunk(b"data", bytes(100)) + noise)) == 1_200_000
    assert bytes_behind_data(BytesIO(head + chunk(b"data", bytes(100)) + bytes(2_000_000) + noise)) == 1_200_000
    assert bytes_behind_data(BytesIO(head + chunk(b"data", bytes(100)) + bytes(3_000_000))) == 0
    for unknown in (0, 0x7FFF_0000, 0xFFFF_FFFF):  # as writers to a pipe put it
        assert bytes_behind_data(BytesIO(head + b"data" + struct.pack("<I", unknown) + noise)) == 0
    for other in (b"", b"RIFF", b"RIFF\0\0\0\0WAVE", head, b"RF64" + head[4:] + chunk(b"data", b"") + noise):
        assert bytes_behind_data(BytesIO(other)) == 0


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_mulaw", "adpcm_ms"])
def test_what_ffmpeg_writes_is_read(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.wav"
    write_av(path, NOISE[:47_999], 16_000, codec=codec, container="wav", tags={"title": "a", "comment": "odd"})
    assert len(decoded(path).samples) == pytest.approx(48_000, abs=2048)
