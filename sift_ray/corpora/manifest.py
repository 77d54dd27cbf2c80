"""A table of utterances that the user wrote: TSV, CSV or JSON lines (each also gzipped), or Parquet.

Columns `id, audio, transcript, language`, and optionally `speaker_id, gender, age, accent, split, duration, offset,
channel`; others are ignored. `language` may be left out where the config sets it. In TSV nothing is quoted, in CSV
fields may be (RFC 4180). `audio` is absolute or relative to the config's `root` and must lie under it. With an
`offset` the clip is a span of its file; `offset` and `duration` are seconds.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from sift_ray.config import ManifestConfig
from sift_ray.corpora.listed import (
    COLUMNS,
    ListRow,
    json_records,
    list_root,
    listed_utterance,
    missing_column,
    texts_of,
)
from sift_ray.corpora.manifest_parquet import parquet_manifest_rows
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tar_index import TarIndexes
from sift_ray.corpora.tree import open_path, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import printable

_REQUIRED: Final = ("id", "audio", "transcript", "language")


def read_manifest(config: ManifestConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the manifest's rows in their order; rows in a language that the config leaves out are skipped.

    A folder is read as Parquet: all `.parquet` files in and below it, in the order of their names.

    Raises:
        CorpusError: the file can't be read, has no known suffix, or lacks a needed column.
    """
    folder, name = open_path(config.path, reading.connection, "a manifest")
    needed = _REQUIRED if config.language is None else _REQUIRED[:-1]
    suffix = PurePosixPath(name.lower().removesuffix(".gz")).suffix
    rows: Iterator[ListRow]
    match suffix:
        case ".tsv":
            lines = text_lines(folder, name)
            rows = _table_rows(
                config, ((number, line.split("\t"), "") for number, line in lines if line.strip()), needed
            )
        case ".csv":
            rows = _table_rows(config, _csv_records(text_lines(folder, name)), needed)
        case ".jsonl" | ".ndjson":
            rows = _json_rows(config, text_lines(folder, name), needed)
        case _ if not name or name.lower().endswith(".parquet"):
            rows = parquet_manifest_rows(config, folder, name, needed, reading)
        case _:
            raise CorpusError(f"{config.path}: a manifest ends in .tsv, .csv, .jsonl or .parquet, not in {suffix!r}")
    root, tars = list_root(config, folder, reading), TarIndexes(reading)
    for row in rows:
        utterance = listed_utterance(config, row, root, reading, tars)
        if utterance is not None:
            yield utterance


class _Lines:
    """Lines for `csv.reader`, which can be given back."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._again: deque[tuple[int, str]] = deque()
        self.taken: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.taken.append(self._again.popleft() if self._again else next(self._lines))
        return f"{self.taken[-1][1]}\n"

    def give_back(self, lines: list[tuple[int, str]]) -> None:
        self._again.extendleft(reversed(lines))


def _csv_records(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str], str]]:
    """Yield (first line, cells, what is wrong) of each record."""
    lines = _Lines(numbered)
    reader = csv.reader(lines, strict=True)
    while True:
        cells: list[str] = []
        problem = ""
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"not CSV: {error}"
            # an open quote takes in what follows; the fault is the first line's alone
            lines.give_back(lines.taken[1:])
        if problem or any(cell.strip() for cell in cells):
            yield lines.taken[0][0], cells, problem


def _table_rows(
    config: ManifestConfig, records: Iterator[tuple[int, list[str], str]], needed: tuple[str, ...]
) -> Iterator[ListRow]:
    places: dict[str, int] = {}
    width = 0
    for number, cells, problem in records:
        if not width:
            header = [printable(cell.strip().lower()) for cell in cells]
            places, width = _places(header, needed, f"{config.path}:{number}"), len(header)
            continue
        values = {column: cells[place] for column, place in places.items() if place < len(cells)}
        row = ListRow(f"{config.path}:{number}", f"{config.name}#line{number}", values)
        if problem:
            row.reason, row.detail = "bad_csv", problem
        elif len(cells) != width:
            row.reason = "too_few_columns" if len(cells) < width else "too_many_columns"
            row.detail = f"{len(cells)} columns, the header has {width}"
        yield row
    if not width:
        raise CorpusError(f"{config.path}: the file is empty; its first line must name the columns")


def _places(header: list[str], needed: tuple[str, ...], where: str) -> dict[str, int]:
    for name in needed:
        if name not in header:
            raise CorpusError(missing_column(where, name, header))
    for name in COLUMNS:
        if header.count(name) > 1:
            raise CorpusError(f"{where}: two columns are named {name!r}; rename one")
    return {name: header.index(name) for name in COLUMNS if name in header}


def _json_rows(config: ManifestConfig, lines: Iterator[tuple[int, str]], needed: tuple[str, ...]) -> Iterator[ListRow]:
    for row, record in json_records(config.path, config.name, lines):
        row.values, problem = texts_of(record)
        missing = [name for name in needed if name not in record]
        if row.reason is None and (missing or problem):
            row.reason = "too_few_columns" if missing else "bad_json"
            row.detail = f"no key {', '.join(missing)}" if missing else problem
        yield row
