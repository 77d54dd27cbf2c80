"""The same job on a real S3 server: the same samples as on disk."""

from pathlib import Path

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from sift_ray.config_file import parse_config
from sift_ray.pipeline.build import build
from sift_ray.report.summary import summarise
from sift_ray.storage import S3Root, fetch_folder, read_json

from ..conftest import Job, template_config
from ..seaweed import Seaweed

pytestmark = pytest.mark.integration


def test_the_root_keeps_its_promises(seaweed: Seaweed, tmp_path: Path) -> None:
    root = S3Root(f"s3://{seaweed.bucket}/promises", seaweed.storage)
    root.put("a/b/c.json", b"{}")
    root.put("a/d.txt", b"x")
    root.put("ab.txt", b"neighbour")
    assert root.read("a/b/c.json") == b"{}"
    assert root.names("a") == ["b", "d.txt"]
    assert root.exists("a/d.txt")
    assert not root.exists("a/d")
    with pytest.raises(FileNotFoundError):
        root.read("a/gone")
    assert read_json(root, "gone.json") is None
    copy = fetch_folder(root, "a/b", tmp_path / "copy")
    assert (copy / "c.json").read_bytes() == b"{}"
    root.delete("a")
    assert not root.exists("a/d.txt")
    assert root.names("a/b") == []  # ("b" itself may linger: some servers keep folders that are empty)
    assert root.read("ab.txt") == b"neighbour"


def test_a_job_on_s3_makes_the_same_samples(seaweed: Seaweed, finished_job: Job, demo_corpora: Path) -> None:
    text = template_config(
        f"s3://{seaweed.bucket}/job",
        demo_corpora,
        finished_job.models(),
        f"storage: {{endpoint_url: '{seaweed.endpoint}'}}\n",
    )
    config = parse_config(text, "s3.yaml")
    build(config)
    root = S3Root(config.output, seaweed.storage)
    assert summarise(root).complete
    expected = _rows(pafs.LocalFileSystem(), str(finished_job.folder / "release"))
    assert _rows(root.filesystem, root.locate("release")) == expected


def _rows(filesystem: pafs.FileSystem, folder: str) -> dict[str, dict[str, object]]:
    files = filesystem.get_file_info(pafs.FileSelector(folder, recursive=True))
    rows = [
        row
        for file in files
        if file.path.endswith(".parquet")
        for row in pq.read_table(file.path, filesystem=filesystem, partitioning=None).to_pylist()
    ]
    assert rows
    return {row["sample_id"]: row for row in rows}
