"""Put a published version on the Hugging Face hub: one commit, so that nobody there sees a part of it either.

Tokens come by the library's own ways (`hf auth login`, `HF_TOKEN`); none is read or kept here.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow.fs as pafs

from sift_ray.config_release import Format
from sift_ray.release.layout import SPLIT_FOLDERS, task_folder
from sift_ray.release.versions import CARD, published_folder
from sift_ray.schema import TASKS
from sift_ray.storage import LocalRoot, OutputRoot, StorageError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

# (more than the largest text file that the hub takes within the commit itself, 10 MB: its content is read only then)
_SMALL_BYTES: Final = 16_000_000
_KEPT: Final = ".gitattributes"  # the hub's own
_OF_A_RELEASE: Final = tuple(f"{folder}/{task_folder(task)}/" for folder in SPLIT_FOLDERS.values() for task in TASKS)


class UploadError(RuntimeError):
    """The release can't be put on the hub; the message says why and what to do."""


def upload(
    root: OutputRoot,
    repository: str,
    *,
    form: Format = "parquet",
    private: bool = True,
    replace: bool = False,
    api: HfApi | None = None,
) -> str:
    """Make a dataset repository hold exactly the version that readers get from `root`; return the commit's address.

    The repository is made if there is none. Files are sent one after the other, those of an object store by way of
    a temporary file each; then one commit adds them all and removes what is of no version any more.

    Args:
        root: of a job with a finished release.
        repository: `organisation/name`.
        form: which of the release's formats.
        private: of a repository that is made now; one that is there stays as it is.
        replace: delete also files of the repository that lie outside the folders of a release.
        api: the hub; None: as the environment says.

    Raises:
        StorageError: there is no release in that format.
        UploadError: the library is not installed, the hub refused, or the repository holds files of something else.
    """
    folder = published_folder(root, form)
    if folder is None:
        raise StorageError(f"{root.uri}: no release as {form} is published there; run `sift-ray release` first")
    try:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise UploadError(
            "publishing takes the package huggingface-hub: pip install 'huggingface-hub>=0.30'"
        ) from error
    hub = api or HfApi()
    where: dict[str, Any] = {"repo_id": repository, "repo_type": "dataset"}
    try:
        hub.create_repo(private=private, exist_ok=True, **where)
        there = set(hub.list_repo_files(**where))
        strange = sorted(name for name in there - {_KEPT, CARD} if not name.startswith(_OF_A_RELEASE))
        if strange and not replace:
            raise UploadError(
                f"{repository} holds {len(strange):,} files that are of no release, such as {', '.join(strange[:3])}, "
                "and would lose them: take another repository, or add --replace"
            )
        operations: list[CommitOperationAdd | CommitOperationDelete] = []
        for name, source in _sources(root, folder):
            operation = CommitOperationAdd(path_in_repo=name, path_or_fileobj=source)
            hub.preupload_lfs_files(additions=[operation], **where)
            operations.append(operation)
        new = {operation.path_in_repo for operation in operations}
        operations += [CommitOperationDelete(path_in_repo=name) for name in sorted(there - new - {_KEPT})]
        message = f"sift-ray release {folder.rpartition('/')[2]}"
        done = hub.create_commit(operations=operations, commit_message=message, **where)
    except HfHubHTTPError as error:
        raise UploadError(f"{repository}: the hub refused: {' '.join(str(error).split())}") from error
    log.info("%s: %d files of %s", repository, len(new), folder)
    return str(done.commit_url)


def _sources(root: OutputRoot, folder: str) -> Iterator[tuple[str, str | bytes]]:
    """Yield each file's path in the version and where its content is: a local path, or the bytes of a small file.

    A temporary copy of a large one is there until the next is asked for.
    """
    filesystem, top = root.filesystem, root.locate(folder)
    infos = filesystem.get_file_info(pafs.FileSelector(top, recursive=True))
    for info in sorted((i for i in infos if i.type == pafs.FileType.File), key=lambda i: i.path):
        name = info.path[len(top) :].strip("/")
        if isinstance(root, LocalRoot):
            yield name, info.path
        elif info.size <= _SMALL_BYTES:
            yield name, root.read(f"{folder}/{name}")
        else:
            with tempfile.TemporaryDirectory() as temporary:
                copy = Path(temporary) / Path(name).name
                pafs.copy_files(info.path, str(copy), filesystem, pafs.LocalFileSystem())
                yield name, str(copy)
