"""Clips of the formats that libsndfile knows: FLAC, Ogg Opus and Vorbis, MP3, WAV, AIFF and their kin."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END, FileIO
from typing import BinaryIO, Final, cast

import soundfile as sf

from sift_ray.audio.errors import DecodeError
from sift_ray.audio.flac_frames import HEAD_BYTES, TAIL_BYTES, goes_on
from sift_ray.audio.mp3_frames import walk_frames
from sift_ray.audio.ogg_end import ends_whole, has_several_streams
from sift_ray.audio.riff_end import bytes_behind_data
from sift_ray.audio.selection import NativeClip, Selection
from sift_ray.corpora.audio_source import MOST_BYTES
from sift_ray.corpora.header import UNKNOWN_FRAMES

# what int16 holds exactly, and the greatest |sample| of each; of all else the greatest is taken to be that of 16 bits
_SIXTEEN_BITS: Final = {
    "PCM_16": 32767 / 32768,
    "PCM_S8": 127 / 128,
    "PCM_U8": 127 / 128,
    "ULAW": 32124 / 32768,
    "ALAW": 32256 / 32768,
}
_FULL_SCALE: Final = _SIXTEEN_BITS["PCM_16"]
_MP3: Final = ("MP3", "MPEG")
_WAV: Final = ("WAV", "WAVEX")
_OGG_HEAD: Final = 18
_OGG_TAIL: Final = 4 << 20  # more than the longest page: all of a clip, mostly
# an MP3's claim may be off by the encoder's delay, or by a last frame that decoders leave out
_MP3_SLACK_FRAMES: Final = 2 * 1152
# of what its frames hold, an encoder's delay and padding are no part of the clip
_MP3_TRIMMED: Final = 4 * 1152
# so much before a span an MP3 is decoded: a frame may need bits of those before it
_MP3_LEAD_S: Final = 0.5
# libsndfile shortens a WAV's or AIFF's claim to what the file holds, and tells only its log
_SHORTENED: Final = re.compile(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# sizes that writers to a pipe put where they can't know the size
_UNKNOWN_SIZE: Final = 0x7FFF_0000


class UnknownFormatError(Exception):
    """libsndfile can't read the file, or not to its end; the message says why.

    Attributes:
        container: FFmpeg's name of its format, where that is known.
    """

    def __init__(self, message: str, container: str | None = None) -> None:
        super().__init__(message)
        self.container = container


def read_sound(file: str | BinaryIO, selection: Selection, *, rate_of_int16: int) -> NativeClip:
    """Read the part of a file that is asked for, and nothing behind it.

    Args:
        file: A local path, or a seekable file at its start.
        selection: The part.
        rate_of_int16: A mono file of at most 16 bits at this rate is read as int16: nothing has to be computed of it.

    Raises:
        UnknownFormatError: another decoder may be able to.
        DecodeError: as `decode` says.
    """
    name = selection.name
    try:
        sound = sf.SoundFile(file)
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # TypeError: no header is expected of a .raw
        raise UnknownFormatError(getattr(error, "error_string", str(error))) from error
    try:
        with sound:
            rate, subtype, mp3 = sound.samplerate, sound.subtype, sound.format in _MP3
            selection.check_layout(sound.channels, rate)
            first, count, cut = selection.frames(_frames(sound, file, selection), rate)
            direct = subtype in _SIXTEEN_BITS and rate == rate_of_int16 and sound.channels == 1
            lead = min(first, round(_MP3_LEAD_S * rate)) if mp3 else 0
            if first:
                sound.seek(first - lead)
            samples = sound.read(lead + count, dtype="int16" if direct else "float32")[lead:]
    except sf.LibsndfileError as error:
        raise DecodeError(reason_of(error.error_string), f"{name}: {error.error_string}") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise DecodeError("unreadable_audio", f"{name}: {error}") from error
    if len(samples) < count - (_MP3_SLACK_FRAMES if mp3 else 0):
        raise DecodeError("truncated_audio", f"{name}: {len(samples)} of the {count} frames that it claims")
    return NativeClip(selection.of_channel(samples), rate, _SIXTEEN_BITS.get(subtype, _FULL_SCALE), cut)


def reason_of(error: str) -> str:
    """Tell a damaged stream, whose header could be read, from a file that is no audio, by libsndfile's words."""
    # libsndfile gives codes of its decoders no names: the text is all there is
    damaged = "lost sync" in error or "psf_fseek() failed" in error  # or a place that the header promises is not there
    return "truncated_audio" if damaged else "unreadable_audio"


