"""Whom a classifier is asked about: nobody of whom the corpus has spoken."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from sift_ray.config import FeaturesConfig, LabelConfig
from sift_ray.features import speaker_labels
from sift_ray.features.speaker_labels import SpokenLabel
from sift_ray.pipeline.labelling import Labelling

MODEL = "tiny@1"


class Labeller:
    """Says the same of everybody but of those whose clips are short, and notes whom it was asked about."""

    source = MODEL

    def __init__(self, config: LabelConfig, *, device: str) -> None:
        self.said = SpokenLabel({"gender": "female"}.get(config.column, "happy"), "x", 0.99)
        self.heard: list[int] = []

    def label(self, clips: Sequence[NDArray[np.float32]]) -> list[SpokenLabel]:
        self.heard += [len(clip) for clip in clips]
        return [self.said if len(clip) > 8_000 else SpokenLabel(None, "x", 0.5, "low_score") for clip in clips]


@pytest.fixture
def labelling(monkeypatch: pytest.MonkeyPatch) -> Labelling:
    monkeypatch.setattr(speaker_labels, "SpeakerLabeller", Labeller)
    labels = tuple(LabelConfig(column=column, model="a/b") for column in ("gender", "emotion"))
    return Labelling(FeaturesConfig(labels=labels), "cpu")


def batch(genders: list[str | None], withheld: list[bool | None]) -> pa.Table:
    unknown = pa.nulls(len(genders), pa.string())
    columns = {"gender": pa.array(genders, pa.string()), "gender_withheld": pa.array(withheld, pa.bool_())}
    return pa.table({**columns, "age": unknown, "accent": unknown})


def clips(*lengths: int) -> dict[int, NDArray[np.float32]]:
    return {row: np.ones(length, np.float32) for row, length in enumerate(lengths) if length}


def test_a_gender_that_is_withheld_is_not_guessed(labelling: Labelling) -> None:
    rows = batch([None, None, "male", None, None, None], [False, True, False, None, False, True])
    # the fifth is unsure, and the last one was rejected
    table, reasons = labelling(rows, clips(16_000, 16_001, 16_002, 16_003, 8_000, 0))
    assert table.column("gender").to_pylist() == ["female", None, "male", "female", None, None]
    assert table.column("gender_source").to_pylist() == [MODEL, "corpus", "corpus", MODEL, None, "corpus"]
    assert table.column("gender_withheld").equals(rows.column("gender_withheld"))
    assert reasons == {4: ["gender:low_score", "emotion:low_score"]}
    asked = labelling._labellers["gender"]
    assert isinstance(asked, Labeller)
    assert sorted(asked.heard) == [8_000, 16_000, 16_003]


def test_other_labels_of_who_withheld_a_gender_are_heard(labelling: Labelling) -> None:
    table, reasons = labelling(batch([None, None], [True, False]), clips(16_000, 16_000))
    assert table.column("emotion").to_pylist() == ["happy"] * 2
    assert table.column("emotion_source").to_pylist() == [MODEL] * 2
    assert table.column("age_source").null_count == 2
    assert reasons == {}


def test_without_classifiers_the_corpus_is_still_named() -> None:
    table, reasons = Labelling(FeaturesConfig(), "cpu")(batch([None, None, "male"], [True, False, False]), {})
    assert table.column("gender_source").to_pylist() == ["corpus", None, "corpus"]
    assert table.column("gender").to_pylist() == [None, None, "male"]
    assert reasons == {}
