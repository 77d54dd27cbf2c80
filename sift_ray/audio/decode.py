"""Audio wherever it lies, in any format, to 16 kHz mono, or a reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, cast

import numpy as np
import soxr
from numpy.typing import NDArray

from sift_ray.audio.av_stream import HEAD_BYTES, read_stream, stream_format
from sift_ray.audio.errors import DecodeError
from sift_ray.audio.selection import NativeClip, Selection
from sift_ray.audio.sound_file import UnknownFormatError, read_sound, reason_of
from sift_ray.corpora.audio_source import AudioSource
from sift_ray.corpora.audio_uri import parse_audio_uri
from sift_ray.corpora.storage_errors import AudioUnavailableError, explained
from sift_ray.schema import SAMPLE_RATE

__all__ = ["SILENCE_PEAK", "DecodeError", "DecodedClip", "decode"]

SILENCE_PEAK: Final = 10 ** (-80 / 20)
"""A clip whose greatest sample is below this (-80 dBFS, 3 steps of 16 bits) is silent."""

_LOUDEST_PEAK: Final = 4.0
_STEPS: Final = 32768.0


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A clip that can be measured.

    Attributes:
        samples: int16 [n], mono at 16 kHz; `samples / 32768` is the amplitude in [-1, 1).
        clipping_ratio: Share, 0 to 1, of the clip's frames in which a channel is at full scale, before channels are
            averaged and the rate is changed. Full scale is the greatest value that the encoding has, and for encodings
            of more than 16 bits and for lossy ones that of 16 bits (32767/32768) and all above it. A lossy encoding
            spreads the samples of a clipped recording around full scale, so that about half of them count.
        cut: Only the first `max_s` were kept.
    """

    samples: NDArray[np.int16]
    clipping_ratio: float
    cut: bool


def decode(
    uri: str,
    source: AudioSource,
    *,
    min_s: float = 0.3,
    max_s: float = 40.0,
    long_clips: Literal["reject", "cut"] = "reject",
) -> DecodedClip:
    """Read a clip: FLAC, Ogg Opus and Vorbis, MP3, WAV, AIFF and what else libsndfile knows; m4a, AAC and WebM by PyAV.

    Of a span (`t=start,end`) only its own frames are read; it may end 50 ms after the recording. Channels are
    averaged unless one is named; then the rate is changed (soxr HQ), and samples are rounded to 16 bits. Nothing
    behind the longest clip is decoded.

    A file that was cut short is told by what its header claims, an Ogg stream by its last page, an MP3 by its last
    frame; not told are an MP3 without a length in its header and an AAC stream that end between two frames, and spans
    that end before the cut are read. Told as well is a file that goes on behind the end that its header claims: a WAV
    by its chunks, an MP3 and a FLAC by its frames, an Ogg by its streams.

    Args:
        uri: An address, as `AudioUri` writes it.
        source: Opens it.
        min_s: Shorter clips are refused.
        max_s: Longer clips are refused or cut, as `long_clips` says.
        long_clips: cut: the first `max_s` are kept.

    Raises:
        DecodeError: the clip can't be used.
    """
    try:
        address = parse_audio_uri(uri)
    except ValueError as error:
        raise DecodeError("bad_address", str(error)) from error
    selection = Selection(
        uri, address.start_s or 0.0, address.end_s, address.channel, max_s=max_s, cut=long_clips == "cut"
    )
    try:
        with source.open(address) as file:
            clip = _read(file, selection)
    except AudioUnavailableError as error:
        raise DecodeError(error.reason, error.detail) from error
    duration = len(clip.samples) / clip.rate
    if duration < min_s:
        raise DecodeError("too_short", f"{uri}: {duration:.3f} s, the least is {min_s:g} s")
    ratio = _clipping_ratio(clip, uri)
    return DecodedClip(_sixteen_bits(_mono(clip.samples, uri), clip.rate), ratio, clip.cut)


class _Watched:
    """A file whose failures to read are kept: libsndfile can't pass them on, and takes them for the file's end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self.error = error
            return b""


def _read(file: str | BinaryIO, selection: Selection) -> NativeClip:
    if isinstance(file, (str, BytesIO)):
        return _native(file, selection)
    watched = _Watched(file)
    try:
        return _native(cast(BinaryIO, watched), selection)
    finally:
        if watched.error is not None:
            raise DecodeError("storage_error", f"{selection.name}: {watched.error}") from watched.error


def _native(file: str | BinaryIO, selection: Selection) -> NativeClip:
    try:
        return read_sound(file, selection, rate_of_int16=SAMPLE_RATE)
    except UnknownFormatError as unknown:
        if isinstance(file, str):
            with explained(file), Path(file).open("rb") as opened:  # it may be gone, or go, by now
                return _by_pyav(opened, selection, unknown)
        return _by_pyav(file, selection, unknown)


def _by_pyav(file: BinaryIO, selection: Selection, unknown: UnknownFormatError) -> NativeClip:
    file.seek(0)
    container = unknown.container or stream_format(file.read(HEAD_BYTES))
    if container is None:
        raise DecodeError(reason_of(str(unknown)), f"{selection.name}: {unknown}") from unknown
    file.seek(0)
    return read_stream(file, container, selection)


def _clipping_ratio(clip: NativeClip, uri: str) -> float:
    samples = clip.samples
    # (against a float, every int16 would become one)
    whole, full = (_STEPS, round(clip.full_scale * _STEPS)) if samples.dtype == np.int16 else (1.0, clip.full_scale)
    high, low = float(samples.max()), float(samples.min())  # of one that is no number, both are none
    peak = max(high, -low) / whole
    if not np.isfinite(high - low):
        raise DecodeError("non_finite", f"{uri}: samples that are no numbers")
    if peak > _LOUDEST_PEAK:
        # a float file in units other than full scale: clipping it would make noise of it
        raise DecodeError("out_of_range", f"{uri}: samples up to {peak:.3g}, where full scale is 1")
    if peak < SILENCE_PEAK:
        raise DecodeError("silent", f"{uri}: no sample above -80 dBFS")
    if peak < clip.full_scale:
        return 0.0
    loud = (samples >= full) | (samples <= -full)
    return float(np.count_nonzero(loud if loud.ndim == 1 else loud.any(axis=1)) / len(loud))


def _mono(samples: NDArray[Any], uri: str) -> NDArray[Any]:
    if samples.ndim == 1:
        return samples
    mono = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):  # many times faster than a mean over rows of two
        mono += samples[:, channel]
    mono /= samples.shape[1]
    if max(mono.max(), -mono.min()) < SILENCE_PEAK:
        raise DecodeError("silent", f"{uri}: no sample of the channels' average above -80 dBFS")
    return mono


def _sixteen_bits(samples: NDArray[Any], rate: int) -> NDArray[np.int16]:
    if samples.dtype == np.int16:
        return cast(NDArray[np.int16], samples)
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
    # in place: the samples are nobody else's
    samples *= np.float32(_STEPS)
    np.rint(samples, out=samples)
    # the filter may overshoot full scale
    np.clip(samples, -_STEPS, _STEPS - 1, out=samples)
    return cast(NDArray[np.int16], samples.astype(np.int16))