def _frames(sound: sf.SoundFile, file: str | BinaryIO, selection: Selection) -> int:
    """Return how many frames the file holds, once its end was looked at where the clip reaches to it."""
    claimed, name = int(sound.frames), selection.name
    if claimed >= UNKNOWN_FRAMES:
        raise DecodeError("unreadable_audio", f"{name}: the header tells no length; encode the file again")
    if selection.reaches(claimed, sound.samplerate):
        _check_end(sound.format, claimed, file, name)
        if sound.format in _MP3:
            claimed = _mp3_frames(claimed, _ends(file, 0, MOST_BYTES + 1)[1], name)
        for bytes_claimed, held in _SHORTENED.findall(sound.extra_info):
            if int(held) < int(bytes_claimed) < _UNKNOWN_SIZE:
                detail = f"{name}: {held} of the {bytes_claimed} bytes of audio that it claims"
                raise DecodeError("truncated_audio", detail)
    if claimed <= 0:
        raise DecodeError("empty_audio", f"{name}: the header claims no audio")
    return claimed


def _check_end(kind: str, claimed: int, file: str | BinaryIO, name: str) -> None:
    """Refuse a file that ends before its stream does, or goes on behind what libsndfile takes for its end."""
    if kind == "OGG":
        head, tail = _ends(file, _OGG_HEAD, _OGG_TAIL)
        if not ends_whole(tail):
            raise DecodeError("truncated_audio", f"{name}: the last Ogg page is cut, or is not the stream's last")
        if has_several_streams(head, tail):
            detail = f"{name}: several streams one after the other; libsndfile reads the first"
            raise DecodeError("wrong_length", detail)
    elif kind == "FLAC":
        if goes_on(*_ends(file, HEAD_BYTES, TAIL_BYTES), claimed):
            raise DecodeError("wrong_length", f"{name}: the header claims {claimed} frames, and more follow them")
    elif kind in _WAV:
        with _borrowed(file) as opened:
            unclaimed = bytes_behind_data(opened)
        if unclaimed:
            detail = f"{name}: the header claims {claimed} frames, and {unclaimed} bytes that are no chunk follow them"
            raise DecodeError("wrong_length", detail)


def _mp3_frames(claimed: int, content: bytes, name: str) -> int:
    """Return how many frames of sound an MP3 holds that libsndfile takes to hold `claimed`."""
    if len(content) > MOST_BYTES:
        raise DecodeError("too_large", f"{name}: an MP3 of more than {MOST_BYTES:,} bytes; split it")
    walked = walk_frames(content)
    if walked is None:
        return claimed
    if walked.damaged_at is not None:
        raise DecodeError("unreadable_audio", f"{name}: no MP3 frame begins at byte {walked.damaged_at}")
    if walked.cut_short:
        raise DecodeError("truncated_audio", f"{name}: the last MP3 frame is cut")
    if walked.tagged:
        if walked.samples > claimed + _MP3_TRIMMED:
            detail = f"{name}: the header claims {claimed} frames, and {walked.samples} follow it"
            raise DecodeError("wrong_length", detail)
        return claimed
    # without a tag the claim is a guess by the first frames' bit rates, beyond which libsndfile reads nothing
    if walked.samples > claimed + _MP3_SLACK_FRAMES:
        raise UnknownFormatError("the bit rate of an MP3 varies, and no Xing header tells its length", "mp3")
    return min(claimed, walked.samples)


def _ends(file: str | BinaryIO, first: int, last: int) -> tuple[bytes, bytes]:
    """Return a file's first and last bytes, all where it has no more."""
    if isinstance(file, str):  # the least calls: every FLAC is looked at
        descriptor = os.open(file, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            last = min(last, size)  # room is made for as much as is asked for
            return os.pread(descriptor, first, 0), os.pread(descriptor, last, size - last)
        finally:
            os.close(descriptor)
    with _borrowed(file) as opened:
        opened.seek(0)
        head = opened.read(first)
        size = opened.seek(0, SEEK_END)
        opened.seek(max(0, size - last))
        return head, opened.read()


@contextmanager
def _borrowed(file: str | BinaryIO) -> Iterator[BinaryIO]:
    """Give the file to read in; one that is being read stays where it is."""
    if isinstance(file, str):
        with FileIO(file) as opened:
            yield cast(BinaryIO, opened)
        return
    place = file.tell()
    yield file
    file.seek(place)
