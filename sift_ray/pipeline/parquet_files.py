"""One Parquet file of a stage's, written so that what a manifest names is really there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.storage import LocalRoot, OutputRoot

ROW_GROUP_ROWS: Final = 4096


def write_parquet(root: OutputRoot, path: str, table: pa.Table, row_group_rows: int = ROW_GROUP_ROWS) -> int:
    """Write `table` under the root; return the file's bytes."""
    filesystem = root.filesystem
    target = root.locate(path)
    if isinstance(root, LocalRoot):  # S3 knows no folders
        filesystem.create_dir(target.rpartition("/")[0], recursive=True)
    pq.write_table(
        table,
        target,
        filesystem=filesystem,
        compression="zstd",
        row_group_size=row_group_rows,
        write_page_index=True,
    )
    if isinstance(root, LocalRoot):
        sync(Path(target))
    size: int = filesystem.get_file_info(target).size
    return size


def sync(path: Path) -> None:
    """Wait until a local file is on disk: after a power cut a manifest must not stand beside half a file."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
