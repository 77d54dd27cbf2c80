"""Praat TextGrids of aligned utterances, for a person to look at: read from the output root, one wave at a time."""

from __future__ import annotations

import hashlib
import heapq
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from praatio.textgrid import IntervalTier, Textgrid

from sift_ray.config import Config
from sift_ray.schema import SAMPLE_RATE
from sift_ray.storage import (
    OutputRoot,
    StorageError,
    read_json,
    read_manifest,
    read_table,
    root_of,
    stable_id,
    wave_files,
)

log = logging.getLogger(__name__)

_STAGE = "annotations"
_SURVEYED = ["unit_id", "utterance_id", "language", "status", "alignment_reason"]
_WHY_NOT = ["utterance_id", "reject_reason", "reject_detail", "alignment_reason", "alignment_detail"]
_WRITTEN = ["unit_id", "utterance_id", "corpus", "language", "duration_s", "audio_uri", "words"]
_ROWS_AT_ONCE = 256  # as Python objects
_PLACES = 4  # decimals of a second: times are float32, and praatio can't read back what Python writes as 1e-05
_LONGEST_NAME: Final = 200  # bytes; filesystems take 255, endings included


@dataclass(frozen=True, slots=True)
class Choice:
    """Which utterances are wanted; an empty set is all of them.

    Attributes:
        utterances: ids.
        languages: codes, such as `de`.
        limit: at most so many, the same ones each time, spread over the whole output. None: all.
    """

    utterances: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    file: str
    unit_id: int


def export_textgrids(config: Config, out: Path, choice: Choice, *, audio: bool) -> int:
    """Write `<corpus>/<language>/<utterance id>.TextGrid` under `out` for the utterances of `choice` that have words.

    The waves that `annotate` has finished are read. Where some are not finished, that is logged, and so is how many
    utterances have no word spans, and of those that were asked for by their id, why. Characters of names that a file's
    name should not hold are percent-encoded.

    Args:
        config: the job.
        out: a folder, made if it is not there. TextGrids of the same name in it are replaced.
        choice: which utterances.
        audio: write each clip beside its TextGrid as `.wav`, 16 kHz, 16 bits. What can't be read is logged.

    Returns:
        How many TextGrids were written.

    Raises:
        StorageError: nothing is annotated yet, an id or language of `choice` is not there, or `out` is not a folder.
    """
    root = root_of(config)
    places: Iterable[_Place] = _places(root, _finished_files(root), choice)
    if choice.limit is not None:
        places = heapq.nsmallest(choice.limit, places, key=lambda place: stable_id("textgrid", str(place.unit_id)))
        places.sort(key=lambda place: place.file)
    elif choice.utterances:
        places = list(places)  # an unknown id is told before anything is written
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StorageError(f"{out}: not a folder") from error
    written = 0
    for file, members in groupby(places, key=lambda place: place.file):
        for row in _rows(root, file, [place.unit_id for place in members]):
            path = out / safe_name(row["corpus"]) / safe_name(row["language"]) / safe_name(row["utterance_id"])
            path.parent.mkdir(parents=True, exist_ok=True)
            # (`with_suffix` would take a part of the id for one)
            text_grid(row["words"], row["duration_s"]).save(
                f"{path}.TextGrid", format="long_textgrid", includeBlankSpaces=True, reportingMode="error"
            )
            if audio:
                _write_audio(config, row, Path(f"{path}.wav"))
            written += 1
    return written


def text_grid(words: Sequence[Mapping[str, Any]], duration_s: float) -> Textgrid:
    """Return a TextGrid of the column `words` of one utterance, `duration_s` seconds long.

    Its tiers: `words` as written; `phones` and `word scores` (two decimals), each only where the aligner gave any.
    What has no times, or no length at 0.1 ms, has no place in a tier; of what overlaps, the later starts later.
    """
    placed = [word for word in words if word["start_s"] is not None and word["end_s"] is not None]
    grid = Textgrid(0.0, duration_s)
    grid.addTier(_tier("words", [(w["start_s"], w["end_s"], w["word"]) for w in placed], duration_s))
    phones = [
        (start_s, end_s, phone)
        for word in placed
        if (starts := word.get("phone_starts_s"))
        for start_s, end_s, phone in zip(starts, [*starts[1:], word["end_s"]], word["phones"], strict=True)
    ]
    if phones:
        grid.addTier(_tier("phones", phones, duration_s))
    scores = [(w["start_s"], w["end_s"], f"{w['score']:.2f}") for w in placed if w["score"] is not None]
    if scores:
        grid.addTier(_tier("word scores", scores, duration_s))
    return grid


