"""Uploads that a killed writer leaves are in no listing, and are paid for: a job ends those of its own folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray.data

from sift_ray.config import Config
from sift_ray.lease import LeaseError
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.wave_flow import Flow
from sift_ray.pipeline.wave_pieces import of_wave, open_piece
from sift_ray.pipeline.wave_run import run_waves
from sift_ray.pipeline.waves import Expected, Stage, table_digest
from sift_ray.release.versions import begin, publish
from sift_ray.storage import S3Root, WaveManifest, wave_folder

from ..seaweed import Seaweed

pytestmark = pytest.mark.integration

WAVES, ROWS = 3, 20
STAGE = Stage("numbers", pa.schema([pa.field("unit_id", pa.int64(), nullable=False)]), {}, lambda _: {})


def begin_upload(root: S3Root, path: str) -> None:
    """Begin to upload a file in parts, and put one, as a writer does that is killed before it puts the next."""
    bucket, _, key = root.locate(path).partition("/")
    upload = root.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    root.client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"half a file")


def under_way(root: S3Root) -> list[str]:
    """Return the paths of all uploads under the root that are not finished."""
    bucket, _, prefix = root.locate("x").removesuffix("x").partition("/")
    pages = root.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    return sorted(upload["Key"].removeprefix(prefix) for page in pages for upload in page.get("Uploads", ()))


def count_requests(root: S3Root) -> Counter[str]:
    """Count what this process asks of the store from now on, by operation."""
    asked: Counter[str] = Counter()
    root.client.meta.events.register("before-call.s3", lambda model, **_: asked.update([model.name]))
    return asked


def read_numbers(wave: int) -> tuple[Expected, Iterable[pa.Table]]:
    table = pa.table({"unit_id": np.arange(wave * 1000, wave * 1000 + ROWS)})
    return Expected(ROWS, table_digest(table)), [table]


def run(root: S3Root, work: Any = None, check: Any = lambda: None) -> list[WaveManifest]:
    def start(_: Sequence[int]) -> list[Flow]:
        return [Flow(read_numbers, go)]

    def go(pieces: ray.data.Dataset, _: Progress) -> ray.data.Dataset:
        return pieces.map_batches(
            work or unpacked, fn_kwargs={"root": root} if work else None, batch_size=1, batch_format="pyarrow"
        )

    session = RaySession(Config(output=root.uri, corpora=({"type": "demo", "path": "demo"},)), check)
    return list(run_waves(session, root, STAGE, range(WAVES), start, ROWS))


def unpacked(piece: pa.Table) -> pa.Table:
    return of_wave(*open_piece(piece))


def lose_an_attempt(piece: pa.Table, root: S3Root) -> pa.Table:
    wave, table = open_piece(piece)
    begin_upload(root, f"{wave_folder('numbers', wave)}/part-of-a-lost-attempt.parquet")
    return of_wave(wave, table)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_ray")
def test_no_upload_is_left_of_a_run_that_was_killed_nor_of_attempts_that_were_lost(seaweed: Seaweed) -> None:
    root = S3Root(f"s3://{seaweed.bucket}/uploads", seaweed.storage)
    for wave in (0, 1):  # nothing else is there of these waves
        begin_upload(root, f"{wave_folder('numbers', wave)}/part-of-a-killed-run.parquet")
    strange = ["instructions/wave=00000/part-x.parquet", "numbers-of-others/wave=00000/part-x.parquet"]
    for path in strange:
        begin_upload(root, path)
    assert root.names("numbers") == []
    asked = count_requests(root)
    manifests = run(root, lose_an_attempt)
    assert sorted(manifest.wave for manifest in manifests) == list(range(WAVES))
    assert under_way(root) == strange
    # of the driver: one look before the first wave, and one a wave
    assert asked["ListMultipartUploads"] == 1 + WAVES + 1  # (the last is this test's own)
    assert asked["AbortMultipartUpload"] == 2 + WAVES


@pytest.mark.usefixtures("local_ray")
def test_a_job_that_has_lost_its_lease_ends_no_upload_of_the_one_that_has_it(seaweed: Seaweed) -> None:
    root = S3Root(f"s3://{seaweed.bucket}/uploads-of-another", seaweed.storage)
    begin_upload(root, f"{wave_folder('numbers', 0)}/part-x.parquet")

    def lost() -> None:
        raise LeaseError("it was taken")

    with pytest.raises(LeaseError):
        run(root, check=lost)
    assert under_way(root) == ["numbers/wave=00000/part-x.parquet"]


def test_no_upload_is_left_of_a_version_that_was_not_finished_nor_of_one_that_is(seaweed: Seaweed) -> None:
    root = S3Root(f"s3://{seaweed.bucket}/versions", seaweed.storage)
    formats, file = ("parquet", "jsonl"), "train/open_ended/de/part-00000"
    for version in ("v-" + "0" * 16, "v-" + "1" * 16):  # (the first of another config)
        begin_upload(root, f"release/{version}/{file}.parquet")
        begin_upload(root, f"release/jsonl/{version}/{file}.jsonl")
    begin_upload(root, "released/part-x.parquet")
    version = begin(root, "1" * 16, formats)
    assert under_way(root) == ["released/part-x.parquet"]
    for base, form in (("release", "parquet"), ("release/jsonl", "jsonl")):
        begin_upload(root, f"{base}/{version}/{file}.{form}")  # of a writer that is lost
        root.put(f"{base}/{version}/{file}.{form}", b"x")  # the next writes the same
    publish(root, version, {"release": ("own", "leads"), "release/jsonl": ("own", "leads")})
    assert under_way(root) == ["released/part-x.parquet"]
    assert root.read(f"release/{version}/{file}.parquet") == b"x"


def test_a_file_that_is_there_stays_when_uploads_to_it_are_ended(seaweed: Seaweed) -> None:
    root = S3Root(f"s3://{seaweed.bucket}/there", seaweed.storage)
    root.put("a/part.parquet", b"whole")
    for path in ("a/part.parquet", "a/other.parquet", "ab.parquet"):
        begin_upload(root, path)
    root.abort_uploads("a")
    assert root.read("a/part.parquet") == b"whole"
    assert under_way(root) == ["ab.parquet"]
