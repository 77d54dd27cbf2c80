"""Files of a corpus: paths confined to its root, durations from headers, text lines that may be damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import soundfile as sf

from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import damaged, foreign_share, printable

UNKNOWN_FRAMES: Final = 1 << 62
"""From here on a frame count is libsndfile's way of saying that a (FLAC) header tells none."""


class HeaderError(Exception):
    """A header gives no duration. `reason`: missing_audio, empty_audio or unreadable_header."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def header_duration(file: str | BinaryIO, name: str) -> float:
    """Return the seconds of audio that a file's header claims, without decoding it.

    Args:
        file: A local path or an open, seekable binary file.
        name: What errors call the file.

    Raises:
        HeaderError: libsndfile can't read the header, or it claims no frames.
    """
    try:
        info = sf.info(file)
    except (sf.LibsndfileError, OSError, RuntimeError, ValueError) as error:
        raise HeaderError("unreadable_header", f"{name}: {error}") from error
    if info.frames >= UNKNOWN_FRAMES:
        raise HeaderError("unreadable_header", f"{name}: the header tells no length; encode the file again")
    if info.frames <= 0:
        raise HeaderError("empty_audio", f"{name}: the header claims no audio")
    return float(info.frames) / float(info.samplerate)


def local_root(path: str, what: str) -> Path:
    """Return the folder `path` with links resolved.

    Raises:
        CorpusError: it is a URL, or no folder.
    """
    if "://" in path:
        raise CorpusError(f"{path}: {what} is read from a local or mounted folder; mount or download it")
    root = Path(path)
    if not root.is_dir():
        raise CorpusError(f"{path}: no such folder; {what} needs one")
    return root.resolve()


def confine(root: Path, path: Path) -> Path | None:
    """Return `path` with links resolved when it lies under `root` (itself resolved), else None."""
    resolved = Path(os.path.realpath(path))
    return resolved if resolved.is_relative_to(root) else None


def attach_audio(utterance: Utterance, root: Path, path: Path, where: str, duration_s: float | None) -> None:
    """Set the utterance's `audio_uri` and `duration_s`, or reject it.

    Args:
        utterance: Changed in place.
        root: The corpus's root, resolved; audio outside of it is refused.
        path: The file as the corpus names it.
        where: File and line that name it, for the detail.
        duration_s: Known duration; None reads the header.
    """
    if damaged(str(path)):
        utterance.reject("not_utf8", f"{where}: the audio's name is not UTF-8")
        return
    try:
        resolved = confine(root, path)
    except (OSError, ValueError) as error:  # a NUL in the name, a loop of links
        utterance.reject("missing_audio", f"{where}: {str(path)!r}: {error}")
        return
    if resolved is None:
        utterance.reject("path_outside_root", f"{where}: {path} leaves the corpus root {root}")
        return
    utterance.audio_uri = str(resolved)
    try:
        status = resolved.stat()
    except OSError as error:
        utterance.reject("missing_audio", f"{where}: {path}: {error.strerror}")
        return
    if not resolved.is_file():
        utterance.reject("missing_audio", f"{where}: {path} is not a file")
    elif status.st_size == 0:
        utterance.reject("empty_audio", f"{where}: {path} has no bytes")
    elif duration_s is not None:
        utterance.duration_s = duration_s
    elif utterance.reject_reason is None:
        try:
            utterance.duration_s = header_duration(str(resolved), str(path))
        except HeaderError as error:
            utterance.reject(error.reason, f"{where}: {error.detail}")


def check_text(utterance: Utterance, where: str) -> None:
    """Reject the utterance when its text is not UTF-8 or its letters are mostly not Latin."""
    text = utterance.transcript
    if text is None:
        return
    if damaged(text):
        # lone surrogates stand for bytes that are not UTF-8; Arrow could not store them
        utterance.transcript = printable(text)
        utterance.reject("not_utf8", f"{where}: the text is not UTF-8")
        return
    share = foreign_share(text)
    if share > 0.5:
        utterance.reject("transcript_script", f"{where}: {share:.0%} of the letters are not Latin: {text[:40]!r}")


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 file; a byte-order mark is dropped.

    Lines end at `\\n` only: transcripts may hold other separators. Bytes that are not UTF-8 are kept as
    lone surrogates, so that one bad line does not cost the file.

    Raises:
        CorpusError: the file can't be opened.
    """
    try:
        file = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n")
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}; the corpus is incomplete") from error
    with file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\r\n")
