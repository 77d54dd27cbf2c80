"""Utterances as rows of the plan: their identity, and where they stand in its order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.corpora.audio_uri import block_of
from sift_ray.corpora.utterance import Utterance
from sift_ray.corpora.values import printable
from sift_ray.schema import UTTERANCES
from sift_ray.storage import stable_id

SPOOLED: Final = pa.schema(
    [
        *UTTERANCES,
        pa.field("key", pa.int64(), nullable=False),  # rows that are best read together have one key
        pa.field("number", pa.int64(), nullable=False),  # in the order of reading, from 0
        pa.field("speaker", pa.int64()),  # hash of corpus and speaker: odds of one for two are 1e-6 at 6 million
        pa.field("where", pa.string(), nullable=False),
    ]
)
"""The rows as they wait on disk: with what only the planning itself needs."""

ORDER: Final = ("key", "unit_id", "number")
"""The plan's order. Rows of one `unit_id` alone are apart by the order of reading."""

_OF_UTTERANCE: Final = tuple(
    name for name in UTTERANCES.names if name not in ("unit_id", "duration_s", "status", "reject_stage")
)
_fields_of: Final = attrgetter(*_OF_UTTERANCE, "duration_s", "where")


def unit_id(corpus: str, version: str, utterance_id: str) -> int:
    """Return the identity of an utterance: the same in every run and on every machine."""
    return stable_id(corpus, version, utterance_id)


# neighbours share blocks and speakers; no more is kept than a little of the corpus
_hash = lru_cache(maxsize=4096)(stable_id)


def spooled(utterances: Sequence[Utterance], version: str, first: int) -> pa.Table:
    """Return utterances as rows, those with a reason to reject marked as such.

    Args:
        utterances: At least one.
        version: Of their corpus, as the config names it; part of their identity.
        first: How many were read before them.
    """
    *fields, durations, wheres = zip(*map(_fields_of, utterances), strict=True)
    columns: dict[str, Any] = dict(zip(_OF_UTTERANCE, fields, strict=True))
    corpora, reasons = columns["corpus"], columns["reject_reason"]
    units = [unit_id(corpus, version, of) for corpus, of in zip(corpora, columns["utterance_id"], strict=True)]
    columns |= {
        "unit_id": units,
        "duration_s": pa.array(durations, pa.float64(), from_pandas=True),  # NaN is not a duration
        "status": ["ok" if reason is None else "rejected" for reason in reasons],
        "reject_stage": [None if reason is None else "plan" for reason in reasons],
        "key": [
            unit if (block := block_of(uri)) is None else _hash(corpus, version, block)
            for unit, corpus, uri in zip(units, corpora, columns["audio_uri"], strict=True)
        ],
        "number": np.arange(first, first + len(units)),
        "speaker": [
            None if speaker is None else _hash(corpus, speaker)
            for corpus, speaker in zip(corpora, columns["speaker_id"], strict=True)
        ],
        "where": [printable(where) for where in wheres],  # (a member of a tar may have any name)
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in SPOOLED], schema=SPOOLED)


def usable(table: pa.Table) -> NDArray[np.bool_]:
    """Return which rows are not rejected."""
    return mask_of(pc.equal(table["status"], "ok"))


def mask_of(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return booleans as NumPy has them; null is False."""
    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=np.bool_)


def rejected(table: pa.Table, mask: NDArray[np.bool_], reason: str, details: pa.Array) -> pa.Table:
    """Return the table with the rows of the mask rejected; `details` holds one text for each of them."""
    where = pa.array(mask)
    for name, value in (("status", "rejected"), ("reject_stage", "plan"), ("reject_reason", reason)):
        table = _replaced(table, name, pc.if_else(where, value, table[name]))
    column = pc.replace_with_mask(table["reject_detail"].combine_chunks(), where, details)
    return _replaced(table, "reject_detail", column)


def renamed(table: pa.Table, mask: NDArray[np.bool_], units: pa.Array) -> pa.Table:
    """Return the table with the `unit_id` of the rows of the mask replaced, in their order."""
    column = pc.replace_with_mask(table["unit_id"].combine_chunks(), pa.array(mask), units)
    return _replaced(table, "unit_id", column)


def _replaced(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), column)
