"""The last check of every number: finite and within its measure's range, or unknown."""

from __future__ import annotations

import math

from sift_ray.schema import BACKEND_MEASURES, MEASURES


def feasible(column: str, value: float | None, backend: str | None = None) -> float | None:
    """Return `value` if it is finite and lies in its feasible range, else None.

    The range is that of `schema.BACKEND_MEASURES[backend]` where the backend has one, else of
    `schema.MEASURES[column]`.
    """
    measure = MEASURES[column] if backend is None else BACKEND_MEASURES.get(backend, MEASURES[column])
    if value is None or not math.isfinite(value) or not measure.low <= value <= measure.high:
        return None
    return float(value)
