from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sift_ray.corpora import CorpusError, Reading, Utterance
from sift_ray.corpora.reading import checked, place_audio
from sift_ray.corpora.tree import LocalTree

from .object_server import ObjectServer, object_server


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


def utterance(uri: str | None, duration_s: float | None = None) -> Utterance:
    return Utterance("u1", "mine", "mine_en", "en", "train", audio_uri=uri, duration_s=duration_s, where="m.tsv:2")


def test_an_address_that_is_none_costs_its_own_row(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(b"x")
    rows = [utterance(f"{tmp_path}/a.flac#t=5,1", 1.0), utterance(f"{tmp_path}/a.flac", 1.0)]
    first, second = checked(iter(rows), Reading())
    assert first.reject_reason == "bad_address"
    assert (first.reject_detail or "").startswith("m.tsv:2: ")
    assert second.reject_reason is None


@pytest.mark.parametrize("duration_s", [None, 1.0])
@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET])
def test_a_disk_that_fails_rejects_no_clip(monkeypatch: pytest.MonkeyPatch, number: int, duration_s: float) -> None:
    def fail(path: str) -> os.stat_result:
        raise OSError(number, os.strerror(number), path)

    rows = iter([utterance("/mount/a.flac", duration_s)])
    with monkeypatch.context() as patched:
        patched.setattr("sift_ray.corpora.audio_source.os.stat", fail)
        with pytest.raises(CorpusError, match=rf"m\.tsv:2: /mount/a\.flac: {os.strerror(number)}; plan again"):
            list(checked(rows, Reading()))


def test_a_disk_that_fails_where_links_are_followed_rejects_no_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: LocalTree, path: str) -> str:
        raise OSError(errno.ESTALE, "Stale file handle", path)

    monkeypatch.setattr(LocalTree, "locate", fail)
    with pytest.raises(CorpusError, match=r"m\.tsv:2: .*Stale file handle.*plan again"):
        place_audio(utterance(None), LocalTree(tmp_path), "a.flac")


@pytest.mark.parametrize("duration_s", [None, 1.0])
def test_a_clip_that_may_not_be_read_costs_its_own_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duration_s: float
) -> None:
    (tmp_path / "a.flac").write_bytes(b"x")
    monkeypatch.setattr("sift_ray.corpora.audio_source.os.access", lambda *_: False)  # (root may read everything)
    (row,) = checked(iter([utterance(f"{tmp_path}/a.flac", duration_s)]), Reading())
    assert row.reject_reason == "missing_audio"
    assert "permission denied" in (row.reject_detail or "")


def test_a_disk_that_fails_under_the_header_rejects_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.flac").write_bytes(b"no header")

    def fail(self: Path, mode: str) -> None:
        raise OSError(errno.EIO, "Input/output error", str(self))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(CorpusError, match=r"a\.flac: .*Input/output error.*plan again"):
        list(checked(iter([utterance(f"{tmp_path}/a.flac")]), Reading()))


@pytest.mark.parametrize("part", ["", "#t=1,2", "#member=a.flac&bytes=0,5"])
def test_a_bucket_that_fails_rejects_no_clip(server: ObjectServer, part: str) -> None:
    server.objects["b/a"] = b"x" * 100
    server.fail = (403, "AccessDenied")
    with pytest.raises(CorpusError, match=r"s3://b/a: AWS Error.*plan again when the storage answers"):
        list(checked(iter([utterance(f"s3://b/a{part}")]), Reading(server.storage)))
    server.fail = None
    (row,) = checked(iter([utterance(f"s3://b/a{part}")]), Reading(server.storage))
    assert row.reject_reason == "unreadable_header"
