"""Rows of the published form, a block of lines at a time: pyarrow reads whole blocks, Python those with a fault."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from sift_ray.schema import RELEASE
from sift_ray.storage import OutputRoot
from sift_ray.validate.findings import Example, Tell, shown
from sift_ray.validate.shards import Shard

KEYS: Final = ("id", "messages", "task", "data_source")
"""The keys that a published row has, no more and no less."""

_SCHEMA: Final = pa.schema([RELEASE.field(name).with_nullable(True) for name in KEYS])
_PART: Final = ("text", "audio_path")
_BLOCK_BYTES: Final = 8 << 20

Numbered = tuple[NDArray[np.int64], pa.Table]
"""The numbers of lines from 1, and their rows."""


def jsonl_tables(root: OutputRoot, shard: Shard, tell: Tell) -> Iterator[Numbered]:
    """Yield the rows of a file of JSON lines as tables of the four keys.

    Lines that can't be read as rows are left out and told of: rules `unreadable_row` and `row_keys`.
    """
    first = 1
    with root.filesystem.open_input_stream(shard.location) as source:
        for block in _blocks(source):
            table = _whole(block)
            if table is None:
                numbers, table, lines = _line_by_line(shard, block, first, tell)
            else:
                lines = table.num_rows
                numbers = np.arange(first, first + lines)
            first += lines
            yield numbers, table


def _blocks(source: pa.NativeFile) -> Iterator[bytes]:
    """Yield the file in pieces that end where a line ends."""
    rest = b""
    while piece := source.read(_BLOCK_BYTES):
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end]
            rest = piece[end:]
        else:
            rest += piece
    if rest.strip():
        yield rest


def _whole(block: bytes) -> pa.Table | None:
    """Return a block's rows, None where a line may have a fault."""
    try:
        block.decode()
        table = pj.read_json(
            io.BytesIO(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="error"),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    if table.num_rows != lines or any(table[name].null_count for name in KEYS):
        return None
    # every part must have both of its keys, null or not. (In a text the closing quotation mark is escaped.)
    parts = sum(len(pc.list_flatten(pc.struct_field(pc.list_flatten(c), "content"))) for c in table["messages"].chunks)
    if any(block.count(f'"{key}":'.encode()) != parts for key in _PART):
        return None
    return table.select(KEYS)


def _line_by_line(shard: Shard, block: bytes, first: int, tell: Tell) -> tuple[NDArray[np.int64], pa.Table, int]:
    """Return the rows that can be read, with their numbers, and how many lines there were."""
    numbers, rows = [], []
    lines = block.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        row, rule, fault = _read(line)
        if rule is not None:
            tell(rule, 1, [Example(shard.path, number, fault)])
        if row is not None:
            numbers.append(number)
            rows.append(row)
    return np.array(numbers, np.int64), pa.Table.from_pylist(rows, schema=_SCHEMA), len(lines)


def _read(line: bytes) -> tuple[dict[str, Any] | None, str | None, str]:
    """Return a line's row, the rule that it breaks, and how; the row is None where no rule can look at it."""
    try:
        value = json.loads(line)
        json.dumps(value, ensure_ascii=False).encode()  # (half of a surrogate pair is no text)
    except (ValueError, RecursionError) as error:
        return None, "unreadable_row", f"{error}: {shown(line.decode(errors='replace'))}"
    if not isinstance(value, dict):
        return None, "unreadable_row", f"not an object: {shown(str(value))}"
    try:
        row = pa.Table.from_pylist([{key: value.get(key) for key in KEYS}], schema=_SCHEMA)
    except (pa.ArrowException, TypeError) as error:
        return None, "unreadable_row", f"{error}"
    for key in KEYS:
        if value.get(key) is None:
            return None, "row_keys", f"no {key!r}" if key not in value else f"{key!r} is null"
    found: dict[str, Any] = row.to_pylist()[0]
    if more := [key for key in value if key not in KEYS]:
        return found, "row_keys", f"more than the four keys: {', '.join(more[:5])}"
    return found, *_faulty_part(value["messages"])


def _faulty_part(messages: list[dict[str, Any]]) -> tuple[str | None, str]:
    for message in messages:
        if set(message) != {"role", "content"}:
            return "row_keys", f"a message of the keys {', '.join(message) or 'none'}, not role and content"
        for part in message["content"] or ():
            if set(part) != set(_PART):
                return "row_keys", f"a part of the keys {', '.join(part) or 'none'}, not text and audio_path"
    return None, ""
