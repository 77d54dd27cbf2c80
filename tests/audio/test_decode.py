from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile as sf
import soxr

from sift_ray.audio.decode import DecodeError, decode
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_source import AudioSource
from sift_ray.corpora.audio_uri import AudioUri
from tests.audio.make import NOISE, SOURCE, decoded, tone, write_av


def refused(path: Path | str, **options: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decoded(path, **options)
    assert Path(str(path).partition("#")[0]).stem.partition("\0")[0] in caught.value.detail
    return caught.value


@pytest.mark.parametrize(
    ("name", "rate", "channels", "options"),
    [
        ("a.wav", 16_000, 1, {}),
        ("eight_bit.wav", 8_000, 1, {"subtype": "PCM_U8"}),
        ("eight_bit_at_16.wav", 16_000, 1, {"subtype": "PCM_U8"}),
        ("stereo.wav", 44_100, 2, {}),
        ("stereo_at_16.wav", 16_000, 2, {}),
        ("high.wav", 96_000, 1, {"subtype": "PCM_24"}),
        ("high_at_16.wav", 16_000, 1, {"subtype": "PCM_24"}),
        ("thirty_two.wav", 16_000, 1, {"subtype": "PCM_32"}),
        ("float.wav", 22_050, 6, {"subtype": "FLOAT"}),
        ("double.wav", 48_000, 1, {"subtype": "DOUBLE"}),
        ("law.wav", 8_000, 1, {"subtype": "ULAW"}),
        ("a_law_at_16.wav", 16_000, 1, {"subtype": "ALAW"}),
        ("a.flac", 48_000, 1, {}),
        ("at_16.flac", 16_000, 1, {}),
        ("a24.flac", 16_000, 1, {"subtype": "PCM_24"}),
        ("a.mp3", 48_000, 1, {}),
        ("a.ogg", 32_000, 2, {}),
        ("a.opus", 48_000, 1, {"format": "OGG", "subtype": "OPUS"}),
        ("at_16.opus", 16_000, 1, {"format": "OGG", "subtype": "OPUS"}),
        ("a.aiff", 16_000, 1, {}),
        ("flac_named.wav", 16_000, 1, {"format": "FLAC"}),
    ],
)
def test_any_format_becomes_16_khz_mono(
    tmp_path: Path, name: str, rate: int, channels: int, options: dict[str, str]
) -> None:
    path = tmp_path / name
    sf.write(path, tone(rate, channels=channels), rate, **options)
    clip = decoded(path)
    assert clip.samples.dtype == np.int16
    assert clip.samples.ndim == 1
    assert clip.samples.flags.c_contiguous
    assert len(clip.samples) == pytest.approx(16_000, abs=160)
    assert clip.clipping_ratio < 0.001  # (Opus rings where a tone ends at once)
    assert not clip.cut
    expected = tone(16_000)[:, 0]
    middle = slice(2000, 14_000)
    amplitude = clip.samples[middle] / 32768
    # lossy codecs and 8 bits are far from exact, but it is the same tone in the same phase and strength
    assert np.corrcoef(amplitude, expected[middle])[0, 1] > 0.99
    assert np.std(amplitude) == pytest.approx(np.std(expected[middle]), rel=0.05)


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
def test_16_bits_at_16_khz_are_given_as_they_are(tmp_path: Path, suffix: str) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 16_000).astype(np.int16)
    sf.write(tmp_path / f"a.{suffix}", samples, 16_000)
    np.testing.assert_array_equal(decoded(tmp_path / f"a.{suffix}").samples, samples)


