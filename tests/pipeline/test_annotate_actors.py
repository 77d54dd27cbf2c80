"""The actors by themselves: a batch in, the same rows out with their columns, whatever measures and aligns."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sift_ray.align.lexicon import Lexicon
from sift_ray.align.protocol import AlignmentFailure, AlignmentJob, UtteranceAlignment, WordSpan
from sift_ray.config import FeaturesConfig
from sift_ray.config_align import AlignConfig
from sift_ray.pipeline.annotate_actors import Aligning, Measuring
from sift_ray.pipeline.audio_batches import AUDIO, ragged
from sift_ray.pipeline.model_place import DICTIONARY_FILE, ModelPlace
from sift_ray.pipeline.progress import Progress
from sift_ray.schema import ANNOTATIONS, conform
from sift_ray.storage import LocalRoot
from tests.human_speech import Recording, recordings


def decoded(clips: list[Recording | None]) -> pa.Table:
    """Return a batch as decoding leaves it: a clip that could not be decoded is null, and its row rejected."""
    audio = [None if clip is None else np.round(clip.samples * 32767).astype(np.int16) for clip in clips]
    columns = {
        "unit_id": pa.array(range(len(clips))),
        "utterance_id": [f"u{n}" for n in range(len(clips))],
        "gender": pa.array([clip and (clip.gender or None) for clip in clips], pa.string()),
        "gender_withheld": pa.array([False] * len(clips)),
        "age": pa.nulls(len(clips), pa.string()),
        "accent": pa.nulls(len(clips), pa.string()),
        "status": ["rejected" if clip is None else "ok" for clip in clips],
        "reject_stage": pa.array(["decode" if clip is None else None for clip in clips], pa.string()),
        "reject_reason": pa.array(["unreadable" if clip is None else None for clip in clips], pa.string()),
        "reject_detail": pa.nulls(len(clips), pa.string()),
        "audio": ragged(audio, AUDIO),
        "language": [clip.language if clip else "de" for clip in clips],
        "transcript": pa.array([clip and (clip.transcript or None) for clip in clips], pa.string()),
        "speaker_id": pa.nulls(len(clips), pa.string()),
    }
    required = ("corpus", "data_source", "split")
    return pa.table({**columns, **{name: ["x"] * len(clips) for name in required}})


def test_both_engines_fill_the_same_columns_alike() -> None:
    clips = [*recordings(2), None]
    praat, other = (
        conform(Measuring(FeaturesConfig(engine=engine, quality="none"))(decoded(clips)), ANNOTATIONS)
        for engine in ("praat", "torch")
    )
    assert praat.column("pitch_backend").to_pylist() == ["praat_ac"] * 8 + [None]
    assert other.column("pitch_backend").to_pylist() == ["torch_ac"] * 8 + [None]
    assert praat.column("snr_backend").equals(other.column("snr_backend"))
    tolerance = {"pitch_median_hz": 0.5, "pitch_std_hz": 1.0, "intensity_db": 0.1, "snr_db": 0.05, "c50_db": 0.05}
    for name, most in tolerance.items():
        mine, theirs = (np.array(table.column(name).to_pylist(), float) for table in (praat, other))
        assert theirs == pytest.approx(mine, abs=most, nan_ok=True), name
        assert np.isfinite(mine[:8]).any()


def test_a_label_of_the_corpus_says_so_and_nothing_is_guessed() -> None:
    clips = recordings(1)
    table = Measuring(FeaturesConfig(quality="none"))(decoded([*clips, None]))
    assert table.column("gender").to_pylist() == [*(clip.gender for clip in clips), None]
    assert table.column("gender_source").to_pylist() == ["corpus"] * 4 + [None]
    assert table.column("age_source").null_count == 5
    assert conform(table, ANNOTATIONS).column("emotion").null_count == 5


def test_a_model_that_is_not_there_ends_the_actor(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gone"):
        Measuring(FeaturesConfig(quality="squim", squim_model=f"{tmp_path}/gone.pth"))


class Spread:
    """An aligner that spreads a transcript's words evenly over its clip; words in `unsaid` have no place."""

    backend = "spread"

    def __init__(self, phone_count: int | None = None, unsaid: Sequence[str] = (), refused: Sequence[str] = ()) -> None:
        self.phone_count, self.unsaid, self.refused = phone_count, unsaid, refused
        self.asked: list[tuple[str, list[str]]] = []

    def align(self, language: str, jobs: Sequence[AlignmentJob]) -> list[UtteranceAlignment | AlignmentFailure]:
        self.asked.append((language, [job.transcript for job in jobs]))
        return [self._one(job) for job in jobs]

    def _one(self, job: AlignmentJob) -> UtteranceAlignment | AlignmentFailure:
        if job.transcript in self.refused:
            return AlignmentFailure("low_confidence", "it does not fit", 0.01)
        words = job.transcript.split()
        step = job.waveform.size / 16_000 / len(words)
        spans = [
            WordSpan(word, n, None, None, [])
            if word in self.unsaid
            else WordSpan(word, n, (n - 1) * step, n * step, ["a"], 0.5, [(n - 1) * step])
            for n, word in enumerate(words, 1)
        ]
        return UtteranceAlignment(spans, 0.9, self.phone_count)


def annotated(
    clips: list[Recording | None],
    aligner: Spread | None,
    monkeypatch: pytest.MonkeyPatch,
    root: LocalRoot | None = None,
    models: dict[str, ModelPlace] | None = None,
) -> list[dict[str, Any]]:
    monkeypatch.setattr("sift_ray.align.backends.create_aligner", lambda *_: aligner)
    batch = Measuring(FeaturesConfig(quality="none", room="none"))(decoded(clips))
    places = {clip.language: ModelPlace("f") for clip in clips if clip} if models is None else models
    rows: list[dict[str, Any]] = Aligning(AlignConfig(), root or LocalRoot("/nowhere"), places, Progress())(
        batch
    ).to_pylist()
    return rows


