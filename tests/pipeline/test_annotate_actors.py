"""The measuring actor by itself: a batch in, the same rows out with their columns, whatever measures."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sift_ray.config import FeaturesConfig
from sift_ray.pipeline.annotate_actors import Measuring
from sift_ray.pipeline.audio_batches import AUDIO, ragged
from sift_ray.schema import ANNOTATIONS, conform
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
    }
    required = ("corpus", "data_source", "language", "split")
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
