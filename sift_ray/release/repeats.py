"""An utterance is asked the same question once, whichever tasks and models asked it.

Within a request the verifier refuses repeats; requests of several tasks are answered apart from each other, at once
and by several models, so that only the finished wave shows what two of them asked alike.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.schema import TASKS

ASKED: Final = "asked"
"""The field of a pair by which questions are compared (see `schema.PAIR`)."""

_TWO_AUDIOS: Final = "closed_ended_comparison"


def without_repeats(instructions: pa.Table) -> tuple[pa.Table, Counter[tuple[str, str]]]:
    """Take back the acceptance of pairs whose question an earlier task, in the order of `TASKS`, asks as well.

    Comparisons are left alone: they ask about two audios. A pair without a hash of its question is no repeat.

    Args:
        instructions: all rows of a wave, in one chunk a column: `unit_id`, `task`, `language`, and `pairs` with
            `accepted` and `asked` among its fields.

    Returns:
        The same table with `accepted` false for such pairs, and their number by task and language.
    """
    if not instructions.num_rows:
        return instructions, Counter()
    lists = pa.concat_arrays(instructions["pairs"].chunks)
    pairs, offsets = lists.values, lists.offsets.to_numpy()
    if pairs.type.get_field_index(ASKED) < 0:  # (instructions of an older version)
        return instructions, Counter()
    parents = np.repeat(np.arange(len(lists)), np.diff(offsets))
    accepted = pairs.field("accepted").to_numpy(zero_copy_only=False).copy()
    asked = pairs.field(ASKED)
    # (an integer array with nulls would come as floats, which do not hold 64 bits)
    hashes = pc.fill_null(asked, 0).to_numpy()
    rank = pc.index_in(instructions["task"], pa.array(TASKS)).to_numpy()
    one_audio = rank != TASKS.index(_TWO_AUDIOS)
    places = np.flatnonzero(accepted & asked.is_valid().to_numpy(zero_copy_only=False) & one_audio[parents])
    units = instructions["unit_id"].to_numpy()[parents[places]]
    order = np.lexsort((rank[parents[places]], hashes[places], units))
    places, units = places[order], units[order]
    repeated = places[1:][(units[1:] == units[:-1]) & (hashes[places][1:] == hashes[places][:-1])]
    if not len(repeated):
        return instructions, Counter()
    accepted[repeated] = False
    children = [pa.array(accepted) if f.name == "accepted" else pairs.field(f.name) for f in pairs.type]
    marked = pa.ListArray.from_arrays(
        lists.offsets, pa.StructArray.from_arrays(children, fields=list(pairs.type)), type=lists.type
    )
    rows = instructions.select(["task", "language"]).take(pa.array(parents[repeated]))
    taken_back = Counter(zip(rows["task"].to_pylist(), rows["language"].to_pylist(), strict=True))
    column = instructions.column_names.index("pairs")
    return instructions.set_column(column, instructions.field(column), marked), taken_back
