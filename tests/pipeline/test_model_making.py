"""How it is told what became of the models that were to be made."""

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from sift_ray.align.protocol import TrainingError
from sift_ray.config import Config
from sift_ray.pipeline import model_making
from sift_ray.pipeline.model_making import MissingModel, _heard, _Made, make_models, threads_each
from sift_ray.pipeline.model_place import ModelPlace
from sift_ray.pipeline.session import RaySession
from sift_ray.storage import LocalRoot


def test_every_language_that_failed_is_told_and_every_clip_that_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Remote:
        @classmethod
        def options(cls, **_: Any) -> type["Remote"]:
            return cls

        @staticmethod
        def remote(model: MissingModel, *_: Any) -> str:
            return model.language

    def get(language: str) -> _Made:
        if language == "it":
            return _Made(40, 200.0, 2, "u7: missing_audio: gone.wav", 3.0)
        raise TrainingError(f"{language}: too noisy")

    monkeypatch.setattr(model_making, "_make", Remote)
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(RaySession, "ensure", lambda *_: None)
    monkeypatch.setattr(RaySession, "cores", lambda *_: [2])
    config = Config(output=str(tmp_path), corpora=({"type": "demo", "path": str(tmp_path)},))
    models = [
        MissingModel(language, ModelPlace("f", f"models/align/{language}"), pa.table({}), 1.0, 1.0, {})
        for language in ("de", "it", "fr")
    ]
    with caplog.at_level(logging.WARNING), pytest.raises(TrainingError, match="de: too noisy"):
        make_models(RaySession(config), config, LocalRoot(tmp_path), models)
    assert [record.message for record in caplog.records] == [
        "alignment model de: none was made: TrainingError: de: too noisy",
        "alignment model it: 2 clips could not be decoded and are not in it; the first: u7: missing_audio: gone.wav",
        "alignment model fr: none was made: TrainingError: fr: too noisy",
    ]


def test_a_worker_of_many_languages_says_each_thing_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # a command that was run before left one, as a worker has none
    log = logging.getLogger("sift_ray.align.anything")

    def work(number: int) -> None:
        with _heard():
            log.info("line %d", number)
            raise ValueError("failed")

    for number in range(3):
        with pytest.raises(ValueError, match="failed"):
            work(number)
    log.info("nobody listens")
    assert capsys.readouterr().err.splitlines() == ["line 0", "line 1", "line 2"]


@pytest.mark.parametrize(
    ("models", "cores", "threads"),
    [
        (1, [2], 2),
        (5, [2], 1),
        (1, [0, 64], 8),
        (5, [0, 16, 16], 5),  # three on one node and two on the other
        (3, [16, 16], 8),
        (2, [4, 2], 2),
        (1, [], 1),
    ],
)
def test_trainings_share_the_cores_so_that_all_run_at_once(models: int, cores: list[int], threads: int) -> None:
    assert threads_each(models, cores) == threads
