from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import tree as tree_module
from sift_ray.corpora.tree import (
    LocalTree,
    OutsideRootError,
    S3Tree,
    open_file,
    open_path,
    open_tree,
    read_many,
    text_lines,
)
from sift_ray.corpora.utterance import CorpusError
from sift_ray.object_store import S3Connection

from .object_server import object_server

STORE = S3Connection(StorageConfig(endpoint_url="http://127.0.0.1:9"))  # never asked


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus with a file at three depths, beside a folder that is none of its business."""
    for name in ("corpus/a.wav", "corpus/x/b.WAV", "corpus/x/y/c.flac", "corpus-too/d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path.resolve() / "corpus"


def link(path: Path, target: Path | str) -> None:
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.wav", "a.wav"),
        ("x/y/c.flac", "x/y/c.flac"),
        ("x//y/./c.flac", "x/y/c.flac"),
        ("x/../a.wav", "a.wav"),
        ("../corpus/a.wav", "a.wav"),
        ("nowhere/n.wav", "nowhere/n.wav"),  # whether it is there is another question
        ("x/y", "x/y"),
        ("..wav", "..wav"),
        ("a b'\"#%.wav", "a b'\"#%.wav"),
    ],
)
def test_a_path_inside_is_located(root: Path, path: str, expected: str) -> None:
    tree = LocalTree(root)
    for _ in range(2):  # at first, and as it is remembered
        assert tree.locate(path) == f"{root}/{expected}"


@pytest.mark.parametrize(
    "path",
    ["../corpus-too/d.wav", "x/../../corpus-too/d.wav", "/etc/passwd", "/a.wav", "..", ".", "", "x/..", "x/../.."],
)
def test_a_path_outside_is_refused(root: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # where a careless reader would look for /a.wav
    tree = LocalTree(root)
    for _ in range(2):
        with pytest.raises(OutsideRootError, match="leaves the corpus root"):
            tree.locate(path)
        with pytest.raises(OutsideRootError):
            tree.open(path)


def test_an_absolute_path_inside_is_located(root: Path) -> None:
    assert LocalTree(root).locate(f"{root}/x/y/c.flac") == f"{root}/x/y/c.flac"
    with pytest.raises(OutsideRootError):
        LocalTree(root).locate(f"{root}-too/d.wav")


def test_links_are_resolved_and_must_stay_inside(root: Path) -> None:
    link(root / "inside.wav", "x/b.WAV")
    link(root / "inside", root / "x/y")
    link(root / "outside.wav", root.parent / "corpus-too/d.wav")
    link(root / "outside", root.parent / "corpus-too")
    link(root / "x/deep", "../outside")
    tree = LocalTree(root)
    assert tree.locate("inside.wav") == f"{root}/x/b.WAV"
    assert tree.locate("inside/c.flac") == f"{root}/x/y/c.flac"
    for path in ("outside.wav", "outside/d.wav", "x/deep/d.wav", "outside/absent.wav", "inside/../../outside/d.wav"):
        for _ in range(2):
            with pytest.raises(OutsideRootError):
                tree.locate(path)


def test_the_root_may_be_a_link_itself(root: Path) -> None:
    link(root.parent / "current", root)
    tree = LocalTree(root.parent / "current")
    assert tree.name == "current"
    assert tree.uri == str(root)
    assert tree.locate("a.wav") == f"{root}/a.wav"
    assert tree.locate(f"{root.parent}/current/a.wav") == f"{root}/a.wav"


def test_circles_of_links_are_refused_and_hide_nothing(root: Path) -> None:
    link(root / "loop", "loop")
    link(root / "to", "fro")
    link(root / "fro", "to")
    link(root / "out", root.parent / "corpus-too")
    # realpath gives up at the circle, and what it leaves behind it leads out
    link(root / "sly.wav", "loop/../out/d.wav")
    tree = LocalTree(root)
    for path in ("loop", "loop/a.wav", "to/a.wav", "loop/../out/d.wav", "absent/../loop/../out/d.wav", "sly.wav"):
        for _ in range(2):
            with pytest.raises(OSError, match="symbolic links"):
                tree.locate(path)


def test_names_that_none_can_have(root: Path) -> None:
    tree = LocalTree(root)
    for path in ("a\0.wav", "x\0/b.WAV"):
        with pytest.raises(ValueError, match="null byte"):
            tree.locate(path)
        assert not tree.has(path)
    with pytest.raises(OSError, match="too long"):
        tree.locate("n" * 300)


def test_the_whole_machine_as_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    tree = LocalTree("/")
    assert tree.locate(f"{root}/a.wav") == f"{root}/a.wav"
    assert tree.locate(f"{root}/a.wav".lstrip("/")) == f"{root}/a.wav"
    assert tree.locate("a.wav") == "/a.wav"
    assert tree.locate("/a.wav") == "/a.wav"


def test_names_of_folders_and_files(root: Path) -> None:
    link(root / "linked", root / "x")
    link(root / "dangling", "nowhere")
    link(root / "loop", "loop")
    tree = LocalTree(root)
    assert tree.folders() == ["linked", "x"]
    assert tree.files() == ["a.wav", "dangling", "loop"]
    assert (tree.folders("x"), tree.files("x")) == (["y"], ["b.WAV"])
    assert (tree.folders("absent"), tree.files("absent"), tree.files("a.wav")) == ([], [], [])
    assert (tree.has("a.wav"), tree.has("x"), tree.has("absent"), tree.has("dangling")) == (True, False, False, False)
    below = tree.folder("x")
    assert below is not None
    assert (below.name, below.uri, below.files()) == ("x", f"{root}/x", ["b.WAV"])
    assert tree.folder("a.wav") is None
    assert tree.folder("absent") is None


def test_a_walk_finds_every_file_of_a_kind(root: Path) -> None:
    link(root / "x/linked.wav", root / "a.wav")
    link(root / "linked", root / "x")  # would give all of x twice
    link(root / "x/loop", root)
    tree = LocalTree(root)
    assert tree.walk((".wav",)) == ["a.wav", "x/b.WAV", "x/linked.wav"]
    assert tree.walk((".wav", ".flac"), "x") == ["x/b.WAV", "x/linked.wav", "x/y/c.flac"]
    assert tree.walk((".wav",), "absent") == []
    assert tree.walk((".wav",), "a.wav") == []


def test_a_walk_tells_of_a_folder_that_it_may_not_look_into(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("/y"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # (tests may run as root, who may look everywhere)
    with pytest.raises(CorpusError, match=r"/x/y: Permission denied"):
        LocalTree(root).walk((".wav",))


@pytest.mark.parametrize(
    ("uri", "path", "expected"),
    [
        ("s3://bucket/clips", "x/a.wav", "s3://bucket/clips/x/a.wav"),
        ("s3://bucket/clips/", "x//./a.wav", "s3://bucket/clips/x/a.wav"),
        ("s3://bucket/clips", "x/../a.wav", "s3://bucket/clips/a.wav"),
        ("s3://bucket/clips", "../clips/a.wav", "s3://bucket/clips/a.wav"),
        ("s3://bucket/clips", "s3://bucket/clips/a b#%.wav", "s3://bucket/clips/a b#%.wav"),
        ("s3://bucket/clips", "s3://bucket/x/../clips/a.wav", "s3://bucket/clips/a.wav"),
        ("s3://bucket", "a.wav", "s3://bucket/a.wav"),
        ("s3://bucket/odd//name", "a.wav", "s3://bucket/odd//name/a.wav"),  # keys are text: that prefix has two slashes
    ],
)
def test_an_object_inside_is_located(uri: str, path: str, expected: str) -> None:
    assert S3Tree(uri, STORE).locate(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "../other/a.wav",
        "x/../../other/a.wav",
        "../../other-bucket/clips/a.wav",
        "s3://bucket/clips-too/a.wav",
        "s3://bucket/clips/../other/a.wav",
        "s3://other/clips/a.wav",
        "s3://bucket/clips",
        "gs://bucket/clips/a.wav",
        "https://bucket/clips/a.wav",
        "/etc/passwd",
        "/bucket/clips/a.wav",
        "",
        ".",
        "..",
    ],
)
def test_an_object_outside_is_refused(path: str) -> None:
    with pytest.raises(OutsideRootError, match=r"leaves the corpus root s3://bucket/clips$"):
        S3Tree("s3://bucket/clips/", STORE).locate(path)


def test_an_object_name_with_a_nul_is_none() -> None:
    with pytest.raises(ValueError, match="null byte"):
        S3Tree("s3://bucket/clips", STORE).locate("a\0.wav")


def test_opening_what_is_not_there(root: Path) -> None:
    with pytest.raises(CorpusError, match=r"absent: no such folder; speech needs one"):
        open_tree(str(root / "absent"), STORE, "speech")
    with pytest.raises(CorpusError, match=r"gs://bucket: speech is read from"):
        open_tree("gs://bucket", STORE, "speech")
    with pytest.raises(CorpusError, match=r"absent\.tsv: no such file"):
        open_file(str(root / "absent.tsv"), STORE)
    with pytest.raises(CorpusError, match=r"corpus: this is a folder; give the file"):
        open_file(str(root), STORE)


def test_a_path_is_a_file_or_a_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for given, uri, name in (
        (str(root / "a.wav"), root, "a.wav"),
        ("a.wav", root, "a.wav"),
        ("x/b.WAV", root / "x", "b.WAV"),
        ("x", root / "x", ""),
        ("x/y/", root / "x/y", ""),
        (".", root, ""),
        ("/", "/", ""),
    ):
        tree, found = open_path(given, STORE, "a list")
        assert (tree.uri, found) == (str(uri), name), given
    with pytest.raises(CorpusError, match="no such file or folder"):
        open_path("a.wav/", STORE, "a list")


Packed = Callable[[bytes], bytes]


@pytest.mark.parametrize(("name", "pack"), [("t.tsv", bytes), ("t.tsv.gz", gzip.compress), ("T.GZ", gzip.compress)])
def test_lines_of_text(root: Path, name: str, pack: Packed) -> None:
    text = "\ufeffone\r\ntwo\u2028still two\x0c\n\nfour\rstill four\nb\udcffd\nlast".encode("utf-8", "surrogateescape")
    (root / name).write_bytes(pack(text))
    assert list(text_lines(LocalTree(root), name)) == [
        (1, "one"),
        (2, "two\u2028still two\x0c"),
        (3, ""),
        (4, "four\rstill four"),
        (5, "b\udcffd"),
        (6, "last"),
    ]


def test_a_damaged_archive_ends_in_an_error_that_names_it(root: Path) -> None:
    whole = gzip.compress(os.urandom(50_000).hex("\n").encode())
    no_deflate = whole[:10] + b"\xff" * 20 + whole[30:]
    wrong_sum = whole[:-8] + bytes(8)
    for content in (whole[: len(whole) // 2], no_deflate, wrong_sum, b"no gzip at all"):
        (root / "t.tsv.gz").write_bytes(content)
        with pytest.raises(CorpusError, match=r"t\.tsv\.gz: .*; the corpus is incomplete"):
            list(text_lines(LocalTree(root), "t.tsv.gz"))


def test_text_that_is_not_there_or_elsewhere(root: Path) -> None:
    link(root / "t.tsv", "../corpus-too/d.wav")
    for name, problem in (("absent.tsv", "No such file"), ("x", "directory"), ("t.tsv", "leaves the corpus root")):
        with pytest.raises(CorpusError, match=problem):
            list(text_lines(LocalTree(root), name))


def test_many_small_files_come_in_order(root: Path) -> None:
    names = [f"{number:03d}.txt" for number in range(100)]
    for name in names:
        (root / name).write_text(name)
    link(root / "out.txt", "../corpus-too/d.wav")
    odd = ["absent.txt", "a.wav/b.txt", "n\0l.txt", "out.txt"]
    contents = list(read_many(LocalTree(root), iter(names + odd), threads=4))
    assert contents[:100] == [name.encode() for name in names]
    assert contents[100:103] == [None, None, None]
    assert isinstance(contents[103], OutsideRootError)
    (error,) = read_many(LocalTree(root), ["x"], threads=1)
    assert isinstance(error, IsADirectoryError)


def test_a_store_that_fails_is_no_missing_text(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: OSError) -> list[object]:
        def refuse(self: LocalTree, path: str) -> None:
            raise error

        monkeypatch.setattr(LocalTree, "open", refuse)
        return list(read_many(LocalTree(root), ["a.txt"], threads=1))

    for number in (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET):
        with pytest.raises(CorpusError, match=r"a\.txt: .*plan again when the storage answers"):
            fail(OSError(number, os.strerror(number)))
    with pytest.raises(CorpusError, match="plan again when the storage answers"):
        fail(OSError("AWS Error SLOW_DOWN during GetObject"))
    refused = PermissionError(errno.EACCES, "Permission denied")
    assert fail(refused) == [refused]


def test_to_see_whether_something_is_there_one_key_is_listed() -> None:
    with object_server() as server:
        server.objects = {f"b/clips/{number:04}.wav": b"x" for number in range(500)}
        tree = S3Tree("s3://b", S3Connection(server.storage))
        assert (tree.has("clips/0003.wav"), tree.has("clips/000"), tree.has("clips")) == (True, False, False)
        assert tree.folder("clips") is not None
        assert tree.folder("clip") is None
        assert server.listed == 4
        assert len(tree.walk((".wav",))) == 500


def test_locating_files_of_one_folder_asks_once_for_the_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real_path = tree_module._real_path
    monkeypatch.setattr(tree_module, "_real_path", lambda path: asked.append(path) or real_path(path))
    tree = LocalTree(root)
    for number in range(100):
        tree.locate(f"x/y/{number}.flac")
    assert asked == [f"{root}/x/y"]


def test_a_snapshot_of_a_hub_cache_may_link_to_its_blobs_and_nowhere_else(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--some--corpus"
    snapshot = cache / "snapshots" / "0a1b"
    (cache / "blobs").mkdir(parents=True)
    (snapshot / "german").mkdir(parents=True)
    (cache / "blobs" / "c0ffee").write_bytes(b"rows")
    (cache / "refs").write_bytes(b"0a1b")
    (snapshot / "german" / "train.parquet").symlink_to("../../../blobs/c0ffee")
    (snapshot / "german" / "refs").symlink_to("../../../refs")
    for tree, path in ((LocalTree(snapshot), "german/"), (LocalTree(snapshot).folder("german"), "")):
        assert tree is not None
        with tree.open(f"{path}train.parquet") as file:
            assert file.read() == b"rows"
        with pytest.raises(OutsideRootError):
            tree.locate(f"{path}refs")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "x").write_bytes(b"")
    plain = tmp_path / "elsewhere" / "corpus"
    plain.mkdir(parents=True)
    (plain / "x").symlink_to(tmp_path / "blobs" / "x")
    with pytest.raises(OutsideRootError):
        LocalTree(plain).locate("x")
