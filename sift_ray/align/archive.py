"""The zips that models of the Montreal Forced Aligner come in, read as files from strangers are to be read."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from sift_ray.align.protocol import AlignError

MOST_BYTES: Final = 4 << 30
"""What a model may have unpacked; the largest published ones have a tenth of that."""

# what zipfile raises of a damaged archive, an encrypted one (RuntimeError) or one packed in a way that it doesn't know
_DAMAGE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def read_members(path: Path, names: Iterable[str], beside: str, most_bytes: int = MOST_BYTES) -> dict[str, bytes]:
    """Return those of the files `names` that lie in the same folder of the zip at `path` as its file `beside`.

    Of several such folders the one nearest the root counts: what lies deeper is somebody's copy. Nothing is written.

    Raises:
        AlignError: the archive can't be read, or the files have more than `most_bytes` unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {PurePosixPath(info.filename): info for info in archive.infolist() if not info.is_dir()}
            folders = [member.parent for member in members if member.name == beside]
            if not folders:
                return {}
            folder = min(folders, key=lambda place: len(place.parts))
            wanted = {name: members[folder / name] for name in names if folder / name in members}
            size = sum(info.file_size for info in wanted.values())  # zipfile reads no more than a file's own number
            if size > most_bytes:
                raise AlignError(f"{path}: {size} bytes unpacked, over the {most_bytes} that a model may have")
            return {name: archive.read(info) for name, info in wanted.items()}
    except _DAMAGE as error:
        raise AlignError(f"{path}: the model's archive can't be read: {error}") from error


def unpack_members(
    path: Path, names: Iterable[str], beside: str, folder: Path, most_bytes: int = MOST_BYTES
) -> dict[str, int]:
    """Write what `read_members` returns to `folder`, by its names alone; return the sizes in bytes.

    Raises:
        AlignError: as `read_members`, or a file can't be written.
    """
    contents = read_members(path, names, beside, most_bytes)
    try:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise AlignError(f"{path}: the model can't be unpacked to {folder}: {error}") from error
    return {name: len(content) for name, content in contents.items()}
