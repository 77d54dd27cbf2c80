"""Where the Montreal Forced Aligner's models lie and what tells one from another; needs neither MFA nor kalpy."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from sift_ray.align.archive import unpack_members
from sift_ray.align.protocol import AlignError
from sift_ray.config_align import AlignConfig
from sift_ray.config_sections import is_plainly_local

Kind = Literal["acoustic", "dictionary", "g2p"]

OLDEST: Final = (3, 3)
TOO_NEW: Final = (3, 5)
INSTALL: Final = (
    f'conda install -c conda-forge "montreal-forced-aligner>={OLDEST[0]}.{OLDEST[1]},<{TOO_NEW[0]}.{TOO_NEW[1]}"'
)

_DISTRIBUTION = "montreal-forced-aligner"
_EXTENSIONS: Final[dict[Kind, tuple[str, ...]]] = {
    "acoustic": (".zip", ".am"),
    "dictionary": (".dict", ".txt"),
    "g2p": (".zip", ".g2p"),
}
# what kalpy reads of an acoustic model; nothing else is taken out of an archive
_MODEL_FILES = frozenset({"final.mdl", "final.alimdl", "lda.mat", "tree", "phones.txt", "meta.json"})
_NEEDED_FILES = ("final.mdl", "tree", "meta.json")


@dataclass(frozen=True, slots=True)
class MfaSources:
    """The files of one language: an acoustic model (archive or folder), a dictionary, perhaps a G2P model."""

    acoustic: Path
    dictionary: Path
    g2p: Path | None


def check_versions() -> None:
    """Check that MFA is installed in a version that this backend was written for.

    Raises:
        AlignError: it isn't; the message names the version found, those that fit, and how to get one.
    """
    try:
        found = metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise AlignError(
            f"the backend mfa needs the Montreal Forced Aligner, which isn't installed; {INSTALL}"
        ) from error
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not OLDEST <= numbers < TOO_NEW:
        raise AlignError(
            f"{_DISTRIBUTION} {found} is installed, but the backend mfa needs >={_dotted(OLDEST)},<{_dotted(TOO_NEW)}; "
            f"{INSTALL}"
        )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def find(kind: Kind, source: str) -> Path:
    """Return where a model lies that is named by its path or by its name in MFA's folder of pretrained models.

    A source without a slash, a tilde or an extension is a name only. The folder is
    `$MFA_ROOT_DIR/pretrained_models/<kind>`, and `~/Documents/MFA` where the variable isn't set.

    Raises:
        AlignError: it is in neither place; the message has the command that downloads it.
    """
    path = Path(source).expanduser()
    # a plain word is a name, whatever lies in the folder that somebody happens to be in
    if (_is_path(source) or path.suffix) and path.exists():
        return path
    if _is_path(source):
        raise AlignError(f"{source}: no such {kind} model of MFA")
    root = Path(os.environ.get("MFA_ROOT_DIR", "~/Documents/MFA")).expanduser()
    folder = root / "pretrained_models" / kind
    for extension in _EXTENSIONS[kind]:
        named = folder / (source + extension)
        if named.is_file():
            return named
    raise AlignError(
        f"MFA has no {kind} model {source!r} in {folder}; get it there with: mfa model download {kind} {source} "
        "(or set MFA_ROOT_DIR to the folder that has it, or give a path)"
    )


def _is_path(source: str) -> bool:
    return is_plainly_local(source) or "/" in source


def sources(config: AlignConfig, language: str) -> MfaSources | None:
    """Return the files that `config` names for `language`; None if it names no model for it.

    Raises:
        AlignError: one isn't there, or no dictionary is named.
    """
    names = _names(config, language)
    if "acoustic" not in names:
        return None
    if "dictionary" not in names:
        raise AlignError(
            f"align.dictionaries names none for {language!r}, which the backend mfa needs beside its model"
        )
    dictionary = find("dictionary", names["dictionary"])
    if dictionary.suffix in (".yaml", ".yml"):
        raise AlignError(f"{dictionary}: a list of dictionaries by speaker; name one dictionary")
    return MfaSources(
        find("acoustic", names["acoustic"]), dictionary, find("g2p", names["g2p"]) if "g2p" in names else None
    )


def mfa_identity(config: AlignConfig, language: str) -> str:
    """Return what tells the models of `language` from others: `acoustic=…;dictionary=…;g2p=…;mfa>=…`.

    Each is the start of the SHA-256 of its file, or its name where the file isn't on this machine; behind them are
    the versions of MFA that this is written for.

    Raises:
        AlignError: a file named by its path isn't there.
    """
    parts = [f"{kind}={_identity(kind, source)}" for kind, source in _names(config, language).items()]
    return ";".join([*parts, f"mfa>={_dotted(OLDEST)},<{_dotted(TOO_NEW)}"])


def _names(config: AlignConfig, language: str) -> dict[Kind, str]:
    named: dict[Kind, str | None] = {
        "acoustic": config.model(language),
        "dictionary": {str(key): value for key, value in config.dictionaries.items()}.get(language),
        "g2p": {str(key): value for key, value in config.g2p.items()}.get(language),
    }
    return {kind: source for kind, source in named.items() if source is not None}


def _identity(kind: Kind, source: str) -> str:
    try:
        path = find(kind, source)
    except AlignError:
        if _is_path(source):
            raise
        return source
    if path.is_file():
        return _sha256(path)[:16]
    # a folder's files and their names
    lines = [f"{file.relative_to(path)}\0{_sha256(file)}\n" for file in sorted(path.rglob("*")) if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(model: Path, scratch: Path) -> Path:
    """Return the folder of an acoustic model's files: `model` itself, or `scratch` with its archive unpacked there.

    MFA itself unpacks into one folder for all processes and empties it first: actors would trip each other up.

    Raises:
        AlignError: the archive is broken or too large, or lacks a file that an acoustic model has.
    """
    folder = model
    if not model.is_dir():
        folder = scratch
        unpack_members(model, _MODEL_FILES, "final.mdl", folder)
    missing = [name for name in _NEEDED_FILES if not (folder / name).is_file()]
    if missing:
        # one with meta.yaml is of MFA 1, and kalpy before 0.10.5 reads that with a loader that runs what it says
        raise AlignError(f"{model}: not an acoustic model of MFA 2 or 3: it has no {', '.join(missing)}")
    return folder
