"""Common Voice as published: `cv-corpus-<version>/<lang>/{clips/, train.tsv, dev.tsv, test.tsv, …}`.

Read are train, dev and test; `validated.tsv` repeats them and adds clips that have no split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.config import CommonVoiceConfig
from sift_ray.corpora.reading import Reading, place_audio
from sift_ray.corpora.tree import Tree, text_lines
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.values import age_of, gender_of, printable, text_of
from sift_ray.schema import LANGUAGES, SPLITS

_LICENSE: Final = "CC0-1.0"
_REQUIRED: Final = ("client_id", "path", "sentence")
# times.txt of 14 to 16 holds lines like `cv-corpus-15.0-2023-09-08/de/clips/common_voice_de_1.mp3 = 4320`
_TIMES_LINE: Final = re.compile(r"([^/\s`]+)`?\s*[=\t]\s*(\d+)\s*$")


def read_common_voice(config: CommonVoiceConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the utterances of train, dev and test, language by language, in the files' order.

    Raises:
        CorpusError: no folder of a wanted language, no split's table, or a table without a needed column.
    """
    root = reading.tree(config.path, "Common Voice")
    for language, folder in _language_folders(root, config.languages):
        there = folder.files()
        tables = {split: f"{split}.tsv" for split in SPLITS if f"{split}.tsv" in there}
        if not tables:
            raise CorpusError(f"{folder.uri}: none of train.tsv, dev.tsv, test.tsv is there; unpack all of it")
        durations = ClipDurations.read(folder)
        for split, table in tables.items():
            yield from _read_table(config, language, split, folder, table, durations)


def _language_folders(root: Tree, wanted: tuple[str, ...] | None) -> list[tuple[str, Tree]]:
    there = root.folders()
    if root.name in LANGUAGES and "clips" in there:
        raise CorpusError(f"{root.uri}: this is one language's folder; give its parent, and languages: [{root.name}]")
    found = {language: root.folder(language) for language in wanted or LANGUAGES if language in there}
    for language in wanted or ():
        if language not in found:
            raise CorpusError(f"{root.uri}: no folder {language} for language {language}")
    if not found:
        raise CorpusError(f"{root.uri}: no folder of a language ({', '.join(LANGUAGES)}) is there")
    return [(language, folder) for language, folder in found.items() if folder is not None]


def _read_table(
    config: CommonVoiceConfig,
    language: str,
    split: str,
    folder: Tree,
    table: str,
    durations: ClipDurations,
) -> Iterator[Utterance]:
    columns: list[str] = []
    for number, line in text_lines(folder, table):
        where = f"{folder.uri}/{table}:{number}"
        cells = line.split("\t")  # quotes are plain characters here and often unbalanced
        if not columns:
            columns = [cell.strip() for cell in cells]
            for needed in _REQUIRED:
                if needed not in columns:
                    raise CorpusError(f"{where}: no column {needed!r} in the header; fetch the file again")
            continue
        if not line:
            continue
        row = dict(zip(columns, cells, strict=False))
        clip = row.get("path", "").strip()
        utterance = Utterance(
            utterance_id=printable(PurePosixPath(clip).stem) or f"{config.name}#{table}/line{number}",
            corpus=config.name,
            data_source=f"common_voice_{language}",
            language=language,
            split=split,
            license=config.license or _LICENSE,
            where=where,
        )
        if len(cells) != len(columns) or not clip:
            few = len(cells) < len(columns) or not clip
            utterance.reject(
                "too_few_columns" if few else "too_many_columns",
                f"{where}: {len(cells)} columns, the header has {len(columns)}"
                if clip
                else f"{where}: the column path is empty",
            )
            yield utterance
            continue
        utterance.speaker_id = printable(row["client_id"].strip()) or None
        utterance.gender = gender_of(row.get("gender"))
        utterance.age = age_of(row.get("age"))
        utterance.accent = text_of(printable(row.get("accents", row.get("accent", ""))))
        utterance.transcript = text_of(row["sentence"])
        # releases before 5.0 name clips without their suffix
        name = clip if clip.endswith(".mp3") else f"{clip}.mp3"
        place_audio(utterance, folder, f"clips/{name}" if not name.startswith("/") else name)
        utterance.duration_s = durations.get(PurePosixPath(name).name)
        yield utterance


class ClipDurations:
    """Seconds by clip name in 12 bytes a clip: English has millions, too many for a dict.

    Keys are 64-bit hashes; two clips of one release sharing one is a chance of about 1 in 10 million.
    """

    def __init__(self, keys: NDArray[np.uint64], seconds: NDArray[np.float32]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._seconds = seconds[order]

    @classmethod
    def read(cls, folder: Tree) -> ClipDurations:
        """Read `clip_durations.tsv` (from 16.1) or `times.txt` (14 to 16); with neither, nothing is known.

        Some `times.txt` of 15.0 name the clips of another release: clips that are not found there have
        their headers read.
        """
        keys = bytearray()
        milliseconds: list[NDArray[np.float32]] = []
        chunk: list[int] = []
        path = "clip_durations.tsv" if folder.has("clip_durations.tsv") else "times.txt"
        if folder.has(path):
            for _, line in text_lines(folder, path):
                match = _TIMES_LINE.search(line)
                if match and int(match[2]) > 0:  # 0 is an empty clip: let the file itself say so
                    keys += _clip_key(match[1])
                    chunk.append(int(match[2]))
                if len(chunk) == 1 << 16:
                    milliseconds.append(np.array(chunk, dtype=np.float32))
                    chunk.clear()
        milliseconds.append(np.array(chunk, dtype=np.float32))
        return cls(np.frombuffer(bytes(keys), dtype=np.uint64), np.concatenate(milliseconds) / np.float32(1000))

    def get(self, clip: str) -> float | None:
        """Return the clip's seconds, or None."""
        key = np.frombuffer(_clip_key(clip), dtype=np.uint64)[0]
        index = int(np.searchsorted(self._keys, key))
        if index == len(self._keys) or self._keys[index] != key:
            return None
        return float(self._seconds[index])


def _clip_key(clip: str) -> bytes:
    return hashlib.blake2b(clip.encode("utf-8", "surrogateescape"), digest_size=8).digest()
