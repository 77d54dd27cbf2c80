"""From requests to a table of instructions: whatever goes wrong with one request costs no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.engine import EngineDied
from sift_ray.instruct.judging import Judge
from sift_ray.instruct.ladder import failed_row, run_request
from sift_ray.instruct.requests import Request
from sift_ray.instruct.writer import Writer
from sift_ray.schema import INSTRUCTIONS, conform

_ROW: Final = pa.struct(list(INSTRUCTIONS))


async def answered(
    request: Request, writer: Writer, fallback: Writer | None, config: InstructConfig, judge: Judge | None = None
) -> dict[str, Any]:
    """Return the row of a request; one that fails by a fault of ours is a refused pair.

    Raises:
        EngineDied: see `ladder.run_request`.
    """
    try:
        return await run_request(request, writer, fallback, config, judge)
    except EngineDied:
        raise
    except Exception as error:
        return failed_row(request, writer, error)


def table_of(
    requests: Sequence[Request], rows: Sequence[dict[str, Any]], writer: Writer
) -> tuple[pa.Table, Sequence[dict[str, Any]]]:
    """Return the rows of `requests` as `schema.INSTRUCTIONS` and as they now are: what no table holds is refused."""
    try:
        return _table(rows), rows
    except Exception:  # (one of them; to try each by itself every time would take twenty times as long)
        held = [_held(request, row, writer) for request, row in zip(requests, rows, strict=True)]
        return _table(held), held


def _held(request: Request, row: dict[str, Any], writer: Writer) -> dict[str, Any]:
    try:
        _table([row])
    except Exception as error:
        return failed_row(request, writer, error)
    return row


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return conform(pa.Table.from_struct_array(pa.array(rows, _ROW)), INSTRUCTIONS)
