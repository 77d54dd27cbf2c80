"""The address of a clip in one line of text: a file, and what part of it.

    /data/clip.flac                                   a whole local file
    s3://bucket/clip.flac#t=12.5,17.25                seconds 12.5 to 17.25 of it
    s3://bucket/shard-0001.tar#member=a.flac&bytes=1536,81920    a member of a tar: where its bytes start, how many
    /data/train-0001.parquet#row=3.17                 row 17 of row group 3, the bytes in its column `audio`
    /data/meeting.wav#t=3.2,7.9&channel=1             one channel (from 0) of a span

A file without a part is written as it is. Where there is a part (or a `#` in the file's own name), `%` and `#` of
the file's name are percent-encoded and a `#` follows, so that every address reads back as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

TAR_WINDOW: Final = 16 << 20
"""Bytes of a tar shard that are best read together: members in one window are planned into one wave."""

LONGEST_S: Final = 1e9
"""No recording is as long as this, in seconds; a number beyond it is an error of whoever wrote it."""

_DEFAULT_COLUMN: Final = "audio"
_KEYS: Final = ("member", "bytes", "row", "column", "t", "channel")


@dataclass(frozen=True, slots=True)
class AudioUri:
    """Where a clip's encoded audio lies.

    Attributes:
        file: An absolute local path, `s3://bucket/key` or `https://host/path`.
        member: Name of a member of the tar that `file` is.
        bytes: (start, size) of that member's content in the tar.
        row: (row group, row in it, both from 0) of the Parquet file that `file` is.
        column: The Parquet column that holds the audio: binary, or a struct with a field `bytes`.
        start_s: Where a span starts, in seconds.
        end_s: Where it ends; None: at the end of the audio.
        channel: One channel, from 0; None: all of them, averaged.
    """

    file: str
    member: str | None = None
    bytes: tuple[int, int] | None = None
    row: tuple[int, int] | None = None
    column: str = _DEFAULT_COLUMN
    start_s: float | None = None
    end_s: float | None = None
    channel: int | None = None

    @property
    def scheme(self) -> str:
        """`s3`, `https` or another; empty for a local path."""
        scheme, separator, _ = self.file.partition("://")
        return scheme if separator else ""

    @property
    def block(self) -> str | None:
        """What is best read together with this clip, or None when it is a file of its own.

        A Parquet row group can only be read whole, windows of a tar are read in one request, and spans of one
        recording share its file.
        """
        if self.row is not None:
            return f"{self.file}#row={self.row[0]}"
        if self.bytes is not None:
            return f"{self.file}#window={self.bytes[0] // TAR_WINDOW}"
        return self.file if self.start_s is not None or self.end_s is not None else None

    def __str__(self) -> str:
        parts = []
        if self.member is not None:
            parts.append(f"member={quote(self.member)}")
        if self.bytes is not None:
            parts.append(f"bytes={self.bytes[0]},{self.bytes[1]}")
        if self.row is not None:
            parts.append(f"row={self.row[0]}.{self.row[1]}")
        if self.column != _DEFAULT_COLUMN:
            parts.append(f"column={quote(self.column)}")
        if self.start_s is not None or self.end_s is not None:
            end = "" if self.end_s is None else f",{_seconds(self.end_s)}"
            parts.append(f"t={_seconds(self.start_s or 0.0)}{end}")
        if self.channel is not None:
            parts.append(f"channel={self.channel}")
        if not parts and "#" not in self.file:
            return self.file
        return f"{self.file.replace('%', '%25').replace('#', '%23')}#{'&'.join(parts)}"


def parse_audio_uri(text: str) -> AudioUri:
    """Return what `str(AudioUri)` wrote.

    Raises:
        ValueError: the part after `#` is not of this form; the message says what of it.
    """
    file, separator, fragment = text.rpartition("#")
    if not separator:
        return AudioUri(text)
    if not fragment and "%23" not in file:
        raise ValueError(f"{text}: nothing stands after #")
    values: dict[str, str] = {}
    for part in fragment.split("&") if fragment else ():
        key, equals, value = part.partition("=")
        if key not in _KEYS or not equals or key in values:
            raise ValueError(f"{text}: after # stand {', '.join(_KEYS)}, each once as key=value, not {part!r}")
        values[key] = value
    try:
        start, end = _span(values["t"]) if "t" in values else (None, None)
        return AudioUri(
            file=unquote(file),
            member=unquote(values["member"]) if "member" in values else None,
            bytes=_pair(values["bytes"], ",") if "bytes" in values else None,
            row=_pair(values["row"], ".") if "row" in values else None,
            column=unquote(values.get("column", _DEFAULT_COLUMN)),
            start_s=start,
            end_s=end,
            channel=_count(values["channel"]) if "channel" in values else None,
        )
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from error


def block_of(text: str | None) -> str | None:
    """Return `AudioUri.block` of an address; None for none, for a whole file, and for what can't be read as one."""
    if text is None or "#" not in text:
        return None
    try:
        return parse_audio_uri(text).block
    except ValueError:
        return None


def _pair(text: str, separator: str) -> tuple[int, int]:
    first, _, second = text.partition(separator)
    return _count(first), _count(second)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number from 0")
    return int(text)


def _span(text: str) -> tuple[float, float | None]:
    first, comma, second = text.partition(",")
    start = float(first)
    end = float(second) if comma else None
    if not 0 <= start < (LONGEST_S if end is None else end) <= 2 * LONGEST_S:
        raise ValueError(f"t={text} is no span: it is the start and the end in seconds, or the start alone")
    return start, end


def _seconds(value: float) -> str:
    # repr is the shortest text that reads back as the same number
    return repr(float(value)).removesuffix(".0")