@pytest.fixture
def clips() -> list[Recording | None]:
    """Two recordings each of four languages, one that could not be decoded, one without a transcript."""
    given = recordings(2)
    return [*given[:5], None, *given[5:7], replace(given[7], transcript="")]


@pytest.mark.parametrize(("phone_count", "backend"), [(None, "g2p"), (17, "aligned")])
def test_the_rate_is_of_the_aligned_phones_where_there_are_any_and_that_of_the_pronunciation_is_kept(
    clips: list[Recording | None], monkeypatch: pytest.MonkeyPatch, phone_count: int | None, backend: str
) -> None:
    rows = annotated(clips, Spread(phone_count), monkeypatch)
    assert len(rows) == len(clips)
    for row, clip in zip(rows, clips, strict=True):
        if clip is None:
            assert row["status"] == "rejected"
            assert row["speaking_rate_g2p_pps"] is row["unpronounced_words"] is row["words"] is None
        elif not clip.transcript:
            assert row["alignment_reason"] == "no_transcript"
            assert row["phonemes"] is row["unpronounced_words"] is row["speaking_rate_backend"] is None
            assert {f"speaking_rate{which}_pps:no_transcript" for which in ("", "_g2p")} <= set(row["null_reasons"])
        else:
            phones = Lexicon(clip.language).phone_count(clip.transcript)
            assert row["phonemes"] == Lexicon(clip.language).phonemes(clip.transcript)
            assert row["unpronounced_words"] == 0
            assert row["oov_words"] is None
            assert row["speaking_rate_g2p_pps"] == pytest.approx(phones / row["speech_duration_s"])
            assert row["speaking_rate_pps"] == pytest.approx((phone_count or phones) / row["speech_duration_s"])
            assert row["speaking_rate_backend"] == backend
            assert [word["word"] for word in row["words"]] == clip.transcript.split()
            assert row["words"][0]["phone_starts_s"] == [0.0]


def test_each_transcript_is_looked_up_once(clips: list[Recording | None], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    lookup_many = Lexicon.lookup_many

    def listening(self: Lexicon, transcripts: Sequence[str]) -> Any:
        asked.extend(transcripts)
        return lookup_many(self, transcripts)

    monkeypatch.setattr(Lexicon, "lookup_many", listening)
    aligner = Spread()
    annotated([*clips, clips[0]], aligner, monkeypatch)
    texts = [clip.transcript for clip in clips if clip and clip.transcript]
    assert sorted(asked) == sorted(set(texts))
    assert sorted(text for _, batch in aligner.asked for text in batch) == sorted([*texts, texts[0]])


def test_words_that_nobody_can_say_have_no_place_and_no_prosody(
    clips: list[Recording | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = next(clip for clip in clips if clip is not None)
    said = f"\u041c\u043e\u0441\u043a\u0432\u0430 {clip.transcript}"
    (row,) = annotated([replace(clip, transcript=said)], Spread(unsaid=said.split()[:1]), monkeypatch)
    assert row["unpronounced_words"] == 1
    unsaid, *others = row["words"]
    names = ("start_s", "end_s", "pitch_mean_hz", "pitch_std_hz", "intensity_db", "score", "phone_starts_s")
    assert [unsaid[name] for name in names] == [None] * len(names)
    assert all(word["intensity_db"] is not None for word in others)
    assert any(word["pitch_mean_hz"] is not None for word in others)


def test_a_refused_alignment_leaves_the_row_good_and_its_rate_unknown(
    clips: list[Recording | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = next(clip for clip in clips if clip is not None)
    (row,) = annotated([clip], Spread(5, refused=[clip.transcript]), monkeypatch)
    assert row["status"] == "ok"
    assert (row["alignment_reason"], row["words"], row["alignment_backend"]) == ("low_confidence", None, Spread.backend)
    assert row["alignment_score"] == pytest.approx(0.01)
    assert row["speaking_rate_backend"] is None
    assert row["speaking_rate_pps"] is None
    assert "speaking_rate_pps:low_confidence" in row["null_reasons"]
    assert row["speaking_rate_g2p_pps"] is not None


def test_a_dictionary_is_taken_from_the_root_and_what_it_lacks_is_counted(
    clips: list[Recording | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clip = next(clip for clip in clips if clip is not None)
    first, *others = clip.transcript.split()
    root = LocalRoot(tmp_path)
    root.put(f"models/lexicon/x/{DICTIONARY_FILE}", f"{first.lower()} q q\n".encode())
    places = {clip.language: ModelPlace("f", lexicon="models/lexicon/x")}
    (row,) = annotated([clip], Spread(), monkeypatch, root, places)
    assert row["oov_words"] == sum(word.lower() != first.lower() for word in others)
    assert row["phonemes"].startswith("qq ")


def test_without_a_model_nothing_is_asked_of_the_aligner(
    clips: list[Recording | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    aligner = Spread()
    rows = annotated(clips, aligner, monkeypatch, models={"en": ModelPlace("f"), "es": ModelPlace(None)})
    assert {language for language, _ in aligner.asked} == {"en"}
    told = {(row["language"], row["alignment_reason"]) for row in rows if row["transcript"]}
    assert told == {("en", None), ("es", "no_model"), ("fr", "no_model"), ("it", "no_model")}
    off = annotated(clips, None, monkeypatch)
    assert {row["alignment_reason"] for row in off if row["status"] == "ok"} == {"alignment_off"}
