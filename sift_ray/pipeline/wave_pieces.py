"""How rows travel through a stage: cut into pieces of one wave each, then as rows that know their wave.

A piece is one row of a table, `wave` int32 and `rows` list<struct>, so that Ray Data, which joins and cuts blocks as it
sees fit, can neither mix two waves in a piece nor part what was put together.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

WAVE: Final = "wave"
_ROWS: Final = "rows"


def piece_of(wave: int, rows: pa.Table) -> pa.Table:
    """Return `rows`, at least one, as a piece."""
    structs = rows.combine_chunks().to_struct_array()
    if isinstance(structs, pa.ChunkedArray):
        structs = structs.combine_chunks()
    rows_of = pa.ListArray.from_arrays(pa.array([0, rows.num_rows], pa.int32()), structs)
    return pa.table({WAVE: pa.array([wave], pa.int32()), _ROWS: rows_of})


def open_piece(piece: pa.Table) -> tuple[int, pa.Table]:
    """Return the wave and the rows of a table that holds one piece."""
    if piece.num_rows != 1:
        raise ValueError(f"{piece.num_rows} pieces where one was to be; this is a fault of the pipeline")
    rows = piece.column(_ROWS).combine_chunks()
    return piece.column(WAVE)[0].as_py(), pa.Table.from_struct_array(rows.flatten())


def of_wave(wave: int, rows: pa.Table) -> pa.Table:
    """Return `rows` with their wave in a column."""
    return rows.append_column(pa.field(WAVE, pa.int32()), pa.array([wave] * rows.num_rows, pa.int32()))
