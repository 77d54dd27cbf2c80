"""The work of `annotate` on one batch: decode it, measure it, align it.

Heavy libraries are imported where they are used, so that a worker loads only those of its own stage.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sift_ray.config import AlignConfig, DecodeConfig, FeaturesConfig, StorageConfig
from sift_ray.corpora.audio_uri import block_of, parse_audio_uri
from sift_ray.corpora.values import one_line
from sift_ray.pipeline.attempts import is_retry
from sift_ray.pipeline.model_place import ModelPlace
from sift_ray.pipeline.progress import Progress
from sift_ray.schema import ANNOTATIONS, SAMPLE_RATE, conform
from sift_ray.storage import OutputRoot, fetch_folder, read_table

if TYPE_CHECKING:
    from sift_ray.align.lexicon import Lexicon
    from sift_ray.align.protocol import Aligner, AlignmentFailure, UtteranceAlignment, WordSpan
    from sift_ray.audio.decode import DecodedClip
    from sift_ray.audio.isolate import IsolatedDecoder
    from sift_ray.features.tracks import ProsodyTracks

log = logging.getLogger(__name__)

_AUDIO = pa.list_(pa.int16())
_TRACK = pa.list_(pa.float32())
FULL_SCALE = 32768.0
_LONGEST_DECODING_S = 180.0  # fetching included
_ARMED_S = 10.0  # so long the watch on decoding is left as it is: to set it for each clip would take 3 % of the time


def read_blocks(root: OutputRoot, files: Sequence[str], blocks: int) -> pa.Table | tuple[pa.Table, ...]:
    """Return the rows of `files` as `blocks` tables of like size (one table as itself, as Ray has it).

    Rows whose audio is best read together (a row group, a window of a tar) stay in one table, in the order in which
    they lie there, so that one task reads each such part once, from its start to its end.
    """
    table = pa.concat_tables(read_table(root, file) for file in files)
    order, starts = address_order(table.column("audio_uri").to_pylist())
    wanted = np.linspace(0, table.num_rows, blocks + 1).astype(int)
    bounds = np.append(starts, table.num_rows)[np.searchsorted(starts, wanted)]
    # (a slice would carry the whole table along when it is sent)
    pieces = tuple(table.take(pa.array(order[a:b])) for a, b in pairwise(bounds))
    return pieces[0] if blocks == 1 else pieces


def address_order(uris: Sequence[str | None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (the rows in the order in which their audio is best read, the places there at which they may be parted).

    Rows of one block (see `AudioUri.block`) come together where the first of them stood; the others stay.
    """
    firsts: dict[str, int] = {}
    keys: list[tuple[int, tuple[float, ...]]] = []
    for row, uri in enumerate(uris):
        block = block_of(uri)
        if uri is None or block is None:
            keys.append((row, ()))
        else:
            address = parse_audio_uri(uri)
            place = address.row or address.bytes or (address.start_s or 0.0,)
            keys.append((firsts.setdefault(block, row), place))
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    groups = np.array([keys[row][0] for row in order], dtype=np.int64)
    return order, np.flatnonzero(np.diff(groups, prepend=-1)).astype(np.int64)


class Rejects:
    """Marks rows of a batch as rejected; a row's first reason stands."""

    def __init__(self, table: pa.Table) -> None:
        self._names = ("status", "reject_stage", "reject_reason", "reject_detail")
        self._columns = {name: table.column(name).to_pylist() for name in self._names}

    def ok(self, row: int) -> bool:
        """Whether the row is still good."""
        return bool(self._columns["status"][row] == "ok")

    def add(self, row: int, stage: str, reason: str, detail: str) -> None:
        """Reject `row`."""
        if self.ok(row):
            for name, value in zip(self._names, ("rejected", stage, reason, one_line(detail)), strict=True):
                self._columns[name][row] = value

    def apply(self, table: pa.Table) -> pa.Table:
        """Return `table` with the marks."""
        for name in self._names:
            index = table.schema.get_field_index(name)
            field = table.schema.field(index)
            table = table.set_column(index, field, pa.array(self._columns[name], field.type))
        return table


