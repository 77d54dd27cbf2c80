from __future__ import annotations

import errno
import gzip
import os
import random
import tarfile
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import tar_index as module
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.storage_errors import AudioUnavailableError
from sift_ray.corpora.tar_index import TarError, TarIndexes, TarMember, open_shard, tar_members
from sift_ray.corpora.tree import LocalTree, OutsideRootError, S3Tree
from sift_ray.corpora.utterance import CorpusError

from .object_server import ObjectServer, object_server

SIZES = {"a.flac": 3000, "b/ü.flac": 0, "b/" + "long" * 60 + ".json": 511, "c.flac": 512, "d d.flac": 1025}
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


def blob(name: str, size: int) -> bytes:
    return random.Random(name).randbytes(size)


def packed(sizes: dict[str, int] = SIZES, format: int = tarfile.PAX_FORMAT) -> bytes:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for name, size in sizes.items():
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, BytesIO(blob(name, size)))
    return file.getvalue()


def found(content: bytes) -> tuple[dict[str, TarMember], TarError | None]:
    """Return what was yielded before the tar ended or could not be read on."""
    members: dict[str, TarMember] = {}
    try:
        for member in tar_members(BytesIO(content), "shard.tar"):
            members[member.name] = member
    except TarError as error:
        assert error.detail.startswith("shard.tar: ")
        return members, error
    return members, None


def check(content: bytes, members: dict[str, TarMember]) -> None:
    for name, member in members.items():
        assert content[member.start : member.start + member.size] == blob(name, SIZES[name])


@pytest.mark.parametrize("format", FORMATS)
def test_members_and_their_places(format: int) -> None:
    sizes = {name: size for name, size in SIZES.items() if format != tarfile.USTAR_FORMAT or len(name) < 100}
    content = packed(sizes, format)
    members, error = found(content)
    assert error is None
    assert list(members) == list(sizes)
    check(content, members)


def test_a_caller_may_read_between_members() -> None:
    file = BytesIO(packed())
    for member in tar_members(file, "shard.tar"):
        file.seek(member.start)
        assert file.read(member.size) == blob(member.name, member.size)
        file.seek(0)
    assert not file.closed


def test_what_is_no_file() -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("s.flac", tarfile.SYMTYPE), ("h.flac", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.flac"
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("a.flac"))
    members, error = found(file.getvalue())
    assert error is None
    assert {name: member.regular for name, member in members.items()} == {
        "s.flac": False,
        "h.flac": False,
        "a.flac": True,
    }


def test_a_sparse_member_is_none_either() -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a.flac")
        member.size = 512
        member.pax_headers = {"GNU.sparse.map": "0,512", "GNU.sparse.size": "99999999"}
        tar.addfile(member, BytesIO(bytes(512)))
        tar.addfile(tarfile.TarInfo("b.flac"))
    members, error = found(file.getvalue())
    assert error is None
    assert [member.regular for member in members.values()] == [False, True]


@pytest.mark.parametrize("format", FORMATS[1:])
def test_a_tar_cut_off_anywhere(format: int) -> None:
    content = packed(format=format)
    whole, _ = found(content)
    end = max(member.start + member.size for member in whole.values())
    for length in {*range(1, end, 97), *(place.start for place in whole.values())}:
        members, error = found(content[:length])
        assert error is not None
        check(content, members)
        assert list(members) == [name for name, place in whole.items() if place.start + place.size <= length]
        # one that is cut off within its content is named
        cut = [name for name, place in whole.items() if place.start <= length < place.start + place.size]
        assert [error.member] == (cut or [None])
        assert error.reason == ("truncated_shard" if length >= 512 else "unreadable_shard")