def test_samples_are_rounded_and_those_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    steps = np.tile([100.4, 100.6, -100.6, 32767.0, 40_000.0, -40_000.0, 0.0, 7.0], 1000)
    sf.write(tmp_path / "a.wav", steps / 32768, 16_000, subtype="FLOAT")
    expected = [100, 101, -101, 32767, 32767, -32768, 0, 7]
    np.testing.assert_array_equal(decoded(tmp_path / "a.wav").samples[:8], expected)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = NOISE[:16_000], NOISE[16_000:32_000]
    sf.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    samples = decoded(tmp_path / "a.wav").samples
    np.testing.assert_allclose(samples, (left + right) / 2 * 32768, atol=0.51)


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16"])
def test_one_channel_is_taken_alone(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    channels = [0.3 * NOISE[:16_000], NOISE[16_000:32_000], np.zeros(16_000)]
    sf.write(path, np.stack(channels, axis=1), 16_000, subtype=subtype)
    for number in (0, 1):
        samples = decoded(AudioUri(str(path), channel=number)).samples  # type: ignore[arg-type]
        np.testing.assert_allclose(samples, channels[number] * 32768, atol=1)
    assert refused(f"{path}#channel=2").reason == "silent"
    error = refused(f"{path}#channel=3")
    assert error.reason == "no_such_channel"
    assert "there are 3" in error.detail
    sf.write(path, channels[0], 16_000)
    np.testing.assert_allclose(decoded(f"{path}#channel=0").samples, channels[0] * 32768, atol=1)
    assert refused(f"{path}#channel=1").reason == "no_such_channel"


def test_channels_that_cancel_each_other_are_silent(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.stack([NOISE, -NOISE], axis=1), 16_000, subtype="FLOAT")
    assert refused(tmp_path / "a.wav").reason == "silent"


def test_resampling_overshoot_stays_in_range(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.sign(NOISE), 48_000, subtype="FLOAT")
    samples = decoded(tmp_path / "a.wav").samples
    exact = soxr.resample(np.sign(NOISE), 48_000, 16_000)
    assert np.abs(exact).max() > 1.1
    np.testing.assert_allclose(samples, np.clip(exact * 32768, -32768, 32767), atol=1)


SPANS = [
    ("a.wav", 16_000, {}),
    ("a.flac", 16_000, {}),
    ("b.flac", 48_000, {}),
    ("a.ogg", 48_000, {}),
    ("a.opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
    ("a.mp3", 48_000, {}),
    # bits of many frames before: a bare seek gives other samples
    ("slow.mp3", 24_000, {"bitrate_mode": "CONSTANT", "compression_level": 0.99}),
]


@pytest.mark.parametrize(("name", "rate", "options"), SPANS)
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.5), (0.25, 1.0), (2.503, 4.0), (5.1, 6.0)])
def test_a_span_is_a_slice_of_the_whole(
    tmp_path: Path, name: str, rate: int, options: dict[str, Any], start: float, end: float
) -> None:
    path = tmp_path / name
    sf.write(path, np.random.default_rng(1).normal(0, 0.1, 6 * rate), rate, **options)
    whole = decoded(path).samples
    span = decoded(AudioUri(str(path), start_s=start, end_s=end)).samples  # type: ignore[arg-type]
    expected = whole[round(start * 16_000) : round(end * 16_000)]
    assert abs(len(span) - len(expected)) <= 1
    # at another rate the filter sees silence around the span
    edge = 0 if rate == 16_000 else 200
    inner = slice(edge, min(len(span), len(expected)) - edge)
    np.testing.assert_allclose(span[inner], expected[inner], atol=0 if rate == 16_000 else 8)


