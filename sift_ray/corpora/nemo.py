"""NeMo manifests: a JSON object a line, of `audio_filepath`, `duration`, `offset`, `text` and what else is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from sift_ray.config import NemoConfig
from sift_ray.corpora.listed import ListRow, json_records, list_root, listed_utterance, numbers_of, texts_of
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tar_index import TarIndexes
from sift_ray.corpora.tree import open_file, text_lines
from sift_ray.corpora.utterance import Utterance
from sift_ray.corpora.values import language_of

# a manifest's columns by NeMo's keys, the first that is there
_KEYS: Final = {
    "id": ("id", "utt_id"),
    "audio": ("audio_filepath",),
    "transcript": ("text",),
    "language": ("source_lang", "lang", "language"),
    "speaker_id": ("speaker_id", "speaker"),
    "gender": ("gender",),
    "age": ("age",),
    "accent": ("accent",),
    "split": ("split",),
    "duration": ("duration",),
    "offset": ("offset",),
}
_NO_TEXT: Final = "-"  # NeMo's own manifests for clips without a transcript


def read_nemo(config: NemoConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the manifest's utterances in its order; rows in a language that the config leaves out are skipped.

    With an `offset` the clip is a span of its file, else `duration` is that of the file. Paths are relative to the
    manifest's folder unless the config gives a `root`. An utterance without an id is named by its audio file, a span
    also by its start and end in milliseconds. Of a translation (`target_lang`) the text is dropped.

    Raises:
        CorpusError: the file can't be read.
    """
    folder, name = open_file(config.path, reading.connection)
    root, tars = list_root(config, folder, reading), TarIndexes(reading)
    for row, record in json_records(config.path, config.name, text_lines(folder, name)):
        _fill(row, record, config.ids)
        utterance = listed_utterance(config, row, root, reading, tars)
        if utterance is not None:
            yield utterance


def _fill(row: ListRow, record: dict[str, Any], ids: str) -> None:
    """Set the row's values from a record of NeMo's."""
    chosen = {
        column: next((record[key] for key in keys if record.get(key) not in (None, "")), None)
        for column, keys in _KEYS.items()
    }
    values, problem = texts_of(chosen)
    if row.reason is None and problem:
        row.reason, row.detail = "bad_json", problem
    if "language" in values:
        language = values["language"] = language_of(values["language"]) or values["language"]
        target = record.get("target_lang")
        if isinstance(target, str) and target and (language_of(target) or target) != language:
            values.pop("transcript", None)
    if values.get("transcript") == _NO_TEXT:
        del values["transcript"]
    values.setdefault("id", _id_of(values, ids) or row.substitute_id)
    row.values = values


def _id_of(values: dict[str, str], ids: str) -> str:
    """Return the audio's stem or path, as `ids` says, and a span's milliseconds; empty where a number is bad."""
    try:
        numbers = numbers_of(values)
    except ValueError:
        return ""
    path = PurePosixPath(values.get("audio", "").strip())
    stem = path.stem if ids == "name" else str(path.with_suffix("")).lstrip("/").replace("/", "_") if path.name else ""
    if not stem or numbers.offset is None:
        return stem
    times = [numbers.offset] if numbers.duration is None else [numbers.offset, numbers.offset + numbers.duration]
    return "-".join([stem, *(f"{round(1000 * time):08d}" for time in times)])