def test_a_tar_without_its_end_mark() -> None:
    content = packed()
    whole, _ = found(content)
    last = max(member.start + member.size for member in whole.values())
    for length in (last, -(-last // 512) * 512):  # without and with the padding of the last member
        members, error = found(content[:length])
        assert list(members) == list(whole)
        assert error is not None
        assert (error.reason, error.member) == ("truncated_shard", None)


def test_damage_in_the_middle() -> None:
    content = bytearray(packed())
    whole, _ = found(bytes(content))
    place = whole["c.flac"].start - 512
    content[place : place + 100] = b"\xff" * 100
    members, error = found(bytes(content))
    assert list(members) == list(SIZES)[:3]
    assert error is not None
    assert error.reason == "unreadable_shard"
    assert "no member begins at byte" in error.detail


@pytest.mark.parametrize("format", FORMATS[1:])
def test_random_damage_is_explained(format: int) -> None:
    rng = random.Random(format)
    whole = packed(format=format)
    for _ in range(1500):
        content = bytearray(whole)
        place = rng.choice([at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"])
        for _ in range(rng.randrange(1, 4)):
            at = rng.choice((rng.randrange(124, 136), 156, rng.randrange(512)))
            content[place + at] = rng.choice((0x80, 0xFF, rng.randrange(256), *b"xLSg7"))
        if rng.random() < 0.8:  # so that it looks sound
            content[place + 148 : place + 156] = b" " * 8
            content[place + 148 : place + 156] = b"%06o\0 " % sum(content[place : place + 512])
        members, _ = found(bytes(content))  # (raises anything but a TarError)
        assert all(member.start + member.size <= len(whole) for member in members.values() if member.regular)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no bytes"),
        (b"x" * 5000, "fetch the shard again"),
        (b"x", "fetch the shard again"),
        (gzip.compress(packed()), "unpack it"),
        (b"BZh9" + bytes(600), "unpack it"),
        (b"\xfd7zXZ\0" + bytes(600), "unpack it"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "unpack it"),
        (bytes(3 << 20), "what follows is not read"),
    ],
)
def test_what_is_no_tar(content: bytes, message: str) -> None:
    members, error = found(content)
    assert not members
    assert error is not None
    assert error.reason == "unreadable_shard"
    assert message in error.detail


def test_an_end_mark_long_before_the_end() -> None:
    """A hole of zeros, or a second tar behind the first."""
    content = packed()
    assert found(content + bytes(500_000))[1] is None  # (writers may fill up the last record)
    members, error = found(content + packed({"z.flac": 2 << 20}))
    assert list(members) == list(SIZES)
    assert error is not None
    assert "what follows is not read" in error.detail
    assert found(bytes(10_240)) == ({}, None)  # a tar without members


def test_members_do_not_pile_up() -> None:
    def peak(count: int) -> int:
        file = BytesIO(packed(dict.fromkeys(map(str, range(count)), 0)))
        tracemalloc.start()
        assert sum(1 for _ in tar_members(file, "shard.tar")) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(4000) < peak(500) + 100_000


# over an object store


def test_an_object_is_read_once_several_requests_at_a_time(server: ObjectServer) -> None:
    sizes = {f"{number:05}.flac": 150_000 for number in range(200)}
    server.objects["b/shards/a.tar"] = content = packed(sizes)
    server.latency = 0.02
    tree = S3Tree("s3://b/shards", Reading(server.storage).connection)
    seen = 0
    with open_shard(tree, "a.tar", 8) as file:
        for member in tar_members(file, "a.tar"):
            if seen % 2:  # not only headers: what is asked for behind does not cost a request either
                file.seek(member.start)
                assert file.read(member.size) == blob(member.name, member.size)
            seen += 1
    assert seen == 200
    assert server.fetched <= len(content)
    assert len(server.ranges) <= -(-len(content) >> 20) + 1
    assert 4 <= server.most_at_once <= 8


def test_of_large_members_only_headers_are_read(server: ObjectServer) -> None:
    sizes = {f"{number}.flac": 9_000_000 for number in range(6)}
    server.objects["b/a.tar"] = content = packed(sizes)
    with open_shard(S3Tree("s3://b", Reading(server.storage).connection), "a.tar", 8) as file:
        assert [member.name for member in tar_members(file, "a.tar")] == list(sizes)
    assert server.fetched < len(content) / 3


def test_a_store_that_fails_in_the_middle(server: ObjectServer) -> None:
    server.objects["b/a.tar"] = packed({f"{number}.flac": 2_000_000 for number in range(9)})
    tree = S3Tree("s3://b", Reading(server.storage).connection)
    with pytest.raises(AudioUnavailableError, match="missing_audio"), open_shard(tree, "none.tar", 2):
        pass
    with open_shard(tree, "a.tar", 2) as file:
        members = tar_members(file, "s3://b/a.tar")
        next(members)
        server.fail = (403, "AccessDenied")
        with pytest.raises(AudioUnavailableError, match=r"storage_error: s3://b/a.tar: .*ACCESS_DENIED"):
            list(members)


# indexes


class CountingTree(LocalTree):
    opened = 0

    def open(self, path: str) -> BinaryIO:
        self.opened += 1
        return super().open(path)


def test_rows_in_the_order_of_their_shards_cost_one_pass_over_each(tmp_path: Path) -> None:
    for shard in range(12):
        (tmp_path / f"{shard:02}.tar").write_bytes(packed())
    tree, indexes = CountingTree(tmp_path), TarIndexes(Reading(StorageConfig()))
    content = packed()
    for shard in range(12):
        for name, size in SIZES.items():
            place = indexes.member(tree, f"{shard:02}.tar", name)
            assert place is not None
            assert content[place[0] : place[0] + place[1]] == blob(name, size)
            assert all(type(number) is int for number in place)
        assert indexes.member(tree, f"{shard:02}.tar", "none.flac") is None
        assert indexes.member(tree, str(tmp_path / f"{shard:02}.tar"), "a.flac") is not None  # the same one
    assert tree.opened == 12
    for _ in range(3):
        for shard in range(12):  # they may also come in turn
            indexes.member(tree, f"{shard:02}.tar", "a.flac")
    assert tree.opened == 12


def test_indexes_are_bounded_by_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for shard in range(3):
        (tmp_path / f"{shard}.tar").write_bytes(packed())
    monkeypatch.setattr(module, "_MOST_BYTES", 2 * (module._INDEX_BYTES + 32 * len(SIZES)))
    tree, indexes = CountingTree(tmp_path), TarIndexes(Reading())
    for _ in range(5):
        for shard in (0, 1):
            indexes.member(tree, f"{shard}.tar", "a.flac")
    assert tree.opened == 2
    indexes.member(tree, "2.tar", "a.flac")
    indexes.member(tree, "1.tar", "a.flac")
    assert tree.opened == 3
    indexes.member(tree, "0.tar", "a.flac")  # the one that was not asked for longest
    assert tree.opened == 4
    with pytest.raises(CorpusError, match=r"/\d\.tar: rows go to and fro between 3 tars.*sort the manifest by tar"):
        list(map(lambda n: indexes.member(tree, f"{n % 3}.tar", "a.flac"), range(100)))  # noqa: C417
    assert tree.opened == 4 * 3 + 8


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_a_store_that_failed_is_asked_again(tmp_path: Path, number: int) -> None:
    class Store(LocalTree):
        fails = True

        def open(self, path: str) -> BinaryIO:
            if self.fails:
                raise OSError(number, os.strerror(number), path)
            return super().open(path)

    (tmp_path / "a.tar").write_bytes(packed())
    tree, indexes = Store(tmp_path), TarIndexes(Reading())
    with pytest.raises(CorpusError, match=rf"a\.tar: .*{os.strerror(number)}.*plan again"):
        indexes.member(tree, "a.tar", "a.flac")
    tree.fails = False
    assert indexes.member(tree, "a.tar", "a.flac") is not None


def test_a_damaged_tar_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cut.tar").write_bytes(packed()[:5000])
    tree, indexes = LocalTree(tmp_path), TarIndexes(Reading())
    for _ in range(3):
        with pytest.raises(AudioUnavailableError):
            indexes.member(tree, "cut.tar", "d d.flac")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{tmp_path}/cut.tar: " in record.message


def long_names(count: int) -> bytes:
    """A chain of GNU's headers for long names, which tarfile follows one call deeper each."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 5
    return (header.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(512, b"\0")) * count


def test_a_chain_of_long_names_is_damage(tmp_path: Path) -> None:
    for before in (b"", packed({"a.flac": 10})[:1024]):
        members, error = found(before + long_names(5000))
        assert list(members) == (["a.flac"] if before else [])
        assert error is not None
        assert error.reason == "unreadable_shard"
        (tmp_path / "a.tar").write_bytes(before + long_names(5000))
        with pytest.raises(AudioUnavailableError, match="unreadable_shard"):
            TarIndexes(Reading()).member(LocalTree(tmp_path), "a.tar", "b.flac")


def test_of_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for size in (10, 20, 30):
            member = tarfile.TarInfo("a.flac")
            member.size = size
            tar.addfile(member, BytesIO(bytes(size)))
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    place = TarIndexes(Reading()).member(LocalTree(tmp_path), "a.tar", "a.flac")
    assert place is not None
    assert place[1] == 30


def test_what_an_index_cant_tell(tmp_path: Path) -> None:
    content = packed()
    place = found(content)[0]["c.flac"]
    (tmp_path / "cut.tar").write_bytes(content[: place.start + 10])
    (tmp_path / "empty.tar").write_bytes(b"")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.tar"
    outside.write_bytes(content)
    (tmp_path / "link.tar").symlink_to(outside)
    tree, indexes = CountingTree(tmp_path), TarIndexes(Reading())
    assert indexes.member(tree, "cut.tar", "a.flac") is not None
    for name in ("c.flac", "d d.flac"):  # the one that is cut off, and one that may lie behind
        with pytest.raises(AudioUnavailableError, match="truncated_shard"):
            indexes.member(tree, "cut.tar", name)
    assert tree.opened == 1
    with pytest.raises(AudioUnavailableError, match="unreadable_shard"):
        indexes.member(tree, "empty.tar", "a.flac")
    with pytest.raises(AudioUnavailableError, match="missing_audio"):
        indexes.member(tree, "none.tar", "a.flac")
    with pytest.raises(OutsideRootError):
        indexes.member(tree, "link.tar", "a.flac")


def test_an_index_is_small(tmp_path: Path) -> None:
    count = 5000
    (tmp_path / "a.tar").write_bytes(packed({f"folder/{number:0100}.flac": 0 for number in range(count)}))
    tree, indexes = LocalTree(tmp_path), TarIndexes(Reading())
    tracemalloc.start()
    before: Any = tracemalloc.get_traced_memory()[0]
    assert indexes.member(tree, "a.tar", f"folder/{77:0100}.flac") is not None
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held < 40 * count + 20_000


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        tar.addfile(tarfile.TarInfo(os.fsdecode(b"\xe4.flac")))
    members, error = found(file.getvalue())
    assert error is None
    assert list(members) == ["\udce4.flac"]
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    assert TarIndexes(Reading()).member(LocalTree(tmp_path), "a.tar", "\udce4.flac") == (512, 0)
