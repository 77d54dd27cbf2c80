"""A table that says something else than when it was planned is found, and one that merely was copied is not."""

import gzip
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import tables_read
from sift_ray.corpora.tables_read import TableMark, changed, noting
from sift_ray.corpora.tree import LocalTree, S3Tree, Tree, open_path, text_lines
from sift_ray.object_store import S3Connection

from .object_server import object_server

NOWHERE = S3Connection(StorageConfig(endpoint_url="http://127.0.0.1:9", region="us-east-1", retries=1))  # never asked


def read(tree: Tree, *names: str) -> Mapping[str, TableMark]:
    """Read tables as a plan does; return their marks."""
    with noting() as found:
        for name in names:
            assert list(text_lines(tree, name))
    return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "corpus" / "clips.tsv"
    path.parent.mkdir()
    path.write_text("id\ttext\na\tone\n")
    return path


def test_tables_are_noted_while_they_are_read(table: Path) -> None:
    tree = LocalTree(table.parent)
    assert len(list(text_lines(tree, "clips.tsv"))) == 2  # (nobody asks)
    with noting() as outer, noting() as inner:
        assert [line for _, line in text_lines(tree, "clips.tsv")] == ["id\ttext", "a\tone"]
    assert (list(outer), list(inner)) == ([], [str(table)])


def test_only_another_content_is_a_change(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = read(LocalTree(table.parent), "clips.tsv")
    with monkeypatch.context() as patched:
        patched.delattr(tables_read, "_digest")  # (it would take minutes of a large corpus)
        assert changed(then, NOWHERE) == []
    os.utime(table, (0, 0))
    assert changed(then, NOWHERE) == []
    table.write_text(table.read_text().replace("one", "two"))  # (of the same length)
    assert changed(then, NOWHERE) == [f"{table}: it says something else now"]


def test_a_table_that_was_not_read_to_its_end_is_known_by_its_stamp(table: Path) -> None:
    with noting() as then:
        lines = text_lines(LocalTree(table.parent), "clips.tsv")
        next(lines)
        lines.close()
    assert changed(then, NOWHERE) == []


def test_a_link_to_another_version_is_a_change_and_the_old_one_may_go(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version / "en").mkdir(parents=True)
        (tmp_path / version / "en/clips.tsv").write_text(f"id\n{version}\n")
    (tmp_path / "latest").symlink_to("v1")
    tree, name = open_path(str(tmp_path / "latest/en/clips.tsv"), NOWHERE, "a table")
    below = LocalTree(tmp_path / "latest").folder("en")
    assert below is not None
    address = str(tmp_path / "latest/en/clips.tsv")
    for then in (read(tree, name), read(below, "clips.tsv")):
        assert list(then) == [address]
        assert changed(then, NOWHERE) == []
        (tmp_path / "latest").unlink()
        (tmp_path / "latest").symlink_to("v2")
        assert changed(then, NOWHERE) == [f"{address}: it says something else now"]
        (tmp_path / "latest").unlink()
        (tmp_path / "latest").symlink_to("v1")


def test_packing_anew_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "clips.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" * 1000, 1))
    then = read(LocalTree(tmp_path), path.name)
    path.write_bytes(gzip.compress(b"{}\n" * 1000, 9))
    assert changed(then, NOWHERE) == []
    path.write_bytes(gzip.compress(b"[]\n" * 1000, 9))
    assert changed(then, NOWHERE) == [f"{path}: it says something else now"]


def test_what_changes_while_it_is_read_is_not_taken_for_what_was_read(table: Path) -> None:
    with noting() as then:
        lines = text_lines(LocalTree(table.parent), "clips.tsv")
        next(lines)
        other = table.with_suffix(".new")
        other.write_text("id\ttext\nb\tanother\n")
        other.replace(table)
        assert list(lines) == [(2, "a\tone")]
    assert changed(then, NOWHERE) == [f"{table}: it says something else now"]


def test_a_table_that_is_gone_is_warned_of(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    then = read(LocalTree(table.parent), "clips.tsv")
    table.unlink()
    assert changed(then, NOWHERE) == []
    assert f"{table} is not there any more; what was planned from it stays planned" in caplog.text


def test_objects_are_compared_as_files_are(caplog: pytest.LogCaptureFixture) -> None:
    with object_server() as server:
        server.objects = {"b/c/clips.tsv": b"id\ttext\n", "b/c/more.tsv": b"x"}
        store = S3Connection(server.storage)
        then = read(S3Tree("s3://b/c", store), "clips.tsv", "more.tsv")
        assert list(then) == ["s3://b/c/clips.tsv", "s3://b/c/more.tsv"]
        server.forget()
        assert changed(then, store) == []
        assert (server.opened, server.answers) == (2, 0)  # (nothing was fetched)
        stamped = {address: mark._replace(stamp="8 another") for address, mark in then.items()}
        assert changed(stamped, store) == []
        server.objects["b/c/clips.tsv"] = b"id\tTEXT\n"
        del server.objects["b/c/more.tsv"]
        assert changed(then, store) == ["s3://b/c/clips.tsv: it says something else now"]
        assert "s3://b/c/more.tsv is not there any more" in caplog.text


def test_a_store_that_is_away_is_asked_once(caplog: pytest.LogCaptureFixture) -> None:
    then = {f"s3://b/{n}.tsv": TableMark("1 x", "y") for n in range(40)}
    assert changed(then, NOWHERE) == []
    assert caplog.text.count("can't be read, so nobody can tell") == 1
    assert "s3://b: 39 more tables are not looked at" in caplog.text
