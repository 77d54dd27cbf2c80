"""A file of predictions that is gone on with."""

from __future__ import annotations

import json

import pytest

from sift_ray.evaluate.predict_file import Header, PredictionFile
from sift_ray.evaluate.predictions import Prediction, PredictionError, read_predictions

SAME = Header({"model": "m", "decoding.top_p": 0.9, "tasks": ("a", "b")}, {"where": "here"})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "predictions.jsonl"


def begin(path, *names, header=SAME):
    with PredictionFile(path, header) as file:
        for name in names:
            file.write(Prediction(name, "x"), model="m")
    return path


def test_what_is_there_is_kept_and_gone_on_with(path):
    begin(path, "a")
    with PredictionFile(path, SAME) as file:
        assert file.done == {"a"}
        file.write(Prediction("b", "y"))
        assert file.done == {"a", "b"}
    assert list(read_predictions(path)) == ["a", "b"]
    assert json.loads((path.parent / "predictions.jsonl.meta.json").read_text())["decisive"]["model"] == "m"


def test_a_line_stands_in_the_file_as_soon_as_it_is_written(path):
    with PredictionFile(path, SAME) as file:
        file.write(Prediction("a", "x"), finish_reason="stop")
        assert json.loads(path.read_text()) == {"sample_id": "a", "prediction": "x", "finish_reason": "stop"}


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_a_line_that_was_cut_short_is_asked_again(path, cut):
    begin(path, "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with PredictionFile(path, SAME) as file:
        # (a line that lacks its end alone is whole)
        assert file.done == ({"a", "b"} if cut == 1 else {"a"})
        if cut > 1:
            file.write(Prediction("b", "x"), model="m")
    assert path.read_bytes() == whole


def test_a_first_line_cut_short_leaves_an_empty_file(path):
    begin(path, "a")
    path.write_bytes(path.read_bytes()[:9])
    with PredictionFile(path, SAME) as file:
        assert not file.done


def test_another_model_or_setting_is_refused_and_named(path):
    begin(path, "a")
    before = path.read_bytes(), (path.parent / "predictions.jsonl.meta.json").read_bytes()
    other = Header({**SAME.decisive, "model": "n", "decoding.top_p": 0.8}, {})
    with pytest.raises(PredictionError, match=r'model: "m" there, "n" now; decoding\.top_p: 0\.9 there, 0\.8 now'):
        begin(path, header=other)
    assert (path.read_bytes(), (path.parent / "predictions.jsonl.meta.json").read_bytes()) == before


def test_what_is_only_told_may_change(path):
    begin(path, "a")
    begin(path, "b", header=Header(SAME.decisive, {"where": "there"}))
    assert list(read_predictions(path)) == ["a", "b"]


def test_predictions_without_a_header_are_not_mixed_with_others(path):
    begin(path, "a")
    (path.parent / "predictions.jsonl.meta.json").unlink()
    with pytest.raises(PredictionError, match=r"meta.json, which says what it was made with, can't be read"):
        begin(path)


def test_a_file_that_holds_nothing_may_be_begun_with_anything(path):
    begin(path)
    begin(path, "a", header=Header({"model": "n"}, {}))
    assert list(read_predictions(path)) == ["a"]


def test_two_runs_do_not_write_the_same_file(path):
    with PredictionFile(path, SAME), pytest.raises(PredictionError, match="another run is writing it"):
        begin(path, "a")


def test_a_broken_line_in_the_middle_is_no_prediction(path):
    begin(path, "a")
    path.write_text(f"nonsense\n{path.read_text()}")
    with pytest.raises(PredictionError, match=r"predictions\.jsonl:1: not a JSON object"):
        begin(path)


def test_rejects_are_of_the_last_run_alone(path):
    with PredictionFile(path, SAME) as file:
        file.reject(sample_id="a", reason="silent", detail="ä")
        assert json.loads(file.rejects.read_text()) == {"sample_id": "a", "reason": "silent", "detail": "ä"}
    with PredictionFile(path, SAME) as file:
        pass
    assert not file.rejects.exists()