def decode_batch(batch: pa.Table, config: DecodeConfig, storage: StorageConfig) -> pa.Table:
    """Add `audio`, list<int16> at 16 kHz mono, null where the row is rejected, and `clipping_ratio`.

    `duration_s` is taken from the samples. A clip that was cut loses its transcript, which says more than is heard.
    In a task that was begun before, on a worker that died, each clip is decoded in a process of its own: what kills
    that one too is rejected.
    """
    from sift_ray.audio.errors import DecodeError, DecoderStartError

    rejects = Rejects(batch)
    clips: list[NDArray[np.int16] | None] = []
    changed = {name: batch.column(name).to_pylist() for name in ("duration_s", "audio_uri", "transcript")}
    clipping: list[float | None] = []
    with _decoder(config, storage) as decode:
        for row, uri in enumerate(batch.column("audio_uri").to_pylist()):
            samples = ratio = None
            if rejects.ok(row):
                try:
                    clip = decode(uri)
                except DecodeError as error:
                    rejects.add(row, "decode", error.reason, error.detail)
                except DecoderStartError:
                    raise
                except Exception as error:
                    # what no decoder should raise: one clip must not cost its wave, and the budget bounds how many may
                    log.exception("%s: decoding failed", uri)
                    rejects.add(row, "decode", "decoder_error", f"{uri}: {type(error).__name__}: {error}")
                else:
                    samples, ratio = clip.samples, clip.clipping_ratio
                    changed["duration_s"][row] = samples.size / SAMPLE_RATE
                    if clip.cut:
                        changed["audio_uri"][row] = _shortened(uri, config.max_s)
                        changed["transcript"][row] = None
            clips.append(samples)
            clipping.append(ratio)
    for name, values in changed.items():
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, batch.schema.field(index), pa.array(values, batch.schema.field(index).type))
    batch = batch.append_column("clipping_ratio", pa.array(clipping, pa.float32()))
    return rejects.apply(batch).append_column("audio", ragged(clips, _AUDIO))


@contextmanager
def _decoder(config: DecodeConfig, storage: StorageConfig) -> Iterator[Callable[[str], DecodedClip]]:
    """Give what decodes one clip, in this process or, where that was tried before, in a child of its own."""
    if is_retry():
        yield _isolated(storage, config).decode
        return
    from sift_ray.audio.decode import decode
    from sift_ray.corpora.audio_source import audio_source

    source = audio_source(storage)

    armed = -math.inf

    def watched(uri: str) -> DecodedClip:
        # a decoder that never returns ends this worker; the task's next attempt finds which clip it is
        nonlocal armed
        if (now := time.monotonic()) - armed > _ARMED_S:
            faulthandler.dump_traceback_later(_LONGEST_DECODING_S, exit=True)
            armed = now
        return decode(uri, source, min_s=config.min_s, max_s=config.max_s, long_clips=config.long_clips)

    try:
        yield watched
    finally:
        faulthandler.cancel_dump_traceback_later()


@lru_cache(maxsize=1)
def _isolated(storage: StorageConfig, config: DecodeConfig) -> IsolatedDecoder:
    # one child serves all batches of this process; it ends when this process does
    from sift_ray.audio.isolate import IsolatedDecoder

    return IsolatedDecoder(storage, config)


def _shortened(uri: str, seconds: float) -> str:
    address = parse_audio_uri(uri)
    start = address.start_s or 0.0
    return str(replace(address, start_s=start, end_s=start + seconds))


def ragged(arrays: Sequence[NDArray[Any] | None], list_type: pa.ListType) -> pa.ListArray:
    """Return 1-D arrays of any lengths as one Arrow list column, None as null."""
    sizes = [0 if a is None else a.size for a in arrays]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    present = [a for a in arrays if a is not None]
    values = np.concatenate(present) if present else np.empty(0)
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(values, list_type.value_type),
        mask=pa.array([a is None for a in arrays]),
    ).cast(list_type)


