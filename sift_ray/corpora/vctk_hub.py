"""VCTK as the hub has it in Parquet: a row a recording, so that a text read has a row for each microphone.

Columns are `speaker_id audio file text text_id age gender accent region comment`. The microphone stands in the name
of the file, `p225_001_mic1.flac`, in `file` or beside the audio's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from sift_ray.config import VctkConfig
from sift_ray.corpora.name_set import NameSet
from sift_ray.corpora.parquet_shards import ShardRow, shard_footer, shard_rows
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tree import Tree
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import age_of, gender_of, gender_withheld, printable, split_by_speaker, text_of
from sift_ray.corpora.vctk import LICENSE, accent_of

_NAMES: Final = ("file", "speaker_id", "text_id")
_COLUMNS: Final = (*_NAMES, "text", "age", "gender", "accent")
_NEEDED: Final = ("speaker_id", "text")
_CLIP: Final = re.compile(r"(?P<id>[A-Za-z0-9]+_\d+)_(?P<mic>mic[12])")


def read_vctk_hub(config: VctkConfig, reading: Reading, root: Tree, paths: list[str]) -> Iterator[Utterance]:
    """Yield one utterance for each text read, from the config's microphone or else the other one, shard by shard.

    The recordings of one text may lie in different shards: a first pass over the files' names learns which texts have
    the wanted microphone. Splits are by a hash of the speaker.

    Args:
        config: The corpus's section.
        reading: How corpora are read.
        root: The corpus's folder.
        paths: The Parquet files below it.

    Raises:
        CorpusError: a shard lacks a needed column.
    """
    has_wanted = NameSet()
    for path in paths:
        if (footer := shard_footer(root, path)) is not None:
            for needed in _NEEDED:
                if needed not in footer.columns:
                    raise CorpusError(f"{root.uri}/{path}: no column {needed!r}; there are {', '.join(footer.columns)}")
        for row in shard_rows(root, path, _NAMES, reading, read_header=False):
            utterance_id, mic = _recording(row)
            if mic == config.mic:
                has_wanted.add(utterance_id)
    for path in paths:
        for row in shard_rows(root, path, _COLUMNS, reading):
            utterance_id, mic = _recording(row)
            if mic not in (None, config.mic) and utterance_id in has_wanted:
                reading.skip(config.name, "the other microphone")
            else:
                yield _utterance(config, utterance_id or row.own_id(config.name, path), row)


def _recording(row: ShardRow) -> tuple[str, str | None]:
    """Return a row's utterance id (empty: not told) and its microphone, `mic1` or `mic2` (None: not told)."""
    for name in (row.values.get("file"), row.audio_path):
        if match := _CLIP.fullmatch(PurePosixPath(str(name or "")).stem):
            return match["id"], match["mic"]
    speaker_id, text_id = (str(row.values.get(name) or "") for name in ("speaker_id", "text_id"))
    return (f"{speaker_id}_{text_id}" if speaker_id and text_id else ""), None


def _utterance(config: VctkConfig, utterance_id: str, row: ShardRow) -> Utterance:
    values = {name: str(value) for name, value in row.values.items() if value is not None}
    speaker_id = printable(values.get("speaker_id", "").strip()) or None
    utterance = Utterance(
        utterance_id=printable(utterance_id),
        corpus=config.name,
        data_source="vctk_en",
        language="en",
        split=split_by_speaker(speaker_id, utterance_id),
        speaker_id=speaker_id,
        gender=gender_of(values.get("gender")),
        gender_withheld=gender_withheld(values.get("gender")),
        age=age_of(values.get("age")),
        accent=accent_of(printable(values.get("accent", "").strip())),
        transcript=text_of(values.get("text")),
        audio_uri=row.audio_uri,
        duration_s=row.duration_s,
        license=config.license or LICENSE,
        where=row.where,
    )
    if row.reason is not None:
        utterance.reject(row.reason, row.detail)
    return utterance
