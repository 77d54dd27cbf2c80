from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs
import pytest
import soundfile as sf

from sift_ray.audio.decode import DecodeError, decode, probe_duration

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000)


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> Any:
    one = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    return np.stack([one] * channels, axis=1)


def refused(path: Path | str, **options: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(str(path), **options)
    assert Path(path).name in caught.value.detail
    return caught.value


@pytest.mark.parametrize(
    ("name", "rate", "channels", "options"),
    [
        ("a.wav", 16_000, 1, {}),
        ("eight_bit.wav", 8_000, 1, {"subtype": "PCM_U8"}),
        ("stereo.wav", 44_100, 2, {}),
        ("high.wav", 96_000, 1, {"subtype": "PCM_24"}),
        ("float.wav", 22_050, 6, {"subtype": "FLOAT"}),
        ("law.wav", 8_000, 1, {"subtype": "ULAW"}),
        ("a.flac", 48_000, 1, {}),
        ("a.mp3", 48_000, 1, {}),
        ("a.ogg", 32_000, 2, {}),
        ("a.opus", 48_000, 1, {"format": "OGG", "subtype": "OPUS"}),
        ("a.aiff", 16_000, 1, {}),
        ("flac_named.wav", 16_000, 1, {"format": "FLAC"}),
    ],
)
def test_any_format_becomes_16_khz_mono(
    tmp_path: Path, name: str, rate: int, channels: int, options: dict[str, str]
) -> None:
    path = tmp_path / name
    sf.write(path, tone(rate, channels=channels), rate, **options)
    samples = decode(str(path))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.flags.c_contiguous
    assert len(samples) == pytest.approx(16_000, abs=160)
    assert probe_duration(str(path)) == pytest.approx(1.0, abs=0.01)
    expected = tone(16_000)[:, 0]
    middle = slice(2000, 14_000)
    # lossy codecs and 8 bits are far from exact, but it is the same tone in the same phase and strength
    correlation = np.corrcoef(samples[middle], expected[middle])[0, 1]
    assert correlation > 0.99
    assert np.std(samples[middle]) == pytest.approx(np.std(expected[middle]), rel=0.05)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = NOISE[:16_000], NOISE[16_000:32_000]
    sf.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(decode(str(tmp_path / "a.wav")), (left + right) / 2, atol=1e-6)


def test_resampling_overshoot_stays_in_range(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.sign(NOISE), 48_000, subtype="FLOAT")
    assert float(np.abs(decode(str(tmp_path / "a.wav"))).max()) <= 1.0


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
@pytest.mark.parametrize("suffix", ["flac", "wav", "aiff", "mp3"])
def test_a_truncated_file_is_told(tmp_path: Path, suffix: str, share: float) -> None:
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    sf.write(whole, np.tile(NOISE, 3), 48_000)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    assert refused(cut).reason == "truncated_audio"


def test_a_wav_from_a_pipe_claims_no_size_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, NOISE, 48_000)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", 0xFFFF_FFFF)
    path.write_bytes(content)
    assert len(decode(str(path))) == 16_000


def test_a_flac_that_tells_no_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, NOISE, 48_000)
    content = bytearray(path.read_bytes())
    # STREAMINFO follows the 4-byte magic and block header; its last 36 bits before the MD5 are the length
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert refused(path).reason == "unreadable_audio"


def test_files_that_are_no_audio(tmp_path: Path) -> None:
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("Dear diary, this is no audio at all. " * 50)
    (tmp_path / "bytes.mp3").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "a.raw").write_bytes(bytes(4000))
    (tmp_path / "header.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVE")
    (tmp_path / "folder.wav").mkdir()
    sf.write(tmp_path / "no_frames.wav", np.zeros(0), 16_000)
    reasons = {name: refused(tmp_path / name).reason for name in ("zero.wav", "text.wav", "bytes.mp3", "a.raw")}
    assert reasons == {
        "zero.wav": "empty_audio",
        "text.wav": "unreadable_audio",
        "bytes.mp3": "unreadable_audio",
        "a.raw": "unreadable_audio",
    }
    assert refused(tmp_path / "header.wav").reason in ("unreadable_audio", "empty_audio")
    assert refused(tmp_path / "no_frames.wav").reason == "empty_audio"
    assert refused(tmp_path / "absent.wav").reason == "missing_audio"
    assert refused(tmp_path / "folder.wav").reason == "missing_audio"
    assert refused("nul\0.wav").reason == "missing_audio"


def test_length_is_bounded_on_both_sides(tmp_path: Path) -> None:
    sf.write(tmp_path / "short.wav", tone(16_000, 0.05), 16_000)
    sf.write(tmp_path / "long.wav", tone(16_000, 2.0), 16_000)
    assert refused(tmp_path / "short.wav").reason == "too_short"
    assert refused(tmp_path / "long.wav", max_s=1.5).reason == "too_long"
    assert len(decode(str(tmp_path / "short.wav"), min_s=0.05)) == 800
    assert len(decode(str(tmp_path / "long.wav"), max_s=2.0)) == 32_000


def test_silence_is_told_from_a_whisper(tmp_path: Path) -> None:
    sf.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    sf.write(tmp_path / "faint.wav", tone(16_000) * 1e-4, 16_000, subtype="FLOAT")
    sf.write(tmp_path / "whisper.wav", tone(16_000) * 1e-3, 16_000, subtype="FLOAT")
    assert refused(tmp_path / "silent.wav").reason == "silent"
    assert refused(tmp_path / "faint.wav").reason == "silent"
    assert len(decode(str(tmp_path / "whisper.wav"))) == 16_000


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "non_finite"), (np.inf, "non_finite"), (9000.0, "out_of_range")]
)
def test_samples_that_are_no_numbers_or_no_share_of_full_scale(tmp_path: Path, value: float, reason: str) -> None:
    samples = tone(16_000)
    samples[5000] = value
    sf.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    assert refused(tmp_path / "a.wav").reason == reason


def test_audio_in_another_filesystem(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    sf.write(tmp_path / "bucket" / "a.flac", NOISE, 48_000)
    (tmp_path / "bucket" / "zero.flac").write_bytes(b"")
    store = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    samples = decode("s3://bucket/a.flac", filesystem=store)
    np.testing.assert_array_equal(samples, decode(str(tmp_path / "bucket" / "a.flac")))
    assert probe_duration("s3://bucket/a.flac", store) == 1.0
    assert refused("s3://bucket/absent.flac", filesystem=store).reason == "missing_audio"
    assert refused("s3://bucket/zero.flac", filesystem=store).reason == "empty_audio"
    with pytest.raises(ValueError, match="filesystem of s3"):
        decode("s3://bucket/a.flac")


def test_a_file_url_is_local(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", NOISE, 48_000)
    assert len(decode(f"file://{tmp_path}/a.wav")) == 16_000


def test_probe_reasons(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    sf.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    for name, reason in (
        ("text.wav", "unreadable_audio"),
        ("none.wav", "empty_audio"),
        ("absent.wav", "missing_audio"),
    ):
        with pytest.raises(DecodeError) as caught:
            probe_duration(str(tmp_path / name))
        assert caught.value.reason == reason


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DecodeError("silent", "a.wav: nothing")))
    assert (error.reason, error.detail, str(error)) == ("silent", "a.wav: nothing", "silent: a.wav: nothing")