def waveforms(column: pa.ChunkedArray) -> list[NDArray[np.float32] | None]:
    """Return an `audio` column as float32 arrays in [-1, 1], null as None."""
    return [
        None if not clip.is_valid else clip.values.to_numpy().astype(np.float32) * np.float32(1 / FULL_SCALE)
        for clip in column
    ]


_MEASURED = (
    "pitch_median_hz",
    "pitch_mean_hz",
    "pitch_std_hz",
    "intensity_db",
    "speech_duration_s",
    "snr_db",
    "c50_db",
    "distortion",
    "quality",
)


class Measuring:
    """The actor that measures decoded clips in batches, and keeps the F0 and intensity tracks for the next stage."""

    def __init__(self, config: FeaturesConfig) -> None:
        from sift_ray.features.extract import FeatureExtractor

        self._extractor = FeatureExtractor(config)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Add every measured column, their backends, `null_reasons` and the tracks."""
        clips = waveforms(batch.column("audio"))
        rows = [row for row, clip in enumerate(clips) if clip is not None]
        measured = self._extractor.measure([clip for clip in clips if clip is not None])
        rejects = Rejects(batch)
        columns: dict[str, list[Any]] = {name: [None] * len(clips) for name in _MEASURED}
        nulls: list[list[str] | None] = [None] * len(clips)
        tracks: list[Any] = [None] * len(clips)
        for row, features in zip(rows, measured, strict=True):
            if features.reject_reason is not None:
                rejects.add(row, "features", features.reject_reason, features.reject_detail or "")
            for name in _MEASURED:
                columns[name][row] = getattr(features, name)
            nulls[row] = list(features.nulls)
            tracks[row] = features.tracks
        batch = rejects.apply(batch)
        present = set(rows)
        for name in _MEASURED:
            batch = batch.append_column(name, pa.array(columns[name], pa.float32()))
        for name, backend in self._extractor.backends.items():
            measured_by = [backend if row in present else None for row in range(len(clips))]
            batch = batch.append_column(f"{name}_backend", pa.array(measured_by, pa.string()))
        batch = batch.append_column("null_reasons", pa.array(nulls, pa.list_(pa.string())))
        return _append_tracks(batch, tracks)


def _append_tracks(batch: pa.Table, tracks: Sequence[Any]) -> pa.Table:
    batch = batch.append_column("f0_hz", ragged([t and t.f0_hz for t in tracks], _TRACK))
    batch = batch.append_column("level_db", ragged([t and t.intensity_db for t in tracks], _TRACK))
    for name, attribute in (("f0_start_s", "f0_start_s"), ("level_start_s", "intensity_start_s")):
        values = [None if t is None else getattr(t, attribute) for t in tracks]
        batch = batch.append_column(name, pa.array(values, pa.float64()))
    return batch


class Aligning:
    """The actor that aligns transcripts, and gives each word its span, phones, pitch and intensity."""

    def __init__(
        self, config: AlignConfig, root: OutputRoot, models: Mapping[str, ModelPlace], progress: Progress
    ) -> None:
        from sift_ray.align.viter_backend import ViterAligner

        self._progress = progress
        self._config = config
        self._lexicons: dict[str, Lexicon] = {}
        self._aligner: Aligner | None = None
        if config.backend == "viter":
            cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sift-ray" / "align"
            local = {
                language: Path(model.path)
                if model.path is not None
                else fetch_folder(root, model.folder, cache / model.fingerprint)
                for language, model in models.items()
            }
            self._aligner = ViterAligner(local, min_score=config.min_score)

    def _lexicon(self, language: str) -> Lexicon:
        from sift_ray.align.lexicon import Lexicon

        if language not in self._lexicons:
            self._lexicons[language] = Lexicon(language, self._config.dictionary(language))
        return self._lexicons[language]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the batch as rows of `annotations`."""
        rows = batch.drop_columns(["audio", "f0_hz", "level_db"]).to_pylist()
        clips = waveforms(batch.column("audio"))
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            if row["status"] == "ok":
                groups.setdefault(row["language"], []).append(index)
        results: list[dict[str, Any]] = [{} for _ in rows]
        for language, members in groups.items():
            aligned = self._align(language, [rows[i] for i in members], [clips[i] for i in members])
            for index, outcome in zip(members, aligned, strict=True):
                results[index] = self._describe(rows[index], outcome, _tracks(batch, index))
        self._progress.add(batch.num_rows)
        for name in _ALIGNED:
            field = ANNOTATIONS.field(name)
            batch = batch.append_column(field, pa.array([r.get(name) for r in results], field.type))
        return conform(batch, ANNOTATIONS)

    def _align(
        self, language: str, rows: Sequence[Mapping[str, Any]], clips: Sequence[NDArray[np.float32] | None]
    ) -> list[UtteranceAlignment | AlignmentFailure]:
        from sift_ray.align.protocol import AlignmentFailure, AlignmentJob

        if self._aligner is None:
            return [AlignmentFailure("alignment_off", "annotate.align.backend is none")] * len(rows)
        jobs, places = [], []
        outcomes: list[UtteranceAlignment | AlignmentFailure] = [
            AlignmentFailure("no_transcript", "the corpus gives no transcript")
        ] * len(rows)
        for place, (row, clip) in enumerate(zip(rows, clips, strict=True)):
            if row["transcript"] and clip is not None:
                jobs.append(AlignmentJob(clip, row["transcript"], row["speaker_id"]))
                places.append(place)
        for place, outcome in zip(places, self._aligner.align(language, jobs), strict=True):
            outcomes[place] = outcome
        return outcomes

    def _describe(
        self, row: Mapping[str, Any], outcome: UtteranceAlignment | AlignmentFailure, tracks: ProsodyTracks
    ) -> dict[str, Any]:
        """Return the columns of `_ALIGNED` for one utterance."""
        from sift_ray.align.protocol import AlignmentFailure
        from sift_ray.features.rate import speaking_rate

        result: dict[str, Any] = {}
        speech_s = row["speech_duration_s"]
        if row["transcript"]:
            lexicon = self._lexicon(row["language"])
            result["phonemes"] = lexicon.phonemes(row["transcript"]) or None
            phones, counted_by = lexicon.phone_count(row["transcript"]), "g2p"
        else:
            phones, counted_by = 0, None
        if isinstance(outcome, AlignmentFailure):
            result["alignment_reason"] = outcome.reason
            result["alignment_detail"] = outcome.detail
        else:
            phones, counted_by = outcome.phone_count, "aligned"
            result["alignment_score"] = outcome.score
            result["alignment_backend"] = self._aligner.backend if self._aligner else None
            result["words"] = [_word(span, tracks) for span in outcome.words]
        if counted_by is not None:
            rate = speaking_rate(phones, speech_s)
            result["speaking_rate_pps"] = rate
            result["speaking_rate_backend"] = None if rate is None else counted_by
        return result


