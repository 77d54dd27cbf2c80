from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from sift_ray.align.archive import read_members, unpack_members
from sift_ray.align.protocol import AlignError

_NAMES = ("final.mdl", "tree", "meta.json")


def _zip(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_files_come_from_the_folder_of_the_one_that_is_named_exactly(tmp_path: Path) -> None:
    files = {
        "__MACOSX/._meta.json": b"finder",
        "m/old/meta.json": b"old",
        "m/old/tree": b"old",
        "m/meta.json": b"{}",
        "m/final.mdl": b"model",
        "m/other": b"",
        "tree": b"outside",
    }
    found = read_members(_zip(tmp_path / "m.zip", files), _NAMES, "meta.json")
    assert found == {"meta.json": b"{}", "final.mdl": b"model"}
    assert read_members(tmp_path / "m.zip", _NAMES, "lda.mat") == {}


def test_unpacked_files_stay_in_their_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "a/b"
    scratch.mkdir(parents=True)
    archive = _zip(tmp_path / "m.zip", {"../../meta.json": b"{}", "../../tree": b"tree"})
    assert unpack_members(archive, _NAMES, "meta.json", scratch) == {"meta.json": 2, "tree": 4}
    assert {path.name for path in tmp_path.iterdir()} == {"a", "m.zip"}
    with pytest.raises(AlignError, match=r"m\.zip: .*unpacked to"):
        unpack_members(archive, _NAMES, "meta.json", tmp_path / "gone")


def test_a_bomb_is_refused_by_what_is_asked_for(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "m.zip", {"meta.json": b"{}", "tree": bytes(10_000), "notes": bytes(100_000)})
    assert len(read_members(archive, _NAMES, "meta.json", 20_000)) == 2
    with pytest.raises(AlignError, match=r"m\.zip: 10002 bytes unpacked"):
        read_members(archive, _NAMES, "meta.json", 10_001)


def test_an_encrypted_archive_is_an_error_that_names_it(tmp_path: Path) -> None:
    content = bytearray(_zip(tmp_path / "m.zip", {"meta.json": b"{}"}, zipfile.ZIP_STORED).read_bytes())
    content[6] |= 1  # the flag in the file's own header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    (tmp_path / "m.zip").write_bytes(content)
    with pytest.raises(AlignError, match=r"m\.zip: .*encrypted"):
        read_members(tmp_path / "m.zip", _NAMES, "meta.json")


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_whatever_is_damaged_nothing_else_is_raised(tmp_path: Path, packing: int) -> None:
    rng = np.random.default_rng(0)
    files = {"meta.json": b"{}", "tree": rng.integers(0, 4, 3000, np.uint8).tobytes()}
    whole = _zip(tmp_path / "m.zip", files, packing).read_bytes()
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(256)
        (tmp_path / "m.zip").write_bytes(content)
        try:
            read_members(tmp_path / "m.zip", _NAMES, "meta.json")
        except AlignError:
            refused += 1
    assert refused > 100
