"""What every corpus reader is given, and the checks that every row passes whichever reader yielded it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Final

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_source import AudioSource, audio_source
from sift_ray.corpora.audio_uri import AudioUri, parse_audio_uri
from sift_ray.corpora.header import HeaderError, header_duration
from sift_ray.corpora.storage_errors import AudioUnavailableError, explained, raise_if_storage_failed
from sift_ray.corpora.tree import OutsideRootError, Tree, open_tree
from sift_ray.corpora.utterance import Utterance
from sift_ray.corpora.values import damaged, foreign_share, printable
from sift_ray.object_store import S3Connection

_BATCH: Final = 512
_HEADER_READ: Final = 1 << 16
# a release names audio by the id, and clients find audio by the stem of that name
_ID: Final = re.compile(r"(?!\.+$)[^/\\\x00-\x1f\x7f]+")


@dataclass
class Reading:
    """How corpora are read.

    Attributes:
        storage: The object store of `s3://`.
        read_headers: Whether audio headers are read for durations that no table tells.
        threads: How many headers or small files are read at once.
        skipped: What readers passed over, (corpus, why) → rows: not lost, but never asked for.
    """

    storage: StorageConfig = field(default_factory=StorageConfig)
    read_headers: bool = True
    threads: int = 16
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def tree(self, path: str, what: str) -> Tree:
        """Open a corpus's folder; `what` names the corpus in errors."""
        return open_tree(path, self.connection, what)

    @cached_property
    def connection(self) -> S3Connection:
        """The object store."""
        return S3Connection(self.storage)

    @cached_property
    def source(self) -> AudioSource:
        """Where audio is opened."""
        return audio_source(self.storage)

    def skip(self, corpus: str, why: str, rows: int = 1) -> None:
        """Count rows that were passed over."""
        self.skipped[corpus, why] += rows


def place_audio(utterance: Utterance, tree: Tree, path: str, **part: object) -> None:
    """Set the address of a file of the corpus, or reject the row where the path leaves the corpus.

    Whether it is there is looked at by `checked`. `part` holds fields of `AudioUri` (member, row, start_s, …).

    Raises:
        CorpusError: the store failed.
    """
    where = utterance.where
    if damaged(path):
        utterance.reject("not_utf8", f"{where}: the audio's name is not UTF-8")
        return
    try:
        file = tree.locate(path)
    except OutsideRootError as error:
        utterance.reject("path_outside_root", f"{where}: {error}")
    except (OSError, ValueError) as error:  # a NUL in the name, a loop of links
        raise_if_storage_failed(where, error, one_clip=True)
        utterance.reject("missing_audio", f"{where}: {path!r}: {error}")
    else:
        utterance.audio_uri = str(AudioUri(file, **part))  # type: ignore[arg-type]


def checked(utterances: Iterator[Utterance], reading: Reading) -> Iterator[Utterance]:
    """Yield each utterance, in order, once its id, its text and its audio were looked at; the bad ones rejected.

    Audio in files of its own must be there, and gets its duration from the header where no table told it. What lies
    in shards was looked at by the reader that went through the shard; an object whose duration is known is not
    asked for here: should it be missing, decoding rejects it.

    Raises:
        CorpusError: the store failed.
    """
    with ThreadPoolExecutor(reading.threads) as pool:
        while batch := list(islice(utterances, _BATCH)):
            waiting = []
            for utterance in batch:
                check_id(utterance)
                check_text(utterance)
                if utterance.audio_uri is None:
                    utterance.reject("missing_audio", f"{utterance.where}: no audio is named")
                elif utterance.reject_reason is None:
                    try:
                        uri = parse_audio_uri(utterance.audio_uri)
                    except ValueError as error:
                        utterance.reject("bad_address", f"{utterance.where}: {error}")
                        continue
                    if uri.row is None:
                        if utterance.duration_s is None and reading.read_headers and uri.scheme != "https":
                            waiting.append((utterance, uri))
                        elif uri.bytes is None and not uri.scheme:
                            _check_there(utterance, uri, reading)
            list(pool.map(partial(_take_duration, reading), waiting))
            yield from batch


def _check_there(utterance: Utterance, uri: AudioUri, reading: Reading) -> None:
    try:
        reading.source.size(uri)
    except AudioUnavailableError as error:
        raise_if_storage_failed(utterance.where, error, one_clip=True)
        utterance.reject(error.reason, f"{utterance.where}: {error.detail}")


def _take_duration(reading: Reading, waiting: tuple[Utterance, AudioUri]) -> None:
    utterance, uri = waiting
    try:
        with reading.source.open(uri, whole=False) as file:
            try:
                duration = header_duration(file, uri.file)
            except HeaderError:
                # libsndfile does not tell a disk that fails from bytes that make no sense
                if isinstance(file, str):
                    with explained(file), Path(file).open("rb") as stream:
                        stream.read(_HEADER_READ)
                raise
    except (AudioUnavailableError, HeaderError) as error:
        if isinstance(error, AudioUnavailableError):
            raise_if_storage_failed(utterance.where, error, one_clip=uri.bytes is None)
        utterance.reject(error.reason, f"{utterance.where}: {error.detail}")
        return
    start = uri.start_s or 0.0
    end = duration if uri.end_s is None else min(uri.end_s, duration)
    if end <= start:
        utterance.reject("empty_audio", f"{utterance.where}: {uri}: the file ends at {duration:.3f} s")
    else:
        utterance.duration_s = end - start


def check_id(utterance: Utterance) -> None:
    """Reject the row when its id can't be the name of a file."""
    if not _ID.fullmatch(utterance.utterance_id):
        utterance.reject(
            "unsafe_id",
            f"{utterance.where}: id {utterance.utterance_id!r} holds a slash or control character, or is dots alone",
        )


def check_text(utterance: Utterance) -> None:
    """Reject the row when its text is not UTF-8, holds a NUL, or its letters are mostly not Latin."""
    text, where = utterance.transcript, utterance.where
    if text is None:
        return
    if damaged(text):
        # lone surrogates stand for bytes that are not UTF-8; Arrow could not store them
        utterance.transcript = printable(text)
        utterance.reject("not_utf8", f"{where}: the text is not UTF-8")
        return
    if "\0" in text:
        utterance.transcript = text.replace("\0", "\ufffd")
        utterance.reject("nul_byte", f"{where}: the text holds a NUL byte; the file may be damaged there")
        return
    share = foreign_share(text)
    if share > 0.5:
        utterance.reject("transcript_script", f"{where}: {share:.0%} of the letters are not Latin: {text[:40]!r}")
