"""Where alignment models and their lexicons lie; apart, because workers import it, and should import little else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sift_ray.config_align import AlignConfig
from sift_ray.storage import MANIFEST_NAME, LocalRoot, OutputRoot, StorageError, fetch_folder

DICTIONARY_FILE: Final[str] = "dictionary.txt"
G2P_FILE: Final[str] = "g2p.zip"
"""What the files are called in the folder of a lexicon, and in that of a model of viter's."""


@dataclass(frozen=True)
class ModelPlace:
    """What a language is aligned with, and where in the output root that lies.

    Attributes:
        fingerprint: of the model; None: there is none, and the language is not aligned.
        folder: of the model; empty where the backend loads what the config names.
        lexicon: the folder of the dictionary and the G2P model; empty where neither is given.
    """

    fingerprint: str | None
    folder: str = ""
    lexicon: str = ""


@dataclass(frozen=True)
class LexiconFiles:
    """A lexicon's files on this machine; None: not given."""

    dictionary: Path | None = None
    g2p: Path | None = None


def fetch_model(root: OutputRoot, place: ModelPlace) -> Path:
    """Return the model's folder on this machine, copied there from the root if need be.

    Raises:
        StorageError: it is not there, or was not finished.
    """
    if isinstance(root, LocalRoot):
        return fetch_folder(root, place.folder, _cache())
    # a fingerprint tells what a model was to be made of; its manifest, the very one that came out
    path = f"{place.folder}/{MANIFEST_NAME}"
    try:
        made = hashlib.sha256(root.read(path)).hexdigest()[:16]
    except FileNotFoundError as error:
        raise StorageError(f"{root.uri}/{path} is gone: there is no such alignment model; run again") from error
    return fetch_folder(root, place.folder, _cache() / f"{place.fingerprint}-{made}")


def fetch_lexicon(root: OutputRoot, place: ModelPlace) -> LexiconFiles:
    """Return the lexicon's files on this machine, copied there from the root if need be."""
    if not place.lexicon:
        return LexiconFiles()
    folder = fetch_folder(root, place.lexicon, _cache() / "lexicon" / place.lexicon.rpartition("/")[2])
    dictionary, g2p = folder / DICTIONARY_FILE, folder / G2P_FILE
    return LexiconFiles(dictionary if dictionary.is_file() else None, g2p if g2p.is_file() else None)


def with_lexicons(config: AlignConfig, lexicons: Mapping[str, LexiconFiles]) -> AlignConfig:
    """Return `config` with the paths of this machine instead of those of the one that started the job."""
    dictionaries = {language: str(files.dictionary) for language, files in lexicons.items() if files.dictionary}
    g2p = {language: str(files.g2p) for language, files in lexicons.items() if files.g2p}
    return config.model_copy(
        update={"dictionaries": {**config.dictionaries, **dictionaries}, "g2p": {**config.g2p, **g2p}}
    )


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sift-ray" / "align"
