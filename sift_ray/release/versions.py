"""Versions of a release, and the one that readers get: a card whose header leads into its folder.

    release/README.md                        the pointer: put last, whole or not at all
    release/v-0123456789abcdef/README.md     the same card for the version alone, as a hub repository has it
    release/v-0123456789abcdef/train/open_ended/de/part-00000.parquet
    release/jsonl/…                          the same for a second format

A version is written beside the one that the pointer names, and that one is deleted when the pointer has moved. While
there is none yet, a card without data stands there, so that `datasets` does not gather files on its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sift_ray.storage import OutputRoot, StorageError

FOLDER: Final = "release"
CARD: Final = "README.md"
_VERSION: Final = re.compile(r"v-[0-9a-f]{16}(-[23])?")
_POINTS_AT: Final = re.compile(r"path: (v-[0-9a-f]{16}(?:-[23])?)/\S*\.(parquet|jsonl)$", re.MULTILINE)
_NOTHING_YET: Final = """\
---
configs:
- config_name: not_released_yet
  data_files: []
---

The release is being written; it appears here when it is complete.
"""


def base_of(form: str, formats: Sequence[str]) -> str:
    """Return the folder that holds a format's versions: the first format has `release` itself."""
    return FOLDER if form == formats[0] else f"{FOLDER}/{form}"


def pointed_at(root: OutputRoot, base: str = FOLDER) -> str | None:
    """Return the name of the version that readers get from `base`, None while there is none."""
    shown = _shown(root, base)
    return None if shown is None else shown[0]


def published_folder(root: OutputRoot, form: str = "parquet") -> str | None:
    """Return the folder of the version that readers get in a format, relative to the root; None: there is none."""
    for base in (FOLDER, f"{FOLDER}/{form}"):
        shown = _shown(root, base)
        if shown is not None and shown[1] == form:
            return f"{base}/{shown[0]}"
    return None


def _shown(root: OutputRoot, base: str) -> tuple[str, str] | None:
    """Return the version and the format that the pointer of `base` leads to."""
    try:
        card = root.read(f"{base}/{CARD}").decode()
    except FileNotFoundError:
        return None
    found = _POINTS_AT.search(card.split("\n---\n")[0])
    return None if found is None else (found[1], found[2])


def begin(root: OutputRoot, mark: str, formats: Sequence[str]) -> str:
    """Return the name of a new version, and make room for it: what an earlier attempt left is deleted.

    Args:
        root: of the job.
        mark: the release's fingerprint.
        formats: of the release; the first is what `release` itself shows.

    Raises:
        StorageError: the folder holds what no job has put there.
    """
    bases = _bases(root, formats)
    shown = {base: pointed_at(root, base) for base in bases}
    strange = [
        f"{base}/{name}"
        for base in bases
        for name in root.names(base)
        if name != CARD and f"{base}/{name}" not in bases and not _VERSION.fullmatch(name)
    ]
    if strange:
        raise StorageError(
            f"{root.uri} holds {', '.join(strange[:3])}, which no job of this version has put there: take it away, or "
            "take another `output`"
        )
    # (where a run ended between the pointers of two formats, they show two versions, and neither may be touched)
    version = next(n for n in (f"v-{mark}", f"v-{mark}-2", f"v-{mark}-3") if n not in shown.values())
    _clear(root, bases, {base: {name} for base, name in shown.items() if name is not None})
    root.abort_uploads(FOLDER)  # (of a version whose first file was not finished nothing is listed)
    for form in formats:
        base = base_of(form, formats)
        if shown.get(base) is None:
            root.put(f"{base}/{CARD}", _NOTHING_YET.encode())
    return version


def publish(root: OutputRoot, version: str, cards: Mapping[str, tuple[str, str]]) -> None:
    """Show a version that is complete: its own card, then the pointer.

    Args:
        root: of the job.
        version: its name.
        cards: base folder → the card of the version's folder, and the card that leads into it.
    """
    for base, (own, _) in cards.items():
        root.abort_uploads(f"{base}/{version}")  # of writers that were lost and had their files written by others
        root.put(f"{base}/{version}/{CARD}", own.encode())
    for base, (_, pointer) in cards.items():
        root.put(f"{base}/{CARD}", pointer.encode())


def is_published(root: OutputRoot, version: str, formats: Sequence[str], *, empty: bool = False) -> bool:
    """Return whether readers get this version in every format; one that is empty has no file to lead to."""
    bases = [base_of(form, formats) for form in formats]
    shown = all(root.exists(f"{base}/{CARD}") if empty else pointed_at(root, base) == version for base in bases)
    return shown and all(root.exists(f"{base}/{version}/{CARD}") for base in bases)


def retire(root: OutputRoot, version: str, formats: Sequence[str]) -> None:
    """Delete every other version, and formats that are not published any more."""
    bases = _bases(root, formats)
    kept = {base_of(form, formats) for form in formats}
    for base in bases:
        if base not in kept:
            root.delete(f"{base}/{CARD}")
            _clear(root, [base], {})
            if not root.names(base):
                root.delete(base)
    _clear(root, [base for base in bases if base in kept], {base: {version} for base in kept})


def _bases(root: OutputRoot, formats: Sequence[str]) -> list[str]:
    """Return the folders that hold versions, or will."""
    names = set(root.names(FOLDER)) & {"parquet", "jsonl"}
    return sorted({FOLDER, *(f"{FOLDER}/{name}" for name in names), *(base_of(form, formats) for form in formats)})


def _clear(root: OutputRoot, bases: Sequence[str], kept: Mapping[str, set[str]]) -> None:
    for base in bases:
        for name in root.names(base):
            if _VERSION.fullmatch(name) and name not in kept.get(base, set()):
                root.delete(f"{base}/{name}")
