"""The work of `annotate` on one decoded batch: measure it, align it.

Heavy libraries are imported where they are used, so that a worker loads only those of its own stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sift_ray.config import FeaturesConfig
from sift_ray.config_align import AlignConfig
from sift_ray.pipeline import metrics
from sift_ray.pipeline.audio_batches import Rejects, ragged, waveforms
from sift_ray.pipeline.model_place import LexiconFiles, ModelPlace, fetch_lexicon, fetch_model, with_lexicons
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.pronounced import Pronounced, pronounced
from sift_ray.schema import ANNOTATIONS, DOUBTED_TRANSCRIPT, SAMPLE_RATE, conform
from sift_ray.storage import OutputRoot

if TYPE_CHECKING:
    from sift_ray.align.lexicon import Lexicon
    from sift_ray.align.protocol import AlignmentFailure, UtteranceAlignment, WordSpan
    from sift_ray.features.tracks import ProsodyTracks

_TRACK = pa.list_(pa.float32())

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
    """The actor that measures and labels decoded clips in batches, and keeps the tracks for the next stage."""

    def __init__(self, config: FeaturesConfig) -> None:
        from sift_ray.features.extract import FeatureExtractor
        from sift_ray.pipeline.labelling import Labelling

        self._extractor = FeatureExtractor(config)
        self._labelling = Labelling(config, self._extractor.device)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Add every measured column, their backends, labels and their sources, `null_reasons` and the tracks."""
        clips = waveforms(batch.column("audio"))
        rows = [row for row, clip in enumerate(clips) if clip is not None]
        measured = self._extractor.measure([clip for clip in clips if clip is not None])
        came, rejects = batch, Rejects(batch)
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
        metrics.count_clips("measure", came, batch, _seconds(clips))
        good = {row: clip for row, clip in enumerate(clips) if clip is not None and rejects.ok(row)}
        batch, unlabelled = self._labelling(batch, good)
        for row, reasons in unlabelled.items():
            nulls[row] = [*(nulls[row] or ()), *reasons]
        present = set(good)
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


def _seconds(clips: Sequence[NDArray[np.float32] | None]) -> list[float | None]:
    return [None if clip is None else clip.size / SAMPLE_RATE for clip in clips]


class Aligning:
    """The actor that aligns transcripts, and gives each word its span, phones, pitch and intensity."""

    def __init__(
        self, config: AlignConfig, root: OutputRoot, models: Mapping[str, ModelPlace], progress: Progress
    ) -> None:
        from sift_ray.align.backends import create_aligner

        self._progress = progress
        self._aligned = {language for language, place in models.items() if place.fingerprint is not None}
        self._lexicon_files = {language: fetch_lexicon(root, place) for language, place in models.items()}
        self._lexicons: dict[str, Lexicon] = {}
        folders = {language: fetch_model(root, place) for language, place in models.items() if place.folder}
        self._aligner = create_aligner(with_lexicons(config, self._lexicon_files), folders)

    def _lexicon(self, language: str) -> Lexicon:
        from sift_ray.align.lexicon import Lexicon

        if language not in self._lexicons:
            files = self._lexicon_files.get(language, LexiconFiles())
            self._lexicons[language] = Lexicon(language, files.dictionary, files.g2p)
        return self._lexicons[language]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the batch as rows of `annotations`."""
        rows = batch.drop_columns(["audio", "f0_hz", "level_db"]).to_pylist()
        clips = waveforms(batch.column("audio"))
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            if row["status"] == "ok":
                groups.setdefault(row["language"], []).append(index)
        results: list[dict[str, Any]] = [{"null_reasons": row["null_reasons"]} for row in rows]
        for language, members in groups.items():
            aligned = self._align(language, [rows[i] for i in members], [clips[i] for i in members])
            texts = [text for i in members if (text := rows[i]["transcript"])]
            spoken = pronounced(self._lexicon(language), texts) if texts else {}
            for index, outcome in zip(members, aligned, strict=True):
                row = rows[index]
                said = spoken[row["transcript"]] if row["transcript"] else None
                results[index] |= self._describe(row, said, outcome, _tracks(batch, index))
        self._progress.add(batch.num_rows)
        batch = batch.drop_columns(["null_reasons"])
        for name in (*_ALIGNED, "null_reasons"):
            field = ANNOTATIONS.field(name)
            batch = batch.append_column(field, pa.array([r.get(name) for r in results], field.type))
        batch = conform(batch, ANNOTATIONS)
        metrics.count_alignments(batch, _seconds(clips))
        return batch

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
        if language in self._aligned:
            found = self._aligner.align(language, jobs)
        else:
            found = [AlignmentFailure("no_model", f"there is no alignment model for {language!r}")] * len(jobs)
        for place, outcome in zip(places, found, strict=True):
            outcomes[place] = outcome
        return outcomes

    def _describe(
        self,
        row: Mapping[str, Any],
        said: Pronounced | None,
        outcome: UtteranceAlignment | AlignmentFailure,
        tracks: ProsodyTracks,
    ) -> dict[str, Any]:
        """Return the columns of `_ALIGNED` for one utterance; `said` is None where it has no transcript."""
        from sift_ray.align.protocol import AlignmentFailure
        from sift_ray.features.feasible import feasible
        from sift_ray.features.rate import speaking_rates

        # (of an alignment that was found and not believed too: how far it was from being)
        result: dict[str, Any] = {"alignment_score": feasible("alignment_score", outcome.score)}
        if outcome.score is not None and self._aligner is not None:
            result["alignment_backend"] = self._aligner.backend
        if said is not None:
            result["phonemes"] = said.phonemes
            result["oov_words"] = said.oov_words
            result["unpronounced_words"] = said.unpronounced_words
        aligned_phones = None
        if isinstance(outcome, AlignmentFailure):
            result["alignment_reason"] = outcome.reason
            result["alignment_detail"] = outcome.detail
        else:
            aligned_phones = outcome.phone_count
            result["words"] = [_word(span, tracks) for span in outcome.words]
        doubt = result.get("alignment_reason")
        rates, reasons = speaking_rates(
            None if said is None else said.phones,
            aligned_phones,
            row["speech_duration_s"],
            doubt if doubt in DOUBTED_TRANSCRIPT else None,
        )
        return {**result, **rates, "null_reasons": [*(row["null_reasons"] or ()), *reasons]}


_ALIGNED = (
    "speaking_rate_pps",
    "speaking_rate_backend",
    "speaking_rate_g2p_pps",
    "phonemes",
    "oov_words",
    "unpronounced_words",
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
        "phone_starts_s": span.phone_starts_s,
        "pitch_mean_hz": pitch,
        "pitch_std_hz": spread,
        "intensity_db": level,
        "score": span.score,
    }
