"""Releases made with options of the config have no defect either."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.release import run_release
from sift_ray.pipeline.session import RaySession
from sift_ray.schema import RELEASE
from sift_ray.storage import LocalRoot
from sift_ray.validate.run import validate

from ..release.instruction_waves import config_of
from .small_job import EACH, TALKS, write_job

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]

UTTERANCES = EACH * len(TALKS)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job up to its release, on clips that do not bear their utterances' names."""
    folder = tmp_path_factory.mktemp("measured")
    for number in range(UTTERANCES):
        soundfile.write(folder / f"take {number}.wav", np.full(800, number * 1e-3, np.float32), 16_000)
    job = write_job(folder / "job", f"{folder}/take {{number}}.wav")
    shutil.rmtree(job / "release")
    return job


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"audio": "absolute"}, []),
        ({"audio": "absolute", "comparison": "text_first", "flat": True}, ["question", "answer"]),
        ({"flat": True, "formats": ["jsonl", "parquet"]}, ["question", "answer"]),
        ({"audio": "embedded", "file_mb": 1}, ["audio"]),
        ({"audio": "embedded", "flat": True}, ["question", "answer", "audio"]),
    ],
    ids=["absolute", "absolute, text first, flat", "flat, two formats", "embedded", "embedded, flat"],
)
def test_a_release_with_options_has_no_defect(
    measured: Path, tmp_path: Path, options: dict[str, Any], more: list[str]
) -> None:
    job = tmp_path / "job"
    shutil.copytree(measured, job)
    config = config_of(job, **options)
    with RaySession(config) as session:
        record = run_release(session, config, LocalRoot(job), Plan(1, UTTERANCES, "0"))
    validation = validate(LocalRoot(job), LocalRoot(job))
    assert validation.findings == ()
    rows = sum(record["rows"].values())
    assert rows > 300
    assert [(of.form, of.rows) for of in validation.looked] == [(form, rows) for form in config.release.formats]
    # what was asked for is what was looked at
    [file] = (job / record["folders"]["parquet"] / "EvalSIFT/closed_ended/comparison/de").iterdir()
    table = pq.read_table(file, partitioning=None)
    assert table.column_names == [*RELEASE.names, *more]
    row = table.to_pylist()[0]
    paths = [part["audio_path"] for part in row["messages"][0]["content"]]
    at = ["/".join((row["data_source"], f"{name}.wav")) for name in row["utterance_ids"]]
    at = row["audio_uris"] if options.get("audio") == "absolute" else at
    assert paths == ([None, *at] if options.get("comparison") == "text_first" else [*at, None])
