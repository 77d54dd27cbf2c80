"""A table of utterances that the user wrote: TSV, CSV or JSONL.

Columns `id, audio, transcript, language`, and optionally `speaker_id, gender, age, accent, split`; others
are ignored. In TSV nothing is quoted, in CSV fields may be (RFC 4180). `audio` is absolute or relative to
the config's `root` and must lie under it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from sift_ray.config import ManifestConfig
from sift_ray.corpora.listed import list_root, listed_audio
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tree import Tree, open_file, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import age_of, damaged, gender_of, printable, split_by_speaker, split_of, text_of
from sift_ray.schema import LANGUAGES

_REQUIRED: Final = ("id", "audio", "transcript", "language")
_UNDETERMINED: Final = "und"  # ISO 639: the row does not say


class _Row(NamedTuple):
    line: int
    values: Mapping[str, str]
    reason: str | None = None
    detail: str = ""


def read_manifest(config: ManifestConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the manifest's rows in their order; rows in a language that the config leaves out are skipped.

    Raises:
        CorpusError: the file can't be read, has no known suffix, or lacks a needed column.
    """
    folder, name = open_file(config.path, reading.connection)
    root = list_root(config, folder, reading)
    for row in _rows(folder, name):
        language = row.values.get("language", "").strip().lower() or config.language or ""
        if row.reason is None and language in LANGUAGES and language not in (config.languages or LANGUAGES):
            reading.skip(config.name, f"language {language} is not asked for")
            continue
        yield _utterance(config, root, row, language)


def _rows(folder: Tree, name: str) -> Iterator[_Row]:
    lines = text_lines(folder, name)
    path = f"{folder.uri}/{name}"
    match PurePosixPath(name).suffix.lower():
        case ".tsv":
            return _table_rows(path, ((number, line.split("\t"), "") for number, line in lines if line.strip()))
        case ".csv":
            return _table_rows(path, _csv_lines(lines))
        case ".jsonl" | ".ndjson":
            return _json_rows(lines)
        case suffix:
            raise CorpusError(f"{path}: a manifest ends in .tsv, .csv or .jsonl, not in {suffix!r}")


def _csv_lines(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str], str]]:
    """Yield (first line, cells, what is wrong) of each record."""
    # a quoted field may span lines, so the reader is given them with their ends
    reader = csv.reader((f"{line}\n" for _, line in lines), strict=True)
    start = 1
    while True:
        cells: list[str] = []
        problem = ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # the reader goes on with the next line
            problem = f"not CSV: {error}"
        if problem or any(cell.strip() for cell in cells):
            yield start, cells, problem
        start = reader.line_num + 1


def _table_rows(path: str, lines: Iterator[tuple[int, list[str], str]]) -> Iterator[_Row]:
    columns: list[str] = []
    for number, cells, problem in lines:
        if problem and columns:
            yield _Row(number, {}, "bad_csv", problem)
            continue
        if not columns:
            columns = [cell.strip().lower() for cell in cells]
            for needed in _REQUIRED:
                if needed not in columns:
                    raise CorpusError(f"{path}:{number}: no column {needed!r}; the header must name it")
            continue
        values = dict(zip(columns, cells, strict=False))
        if len(cells) == len(columns):
            yield _Row(number, values)
        else:
            reason = "too_few_columns" if len(cells) < len(columns) else "too_many_columns"
            yield _Row(number, values, reason, f"{len(cells)} columns, the header has {len(columns)}")
    if not columns:
        raise CorpusError(f"{path}: the file is empty; its first line must name the columns")


def _json_rows(lines: Iterator[tuple[int, str]]) -> Iterator[_Row]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            # surrogates from bad bytes would be invisible inside \u escapes, so the line is checked first
            record = json.load(io.StringIO(printable(line)))
        except (json.JSONDecodeError, RecursionError) as error:
            yield _Row(number, {}, "bad_json", f"not JSON: {error}")
            continue
        if not isinstance(record, dict):
            yield _Row(number, {}, "bad_json", "not a JSON object")
            continue
        values = {}
        bad = ""
        for key, value in record.items():
            if isinstance(value, str):
                values[key] = value
            elif isinstance(value, int | float) and not isinstance(value, bool):
                values[key] = str(value)
            elif value is not None and key in Utterance.__slots__:
                bad = f"{key} is neither text nor a number"
        missing = [key for key in _REQUIRED if key not in record]
        if missing:
            yield _Row(number, values, "too_few_columns", f"no key {', '.join(missing)}")
        elif bad or damaged(line):
            yield _Row(number, values, "bad_json" if bad else "not_utf8", bad or "the line is not UTF-8")
        else:
            yield _Row(number, values)


def _utterance(config: ManifestConfig, root: Tree, row: _Row, language: str) -> Utterance:
    where = f"{config.path}:{row.line}"
    values = {key: printable(value).strip() for key, value in row.values.items()}
    own_id = values.get("id", "")
    utterance_id = own_id or f"{config.name}#line{row.line}"
    speaker_id = values.get("speaker_id") or None
    split = split_of(values["split"]) if values.get("split") else config.split
    utterance = Utterance(
        utterance_id=utterance_id,
        corpus=config.name,
        data_source=f"{config.name}_{printable(language) or _UNDETERMINED}",
        language=printable(language) or _UNDETERMINED,
        split=split or split_by_speaker(speaker_id, utterance_id),
        speaker_id=speaker_id,
        gender=gender_of(values.get("gender")),
        age=age_of(values.get("age")),
        accent=text_of(values.get("accent")),
        transcript=text_of(row.values.get("transcript")),
        license=config.license,
        where=where,
    )
    if row.reason is not None:
        utterance.reject(row.reason, f"{where}: {row.detail}")
    elif not own_id:
        utterance.reject("empty_id", f"{where}: the column id is empty")
    elif language not in LANGUAGES:
        utterance.reject("unknown_language", f"{where}: language {language!r} is none of {', '.join(LANGUAGES)}")
    elif values.get("split") and split is None:
        utterance.reject("unknown_split", f"{where}: split {values['split']!r} is none of train, dev, test")
    listed_audio(utterance, root, row.values.get("audio", "").strip(), config.https_hosts)
    return utterance
