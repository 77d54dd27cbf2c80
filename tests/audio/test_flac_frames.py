from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from sift_ray.audio.decode import DecodeError
from sift_ray.audio.flac_frames import HEAD_BYTES, TAIL_BYTES, goes_on
from tests.audio.make import decoded, write_av

NOISE = np.random.default_rng(0).normal(0, 0.1, (6 * 48_000, 2))


def claiming(content: bytes, samples: int) -> bytes:
    """The file with a header that claims so many samples."""
    # STREAMINFO follows the 4-byte magic and block header; its last 36 bits before the MD5 are the length
    return content[:21] + bytes([content[21] & 0xF0]) + samples.to_bytes(4, "big") + content[26:]


def ends(content: bytes) -> tuple[bytes, bytes]:
    return content[:HEAD_BYTES], content[-TAIL_BYTES:]


@pytest.mark.parametrize("writer", ["libsndfile", "ffmpeg"])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_behind_the_claim_are_told(tmp_path: Path, writer: str, rate: int, channels: int) -> None:
    path = tmp_path / "a.flac"
    length = 5 * rate + 77
    for scale in (1.0, 0.001):  # (FLAC codes faint sounds, and silence, in other ways)
        samples = scale * NOISE[:length, :channels]
        if writer == "ffmpeg":
            write_av(path, samples if channels > 1 else samples[:, 0], rate, codec="flac", container="flac")
        else:
            sf.write(path, samples, rate)
        content = path.read_bytes()
        assert not goes_on(*ends(content), length)
        assert not goes_on(*ends(content + b"TAG" + bytes(125)), length)
        for claimed in (1, length // 2, length - 5000):
            assert goes_on(*ends(claiming(content, claimed)), claimed)
            assert goes_on(*ends(content + b"TAG" + bytes(125)), claimed)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("length", [1, 100, 4095, 4096, 4097, 8192, 100_000, 288_000])
def test_what_the_header_claims_in_full_goes_not_on(tmp_path: Path, subtype: str, length: int) -> None:
    sf.write(tmp_path / "a.flac", NOISE[:length], 48_000, subtype=subtype)
    assert not goes_on(*ends((tmp_path / "a.flac").read_bytes()), length)
    sf.write(tmp_path / "a.flac", np.zeros(length), 16_000, subtype=subtype)
    assert not goes_on(*ends((tmp_path / "a.flac").read_bytes()), length)


def test_a_claim_of_half_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, NOISE[:48_000, 0], 16_000)
    assert len(decoded(path).samples) == 48_000
    path.write_bytes(claiming(path.read_bytes(), 24_000))
    assert sf.info(path).frames == 24_000  # libsndfile believes it
    with pytest.raises(DecodeError) as caught:
        decoded(path)
    assert caught.value.reason == "wrong_length"
    assert "24000" in caught.value.detail
    # a part before the claimed end can be had
    assert len(decoded(f"{path}#t=0,1").samples) == 16_000
    assert len(decoded(path, max_s=1.0, long_clips="cut").samples) == 16_000


def frame(number: int) -> bytes:
    """The header of a frame of 4096 samples, 16 kHz, mono, 16 bits."""
    header = bytes([0xFF, 0xF8, 0xC5, 0x08, number])
    value = 0
    for byte in header:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x107) if value & 0x80 else value << 1
    return header + bytes([value])


def test_bytes_that_look_like_a_frame_are_none(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.flac", NOISE[:96_000, 0], 16_000)
    head, tail = ends((tmp_path / "a.flac").read_bytes())
    assert tail.count(frame(20)) == 1
    assert not goes_on(head, tail + frame(99), 96_000)
    assert not goes_on(head, tail + frame(99) + bytes(90) + frame(101), 96_000)
    assert goes_on(head, tail + frame(99) + bytes(90) + frame(100), 96_000)
    broken = frame(100)[:-1] + b"\0"
    assert not goes_on(head, tail + frame(99) + bytes(90) + broken, 96_000)


def test_what_is_no_flac_goes_not_on(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.flac", NOISE[:48_000, 0], 16_000)
    head, tail = ends((tmp_path / "a.flac").read_bytes())
    others: list[Any] = [b"", head[:20], b"ID3\x04" + head[4:], head[:4] + b"\x04" + head[5:]]
    for other in others:
        assert not goes_on(other, tail, 100)
    for size in range(0, 3000, 7):
        goes_on(head, tail[-size:], 100)
    assert not goes_on(head, tail, 0)
    assert not goes_on(head, np.random.default_rng(1).bytes(TAIL_BYTES), 1)
    assert not goes_on(head, b"\xff\xf8" * 3000, 1)
