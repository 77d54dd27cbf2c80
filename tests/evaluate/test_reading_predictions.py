"""Files of predictions: what is read, what is refused, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.evaluate.predictions import (
    Prediction,
    PredictionError,
    check_known,
    read_predictions,
    write_prediction,
)

TEXTS = st.text(max_size=40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made.jsonl"


@given(
    st.dictionaries(
        st.text(min_size=1), st.tuples(st.none() | TEXTS, st.none() | st.text(min_size=1)).filter(any), max_size=5
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple[str | None, str | None]]
) -> None:
    path = tmp_path_factory.mktemp("predictions") / "made.jsonl"
    made = [Prediction(name, *values) for name, values in rows.items()]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in made:
            write_prediction(file, prediction, model="m", finish_reason=None)
    assert list(read_predictions(path).values()) == made
    assert len(path.read_bytes().splitlines()) == len(made)


def test_other_keys_and_blank_lines_count_for_nothing(path: Path) -> None:
    path.write_text(
        '{"sample_id": "a", "prediction": "", "model": "m", "tokens": [1]}\n\n{"sample_id": "b", "audio": "b.wav"}'
    )
    assert read_predictions(path) == {"a": Prediction("a", ""), "b": Prediction("b", None, "b.wav")}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"sample_id": "c", "prediction": ', "not a JSON object: Expecting value"),
        ('{"sample_id": "c"}', "sample_id c has neither prediction nor audio"),
        ('{"sample_id": "c", "prediction": null, "audio": ""}', "has neither prediction nor audio"),
        ('{"sample_id": "c", "prediction": 7}', "prediction must be a text, not 7"),
        ('{"sample_id": 7, "prediction": "x"}', "sample_id must be a text, not 7"),
        ('{"prediction": "x"}', "no sample_id"),
        ('["c", "x"]', "not a JSON object but a list"),
        ('{"sample_id": "a", "prediction": "x"}', "sample_id a stands on line 1 already"),
        ("[" * 100_000, "not a JSON object"),
        ("\udcff", "not a JSON object"),
    ],
)
def test_what_is_no_prediction_is_told_with_file_and_line(path: Path, line: str, message: str) -> None:
    first = '{"sample_id": "a", "prediction": "x"}\n\n'
    path.write_bytes(first.encode() + line.encode(errors="surrogateescape") + b'\n{"sample_id": "d"}')
    with pytest.raises(PredictionError) as error:
        read_predictions(path)
    assert str(error.value).startswith(f"{path}:3: ")
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(PredictionError, match=r"made.jsonl: cannot be read: No such file"):
        read_predictions(path)


def test_unknown_samples_are_told() -> None:
    check_known(["a", "b"], {"a", "b", "c"}, "made.jsonl")
    names = [f"n{n}" for n in range(9)]
    with pytest.raises(PredictionError, match=r"made.jsonl: 9 of 10 predictions .*: n0, n1, n2, n3, n4, …; is this"):
        check_known(["a", *names], {"a"}, "made.jsonl")


def test_no_line_is_written_that_could_not_be_read(path: Path) -> None:
    with path.open("w") as file:
        with pytest.raises(ValueError, match="a prediction has a text or audio"):
            write_prediction(file, Prediction("a"))
        with pytest.raises(ValueError, match="audio is a key of the prediction itself"):
            write_prediction(file, Prediction("a", "x"), audio="y")
        write_prediction(file, Prediction("a", "ä"))
        assert json.loads(path.read_text(encoding="utf-8")) == {"sample_id": "a", "prediction": "ä"}
