"""Parquet shards with audio embedded as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tree import Tree


@dataclass(slots=True)
class ShardRow:
    """One row of a shard.

    Attributes:
        values: The asked-for columns that the shard has, by name.
        where: Shard, row group and row, for details.
        audio_uri: Address of the row's embedded audio; None where the row could not be read.
        audio_path: The file name that stands beside the bytes, if any.
        duration_s: From the audio's header, where headers are read and `read_header` asked for it; else None.
        reason: Why the row can't be used (a slug), or None.
        detail: The same for a person.
    """

    values: dict[str, Any]
    where: str
    audio_uri: str | None = None
    audio_path: str | None = None
    duration_s: float | None = None
    reason: str | None = None
    detail: str = ""


def shard_rows(
    tree: Tree, path: str, columns: Sequence[str], reading: Reading, *, audio: str = "audio", read_header: bool = True
) -> Iterator[ShardRow]:
    """Yield the rows of one Parquet shard."""
    raise NotImplementedError