def safe_name(name: str) -> str:
    """Return `name` as the name of one file or folder: other names give others, and none leads out of its folder.

    Letters and digits of any script, `-`, `_` and `.` stay (but for a `.` at the start), the rest becomes %XX of its
    UTF-8. The end of a very long name becomes a checksum.
    """
    safe = "".join(
        char
        if char.isalnum() or char in "-_" or (char == "." and place)
        else "".join(f"%{b:02X}" for b in char.encode())
        for place, char in enumerate(name)
    )
    if len(safe.encode()) <= _LONGEST_NAME:
        return safe
    checksum = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return f"{safe.encode()[: _LONGEST_NAME - 17].decode(errors='ignore')}~{checksum}"


def _finished_files(root: OutputRoot) -> list[str]:
    waves = (read_json(root, "plan.json") or {"waves": 0})["waves"]
    manifests = [manifest for wave in range(waves) if (manifest := read_manifest(root, _STAGE, wave)) is not None]
    if not manifests:
        raise StorageError(f"{root.uri}: no wave is annotated yet; run `sift-ray annotate` first")
    if len(manifests) < waves:
        log.warning("%d of %d waves are annotated so far; the others are not looked at", len(manifests), waves)
    return [file for manifest in manifests for file in wave_files(root, manifest)]


def _places(root: OutputRoot, files: Iterable[str], choice: Choice) -> Iterator[_Place]:
    """Yield the chosen utterances that have words; at the end, raise for what was chosen and is nowhere."""
    unknown = {"utterance_id": set(choice.utterances), "language": set(choice.languages)}
    unaligned = 0
    for file in files:
        rows = read_table(root, file, _SURVEYED if not choice.utterances else [*{*_SURVEYED, *_WHY_NOT}])
        for column, wanted in (("language", choice.languages), ("utterance_id", choice.utterances)):
            if wanted:
                rows = rows.filter(pc.is_in(rows[column], pa.array(sorted(wanted))))
                unknown[column].difference_update(pc.unique(rows[column]).to_pylist())
        aligned = pc.and_(pc.equal(rows["status"], "ok"), pc.is_null(rows["alignment_reason"]))
        for unit in rows.filter(aligned)["unit_id"].to_pylist():
            yield _Place(file, unit)
        without = rows.filter(pc.invert(aligned))
        unaligned += without.num_rows
        for row in without.to_pylist() if choice.utterances else ():
            kind = "reject" if row["reject_reason"] else "alignment"
            reason, detail = row[f"{kind}_reason"], row[f"{kind}_detail"] or "no more is known"
            log.warning("%s: has no word spans: %s: %s", row["utterance_id"], reason, detail)
    if unaligned and not choice.utterances:
        log.info("%d utterances have no word spans, and so no TextGrid", unaligned)
    if unknown["utterance_id"]:
        where = f" in {', '.join(sorted(choice.languages))}" if choice.languages else ""
        raise StorageError(f"{root.uri}: no such utterance is annotated{where}: {_listed(unknown['utterance_id'])}")
    if unknown["language"]:
        raise StorageError(f"{root.uri}: no utterance of language {_listed(unknown['language'])} is annotated")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _rows(root: OutputRoot, file: str, units: Sequence[int]) -> Iterator[Mapping[str, Any]]:
    table = read_table(root, file, _WRITTEN, pc.field("unit_id").isin(pa.array(units, pa.int64())))
    for batch in table.to_batches(_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _tier(name: str, spans: Iterable[tuple[float, float, str]], duration_s: float) -> IntervalTier:
    entries: list[tuple[float, float, str]] = []
    last = 0.0
    for start_s, end_s, label in spans:
        start, end = max(round(start_s, _PLACES), last), min(round(end_s, _PLACES), duration_s)
        if start < end:
            entries.append((start, end, label))
            last = end
    return IntervalTier(name, entries, 0.0, duration_s)


def _write_audio(config: Config, row: Mapping[str, Any], path: Path) -> None:
    import soundfile

    from sift_ray.audio.decode import DecodeError, decode
    from sift_ray.corpora.audio_source import audio_source

    rules = config.annotate.decode
    try:
        clip = decode(
            row["audio_uri"],
            audio_source(config.reading_from),
            min_s=rules.min_s,
            max_s=rules.max_s,
            long_clips=rules.long_clips,
        )
    except DecodeError as error:
        log.warning("%s: its audio can't be written: %s: %s", row["utterance_id"], error.reason, error.detail)
        return
    soundfile.write(path, clip.samples, SAMPLE_RATE, subtype="PCM_16")