def test_an_open_span_goes_to_the_end(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.flac", NOISE, 16_000)
    span = decoded(f"{tmp_path}/a.flac#t=1.25").samples
    np.testing.assert_array_equal(span, decoded(tmp_path / "a.flac").samples[20_000:])


def test_a_span_may_end_a_little_behind_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, NOISE, 16_000)  # 3 s
    assert len(decoded(f"{path}#t=2,3.05").samples) == 16_000
    assert len(decoded(f"{path}#t=2,3.05", max_s=1.0).samples) == 16_000
    assert refused(f"{path}#t=2,3.06").reason == "span_outside"
    assert refused(f"{path}#t=3,3.04").reason == "span_outside"
    assert refused(f"{path}#t=9").reason == "span_outside"
    assert refused(f"{path}#t=1,1.1").reason == "too_short"
    assert refused(f"{path}#t=0.1,2.5", max_s=2.0).reason == "too_long"
    assert len(decoded(f"{path}#t=0.1,2.1", max_s=2.0).samples) == 32_000


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.flac", {}),
        ("a.wav", {}),
        ("a.aiff", {}),
        ("a.mp3", {}),
        ("a.ogg", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
    ],
)
def test_a_truncated_file_is_told(tmp_path: Path, name: str, options: dict[str, str], share: float) -> None:
    whole, cut = tmp_path / f"whole_{name}", tmp_path / f"cut_{name}"
    sf.write(whole, np.tile(NOISE, 3), 48_000, **options)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    header_is_whole = share > 0.05 or name not in ("a.ogg", "a.opus")
    assert refused(cut).reason == ("truncated_audio" if header_is_whole else "unreadable_audio")


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.flac", {}), ("a.wav", {}), ("a.ogg", {}), ("a.opus", {"format": "OGG", "subtype": "OPUS"})],
)
def test_what_lies_before_the_cut_can_be_had(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    path = tmp_path / name
    sf.write(path, np.tile(NOISE, 6), 48_000, **options)  # 6 s
    whole = decoded(f"{path}#t=0.5,2").samples
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    np.testing.assert_array_equal(decoded(f"{path}#t=0.5,2").samples, whole)
    assert refused(f"{path}#t=5,5.5").reason == "truncated_audio"
    first = decoded(path, max_s=2.0, long_clips="cut")
    assert first.cut
    np.testing.assert_allclose(first.samples[8200:], whole[200:], atol=2)


def test_a_wav_from_a_pipe_claims_no_size_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, NOISE, 48_000)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", 0xFFFF_FFFF)
    path.write_bytes(content)
    assert len(decoded(path).samples) == 16_000


def test_a_flac_that_tells_no_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, NOISE, 48_000)
    content = bytearray(path.read_bytes())
    # STREAMINFO follows the 4-byte magic and block header; its last 36 bits before the MD5 are the length
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert refused(path).reason == "unreadable_audio"


def test_a_header_that_no_recording_has(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, NOISE, 48_000)
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", 200_000_000)
    path.write_bytes(content)
    error = refused(path)
    assert error.reason == "unreadable_audio"
    assert "200000000 Hz" in error.detail
    sf.write(path, np.zeros((16_000, 100)), 16_000)
    assert "100 channels" in refused(path).detail


def test_files_that_are_no_audio(tmp_path: Path) -> None:
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("Dear diary, this is no audio at all. " * 50)
    (tmp_path / "bytes.mp3").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "a.raw").write_bytes(bytes(4000))
    (tmp_path / "a\udc80.flac").write_bytes(bytes(4000))
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
    assert refused(tmp_path / "a\udc80.flac").reason == "unreadable_audio"
    assert refused(tmp_path / "absent.wav").reason == "missing_audio"
    assert refused(tmp_path / "folder.wav").reason == "missing_audio"
    assert refused("nul\0.wav").reason == "missing_audio"


@pytest.mark.parametrize("name", ["a.flac", "a.m4a"])
def test_a_file_that_vanishes_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    write_av(path, NOISE, 48_000, codec=name[2:].replace("m4a", "aac"), container=name[2:].replace("m4a", "ipod"))
    opened = sf.SoundFile

    def vanish(file: Any, *arguments: Any) -> Any:
        path.unlink()
        return opened(file, *arguments)

    monkeypatch.setattr(sf, "SoundFile", vanish)
    assert refused(path).reason == "missing_audio"


def test_a_file_that_can_not_be_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.m4a"
    write_av(path, NOISE, 48_000, container="ipod")

    content = path.read_bytes()

    def stale(*_: Any, **__: Any) -> Any:
        return BufferedReader(Failing(content, 0))

    monkeypatch.setattr(Path, "open", stale)
    with pytest.raises(DecodeError) as caught:
        decode(str(path), SOURCE)
    assert "the connection is gone" in caught.value.detail


