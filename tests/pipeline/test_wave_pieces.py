"""Pieces of waves: what goes in comes out, also of what Ray Data has cut or joined."""

import pyarrow as pa
import pytest

from sift_ray.pipeline.wave_pieces import WAVE, of_wave, open_piece, piece_of

ROWS = pa.table(
    {
        "unit_id": pa.array([1, 2, 3], pa.int64()),
        "text": ["a", None, "c"],
        "facts": pa.array(
            [[{"key": "k", "value": 1}], [], None], pa.list_(pa.struct({"key": "string", "value": "int8"}))
        ),
    },
    schema=pa.schema(
        [
            pa.field("unit_id", pa.int64(), nullable=False),
            pa.field("text", pa.string()),
            pa.field("facts", pa.list_(pa.struct({"key": pa.string(), "value": pa.int8()}))),
        ]
    ),
)


def test_a_piece_gives_back_its_wave_and_rows() -> None:
    wave, rows = open_piece(piece_of(3, ROWS))
    assert wave == 3
    assert rows.schema.equals(ROWS.schema)
    assert rows.equals(ROWS)


def test_a_piece_may_be_cut_from_many() -> None:
    rows = pa.concat_tables([ROWS, ROWS, ROWS])  # (in chunks, as read from several files)
    pieces = pa.concat_tables(piece_of(wave, rows.slice(wave, 4)) for wave in range(5))
    for wave in range(5):
        assert open_piece(pieces.slice(wave, 1)) == (wave, rows.slice(wave, 4))


def test_two_pieces_are_not_taken_for_one() -> None:
    with pytest.raises(ValueError, match="2 pieces where one was to be"):
        open_piece(pa.concat_tables([piece_of(0, ROWS)] * 2))


def test_rows_know_their_wave() -> None:
    assert of_wave(5, ROWS).column(WAVE).to_pylist() == [5, 5, 5]
    assert of_wave(5, ROWS).drop_columns([WAVE]).equals(ROWS)
