"""What a job has made, for a comparison with an undisturbed one."""

from __future__ import annotations

import hashlib
import json

import pyarrow.fs as pafs
import pyarrow.parquet as pq

from sift_ray.storage import OutputRoot


def paths_of(root: OutputRoot) -> frozenset[str]:
    """Return the paths of all files under the root, relative to it; hidden ones, half-written, left out."""
    place = root.locate("").rstrip("/")
    found = root.filesystem.get_file_info(pafs.FileSelector(place, recursive=True, allow_not_found=True))
    names = (info.path[len(place) + 1 :] for info in found if info.type == pafs.FileType.File)
    return frozenset(name for name in names if not name.rpartition("/")[2].startswith("."))


def content_by_id(root: OutputRoot) -> dict[str, str]:
    """Return the release's `sample_id`s, each with a hash of all the row's columns.

    Raises:
        AssertionError: a sample stands there twice.
    """
    found: dict[str, str] = {}
    for path in sorted(paths_of(root)):
        if not (path.startswith("release/") and path.endswith(".parquet")):
            continue
        table = pq.read_table(root.locate(path), filesystem=root.filesystem, partitioning=None)
        for row in table.to_pylist():
            assert row["sample_id"] not in found, f"{row['sample_id']} stands twice, the second time in {path}"
            found[row["sample_id"]] = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
    return found
