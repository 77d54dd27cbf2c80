import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.config_storage import StorageConfig
from sift_ray.storage import (
    LocalRoot,
    ShardInfo,
    StorageError,
    WaveManifest,
    add_counts,
    add_digests,
    differences,
    fetch_folder,
    fingerprint,
    id_digest,
    open_root,
    read_json,
    read_manifest,
    stable_id,
    wave_folder,
    write_manifest,
)

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def manifest(wave: int = 3) -> WaveManifest:
    return WaveManifest(
        stage="annotations",
        wave=wave,
        rows=2,
        id_digest="0" * 16,
        fingerprint="f",
        files=(ShardInfo(name="part-00000.parquet", rows=2, bytes=10),),
        counts={"status": {"ok": 2}},
        started_at="2026-01-01T00:00:00+00:00",
        seconds=1.5,
        versions={"python": "3.11"},
    )


def test_what_a_killed_writer_left_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL between the writing and the renaming; a stage took such a file for another's, and stopped for ever."""
    root = LocalRoot(tmp_path)
    monkeypatch.setattr(Path, "replace", lambda *_: os._exit(9))
    if (child := os.fork()) == 0:
        root.put("annotations/_STAGE.json", b"{}")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list((tmp_path / "annotations").iterdir())) == 1
    assert root.names("annotations") == []


