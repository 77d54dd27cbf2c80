"""Multilingual LibriSpeech as Parquet shards with the audio in them, as on the Hugging Face hub.

Shards of a language are `<split>-00000-of-000NN.parquet` or `<split>/0000.parquet`. The splits `9_hours` and
`1_hours` repeat clips of train. The English variant has `book_id` in place of `chapter_id`, and no `id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import PurePosixPath
from typing import Any, Final

from sift_ray.config import MlsConfig
from sift_ray.corpora.audio_uri import parse_audio_uri
from sift_ray.corpora.header import HeaderError, header_duration
from sift_ray.corpora.parquet_shards import ShardRow, shard_footer, shard_rows
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.storage_errors import AudioUnavailableError, raise_if_storage_failed
from sift_ray.corpora.tree import Tree
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import gender_of, gender_withheld, printable, split_of, text_of
from sift_ray.schema import SPLITS

LICENSE: Final = "CC-BY-4.0"
_LIMITED: Final = {"9hr": "9_hours", "1hr": "1_hours"}
_REQUIRED: Final = ("transcript", "speaker_id")
_COLUMNS: Final = (*_REQUIRED, "id", "audio_duration")


def shards_in(folder: Tree) -> list[str]:
    """Return the sorted relative paths of the Parquet files below a folder."""
    return folder.walk((".parquet",))


def is_english_variant(folder: Tree) -> bool:
    """Whether the shards below a folder have `book_id`, which the English variant alone has."""
    footers = (shard_footer(folder, path) for path in shards_in(folder))
    first = next((footer for footer in footers if footer is not None), None)
    return first is not None and "book_id" in first.columns


def skip_shards(config: MlsConfig, reading: Reading, folder: Tree, shards: list[str], why: str) -> None:
    """Count the rows of shards that are not read, as their footers tell."""
    with ThreadPoolExecutor(reading.threads) as pool:
        for footer in pool.map(lambda path: shard_footer(folder, path), shards):
            if footer is None:
                reading.skip(config.name, f"{why}; shards that can't be read")
            else:
                reading.skip(config.name, why, footer.rows)


def read_hub(
    config: MlsConfig, reading: Reading, folder: Tree, language: str, genders: Mapping[str, str]
) -> Iterator[Utterance]:
    """Yield the utterances of one language's shards, split by split, in the order of the files' names.

    Args:
        config: `limited_supervision` takes the split of that name in place of train.
        reading: What is passed over is counted here.
        folder: What holds the shards.
        language: Their language.
        genders: The word for it by speaker, where a `metainfo.txt` tells; the shards do not.

    Raises:
        CorpusError: no shard of any split, no shards of the limited supervision asked for, or no column of texts,
            speakers or audio.
    """
    shards: dict[str, list[str]] = {}
    for path in shards_in(folder):
        shards.setdefault(_split_of(path), []).append(path)
    train = "train" if config.limited_supervision is None else _LIMITED[config.limited_supervision]
    if train not in shards and "train" in shards:
        raise CorpusError(f"{folder.uri}: no shards of {train}; fetch them, or leave out limited_supervision")
    read = {split: shards.pop(train if split == "train" else split, []) for split in SPLITS}
    if not any(read.values()):
        raise CorpusError(
            f"{folder.uri}: no shard of train, dev or test; they are named <split>-*.parquet or lie in a folder <split>"
        )
    for split, paths in shards.items():
        whys = {"": "shards whose names tell no split", "train": f"split train: {train} is asked for"}
        why = whys.get(split, f"split {split} repeats clips of train")
        skip_shards(config, reading, folder, paths, f"{folder.name}: {why}")
    for split, paths in read.items():
        for path in paths:
            for row in shard_rows(folder, path, _COLUMNS, reading, read_header=False):
                yield _utterance(config, reading, row, f"{language}/{path}", language, split, genders)


def _split_of(path: str) -> str:
    """Return train, dev, test, a split of limited supervision, or "" where the shard's name tells none."""
    shard = PurePosixPath(path)
    # the hub's own conversion of a large corpus stops early and says so
    for name in (shard.stem.partition("-")[0], shard.parent.name.removeprefix("partial-")):
        split = name if name in _LIMITED.values() else split_of(name)
        if split is not None:
            return split
    return ""


def _utterance(
    config: MlsConfig,
    reading: Reading,
    row: ShardRow,
    path: str,
    language: str,
    split: str,
    genders: Mapping[str, str],
) -> Utterance:
    values = row.values
    if row.audio_uri is not None:
        for needed in _REQUIRED:
            if needed not in values:
                raise CorpusError(f"{row.where}: no column {needed!r}; fetch the shard again")
    speaker = _text(values.get("speaker_id"))
    # the English variant has no ids, but the audio's name is one
    own_id = _text(values.get("id")) or PurePosixPath(printable(row.audio_path or "")).stem
    utterance = Utterance(
        utterance_id=own_id or row.own_id(config.name, path),
        corpus=config.name,
        data_source=f"multilingual_librispeech_{language}",
        language=language,
        split=split,
        speaker_id=speaker or None,
        gender=gender_of(genders.get(speaker)),
        gender_withheld=gender_withheld(genders.get(speaker)),
        transcript=text_of(values.get("transcript")),
        audio_uri=row.audio_uri,
        license=config.license or LICENSE,
        where=row.where,
    )
    duration = values.get("audio_duration")
    if row.reason is not None:
        utterance.reject(row.reason, row.detail)
    elif isinstance(duration, int | float) and 0 < duration < inf:
        utterance.duration_s = float(duration)
    elif reading.read_headers:
        _take_duration(reading, utterance)
    return utterance


def _take_duration(reading: Reading, utterance: Utterance) -> None:
    assert utterance.audio_uri is not None
    uri = parse_audio_uri(utterance.audio_uri)
    try:
        with reading.source.open(uri, whole=False) as file:
            utterance.duration_s = header_duration(file, str(uri))
    except (AudioUnavailableError, HeaderError) as error:
        if isinstance(error, AudioUnavailableError):
            raise_if_storage_failed(utterance.where, error)
        utterance.reject(error.reason, f"{utterance.where}: {error.detail}")


def _text(value: Any) -> str:
    return "" if value is None else printable(str(value).strip())
