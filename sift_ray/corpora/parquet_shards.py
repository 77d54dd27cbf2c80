"""Parquet shards with audio embedded as bytes, gone through row group by row group.

A damaged shard costs its own rows alone: each of them is yielded with the reason, counted from the footer.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.corpora.audio_uri import AudioUri
from sift_ray.corpora.header import HeaderError, header_duration
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.storage_errors import raise_if_storage_failed
from sift_ray.corpora.tree import OutsideRootError, Tree
from sift_ray.corpora.utterance import CorpusError
from sift_ray.corpora.values import damaged, printable

_LOG: Final = logging.getLogger(__name__)
_ROWS_WITH_AUDIO: Final = 16
_ROWS_WITHOUT: Final = 1024
_READ_AHEAD: Final = 1 << 20
_MOST_COLUMN: Final = 64 << 20  # of a row group's column that is read in one piece
_LEAST_WITH_AUDIO: Final = 1 << 11  # bytes a row, of all columns together
# what damaged bytes make Arrow or the conversion to Python raise
_DAMAGE: Final = (pa.ArrowException, OSError, ValueError, OverflowError)


@dataclass(slots=True)
class ShardRow:
    """One row of a shard.

    Attributes:
        values: The asked-for columns that the shard has, by name; text that is not UTF-8 has lone surrogates.
        where: Shard, row group and row, for details.
        audio_uri: Address of the row's embedded audio; None where the row could not be read, or names a file.
        audio_path: The file name that stands beside the bytes, if any, or in their place.
        duration_s: From the audio's header, where headers are read and `read_header` asked for it; else None.
        reason: Why the row can't be used (a slug), or None.
        detail: The same for a person.
        row: (row group, row in it); None where the whole shard can't be read.
    """

    values: dict[str, Any]
    where: str
    audio_uri: str | None = None
    audio_path: str | None = None
    duration_s: float | None = None
    reason: str | None = None
    detail: str = ""
    row: tuple[int, int] | None = None

    def own_id(self, corpus: str, path: str) -> str:
        """Return an id for a row of the shard at `path` that has none: the shard's name and the row's place in it."""
        return printable("_".join([f"{corpus}#{path.replace('/', '_')}", *map(str, self.row or ())]))


class Footer(NamedTuple):
    """What a shard's footer tells."""

    rows: int
    columns: tuple[str, ...]


def shard_footer(tree: Tree, path: str) -> Footer | None:
    """Return the number of rows and the columns of a shard, None where its footer can't be read.

    Raises:
        CorpusError: the store failed.
    """
    try:
        with _opened(tree, path) as shard:
            return Footer(shard.metadata.num_rows, tuple(shard.schema_arrow.names))
    except (OutsideRootError, *_DAMAGE) as error:
        raise_if_storage_failed(f"{tree.uri}/{path}", error)
        return None


