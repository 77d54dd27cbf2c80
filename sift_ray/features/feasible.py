"""The last check of every number: finite and within its measure's range, or unknown."""

from __future__ import annotations

import math

from sift_ray.schema import MEASURES


def feasible(column: str, value: float | None) -> float | None:
    """Return `value` if it is finite and lies in the range of `schema.MEASURES[column]`, else None."""
    measure = MEASURES[column]
    if value is None or not math.isfinite(value) or not measure.low <= value <= measure.high:
        return None
    return float(value)