_ALIGNED = (
    "speaking_rate_pps",
    "speaking_rate_backend",
    "phonemes",
    "alignment_score",
    "alignment_backend",
    "alignment_reason",
    "alignment_detail",
    "words",
)


def _tracks(batch: pa.Table, row: int) -> ProsodyTracks:
    from sift_ray.features.tracks import ProsodyTracks

    return ProsodyTracks(
        f0_hz=batch.column("f0_hz")[row].values.to_numpy(),
        f0_start_s=batch.column("f0_start_s")[row].as_py(),
        intensity_db=batch.column("level_db")[row].values.to_numpy(),
        intensity_start_s=batch.column("level_start_s")[row].as_py(),
    )


def _word(span: WordSpan, tracks: ProsodyTracks) -> dict[str, Any]:
    """Return one element of the `words` column."""
    from sift_ray.features.words import word_prosody

    pitch = spread = level = None
    if span.start_s is not None and span.end_s is not None:
        pitch, spread, level = word_prosody(tracks, span.start_s, span.end_s)
    return {
        "word": span.word,
        "position": span.position,
        "start_s": span.start_s,
        "end_s": span.end_s,
        "phones": span.phones,
        "pitch_mean_hz": pitch,
        "pitch_std_hz": spread,
        "intensity_db": level,
        "score": span.score,
    }