def test_put_read_list_delete(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    root.put("a/b/c.json", b"{}")
    root.put("a/d.txt", b"x")
    assert root.read("a/b/c.json") == b"{}"
    assert root.names("a") == ["b", "d.txt"]
    assert root.exists("a/d.txt")
    assert not root.exists("a/b")
    root.abort_uploads("a")  # of finished files nothing is given up
    assert root.names("a") == ["b", "d.txt"]
    root.delete("a/b")
    root.delete("a/gone")
    assert root.names("a") == ["d.txt"]
    assert root.names("nowhere") == []
    with pytest.raises(FileNotFoundError):
        root.read("a/b/c.json")


def test_a_reader_sees_the_old_file_or_the_new_never_a_part(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    old, new = b"o" * 200_000, b"n" * 200_000
    root.put("f", old)
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(root.read("f"))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        root.put("f", old if turn % 2 else new)
    stop.set()
    reader.join()
    assert seen <= {old, new}
    assert [name for name in os.listdir(tmp_path) if name != "f"] == []


def test_a_failed_put_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = LocalRoot(tmp_path)
    root.put("f", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        root.put("f", b"new")
    assert root.read("f") == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_wave_without_a_manifest_is_not_done(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    root.put(f"{wave_folder('annotations', 3)}/part-00000.parquet", b"x")
    assert read_manifest(root, "annotations", 3) is None
    write_manifest(root, manifest())
    assert read_manifest(root, "annotations", 3) == manifest()


def test_a_manifest_that_is_damaged_says_what_to_do(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    root.put(f"{wave_folder('annotations', 3)}/_MANIFEST.json", b'{"stage": "annot')
    with pytest.raises(StorageError, match="delete the wave's folder"):
        read_manifest(root, "annotations", 3)


def test_json_that_is_damaged_says_which(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    assert read_json(root, "plan.json") is None
    root.put("plan.json", b"{")
    with pytest.raises(StorageError, match=r"plan.json: not JSON"):
        read_json(root, "plan.json")


def test_other_schemes_are_refused() -> None:
    with pytest.raises(StorageError, match="ftp://x"):
        open_root("ftp://x")
    with pytest.raises(StorageError, match="s3://bucket/prefix"):
        open_root("s3://")


def test_a_root_travels_to_workers(tmp_path: Path) -> None:
    root = pickle.loads(pickle.dumps(open_root("s3://bucket/prefix", StorageConfig(endpoint_url="http://127.0.0.1:1"))))
    assert root.locate("a/b") == "bucket/prefix/a/b"
    assert pickle.loads(pickle.dumps(LocalRoot(tmp_path))).uri == str(tmp_path)


def test_a_local_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    root.put("models/m/model.bin", b"m")
    assert fetch_folder(root, "models/m", tmp_path / "cache") == tmp_path / "models/m"


class FarRoot:
    """A root that is not of this machine's disk; `hidden` files are left out of its listings."""

    def __init__(self, folder: Path) -> None:
        self._root, self.uri, self.hidden = LocalRoot(folder), "far://away", set[str]()
        self.put, self.read, self.exists = self._root.put, self._root.read, self._root.exists
        self.delete, self.locate, self.filesystem = self._root.delete, self._root.locate, self._root.filesystem

    def names(self, path: str) -> list[str]:
        return [name for name in self._root.names(path) if name not in self.hidden]


@pytest.mark.parametrize("hidden", [{"_MANIFEST.json", "model.bin"}, {"_MANIFEST.json"}])
def test_a_part_of_a_folder_is_not_kept_for_the_whole(tmp_path: Path, hidden: set[str]) -> None:
    root = FarRoot(tmp_path / "away")
    root.put("m/model.bin", b"m")
    root.put("m/_MANIFEST.json", b"{}")
    root.hidden = hidden
    with pytest.raises(StorageError, match=r"far://away/m: \d files are listed there, which is not all"):
        fetch_folder(root, "m", tmp_path / "cache/m")
    root.hidden = set()
    copy = fetch_folder(root, "m", tmp_path / "cache/m")
    assert {file.name for file in copy.iterdir()} == {"model.bin", "_MANIFEST.json"}


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="far://away/m: 0 files"):
        fetch_folder(FarRoot(tmp_path), "m", tmp_path / "cache/m")


def test_two_workers_may_fetch_a_folder_at_once(tmp_path: Path) -> None:
    root = FarRoot(tmp_path / "away")
    for name in "abc":
        root.put(f"m/{name}", name.encode() * 1000)
    together, read = threading.Barrier(2, timeout=30), root.read

    def read_together(path: str) -> bytes:
        together.wait()  # so neither has finished when the other begins
        return read(path)

    root.read = read_together
    with ThreadPoolExecutor(2) as pool:
        copies = list(pool.map(lambda _: fetch_folder(root, "m", tmp_path / "cache/m"), range(2)))
    assert copies == [tmp_path / "cache/m"] * 2
    assert {file.name: file.read_bytes() for file in copies[0].iterdir()} == {n: n.encode() * 1000 for n in "abc"}
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["m"]


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2}}) == fingerprint({"b": {"c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_differences_name_the_keys() -> None:
    old = {"features": {"pitch_floor": 75, "room": "signal"}, "gone": 1}
    new = {"features": {"pitch_floor": 60, "room": "signal"}, "come": 2}
    assert differences(old, new) == [
        "come: was null, is 2",
        "features.pitch_floor: was 75, is 60",
        "gone: was 1, is null",
    ]


def test_identities_do_not_run_into_each_other() -> None:
    assert stable_id("ab", "c") != stable_id("a", "bc")
    assert stable_id("a", "b") == stable_id("a", "b")
    # the same on every machine and in every version: rows of old outputs are found by it
    assert stable_id("common_voice", "15.0", "common_voice_de_23905138") == 667166987172000818


@given(st.lists(INT64, max_size=50), st.randoms())
def test_the_digest_is_blind_to_order_and_adds_up(ids: list[int], random: object) -> None:
    array = np.array(ids, dtype=np.int64)
    shuffled = list(ids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    cut = len(ids) // 2
    whole = id_digest(array)
    assert id_digest(np.array(shuffled, dtype=np.int64)) == whole
    assert add_digests([id_digest(array[:cut]), id_digest(array[cut:])]) == whole


@given(st.lists(INT64, min_size=1, max_size=20, unique=True), INT64)
def test_the_digest_sees_a_lost_a_doubled_and_a_changed_row(ids: list[int], other: int) -> None:
    array = np.array(ids, dtype=np.int64)
    whole = id_digest(array)
    assert id_digest(array[1:]) != whole
    assert id_digest(np.append(array, array[0])) != whole
    if other not in ids:
        assert id_digest(np.append(array[1:], np.int64(other))) != whole


def test_salts_tell_rows_of_one_id_apart() -> None:
    ids = np.array([5, 5], dtype=np.int64)
    assert id_digest(ids, ["a", "b"]) == id_digest(ids, ["b", "a"])
    assert id_digest(ids, ["a", "b"]) != id_digest(ids, ["a", "a"])


def test_counts_add_up_label_by_label() -> None:
    assert add_counts([{"t": {"a": 1}}, {"t": {"a": 2, "b": 1}}, {}]) == {"t": {"a": 3, "b": 1}}
