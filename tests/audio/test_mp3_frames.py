from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from sift_ray.audio.decode import DecodeError
from sift_ray.audio.mp3_frames import walk_frames
from tests.audio.make import decoded

QUIET_THEN_LOUD = np.random.default_rng(0).normal(0, 1, 6 * 48_000) * np.repeat([1e-3, 0.2], 3 * 48_000)


def write(path: Path, rate: int = 48_000, samples: Any = QUIET_THEN_LOUD, mode: str = "VARIABLE") -> bytes:
    sf.write(path, samples, rate, bitrate_mode=mode, compression_level=0.2)
    return path.read_bytes()


def untagged(content: bytes) -> bytes:
    """The file without its first frame, as writers to a pipe leave it."""
    assert b"Xing" in content[:200] or b"Info" in content[:200]
    second = content.index(content[:2], 4)
    return content[second:]


def reason(path: Path | str, **options: Any) -> str:
    with pytest.raises(DecodeError) as caught:
        decoded(path, **options)
    assert Path(str(path)).name in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000])
def test_every_frame_is_counted(tmp_path: Path, rate: int, mode: str) -> None:
    content = write(tmp_path / "a.mp3", rate, QUIET_THEN_LOUD[: 4 * rate], mode)
    walked = walk_frames(content)
    assert walked is not None
    assert walked.tagged
    assert not walked.cut_short
    assert walked.damaged_at is None
    assert 4 * rate <= walked.samples <= 4 * rate + 4 * 1152
    bare = walk_frames(untagged(content))
    assert bare is not None
    assert not bare.tagged
    assert bare.samples == walked.samples


def test_tags_around_the_audio_are_no_audio(tmp_path: Path) -> None:
    content = write(tmp_path / "a.mp3")
    plain = walk_frames(content)
    # 300 bytes of pictures, its size in steps of 7 bits; then a second tag with a footer
    before = b"ID3\x03\x00\x00\x00\x00\x02\x2c" + bytes(300) + b"ID3\x04\x00\x10\x00\x00\x00\x05" + bytes(15)
    assert walk_frames(before + content) == plain
    assert walk_frames(content + b"TAG" + b"a title\xff\xfb" + bytes(116)) == plain
    (tmp_path / "tagged.mp3").write_bytes(before + content + b"TAG" + bytes(125))
    np.testing.assert_array_equal(decoded(tmp_path / "tagged.mp3").samples, decoded(tmp_path / "a.mp3").samples)


def test_what_is_no_mp3_has_no_frames() -> None:
    assert walk_frames(b"") is None
    assert walk_frames(b"ID3") is None
    assert walk_frames(bytes(1000)) is None
    assert walk_frames(b"\xff\xf1\x50\x80" * 100) is None  # AAC
    assert walk_frames(b"\xff\xfd\x50\x80" * 100) is None  # layer II


def test_without_a_tag_the_last_frame_must_be_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    content = untagged(write(path, mode="CONSTANT"))
    path.write_bytes(content)
    assert len(decoded(path).samples) == pytest.approx(96_000, abs=1600)
    path.write_bytes(content[:-10])
    assert reason(path) == "truncated_audio"


def test_damage_between_frames_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    content = bytearray(write(path))
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    path.write_bytes(content)
    assert reason(path) == "unreadable_audio"


def test_a_tag_that_claims_too_little_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    content = bytearray(write(path))
    place = content.index(b"Xing") + 8
    content[place : place + 4] = (40).to_bytes(4, "big")
    path.write_bytes(content)
    assert reason(path) == "wrong_length"


def test_a_varying_bit_rate_without_a_tag_is_read_to_its_end(tmp_path: Path) -> None:
    """libsndfile guesses the length by the first frame, which often has the most bits, and leaves the rest out."""
    path = tmp_path / "a.mp3"
    whole = write(tmp_path / "tagged.mp3", 16_000)
    path.write_bytes(untagged(whole))
    assert sf.info(path).duration < 12
    samples = decoded(path).samples.astype(float)
    tagged = decoded(tmp_path / "tagged.mp3").samples.astype(float)
    assert len(tagged) == 18 * 16_000
    # the tag also tells the delay and the padding, which decoders leave out
    delay = int(np.argmax(np.correlate(samples[200_000:212_000], tagged[202_000:210_000])))
    delay -= 2000
    assert 0 < delay < 1600
    np.testing.assert_allclose(samples[160_000 + delay : 280_000 + delay], tagged[160_000:280_000], atol=2)
    assert reason(path, max_s=16.0) == "too_long"
    np.testing.assert_array_equal(decoded(path, max_s=16.0, long_clips="cut").samples, samples[:256_000])
    np.testing.assert_array_equal(decoded(f"{path}#t=15,17").samples, samples[240_000:272_000])


def test_a_guess_beyond_the_end_is_no_truncation(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(untagged(write(path, samples=np.append(np.zeros(144_000), QUIET_THEN_LOUD[144_000:]))))
    assert sf.info(path).duration > 7.0
    assert len(decoded(path).samples) == pytest.approx(96_000, abs=1600)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(untagged(write(path)))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DecodeError) as caught:
        decoded(path)
    assert caught.value.reason == "unsupported_format"
    assert "sift-ray[m4a]" in caught.value.detail