@pytest.mark.parametrize("span", ["1e308", "0,1e308", "1e308,1.5e308", "1e300", "1,1e300"])
def test_a_span_beyond_all_numbers(tmp_path: Path, span: str) -> None:
    for name in ("a.wav", "a.m4a"):
        write_av(tmp_path / name, NOISE, 48_000, codec="pcm_s16le", container="wav")
        assert refused(f"{tmp_path}/{name}#t={span}").reason == "bad_address"


def test_addresses_that_are_none(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", NOISE, 48_000)
    assert refused(f"{tmp_path}/a.wav#t=soon").reason == "bad_address"
    assert refused(f"{tmp_path}/a.wav#page=2").reason == "bad_address"
    assert refused(f"{tmp_path}/a.wav#t=2,1").reason == "bad_address"
    assert refused(f"file://{tmp_path}/a.wav").reason == "missing_audio"


def test_length_is_bounded_on_both_sides(tmp_path: Path) -> None:
    sf.write(tmp_path / "short.wav", tone(16_000, 0.05), 16_000)
    sf.write(tmp_path / "long.wav", tone(16_000, 2.0), 16_000)
    assert refused(tmp_path / "short.wav").reason == "too_short"
    assert refused(tmp_path / "long.wav", max_s=1.5).reason == "too_long"
    assert len(decoded(tmp_path / "short.wav", min_s=0.05).samples) == 800
    assert len(decoded(tmp_path / "long.wav", max_s=2.0).samples) == 32_000


@pytest.mark.parametrize(("name", "rate"), [("a.flac", 16_000), ("a.mp3", 48_000), ("a.ogg", 48_000)])
def test_a_long_clip_is_cut_to_its_first_seconds(tmp_path: Path, name: str, rate: int) -> None:
    path = tmp_path / name
    sf.write(path, np.random.default_rng(0).normal(0, 0.1, 4 * rate), rate)
    clip = decoded(path, max_s=1.5, long_clips="cut")
    assert clip.cut
    assert len(clip.samples) == 24_000
    np.testing.assert_allclose(clip.samples[:23_800], decoded(path).samples[:23_800], atol=1)
    assert not decoded(path, max_s=4.1, long_clips="cut").cut
    span = decoded(f"{path}#t=1,3", max_s=1.5, long_clips="cut")
    assert span.cut
    assert len(span.samples) == 24_000
    assert not decoded(f"{path}#t=1,2.5", max_s=1.5, long_clips="cut").cut


def test_nothing_behind_the_longest_clip_is_read(tmp_path: Path) -> None:
    """The rest of a long recording is damaged, which whoever decoded it would find."""
    path = tmp_path / "a.flac"
    sf.write(path, np.random.default_rng(0).normal(0, 0.1, 60 * 16_000), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 10])
    assert len(decoded(path, max_s=2.0, long_clips="cut").samples) == 32_000
    assert refused(path, max_s=2.0).reason == "too_long"
    assert refused(path, max_s=90.0).reason == "truncated_audio"


