"""The files of a release: which there are, and what their folders say of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow.fs as pafs

from sift_ray.release.layout import SPLIT_FOLDERS, task_folder
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import OutputRoot, StorageError

FORMATS: Final = ("parquet", "jsonl")
"""Formats of a release, which are the endings of its files."""

_SPLITS: Final[Mapping[str, str]] = {folder: split for split, folder in SPLIT_FOLDERS.items()}
_TASKS: Final[Mapping[str, str]] = {task_folder(task): task for task in TASKS}
_TOP: Final = "|".join(SPLIT_FOLDERS.values())
_IN_LAYOUT: Final = re.compile(
    rf"(?P<folder>(?:.*?/)?)(?:{_TOP})/(?:{'|'.join(_TASKS)})/[^/]+/[^/]+\.(?P<kind>{'|'.join(FORMATS)})$"
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
    """What lies in a release of one format.

    Attributes:
        form: its format.
        folder: the release's, relative to the root; empty for the root itself.
        shards: in the order of their paths, which are relative to that folder.
        stray: files in a language folder that are no data: clients read every file of one. (In the published layout
            they do so by folder, so a file of another format is one too; Parquet is read by its ending.)
        misplaced: files of rows that no config would load, as they lie outside the layout.
        others: folders beside it that hold a release too, and are not looked at.
    """

    form: str
    folder: str
    shards: tuple[Shard, ...]
    stray: tuple[str, ...]
    misplaced: tuple[str, ...]
    others: tuple[str, ...]


def list_release(root: OutputRoot) -> Listing:
    """Find a release in the format that readers get first: that of the uppermost folder, of one folder Parquet.

    Raises:
        StorageError: there is none, or no card that says which readers get.
    """
    return list_releases(root)[0]


def list_releases(root: OutputRoot, form: str | None = None) -> tuple[Listing, ...]:
    """Find a release: in the root itself, or in what a card there, or in its `release` (a job's output), leads to.

    Args:
        root: of the release, or of the job that made it.
        form: the one format that is wanted; None: each that is there, and complete. They may lie in one folder, or
            each in its own.

    Raises:
        StorageError: there is none, none of that format, or no card that says which readers get.
    """
    top = "release" if "release" in root.names("") else ""
    base = root.locate(top).rstrip("/")
    try:
        infos = root.filesystem.get_file_info(pafs.FileSelector(base, recursive=True))
    except OSError as error:
        raise StorageError(f"{root.uri}: it can't be listed: {error}") from error
    paths = sorted(info.path.removeprefix(base).lstrip("/") for info in infos if info.type == pafs.FileType.File)
    found = [match for path in paths if (match := _IN_LAYOUT.match(path))]
    folders = {kind: sorted({match["folder"] for match in found if match["kind"] == kind}) for kind in FORMATS}
    every = sorted({match["folder"] for match in found})
    if not every:
        raise StorageError(
            f"{root.uri}: no release lies here: a release has files such as train/open_ended/en/part-00000.parquet "
            "(or .jsonl); name its folder"
        )
    wanted = FORMATS if form is None else (form,)
    if not any(folders[kind] for kind in wanted):
        there = ", ".join(kind for kind in FORMATS if folders[kind])
        raise StorageError(f"{root.uri}: no release lies here as {form}; there is {there}")
    led_to = _led_to(root, top, paths)
    shown = {kind: folder for kind in wanted if (folder := _shown(folders[kind], led_to)) is not None}
    if not shown:
        names = ", ".join(_joined(top, folder) for kind in wanted for folder in folders[kind])
        raise StorageError(
            f"{root.uri}: no card says which release readers get: there are several, or it is still being written; "
            f"name one of them: {names}"
        )
    others = tuple(_joined(top, folder) for folder in every if folder not in shown.values())
    listings = []
    for kind, folder in sorted(shown.items(), key=lambda entry: (entry[1].count("/"), FORMATS.index(entry[0]))):
        # (what lies in another release's folder is none of this one's)
        apart = tuple(other for other in every if other.startswith(folder) and other != folder)
        mine = [path for path in paths if path.startswith(folder) and not path.startswith(apart)]
        beside = {other for other in FORMATS if folder in folders[other]} - {kind}
        sorted_out = _sorted_out(mine, folder, base, kind, beside)
        listings.append(Listing(kind, _joined(top, folder), *sorted_out, others))
    return tuple(listings)


def _joined(top: str, folder: str) -> str:
    return f"{top}/{folder}".strip("/")


def _sorted_out(
    paths: Sequence[str], folder: str, base: str, form: str, beside: Collection[str]
) -> tuple[tuple[Shard, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the shards of a format among the files of a folder, the stray files, and those out of the layout.

    Args:
        paths: of all files there.
        folder: the release's, which is empty or ends in a slash.
        base: what the paths are relative to, as the root's filesystem wants it.
        form: the format.
        beside: other formats in the same folder, whose files out of the layout are told of with theirs.
    """
    shards: list[Shard] = []
    stray, misplaced = [], []
    for path in (path.removeprefix(folder) for path in paths):
        ending = path.rpartition(".")[2]
        place = _place(path)
        if place is None:
            if ending in FORMATS and ending not in beside:
                misplaced.append(path)
        elif ending not in FORMATS or path.rpartition("/")[2].startswith((".", "_")):
            stray.append(path)
        elif ending == form:
            shards.append(Shard(len(shards), path, f"{base}/{folder}{path}", form, *place))
        elif form == "jsonl":
            stray.append(path)
    return tuple(shards), tuple(stray), tuple(misplaced)


def _led_to(root: OutputRoot, top: str, paths: Sequence[str]) -> list[str]:
    """Return the folders that cards lead to, each empty or ending in a slash; those of the uppermost card first."""
    folders = []
    for path in sorted((path for path in paths if path.rpartition("/")[2] == "README.md"), key=lambda p: p.count("/")):
        around = path.removesuffix("README.md")
        header = root.read(_joined(top, path)).decode(errors="replace").split("\n---\n")[0]
        folders += [f"{around}{found['folder']}" for found in _POINTER.finditer(header)]
    return folders


def _shown(folders: Sequence[str], led_to: Sequence[str]) -> str | None:
    """Return which of the folders (each empty or ending in a slash) readers get; None: no card says so."""
    if "" in folders:
        return ""
    # (a job's version that no card leads to may be half of one)
    if len(folders) == 1 and not _VERSION.search(folders[0]):
        return folders[0]
    return next((folder for folder in led_to if folder in folders), None)


def _place(path: str) -> tuple[str, str, str] | None:
    """Return the split, task and language of a file that lies directly in a language folder, else None."""
    split, _, rest = path.partition("/")
    folders, _, _ = rest.rpartition("/")
    task, _, language = folders.rpartition("/")
    return (_SPLITS[split], _TASKS[task], language) if split in _SPLITS and task in _TASKS else None


def known_language(shard: Shard) -> bool:
    """Return whether the shard's folder is one of a language that there is."""
    return shard.language in LANGUAGES
