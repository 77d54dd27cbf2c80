"""A finished wave of any stage, written by hand, for what reads an output root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.schema import conform
from sift_ray.storage import Counts, LocalRoot, ShardInfo, WaveManifest, write_manifest


def write_wave(
    root: LocalRoot,
    stage: str,
    number: int,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    counts: Counts | None = None,
) -> None:
    """Write a wave's rows as one file, and its manifest."""
    path = Path(root.locate(f"{stage}/wave={number:05d}/part-00000.parquet"))
    path.parent.mkdir(parents=True)
    pq.write_table(conform(pa.Table.from_pylist(rows, schema), schema), path)
    file = ShardInfo(name=path.name, rows=len(rows), bytes=path.stat().st_size)
    manifest = {"stage": stage, "wave": number, "rows": len(rows), "files": (file,), "counts": counts or {}}
    nothing: dict[str, Any] = {
        "id_digest": "0",
        "fingerprint": "f",
        "versions": {},
        "seconds": 1.0,
        "started_at": "now",
    }
    write_manifest(root, WaveManifest.model_validate(manifest | nothing))
