import pickle
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcp_storage_emulator.server import create_server

from sift_ray.fsspec_root import FsspecRoot
from sift_ray.lease import Lease, LeaseError
from sift_ray.storage import StorageError, fetch_folder, open_root, read_json, read_table


@pytest.fixture(scope="module")
def bucket():
    """A server that speaks as Google Cloud Storage does, with one bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="sift")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        yield "gs://sift"
    server.stop()


@pytest.fixture
def root(bucket):
    return open_root(f"{bucket}/job")


def test_the_root_keeps_its_promises(root, tmp_path):
    assert isinstance(root, FsspecRoot)
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
    assert (fetch_folder(root, "a/b", tmp_path / "copy") / "c.json").read_bytes() == b"{}"
    root.abort_uploads("a")  # of finished files nothing is given up
    assert root.names("a") == ["b", "d.txt"]
    root.delete("a")
    root.delete("a")  # where it is not there nothing happens
    assert not root.exists("a/d.txt")
    assert root.names("a") == []
    assert root.read("ab.txt") == b"neighbour"


def test_tables_are_written_and_read(root):
    table = pa.table({"x": [1, 2]})
    target = root.locate("t/wave=00000/x.parquet")
    pq.write_table(table, target, filesystem=root.filesystem)
    assert read_table(root, target).equals(table)
    assert root.filesystem.get_file_info(target).size > 0


def test_it_travels_and_is_leased(root):
    with Lease(pickle.loads(pickle.dumps(root)), 1.0), pytest.raises(LeaseError):
        Lease(root, 1.0).__enter__()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "adlfs", None)
    with pytest.raises(ValueError, match=r"abfs://c/job: this needs adlfs; install sift-ray\[adlfs\]"):
        open_root("abfs://c/job").names("")


def test_a_bucket_must_be_named():
    with pytest.raises(StorageError, match="gs://bucket/prefix"):
        open_root("gs://")
