"""A table that says something else than when it was planned is found, and one that merely was copied is not."""

import os
from pathlib import Path

import pytest

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import tables_read
from sift_ray.corpora.tables_read import changed, marks, note, noting
from sift_ray.corpora.tree import LocalTree, text_lines
from sift_ray.object_store import S3Connection

from .object_server import object_server

NOWHERE = S3Connection(StorageConfig(endpoint_url="http://127.0.0.1:9", region="us-east-1", retries=1))  # never asked


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "corpus" / "clips.tsv"
    path.parent.mkdir()
    path.write_text("id\ttext\na\tone\n")
    return path


def test_tables_are_noted_while_they_are_read(table: Path) -> None:
    note("/before")
    with noting() as noted:
        assert len(list(text_lines(LocalTree(table.parent), "clips.tsv"))) == 2
        with noting() as inner:
            note("/within")
    note("/after")
    assert (list(noted), list(inner)) == ([str(table)], ["/within"])


def test_only_another_content_is_a_change(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = marks([str(table)], NOWHERE)
    with monkeypatch.context() as patched:
        patched.delattr(tables_read, "_digest")  # (it would take minutes of a large corpus)
        assert changed(then, NOWHERE) == []
    os.utime(table, (0, 0))
    assert changed(then, NOWHERE) == []
    table.write_text(table.read_text().replace("one", "two"))  # (of the same length)
    assert changed(then, NOWHERE) == [f"{table}: it says something else now"]


def test_a_table_that_is_gone_is_told_and_a_corpus_that_is_away_is_not(table: Path) -> None:
    then = marks([str(table)], NOWHERE)
    table.unlink()
    assert changed(then, NOWHERE) == [f"{table}: it is gone"]
    table.parent.rmdir()
    assert changed(then, NOWHERE) == []


def test_objects_are_compared_as_files_are(caplog: pytest.LogCaptureFixture) -> None:
    with object_server() as server:
        server.objects = {"b/clips.tsv": b"id\ttext\n", "b/more.tsv": b"x"}
        store = S3Connection(server.storage)
        then = marks(["s3://b/clips.tsv", "s3://b/more.tsv"], store)
        server.forget()
        assert changed(then, store) == []
        assert (server.opened, server.answers) == (2, 0)  # (nothing was fetched)
        stamped = {address: mark._replace(stamp="8 another") for address, mark in then.items()}
        assert changed(stamped, store) == []
        server.objects["b/clips.tsv"] = b"id\tTEXT\n"
        del server.objects["b/more.tsv"]
        assert changed(then, store) == [
            "s3://b/clips.tsv: it says something else now",
            "s3://b/more.tsv: it is gone",
        ]
    with caplog.at_level("INFO"):
        assert changed(then, S3Connection(server.storage)) == []
    assert "s3://b/clips.tsv can't be reached" in caplog.text
