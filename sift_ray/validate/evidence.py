"""Rules on the form of evidence: keys, labels and places that there can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.instruct.unanswerable import TOPICS
from sift_ray.metadata.categories import KEYS, labels_of, ordinal_of
from sift_ray.validate.findings import Findings
from sift_ray.validate.ids import COMPARISON, flags
from sift_ray.validate.reading import Batch

_MARK: Final = "\x1f"


def _closed() -> list[str]:
    """Return every key with each label and its ordinal, as `_coded` writes them."""
    return [
        _MARK.join((key, label, "" if (place := ordinal_of(key, label)) is None else str(place)))
        for key in KEYS
        for label in labels_of(key)
    ]


_CLOSED: Final = pa.array(_closed(), pa.string())
_FREE: Final = pa.array([key for key in KEYS if not labels_of(key)], pa.string())
_TOPICS: Final = pa.array(TOPICS, pa.string())


class EvidenceForm:
    """Looks at what evidence may be, whatever was measured."""

    def look(self, batch: Batch, found: Findings) -> None:
        """Look at some rows."""
        if not batch.has("evidence"):
            return
        evidence = batch.column("evidence")
        path, numbers = batch.shard.path, batch.numbers
        bare = flags(pc.equal(pc.list_value_length(evidence), 0))
        found.rows("no_evidence", path, numbers, bare, lambda _: "its list is empty")
        facts, parents = pc.list_flatten(evidence), np.asarray(pc.list_parent_indices(evidence))
        wrong = np.zeros(len(batch), np.bool_)
        wrong[parents[~_possible(facts, batch.shard.task)]] = True
        found.rows("evidence_form", path, numbers, wrong, lambda i: told(evidence[i]))


def _possible(facts: pa.StructArray, task: str) -> NDArray[np.bool_]:
    key, value, ordinal, audio, position = (
        pc.struct_field(facts, name) for name in ("key", "value", "ordinal", "audio", "position")
    )
    place = pc.fill_null(pc.cast(ordinal, pa.string()), "")
    labelled = flags(pc.is_in(pc.binary_join_element_wise(key, value, place, _MARK), value_set=_CLOSED))
    no_order = flags(pc.is_null(ordinal))
    free = flags(pc.is_in(key, value_set=_FREE)) & flags(pc.is_valid(value)) & no_order
    untold = flags(pc.is_in(key, value_set=_TOPICS)) & flags(pc.is_null(value)) & no_order
    which = np.asarray(audio)
    audios = (which >= 0) & (which <= (1 if task == COMPARISON else 0))
    return (labelled | free | untold) & audios & (np.asarray(position) >= 0)


def told(evidence: pa.ListScalar) -> str:
    """Return a row's evidence for a person."""
    return ", ".join(_told(fact) for fact in evidence.as_py()[:4])


def _told(fact: Mapping[str, str | int | None]) -> str:
    which = " of the second" if fact["audio"] == 1 else ""
    word = f" of word {fact['position']}" if fact["position"] else ""
    return f"{fact['key']}{word}{which}: {fact['value']}"