def shard_rows(
    tree: Tree,
    path: str,
    columns: Sequence[str],
    reading: Reading,
    *,
    audio: str = "audio",
    read_header: bool = True,
    names_files: bool = False,
) -> Iterator[ShardRow]:
    """Yield the rows of one Parquet shard, in order; those that can't be read too, with their reason.

    Reasons are `unreadable_shard` (one row for a shard whose footer can't be read, one for each row that a row group
    lost), `path_outside_root`, `not_utf8` (the shard's name), `empty_audio`, `unreadable_header`, and `missing_audio`
    for audio that the shard names but does not hold. Memory holds the audio of 16 rows and one page of each column.

    Args:
        tree: The corpus's folder.
        path: The shard in it.
        columns: What to read of each row; those that the shard lacks are left out of `values`.
        reading: Says whether headers are read, unless `read_header` does without.
        audio: The column of the audio: binary, or a struct with `bytes` and mostly `path`.
        read_header: False leaves the audio's bytes unread (the duration stands elsewhere), unless the first row's are
            missing; row groups of more than 1 MiB and 2 KiB a row are taken to hold them.
        names_files: Whether the column may also be text: each row's `audio_path`, without an `audio_uri`.

    Raises:
        CorpusError: the shard has no such audio column, or the store failed.
    """
    where = f"{tree.uri}/{path}"
    lost: Counter[int] = Counter()
    with ExitStack() as stack:
        try:
            located = tree.locate(path)
            if damaged(located):
                detail = f"{where}: the shard's name is not UTF-8; rename it"
                yield ShardRow({}, where, reason="not_utf8", detail=detail)
                return
            shard = stack.enter_context(_opened(tree, path))
            schema = shard.schema_arrow
        except OutsideRootError as error:
            yield ShardRow({}, where, reason="path_outside_root", detail=f"{where}: {error}; put the file itself there")
            return
        except _DAMAGE as error:
            row = _unreadable(where, error)
            _LOG.warning("%s (all of the shard's rows are lost)", row.detail)
            yield row
            return
        audio_column = _AudioColumn.of(schema, audio, where, names_files=names_files)
        wanted = [name for name in columns if name in schema.names and name != audio]
        # (a shard that names audio without holding it is mostly so from end to end: then each row is looked at)
        headers = read_header and reading.read_headers
        look = (headers or _lacks_audio(shard, audio_column, where)) and not audio_column.named
        for group in range(shard.num_row_groups):
            for row in _group_rows(shard, group, audio_column, wanted, where, with_audio=look, headers=headers):
                if row.reason == "unreadable_shard":
                    lost[group] += 1
                elif not audio_column.named:
                    row.audio_uri = str(AudioUri(located, row=row.row, column=audio))
                yield row
        if lost:
            groups = ", ".join(map(str, lost))
            _LOG.warning("%s: %d rows can't be read and are lost, of row groups %s", where, lost.total(), groups)


@contextmanager
def _opened(tree: Tree, path: str) -> Iterator[Any]:
    with tree.open(path) as file:
        footer = pq.read_metadata(file)
        groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
        # in pieces a group of gigabytes fits memory, but then a page is given the room that its header claims, damaged
        # or not (the audio's own size would be nearer, but to ask a damaged footer for it ends the process)
        large = any(group.total_byte_size > _MOST_COLUMN for group in groups)
        shard = pq.ParquetFile(
            file,
            metadata=footer,
            pre_buffer=False,
            buffer_size=_READ_AHEAD if large else 0,
            page_checksum_verification=True,
        )
        if sum(group.num_rows for group in groups) != footer.num_rows:
            raise pa.ArrowInvalid("the footer's counts of rows contradict each other")
        yield shard


class _AudioColumn(NamedTuple):
    name: str
    nested: bool
    has_path: bool
    named: bool = False  # the column names files and holds none

    @classmethod
    def of(cls, schema: pa.Schema, name: str, where: str, *, names_files: bool) -> _AudioColumn:
        if name not in schema.names:
            raise CorpusError(f"{where}: no column {name!r}; there are {', '.join(schema.names)}")
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type  # (a data frame's categories)
        if names_files and _is_text(kind):
            return cls(name, nested=False, has_path=False, named=True)
        nested = pa.types.is_struct(kind)
        parts = {part.name: part.type for part in kind} if nested else {"bytes": kind}
        if not _is_binary(parts.get("bytes")):
            raise CorpusError(f"{where}: column {name!r} is {kind}; audio is binary, or a struct with binary `bytes`")
        return cls(name, nested, nested and "path" in parts)

    @property
    def bytes(self) -> str:
        """The column of the bytes, as Parquet names it."""
        return f"{self.name}.bytes" if self.nested else self.name


