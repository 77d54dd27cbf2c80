"""A job whose corpus says little of its speakers: what it says stands, a classifier fills the rest, rows say who."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from sift_ray.config import LabelConfig
from sift_ray.config_file import parse_config
from sift_ray.features.speaker_labels import label_identity
from sift_ray.pipeline.build import annotate, plan
from sift_ray.schema import SAMPLE_RATE

from ..conftest import rows_of
from ..features.test_speaker_labels import write_checkpoint
from ..human_speech import recordings

pytestmark = pytest.mark.integration

GENDERS = {"a": "male", "b": None, "c": "female", "d": None, "e": "male", "f": None, "g": "do_not_wish_to_say"}
WITHHELD = "g"
UNUSABLE = "silent"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Classifiers that say the same of everybody; the one of ages is sure of nothing."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "gender": write_checkpoint(folder / "tiny-gender", ["M", "F"], winner="F"),
        "age": write_checkpoint(folder / "tiny-age", ["twenties", "forties", "sixties"]),
        "emotion": write_checkpoint(folder / "tiny-emotion", ["LABEL_0", "LABEL_1"], winner="LABEL_1"),
    }


@pytest.fixture(scope="module")
def rows(
    local_ray: None, models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("labels")
    spoken = [recording for recording in recordings(10) if len(recording.samples) > SAMPLE_RATE]
    utterances = []
    for (name, gender), recording in zip(GENDERS.items(), spoken, strict=False):
        sf.write(folder / f"{name}.wav", recording.samples, SAMPLE_RATE)
        utterances.append({"id": name, "transcript": recording.transcript, "gender": gender})
    sf.write(folder / f"{UNUSABLE}.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    utterances.append({"id": UNUSABLE, "transcript": "nothing", "gender": None})
    manifest = folder / "clips.jsonl"
    lines = [{**row, "audio": f"{row['id']}.wav", "language": "en", "age": None} for row in utterances]
    manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    labels = [
        {"column": "gender", "model": str(models["gender"])},
        {"column": "age", "model": str(models["age"]), "min_score": 1.0},
        {"column": "emotion", "model": str(models["emotion"]), "values": {"LABEL_0": "sad", "LABEL_1": "Happy"}},
    ]
    config = parse_config(
        f"""\
output: {folder / "out"}
corpora: [{{type: manifest, name: prompts, path: {manifest}}}]
annotate:
  error_budget: 1.0
  align: {{backend: none}}
  features: {{quality: none, room: none, pool: {{actors: [1, 1]}}, labels: {json.dumps(labels)}}}
""",
        "labels.yaml",
    )
    plan(config)
    annotate(config)
    found = {row["utterance_id"]: row for row in rows_of("annotations", folder / "out")}
    assert set(found) == {*GENDERS, UNUSABLE}
    return found


def source(models: dict[str, Path], column: str) -> str:
    return label_identity(LabelConfig.model_validate({"column": column, "model": str(models[column])}))


def test_the_corpus_s_genders_stand_and_the_others_are_heard(
    rows: dict[str, dict[str, Any]], models: dict[str, Path]
) -> None:
    heard = ("female", source(models, "gender"))
    assert heard[1].startswith("tiny-gender@")
    for name, gender in GENDERS.items():
        row = rows[name]
        said = (None if name == WITHHELD else gender, "corpus")
        assert (row["gender"], row["gender_source"]) == (said if gender else heard)
        assert row["gender_withheld"] == (name == WITHHELD)
        assert not [reason for reason in row["null_reasons"] or () if reason.startswith("gender:")]


def test_a_column_that_no_corpus_has_is_filled(rows: dict[str, dict[str, Any]], models: dict[str, Path]) -> None:
    found = {(rows[name]["emotion"], rows[name]["emotion_source"]) for name in GENDERS}
    assert found == {("happy", source(models, "emotion"))}


def test_what_the_classifier_is_not_sure_of_stays_unknown(rows: dict[str, dict[str, Any]]) -> None:
    for name in GENDERS:
        assert (rows[name]["age"], rows[name]["age_source"]) == (None, None)
        assert "age:low_score" in rows[name]["null_reasons"]


def test_what_is_not_asked_for_stays_unknown(rows: dict[str, dict[str, Any]]) -> None:
    for row in rows.values():
        for column in ("accent", "spoken_language"):
            assert (row[column], row[f"{column}_source"]) == (None, None)


def test_a_rejected_clip_is_not_labelled(rows: dict[str, dict[str, Any]]) -> None:
    row = rows[UNUSABLE]
    assert (row["status"], row["reject_reason"]) == ("rejected", "silent")
    for column in ("gender", "age", "emotion"):
        assert (row[column], row[f"{column}_source"]) == (None, None)
