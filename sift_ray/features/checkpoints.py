"""Find the weights of a model by the name in the config: a file, a folder, an https address, or the hub."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import urllib3

_TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=60.0)
_BACKOFF_S: Final = 1.0
_MOST_ADDRESSES: Final = 5  # one after another, each redirecting to the next
_BLOCK: Final = 1 << 20
_HUB_ID: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


class CheckpointError(ValueError):
    """Weights can't be had or read; the message says which, why, and what to do."""


def find_checkpoint(source: str, *, filenames: Sequence[str], revision: str | None = None) -> Path:
    """Return the file that `source` names, downloaded if need be.

    Args:
        source: a file, a folder, an https address, or `organisation/model` on the Hugging Face hub.
        filenames: what the file is called in a folder or on the hub; the first that is there is taken.
        revision: branch, tag or commit on the hub; default its main branch.

    Returns:
        A local file. Downloads from an address lie in `$XDG_CACHE_HOME/sift-ray/checkpoints`, those from the hub where
        its library keeps them (`HF_HOME`); what lies there is not downloaded again.

    Raises:
        CheckpointError: there is no such file, or it can't be downloaded.
    """
    path = _local(source)
    if path is not None:
        return _files(path, filenames)[0]
    return _download(source) if _is_url(source) else _from_hub(source, filenames, revision)


def checkpoint_identity(source: str, *, filenames: Sequence[str], revision: str | None = None) -> str:
    """Return what tells the weights of `source` from others, for fingerprints; nothing is downloaded.

    Arguments are those of `find_checkpoint`.

    Returns:
        16 hex digits of the SHA-256 of a file (of a folder, that which `find_checkpoint` takes); an address, of
        its query, which may hold a signature, only a digest; `organisation/model@revision` for the hub, where a branch
        may move, and a commit does not.

    Raises:
        CheckpointError: there is no such file or folder, or the folder holds none of `filenames`.
    """
    path = _local(source)
    if path is None:
        if not _is_url(source):
            return f"{source}@{revision or 'main'}"
        query = source.removeprefix(_shown(source))
        return _shown(source) + (f"?{hashlib.sha256(query.encode()).hexdigest()[:16]}" if query else "")
    return _sha256(_files(path, filenames)[0])[:16]


def _local(source: str) -> Path | None:
    """Return the file or folder that `source` names; None for an address or a hub id."""
    if source.startswith("https://"):
        if "@" in urlsplit(source).netloc:
            raise CheckpointError(f"https://…{_shown(source).rpartition('@')[2]}: give an address without credentials")
        return None
    if "://" in source:
        raise CheckpointError(f"{source}: weights are downloaded over https alone; give such an address, or a file")
    path = Path(source).expanduser()
    if source and path.exists():
        return path
    if not _HUB_ID.fullmatch(source):
        raise CheckpointError(f"{source}: no such file or folder; give one, an https address, or a hub id")
    return None


def _is_url(source: str) -> bool:
    return source.startswith("https://")


def _shown(url: str) -> str:
    """Return an address without its query, where signatures and tokens stand."""
    return url.partition("#")[0].partition("?")[0]


def _files(path: Path, filenames: Sequence[str]) -> list[Path]:
    if path.is_file():
        return [path]
    found = [path / name for name in filenames if (path / name).is_file()]
    if not found:
        raise CheckpointError(
            f"{path}: the folder holds no {' or '.join(filenames)}; give the folder or file of a model"
        )
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sift-ray" / "checkpoints"


def _download(url: str) -> Path:
    shown = _shown(url)
    name = re.sub(r"[^\w.-]", "_", shown.rpartition("/")[2], flags=re.ASCII)[-100:]
    target = _cache() / hashlib.sha256(url.encode()).hexdigest()[:16] / (name or "checkpoint")
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            _fetch(url, file)
        # whole or not at all; a second process that does the same does no harm
        Path(partial).chmod(0o644)
        Path(partial).replace(target)
    except urllib3.exceptions.HTTPError as error:
        reason = re.sub(r"\?[^\s)]*", "?…", one_line(error))  # it may quote the query
        raise CheckpointError(
            f"{shown}: can't be downloaded ({reason}); download it elsewhere, and give the file's path"
        ) from None
    finally:
        Path(partial).unlink(missing_ok=True)
    return target


def _fetch(url: str, file: io.BufferedWriter) -> None:
    # certificates are checked (SSL_CERT_FILE names other authorities)
    retries = urllib3.Retry(
        total=5,
        redirect=0,
        backoff_factor=_BACKOFF_S,
        status_forcelist=(429, 500, 502, 503, 504),
        respect_retry_after_header=False,
    )
    with urllib3.PoolManager(timeout=_TIMEOUT, retries=retries) as pool:
        address = url
        for _ in range(_MOST_ADDRESSES):
            answer = pool.request("GET", address, preload_content=False, redirect=False)
            try:
                target = answer.get_redirect_location()
                if not target:
                    _save(url, answer, file)
                    return
            finally:
                answer.close()
            address = urljoin(address, target)
            if not _is_url(address):
                raise CheckpointError(
                    f"{_shown(url)}: can't be downloaded (it leads to {_shown(address)}, which is not https)"
                )
    raise CheckpointError(f"{_shown(url)}: can't be downloaded (one redirect after another); give the last address")


def _save(url: str, answer: urllib3.BaseHTTPResponse, file: io.BufferedWriter) -> None:
    if answer.status != 200:
        raise CheckpointError(
            f"{_shown(url)}: can't be downloaded (HTTP {answer.status}); check the address, or give a file"
        )
    for block in answer.stream(_BLOCK):
        file.write(block)


def _from_hub(repo: str, filenames: Sequence[str], revision: str | None) -> Path:
    try:
        from huggingface_hub import errors as hub
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CheckpointError(
            f"{repo}: no such file or folder, and to look for it on the hub needs huggingface-hub; "
            "install sift-ray[models]"
        ) from error
    where = f"{repo}@{revision or 'main'}"
    missing: Exception | None = None
    for filename in filenames:
        try:
            return Path(hf_hub_download(repo, filename, revision=revision))
        except hub.EntryNotFoundError as error:
            # not there, or (of the same class) not in the cache while the hub can't be reached
            missing = error
        except hub.GatedRepoError as error:
            raise CheckpointError(
                f"{where}: open only to those who accept its terms: do so at https://huggingface.co/{repo}, "
                "then log in with `hf auth login` or set HF_TOKEN"
            ) from error
        except hub.RepositoryNotFoundError as error:
            raise CheckpointError(
                f"{where}: no such file or folder, and the hub shows no such model; check the name, and for a private "
                "one log in with `hf auth login` or set HF_TOKEN"
            ) from error
        except hub.RevisionNotFoundError as error:
            raise CheckpointError(f"{where}: the model has no such revision; check it on the hub") from error
        except Exception as error:  # of whichever library the hub's own uses for the net
            raise CheckpointError(f"{where}: can't be downloaded from the hub ({one_line(error)})") from error
    names = " or ".join(filenames)
    if isinstance(missing, hub.LocalEntryNotFoundError):
        raise CheckpointError(
            f"{where}: no such file or folder, the hub does not answer ({one_line(missing.__cause__ or missing)}), "
            f"and no {names} of it lies in the cache; download it elsewhere, and give the file's path"
        ) from missing
    raise CheckpointError(f"{where}: the model holds no {names}; give the file's path") from missing


def one_line(error: BaseException) -> str:
    """Return what an error says, for a sentence of another."""
    return " ".join(str(error).split()) or type(error).__name__