def test_silence_is_told_from_a_whisper(tmp_path: Path) -> None:
    sf.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    sf.write(tmp_path / "faint.wav", tone(16_000) * 1e-4, 16_000, subtype="FLOAT")
    sf.write(tmp_path / "faint_16.wav", tone(16_000) * 1e-4, 16_000)
    sf.write(tmp_path / "whisper.wav", tone(16_000) * 1e-3, 16_000, subtype="FLOAT")
    assert refused(tmp_path / "silent.wav").reason == "silent"
    assert refused(tmp_path / "faint.wav").reason == "silent"
    assert refused(tmp_path / "faint_16.wav").reason == "silent"
    assert len(decoded(tmp_path / "whisper.wav").samples) == 16_000


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "non_finite"), (np.inf, "non_finite"), (-np.inf, "non_finite"), (-9000.0, "out_of_range")],
)
def test_samples_that_are_no_numbers_or_no_share_of_full_scale(
    tmp_path: Path, value: float, reason: str, channels: int
) -> None:
    samples = tone(16_000, channels=channels)
    samples[5000, -1] = value
    sf.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    assert refused(tmp_path / "a.wav").reason == reason


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "ULAW", "ALAW", "PCM_24", "FLOAT"])
def test_the_share_of_samples_at_full_scale(tmp_path: Path, subtype: str, rate: int) -> None:
    samples = 0.5 * tone(rate)[:, 0]
    loud = np.random.default_rng(0).choice(rate, rate // 4, replace=False)
    samples[loud] = np.where(loud % 2, 1.0, -1.0)
    sf.write(tmp_path / "a.wav", samples, rate, subtype=subtype)
    assert decoded(tmp_path / "a.wav").clipping_ratio == 0.25
    sf.write(tmp_path / "a.wav", samples * 0.9, rate, subtype=subtype)
    assert decoded(tmp_path / "a.wav").clipping_ratio == 0.0


def test_full_scale_in_any_channel_counts(tmp_path: Path) -> None:
    samples = 0.5 * tone(16_000, channels=2)
    samples[1000:3000, 0] = 1.0
    samples[2000:4000, 1] = -1.0
    sf.write(tmp_path / "a.wav", samples, 16_000)
    assert decoded(tmp_path / "a.wav").clipping_ratio == 3000 / 16_000
    assert decoded(f"{tmp_path}/a.wav#channel=1").clipping_ratio == 2000 / 16_000
    assert decoded(f"{tmp_path}/a.wav#t=0.125,1").clipping_ratio == 2000 / 14_000


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg"])
def test_a_clipped_recording_shows_through_a_lossy_encoding(tmp_path: Path, name: str) -> None:
    clipped = np.clip(8 * tone(48_000, 2.0), -1, 1)
    at_full_scale = float((np.abs(clipped) == 1).mean())
    sf.write(tmp_path / name, clipped, 48_000)
    assert decoded(tmp_path / name).clipping_ratio > 0.25 * at_full_scale
    sf.write(tmp_path / name, tone(48_000, 2.0), 48_000)
    assert decoded(tmp_path / name).clipping_ratio == 0.0


class Opened(AudioSource):
    """Gives a file of bytes, as shards and objects do."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(StorageConfig())
        self.file = file

    @contextmanager
    def open(self, uri: AudioUri, *, whole: bool = True) -> Iterator[str | BinaryIO]:
        yield self.file


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg"])
def test_bytes_are_read_as_a_file_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sf.write(path, np.tile(NOISE, 2), 48_000)
    content = path.read_bytes()
    whole = decode("x", Opened(BytesIO(content)))
    np.testing.assert_array_equal(whole.samples, decoded(path).samples)
    span = decode("x#t=0.5,1.5", Opened(BytesIO(content)))
    np.testing.assert_array_equal(span.samples, decoded(f"{path}#t=0.5,1.5").samples)
    with pytest.raises(DecodeError) as caught:
        decode("x", Opened(BytesIO(content[: len(content) // 2])))
    assert caught.value.reason == "truncated_audio"


class Failing(RawIOBase):
    """A connection that breaks when more than its first bytes are read."""

    def __init__(self, content: bytes, first: int) -> None:
        self._content, self._first, self._place = content, first, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, len(self._content))[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        part = self._content[self._place : self._place + len(buffer)]
        if self._place + len(part) > self._first:
            raise OSError("the connection is gone")
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)


@pytest.mark.parametrize("first", [0, 100_000])
def test_a_connection_that_breaks_is_not_taken_for_a_damaged_file(tmp_path: Path, first: int) -> None:
    sf.write(tmp_path / "a.wav", np.tile(NOISE, 6), 48_000)
    broken = BufferedReader(Failing((tmp_path / "a.wav").read_bytes(), first))
    with pytest.raises(DecodeError) as caught:
        decode("x#t=0,5", Opened(broken))
    assert caught.value.reason == "storage_error"
    assert "the connection is gone" in caught.value.detail


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DecodeError("silent", "a.wav: nothing")))
    assert (error.reason, error.detail, str(error)) == ("silent", "a.wav: nothing", "silent: a.wav: nothing")
