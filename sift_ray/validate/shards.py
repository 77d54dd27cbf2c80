"""The files of a release: which there are, and what their folders say of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow.fs as pafs

from sift_ray.release.layout import SPLIT_FOLDERS, task_folder
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import OutputRoot, StorageError

_ENDINGS: Final = {".parquet": "parquet", ".jsonl": "jsonl"}
_SPLITS: Final[Mapping[str, str]] = {folder: split for split, folder in SPLIT_FOLDERS.items()}
_TASKS: Final[Mapping[str, str]] = {task_folder(task): task for task in TASKS}
_TOP: Final = "|".join(SPLIT_FOLDERS.values())
_IN_LAYOUT: Final = re.compile(
    rf"(?P<folder>(?:.*?/)?)(?:{_TOP})/(?:{'|'.join(_TASKS)})/[^/]+/[^/]+\.(?:parquet|jsonl)$"
)
_VERSION: Final = re.compile(r"(?:^|/)v-[0-9a-f]{16}(?:-\d)?/$")
_POINTER: Final = re.compile(rf"path: ['\"]?(?P<folder>(?:\S+?/)?)(?:{_TOP})/")


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of rows.

    Attributes:
        number: its place among all of the release, from 0.
        path: relative to the release.
        location: as the root's filesystem wants it.
        kind: `parquet` or `jsonl`.
        split, task, language: what its folders say; the language may be none of `schema.LANGUAGES`.
    """

    number: int
    path: str
    location: str
    kind: str
    split: str
    task: str
    language: str


class Listing(NamedTuple):
    """What lies in a release.

    Attributes:
        folder: the release's, relative to the root; empty for the root itself.
        shards: in the order of their paths, which are relative to that folder.
        stray: files in a language folder that are no data: clients read every file of one.
        misplaced: files of rows that no config would load, as they lie outside the layout.
        others: folders beside it that hold a release too, and are not looked at.
    """

    folder: str
    shards: tuple[Shard, ...]
    stray: tuple[str, ...]
    misplaced: tuple[str, ...]
    others: tuple[str, ...]


def list_release(root: OutputRoot) -> Listing:
    """Find a release: in the root itself, or in what a card there, or in its `release` (a job's output), leads to.

    Raises:
        StorageError: there is none, or no card that says which readers get.
    """
    top = "release" if "release" in root.names("") else ""
    base = root.locate(top).rstrip("/")
    try:
        infos = root.filesystem.get_file_info(pafs.FileSelector(base, recursive=True))
    except OSError as error:
        raise StorageError(f"{root.uri}: it can't be listed: {error}") from error
    paths = sorted(info.path.removeprefix(base).lstrip("/") for info in infos if info.type == pafs.FileType.File)
    folders = sorted({found["folder"] or "" for path in paths if (found := _IN_LAYOUT.match(path))})
    if not folders:
        raise StorageError(
            f"{root.uri}: no release lies here: a release has files such as train/open_ended/en/part-00000.parquet "
            "(or .jsonl); name its folder"
        )
    folder = _shown(root, top, paths, folders)
    shards: list[Shard] = []
    stray, misplaced = [], []
    for path in (path.removeprefix(folder) for path in paths if path.startswith(folder)):
        kind = _ENDINGS.get(f".{path.rpartition('.')[2]}")
        place = _place(path)
        if place is None:
            # (what lies in another release's folder is none of this one's)
            if kind is not None and not any(path.startswith(o.removeprefix(folder)) for o in folders if o != folder):
                misplaced.append(path)
        elif kind is None or path.rpartition("/")[2].startswith((".", "_")):
            stray.append(path)
        else:
            shards.append(Shard(len(shards), path, f"{base}/{folder}{path}", kind, *place))
    whole = f"{top}/{folder}".strip("/")
    others = tuple(f"{top}/{other}".strip("/") for other in folders if other != folder)
    return Listing(whole, tuple(shards), tuple(stray), tuple(misplaced), others)


def _shown(root: OutputRoot, top: str, paths: Sequence[str], folders: Sequence[str]) -> str:
    """Return which of the folders (each empty or ending in a slash) readers get: the one that a card leads to.

    Raises:
        StorageError: no card does.
    """
    if "" in folders:
        return ""
    # (a job's version that no card leads to may be half of one)
    if len(folders) == 1 and not _VERSION.search(folders[0]):
        return folders[0]
    for path in sorted((path for path in paths if path.rpartition("/")[2] == "README.md"), key=lambda p: p.count("/")):
        around = path.removesuffix("README.md")
        header = root.read(f"{top}/{path}".lstrip("/")).decode(errors="replace").split("\n---\n")[0]
        for found in _POINTER.finditer(header):
            if (folder := f"{around}{found['folder'] or ''}") in folders:
                return folder
    raise StorageError(
        f"{root.uri}: no card says which release readers get: there are several, or it is still being written; name "
        f"one of them: "
        f"{', '.join(f'{top}/{folder}'.strip('/') for folder in folders)}"
    )


def _place(path: str) -> tuple[str, str, str] | None:
    """Return the split, task and language of a file that lies directly in a language folder, else None."""
    split, _, rest = path.partition("/")
    folders, _, _ = rest.rpartition("/")
    task, _, language = folders.rpartition("/")
    return (_SPLITS[split], _TASKS[task], language) if split in _SPLITS and task in _TASKS else None


def known_language(shard: Shard) -> bool:
    """Return whether the shard's folder is one of a language that there is."""
    return shard.language in LANGUAGES
