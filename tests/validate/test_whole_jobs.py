"""Releases as users have them: of a whole job, and on an object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from sift_ray.storage import open_root
from sift_ray.validate.findings import Severity
from sift_ray.validate.run import validate

from ..conftest import Job
from ..seaweed import Seaweed
from .small_job import copied, edit

pytestmark = pytest.mark.integration


def test_the_release_of_a_job_agrees_with_what_it_measured(finished_job: Job) -> None:
    made = validate(finished_job.root, finished_job.root)
    assert [finding for finding in made.findings if finding.severity is Severity.ERROR] == []
    assert made.rows > 100


def test_a_job_on_s3_is_looked_at_in_the_same_way(seaweed: Seaweed, good_job: Path, tmp_path: Path) -> None:
    job = copied(good_job, tmp_path / "job")
    file = next(iter((job / "release/train/open_ended/de").glob("*.parquet")))
    edit(file, lambda rows: rows[2].update(language="en"))
    root = open_root(seaweed.upload(job, "validated"), seaweed.storage)
    here, there = validate(open_root(str(job)), open_root(str(job))), validate(root, root)
    assert there.findings == here.findings
    assert [finding.rule for finding in there.findings] == ["language_of_folder"]
    assert [(of.rows, of.files) for of in there.looked] == [(of.rows, of.files) for of in here.looked]
