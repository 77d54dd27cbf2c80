"""What accepted answers rest on: how often each value of each key is spoken of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

from sift_ray.metadata.categories import KEYS, labels_of
from sift_ray.metadata.columns import codes
from sift_ray.report.page.reading import batches
from sift_ray.storage import OutputRoot, WaveManifest, wave_files

_COLUMNS: Final = ("pairs.accepted", "pairs.evidence.key", "pairs.evidence.value")

CLOSED: Final = tuple(key for key in KEYS if labels_of(key))
"""Keys whose values can be counted: those with a closed set of them."""


def spoken_of(root: OutputRoot, manifests: Iterable[WaveManifest]) -> Counter[tuple[str, str]]:
    """Return how many facts of accepted pairs have each (key, label), of keys in `CLOSED`."""
    counts: Counter[tuple[str, str]] = Counter()
    for manifest in manifests:
        for file in wave_files(root, manifest):
            for batch in batches(root, file, _COLUMNS):
                counts += _counted(batch.column("pairs"))
    return counts


def _counted(pairs: Any) -> Counter[tuple[str, str]]:
    flat = pc.list_flatten(pairs)
    evidence = pc.struct_field(flat, "evidence").filter(pc.struct_field(flat, "accepted"))
    facts = pc.list_flatten(evidence)
    keys, key_of = codes(pc.struct_field(facts, "key"))
    values, value_of = codes(pc.struct_field(facts, "value"))
    known = value_of >= 0
    found, number = np.unique(key_of[known] * max(len(values), 1) + value_of[known], return_counts=True)
    counts: Counter[tuple[str, str]] = Counter()
    for cell, count in zip(found.tolist(), number.tolist(), strict=True):
        key, value = keys[cell // len(values)], values[cell % len(values)]
        if value in labels_of(key):
            counts[key, value] += count
    return counts
