"""Hub Parquet: the audio as bytes in the shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.corpora.mls import FOLDERS

from .demo_clips import Demo, DemoClip, Expected, Layout
from .trees import CV_LANGUAGES, MLS_LANGUAGES, second_microphone

ROW_GROUP = 2
NINE_HOURS, ONE_HOUR = 2, 1
"""Rows of a language's limited supervision."""

_CV_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def mls_hub(demo: Demo, folder: Path, base: str) -> Layout:
    """A folder a language, shards by split; `9_hours` and `1_hours` repeat rows of train."""
    clips = demo.of("mls", *MLS_LANGUAGES)
    for language in MLS_LANGUAGES:
        for split in ("train", "dev", "test"):
            rows = [_mls_row(clip) for clip in clips if (clip.language, clip.split) == (language, split)]
            # train has two shards
            cut = len(rows) - 1 if split == "train" else 0
            parts = [part for part in (rows[:cut], rows[cut:]) if part]
            for number, part in enumerate(parts):
                write_shard(folder / FOLDERS[language] / f"{split}-{number:05d}-of-{len(parts):05d}.parquet", part)
            if split == "train":
                write_shard(folder / FOLDERS[language] / "9_hours-00000-of-00001.parquet", rows[:NINE_HOURS])
                write_shard(folder / FOLDERS[language] / "1_hours-00000-of-00001.parquet", rows[:ONE_HOUR])
    skipped = (NINE_HOURS + ONE_HOUR) * len(MLS_LANGUAGES)
    return Layout({"type": "mls", "name": "mls", "path": base}, tuple(Expected.of(clip) for clip in clips), skipped)


def mls_hub_nine_hours(demo: Demo, folder: Path, base: str) -> Layout:
    """The same, with the split `9_hours` in place of train."""
    layout = mls_hub(demo, folder, base)
    train = [clip for clip in demo.of("mls", *MLS_LANGUAGES) if clip.split == "train"]
    listed = {
        clip.utterance_id
        for language in MLS_LANGUAGES
        for clip in [clip for clip in train if clip.language == language][:NINE_HOURS]
    }
    kept = tuple(row for row in layout.utterances if row.split != "train" or row.utterance_id in listed)
    skipped = len(train) + ONE_HOUR * len(MLS_LANGUAGES)
    return Layout({**layout.corpus, "limited_supervision": "9hr"}, kept, skipped)


def mls_hub_english(demo: Demo, folder: Path, base: str) -> Layout:
    """The English variant: another repository, with `book_id` and without ids."""
    clips = demo.of("mls", "en")
    for split in ("train", "dev", "test"):
        rows = []
        for clip in clips:
            if clip.split == split:
                row = _mls_row(clip)
                row["book_id"] = row.pop("chapter_id")
                del row["id"], row["file"]
                rows.append(row)
        write_shard(folder / f"mls_eng/data/{split}-00000-of-00001.parquet", rows)
    section = {"type": "mls", "name": "mls", "path": f"{base}/mls_eng", "languages": ["en"]}
    return Layout(section, tuple(Expected.of(clip) for clip in clips))


def _mls_row(clip: DemoClip) -> dict[str, Any]:
    speaker, book, _ = clip.utterance_id.split("_")
    return {
        "audio": embedded(clip.file),
        "original_path": "http://www.archive.org/download/demo/chapter_64kb.mp3",
        "begin_time": 10.0,
        "end_time": 10.0 + clip.duration_s,
        "transcript": clip.transcript,
        "audio_duration": clip.duration_s,
        "speaker_id": speaker,
        "chapter_id": book,
        "file": clip.file.name,
        "id": clip.utterance_id,
    }


def common_voice_hub(demo: Demo, folder: Path, base: str) -> Layout:
    """A folder a language and split; `other` and the like beside them are not read."""
    clips = demo.of("common_voice", *CV_LANGUAGES)
    for language in CV_LANGUAGES:
        for split, name in _CV_SPLITS.items():
            rows = [_cv_row(clip) for clip in clips if (clip.language, clip.split) == (language, split)]
            write_shard(folder / language / name / "0000.parquet", rows)
        stray = {**_cv_row(demo.of("common_voice", language)[0]), "path": f"common_voice_{language}_1.mp3"}
        for name in ("other", "invalidated"):
            write_shard(folder / language / name / "0000.parquet", [stray])
    utterances = tuple(Expected.of(clip) for clip in clips)
    return Layout({"type": "common_voice", "name": "cv", "path": base}, utterances, 2 * len(CV_LANGUAGES))


def _cv_row(clip: DemoClip) -> dict[str, Any]:
    row = clip.row
    return {
        "client_id": row["client_id"],
        "path": row["path"],
        "audio": embedded(clip.file),
        "sentence": row["sentence"],
        "up_votes": 2,
        "down_votes": 0,
        "age": row["age"],
        "gender": row["gender"],
        "accent": row["accents"],
        "locale": row["locale"],
        "segment": "",
        "variant": "",
    }


def vctk_hub(demo: Demo, folder: Path, base: str) -> Layout:
    """One table with both microphones as rows."""
    rows, utterances = [], []
    for clip in demo.of("vctk", "en"):
        for file in dict.fromkeys((clip.file, second_microphone(clip))):
            rows.append(
                {
                    "speaker_id": clip.speaker_id,
                    "audio": embedded(file),
                    "file": f"/data/wav48_silence_trimmed/{clip.speaker_id}/{file.name}",
                    "text": clip.transcript,
                    "text_id": clip.utterance_id.split("_")[1],
                    "age": "23",
                    "gender": "F" if clip.gender == "female" else "M",
                    "accent": "English",
                    "region": "",
                    "comment": "",
                }
            )
        utterances.append(Expected.of(clip, audio=second_microphone(clip)))
    write_shard(folder / "data/train-00000-of-00001.parquet", rows)
    skipped = len(rows) - len(utterances)
    return Layout({"type": "vctk", "name": "vctk", "path": base}, tuple(utterances), skipped)


def embedded(file: Path) -> dict[str, Any]:
    """Return the hub's value of an audio column."""
    return {"bytes": file.read_bytes(), "path": file.name}


def write_shard(path: Path, rows: Sequence[dict[str, Any]], row_group: int = ROW_GROUP, **options: Any) -> None:
    """Write rows as one shard of several row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=row_group, **options)