def _group_rows(
    shard: Any, group: int, audio: _AudioColumn, wanted: list[str], where: str, *, with_audio: bool, headers: bool
) -> Iterator[ShardRow]:
    footer = shard.metadata.row_group(group)
    columns = [
        *wanted,
        *([audio.bytes] if with_audio or audio.named else []),
        *([f"{audio.name}.path"] if audio.has_path else []),
    ]
    batches = shard.iter_batches(
        _ROWS_WITH_AUDIO if with_audio else _ROWS_WITHOUT, row_groups=[group], columns=columns, use_threads=False
    )
    problem: Exception | str = "the row group ends before the rows that the footer counts"
    done = 0
    while done < footer.num_rows:
        try:
            batch = next(batches, None)
            if batch is None:
                break
            values = {name: _values(batch.column(name)) for name in wanted}
            contents, paths = _audio_of(batch, audio)
        except _DAMAGE as error:
            problem = error
            break
        for index in range(batch.num_rows):
            row = ShardRow({name: column[index] for name, column in values.items()}, _place(where, group, done))
            row.row = (group, done)
            row.audio_path = None if paths is None else paths[index]
            if contents is not None:
                _look_at(row, contents[index].as_py(), headers=headers)
            yield row
            done += 1
    for lost in range(done, footer.num_rows):
        yield _unreadable(_place(where, group, lost), problem, (group, lost))


def _lacks_audio(shard: Any, audio: _AudioColumn, where: str) -> bool:
    """Whether the shard's first row has no bytes."""
    if not audio.has_path or not shard.num_row_groups:
        return False
    # (to look, Parquet reads a page, which may be all audio of the group: where there is much, it is there)
    group = shard.metadata.row_group(0)
    if group.total_byte_size > max(_READ_AHEAD, _LEAST_WITH_AUDIO * group.num_rows):
        return False
    try:
        first = next(shard.iter_batches(1, row_groups=[0], columns=[audio.bytes], use_threads=False), None)
    except _DAMAGE as error:
        raise_if_storage_failed(where, error)
        return False  # decoding tells each row
    return first is not None and first.num_rows > 0 and first.column(0).field(0)[0].as_py() is None


def _audio_of(batch: Any, audio: _AudioColumn) -> tuple[Any, list[str | None] | None]:
    """Return the batch's bytes and paths, None for what was not read."""
    if audio.name not in batch.schema.names:
        return None, None
    column = batch.column(audio.name)
    if audio.named:
        return None, _values(column)
    if not audio.nested:
        return column, None
    parts = dict(zip((part.name for part in column.type), column.flatten(), strict=True))
    return parts.get("bytes"), _values(parts["path"]) if "path" in parts else None


def _look_at(row: ShardRow, content: bytes | None, *, headers: bool) -> None:
    """Take the duration from the header, or the reason why the audio can't be used."""
    if content is None and row.audio_path:
        row.reason = "missing_audio"
        row.detail = f"{row.where}: the shard names {printable(row.audio_path)!r} but does not hold it"
    elif not content:
        row.reason, row.detail = "empty_audio", f"{row.where}: no bytes"
    elif headers:
        try:
            row.duration_s = header_duration(BytesIO(content), row.where)
        except HeaderError as error:
            row.reason, row.detail = error.reason, error.detail


def _values(column: Any) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        if not _is_text(column.type):
            raise
        # Parquet says that text is UTF-8, and no writer need check it
        texts = column.cast(pa.large_binary()).to_pylist()
        values = [None if text is None else text.decode("utf-8", "surrogateescape") for text in texts]
    return values


def _is_text(kind: Any) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_binary(kind: Any) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return kind is not None and any(test(kind) for test in tests)


def _place(where: str, group: int, row: int) -> str:
    return f"{where}: row group {group}, row {row}"


def _unreadable(where: str, problem: Exception | str, row: tuple[int, int] | None = None) -> ShardRow:
    if isinstance(problem, Exception):
        raise_if_storage_failed(where, problem)
    return ShardRow({}, where, reason="unreadable_shard", detail=f"{where}: {problem}; fetch the shard again", row=row)
