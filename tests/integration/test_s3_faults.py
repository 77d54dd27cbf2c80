"""The object store fails as stores and networks do: nothing is lost, and nothing is half there."""

from __future__ import annotations

import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sift_ray.storage import S3Root, read_table

from ..faulty_proxy import FAULTS, FaultyProxy, faulty_proxy
from ..seaweed import Seaweed

pytestmark = pytest.mark.integration
FILES = 12
BIG = "t/big.bin"
AWAY_S = 30.0


def tables() -> list[pa.Table]:
    dice = np.random.default_rng(0)
    return [pa.table({"x": dice.standard_normal(40_000)}) for _ in range(FILES)]  # 320 kB each


def write_and_read(root: S3Root) -> None:
    """Write files and markers, list and read them, delete them; each must be as if nothing had failed."""
    made = tables()
    for number, table in enumerate(made):
        pq.write_table(table, root.locate(f"t/{number:02d}.parquet"), filesystem=root.filesystem)
        root.put(f"m/{number:02d}.json", b"{}" * number)
    assert root.names("t") == [f"{number:02d}.parquet" for number in range(FILES)]
    for number, table in enumerate(made):
        assert read_table(root, root.locate(f"t/{number:02d}.parquet")).equals(table)
        assert root.read(f"m/{number:02d}.json") == b"{}" * number
        assert root.exists(f"m/{number:02d}.json")
    root.delete("t")
    assert not root.exists("t/00.parquet")


@pytest.mark.timeout(300)
def test_one_request_in_five_fails(seaweed: Seaweed) -> None:
    with faulty_proxy(seaweed.endpoint, share=0.2, seed=1) as proxy:
        write_and_read(S3Root(f"s3://{seaweed.bucket}/faults", proxy.storage))
    assert min(proxy.faults[fault] for fault in FAULTS) >= 3, proxy.faults
    # (an upload begun by a request whose answer was cut off is unknown to the client: a bucket's own rule ends those)


@pytest.mark.timeout(300)
def test_an_answer_cut_in_its_middle_is_asked_for_again(seaweed: Seaweed) -> None:
    """boto3 does not: what it retries is over when the answer's body begins."""
    with faulty_proxy(seaweed.endpoint, seed=3) as proxy:
        root = S3Root(f"s3://{seaweed.bucket}/cut", proxy.storage)
        root.put("marker.json", b"{}" * 50_000)
        proxy.methods, proxy.share = ("GET",), 0.6
        for _ in range(20):
            assert root.read("marker.json") == b"{}" * 50_000
    assert proxy.cut["GET"] >= 5, proxy.faults


def test_that_nothing_is_there_is_understood_of_an_answer_that_is_cut(seaweed: Seaweed) -> None:
    with faulty_proxy(seaweed.endpoint, seed=3) as proxy:
        root = S3Root(f"s3://{seaweed.bucket}/nothing", proxy.storage)
        proxy.methods, proxy.share = ("GET",), 0.5
        for number in range(20):
            with pytest.raises(FileNotFoundError):
                root.read(f"{number}.json")
    assert proxy.cut["GET"] >= 5, proxy.faults


@pytest.mark.timeout(300)
def test_the_store_is_away_for_half_a_minute(seaweed: Seaweed) -> None:
    with faulty_proxy(seaweed.endpoint) as proxy:
        root = S3Root(f"s3://{seaweed.bucket}/away", proxy.storage)
        root.put("before.json", b"{}")
        _ = root.filesystem
        proxy.down = True
        threading.Timer(AWAY_S, setattr, [proxy, "down", False]).start()
        began = time.monotonic()
        write_and_read(root)
        assert time.monotonic() - began >= AWAY_S - 1


def unfinished_uploads(seaweed: Seaweed) -> list[str]:
    """Return the keys of uploads in parts that were begun and neither finished nor aborted."""
    found = seaweed.client.list_multipart_uploads(Bucket=seaweed.bucket)
    return [upload["Key"] for upload in found.get("Uploads", ())]


def test_an_upload_that_fails_for_good_leaves_nothing_once_its_folder_is_deleted(seaweed: Seaweed) -> None:
    with faulty_proxy(seaweed.endpoint) as proxy:
        storage = proxy.storage.model_copy(update={"retries": 0})
        root = S3Root(f"s3://{seaweed.bucket}/broken", storage)
        with pytest.raises(OSError, match=r"(?i)aws|s3|object"):
            break_in_the_middle(root, proxy)
        proxy.share = 0.0
    root = S3Root(root.uri, seaweed.storage)
    assert root.names("t") == []
    assert f"broken/{BIG}" in unfinished_uploads(seaweed)
    root.delete("t")  # as is done with an unfinished wave before it is run again
    assert f"broken/{BIG}" not in unfinished_uploads(seaweed)


def break_in_the_middle(root: S3Root, proxy: FaultyProxy) -> None:
    """Write a file of several parts; the store fails once the first is through."""
    table = pa.table({"x": np.random.default_rng(0).standard_normal(3_000_000)})  # 24 MB: three parts
    with root.filesystem.open_output_stream(root.locate(BIG)) as stream:
        stream.write(memoryview(table["x"].chunk(0).buffers()[1])[: 12 << 20])
        proxy.methods, proxy.share = ("PUT",), 1.0
        stream.write(memoryview(table["x"].chunk(0).buffers()[1])[12 << 20 :])
