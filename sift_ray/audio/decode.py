"""Audio files to mono float32 at 16 kHz, or a reason why not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from sift_ray.corpora.header import UNKNOWN_FRAMES, HeaderError, header_duration
from sift_ray.schema import SAMPLE_RATE

SILENCE_PEAK: Final = 10 ** (-80 / 20)
"""A clip whose greatest sample is below this (-80 dBFS, 3 steps of 16 bits) is silent."""

_LOUDEST_PEAK: Final = 4.0
# an MP3's claim may be off by the encoder's delay, or by a last frame that decoders leave out
_MP3_SLACK_FRAMES: Final = 2 * 1152
# libsndfile shortens a WAV's or AIFF's claim to what the file holds, and tells only its log
_SHORTENED: Final = re.compile(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# sizes that writers to a pipe put where they can't know the size
_UNKNOWN_SIZE: Final = 0x7FFF_0000


class DecodeError(Exception):
    """A clip can't be used.

    Attributes:
        reason: A slug: missing_audio, unreadable_audio, truncated_audio, empty_audio, too_short,
            too_long, silent, non_finite or out_of_range.
        detail: For a person: names the file.
    """

    def __init__(self, reason: str, detail: str) -> None:
        # both arguments go to Exception, so that the error survives pickling between processes
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def decode(uri: str, *, filesystem: Any = None, min_s: float = 0.3, max_s: float = 40.0) -> NDArray[np.float32]:
    """Read a clip of any format, rate, depth and channel count that libsndfile knows.

    Channels are averaged, then resampled (soxr HQ). A header that claims more than `max_s` is refused
    before anything is decoded. Ogg streams claim no length, so a truncated one is read as far as it goes.

    Args:
        uri: A local path, or a URL of `filesystem`.
        filesystem: A `pyarrow.fs.FileSystem` for URLs like `s3://bucket/key`.
        min_s: Shorter clips are refused.
        max_s: Longer clips are refused.

    Returns:
        float32 [n] in [-1, 1] at 16 kHz.

    Raises:
        DecodeError: the clip can't be used.
        ValueError: a URL without a `filesystem`.
    """
    with _opened(uri, filesystem) as file:
        try:
            with sf.SoundFile(file) as sound:
                _check_claim(sound, uri, max_s)
                claimed, rate = sound.frames, sound.samplerate
                samples = sound.read(dtype="float32", always_2d=True)
                slack = _MP3_SLACK_FRAMES if sound.format in ("MP3", "MPEG") else 0
        except sf.LibsndfileError as error:
            raise DecodeError(_reason(error), f"{uri}: {error.error_string}") from error
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise DecodeError("unreadable_audio", f"{uri}: {error}") from error
    if len(samples) < claimed - slack:
        raise DecodeError("truncated_audio", f"{uri}: {len(samples)} of the {claimed} frames that it claims")
    duration = len(samples) / rate
    if duration < min_s:
        raise DecodeError("too_short", f"{uri}: {duration:.3f} s, the least is {min_s:g} s")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    _check_samples(mono, uri)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    # the filter may overshoot full scale
    return np.ascontiguousarray(np.clip(mono, -1.0, 1.0), dtype=np.float32)


def probe_duration(uri: str, filesystem: Any = None) -> float:
    """Return the seconds that the header claims; nothing is decoded.

    Raises:
        DecodeError: missing_audio, empty_audio or unreadable_audio.
        ValueError: a URL without a `filesystem`.
    """
    with _opened(uri, filesystem) as file:
        try:
            return header_duration(file, uri)
        except HeaderError as error:
            reason = "unreadable_audio" if error.reason == "unreadable_header" else error.reason
            raise DecodeError(reason, error.detail) from error


@contextmanager
def _opened(uri: str, filesystem: Any) -> Iterator[str | BinaryIO]:
    """Give libsndfile a local path, or the bytes of a file elsewhere."""
    scheme, separator, rest = uri.partition("://")
    if scheme == "file" and separator and filesystem is None:
        uri, separator = rest, ""
    if filesystem is not None:
        yield BytesIO(_fetch(rest if separator else uri, uri, filesystem))
    elif separator:
        raise ValueError(f"{uri}: give the filesystem of {scheme}://")
    else:
        path = Path(uri)
        try:
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise DecodeError("missing_audio", f"{uri}: {error}") from error
        if not path.is_file():
            raise DecodeError("missing_audio", f"{uri}: not a file")
        if size == 0:
            raise DecodeError("empty_audio", f"{uri}: no bytes")
        yield str(path)


def _fetch(key: str, uri: str, filesystem: Any) -> bytes:
    try:
        with filesystem.open_input_stream(key) as stream:
            content = bytes(stream.read())
    except FileNotFoundError as error:
        raise DecodeError("missing_audio", f"{uri}: no such file") from error
    if not content:
        raise DecodeError("empty_audio", f"{uri}: no bytes")
    return content


def _check_claim(sound: sf.SoundFile, uri: str, max_s: float) -> None:
    if sound.frames <= 0:
        raise DecodeError("empty_audio", f"{uri}: the header claims no audio")
    if sound.frames >= UNKNOWN_FRAMES:
        raise DecodeError("unreadable_audio", f"{uri}: the header tells no length; encode the file again")
    claimed_s = sound.frames / sound.samplerate
    if claimed_s > max_s:
        raise DecodeError("too_long", f"{uri}: {claimed_s:.1f} s, the most is {max_s:g} s")
    for claimed, held in _SHORTENED.findall(sound.extra_info):
        if int(held) < int(claimed) < _UNKNOWN_SIZE:
            raise DecodeError("truncated_audio", f"{uri}: {held} of the {claimed} bytes of audio that it claims")


def _check_samples(mono: NDArray[np.float32], uri: str) -> None:
    if not np.isfinite(mono).all():
        raise DecodeError("non_finite", f"{uri}: samples that are no numbers")
    peak = float(np.abs(mono).max())
    if peak < SILENCE_PEAK:
        raise DecodeError("silent", f"{uri}: no sample above -80 dBFS")
    if peak > _LOUDEST_PEAK:
        # a float file in units other than full scale: clipping it would make noise of it
        raise DecodeError("out_of_range", f"{uri}: samples up to {peak:.3g}, where full scale is 1")


def _reason(error: sf.LibsndfileError) -> str:
    """Tell a damaged stream, whose header could be read, from a file that is no audio."""
    # libsndfile gives codes of its decoders no names: the text is all there is
    return "truncated_audio" if "lost sync" in error.error_string else "unreadable_audio"
