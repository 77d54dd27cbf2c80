"""Common Voice as the hub has it in Parquet: a row a clip, its audio embedded.

Shards are `<lang>/<split>/0000.parquet`, `<lang>/<split>-00000-of-00012.parquet`, `data/<split>-….parquet` or
`<lang>/common_voice_11_0-<split>.parquet`. The language stands in the column `locale`, else it is the folder's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from sift_ray.config import CommonVoiceConfig
from sift_ray.corpora.common_voice import LICENSE, describe, passed_over
from sift_ray.corpora.parquet_shards import ShardRow, shard_footer, shard_rows
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tree import Tree
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import printable, split_of
from sift_ray.schema import LANGUAGES

_COLUMNS: Final = ("client_id", "path", "sentence", "age", "gender", "accents", "accent", "locale")
_NEEDED: Final = ("client_id", "sentence")
# the last of these words in a shard's path; `partial-train` and `common_voice_11_0-train` are train
_SPLIT: Final = re.compile(r"(?<![a-z])(train|validation|dev|test|validated|invalidated|other)(?![a-z])")
_UNDETERMINED: Final = "und"  # ISO 639: neither the row nor the folder says


class _Shard(NamedTuple):
    path: str
    split: str
    language: str
    """As the folder says."""
    rows: Counter[str]
    """How many there are of each language."""


def read_common_voice_hub(
    config: CommonVoiceConfig, reading: Reading, root: Tree, paths: list[str]
) -> Iterator[Utterance]:
    """Yield the utterances of the splits train, validation (dev) and test, shard by shard.

    Args:
        config: The corpus's section.
        reading: How corpora are read.
        root: The corpus's folder.
        paths: The Parquet files below it.

    Raises:
        CorpusError: no shard of these splits or of a wanted language, a shard without a needed column; or the config
            asks for `validated`, which takes the tables of an extracted release.
    """
    if config.validated:
        raise CorpusError(
            f"{root.uri}: this is hub Parquet; `validated` takes an extracted release, with its validated.tsv"
        )
    named = list(_in_splits(config, reading, root, paths))
    if not named:
        raise CorpusError(f"{root.uri}: no Parquet file is named for a split train, validation or test")
    with ThreadPoolExecutor(reading.threads) as pool:
        shards = list(pool.map(partial(_look_at, root, reading), named))
    for wanted in config.languages or ():
        if not any(wanted in shard.rows or _UNDETERMINED in shard.rows for shard in shards):
            raise CorpusError(f"{root.uri}: no row of language {wanted} in the Parquet files of its splits")
    for shard in shards:
        if all(_passed_over(language, config) for language in shard.rows):
            for language, rows in shard.rows.items():
                reading.skip(config.name, str(_passed_over(language, config)), rows)
            continue
        for row in shard_rows(root, shard.path, _COLUMNS, reading):
            utterance = _utterance(config, shard, row)
            why = _passed_over(utterance.language, config)
            if why is not None:
                reading.skip(config.name, why)
            else:
                yield utterance


def _in_splits(config: CommonVoiceConfig, reading: Reading, root: Tree, paths: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (path, split) of the shards that are read, and count the rows of the others."""
    for path in paths:
        words = _SPLIT.findall(path.lower())
        split = split_of(words[-1]) if words else None
        if split is not None:
            yield path, split
        else:
            footer = shard_footer(root, path)
            why = f"split {words[-1]}" if words else "a Parquet file named for no split"
            reading.skip(config.name, why, footer.rows if footer else 1)


def _look_at(root: Tree, reading: Reading, named: tuple[str, str]) -> _Shard:
    """Learn from the column of languages what a shard holds: whole languages are passed over without their audio.

    Raises:
        CorpusError: a needed column is not there.
    """
    path, split = named
    if (footer := shard_footer(root, path)) is not None:
        for needed in _NEEDED:
            if needed not in footer.columns:
                raise CorpusError(f"{root.uri}/{path}: no column {needed!r}; there are {', '.join(footer.columns)}")
    folders = [root.name, *PurePosixPath(path).parts[:-1]]
    language = next((name for name in reversed(folders) if name in LANGUAGES), _UNDETERMINED)
    rows = Counter(_language(row, language) for row in shard_rows(root, path, ["locale"], reading, read_header=False))
    return _Shard(path, split, language, rows)


def _language(row: ShardRow, folder: str) -> str:
    return printable(str(row.values.get("locale") or folder).strip())


def _passed_over(language: str, config: CommonVoiceConfig) -> str | None:
    return None if language == _UNDETERMINED else passed_over(language, config)


def _utterance(config: CommonVoiceConfig, shard: _Shard, row: ShardRow) -> Utterance:
    clip = str(row.values.get("path") or row.audio_path or "")
    language = _language(row, shard.language)
    utterance = Utterance(
        utterance_id=printable(PurePosixPath(clip).stem) or row.own_id(config.name, shard.path),
        corpus=config.name,
        data_source=f"common_voice_{language}",
        language=language,
        split=shard.split,
        audio_uri=row.audio_uri,
        duration_s=row.duration_s,
        license=config.license or LICENSE,
        where=row.where,
    )
    describe(utterance, row.values)
    if row.reason is not None:
        utterance.reject(row.reason, row.detail)
    elif language == _UNDETERMINED:
        utterance.reject(
            "unknown_language", f"{row.where}: no locale, and no folder is named {', '.join(LANGUAGES)} either"
        )
    return utterance
