"""Where a sample lies in a release: the folders and names of the reference's hub dataset (amazon-agi/SIFT-50M)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from sift_ray.schema import CLOSED_ENDED

SPLIT_FOLDERS: Final[Mapping[str, str]] = {"train": "train", "dev": "dev", "test": "EvalSIFT"}
"""Folder of each split."""

SPLIT_NAMES: Final[Mapping[str, str]] = {"train": "train", "dev": "validation", "test": "EvalSIFT"}
"""Name of each split as `datasets` users give it."""


class Group(NamedTuple):
    """The samples that share a folder."""

    split: str
    task: str
    language: str

    @property
    def label(self) -> str:
        """`split/task/language`, as counts name it."""
        return "/".join(self)


def task_folder(task: str) -> str:
    """Return the folder of a task under a split's: `closed_ended/acoustic_level`, `open_ended`, …"""
    if task in CLOSED_ENDED:
        return f"closed_ended/{task.removeprefix('closed_ended_')}"
    return task


def shard_path(split: str, task: str, language: str, number: int, ending: str = "parquet") -> str:
    """Return the path of a file of samples, relative to its version of the release."""
    return f"{SPLIT_FOLDERS[split]}/{task_folder(task)}/{language}/part-{number:05d}.{ending}"
