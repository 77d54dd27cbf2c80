"""Rules on ids: their form, and that audio, utterances and sample bear the same name."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.validate.findings import Findings, shown
from sift_ray.validate.reading import Batch

COMPARISON: Final = "closed_ended_comparison"

_FORMS: Final = {
    "common_voice_": r"^common_voice_[a-z]{2,3}(?:-[A-Za-z]+)?_\d+$",
    "multilingual_librispeech_": r"^\d+_\d+_\d+$",
    "vctk_": r"^(?:p\d+|s5)_\d+$",
}
"""What ids look like, by the beginning of the data source."""

PUBLISHED_SOURCES: Final = tuple(_FORMS)
"""How the data sources of the reference's corpora begin."""

_ANY_FORM: Final = r"^[^/\\\x00-\x1f\x7f]+$"  # of other sources: it must be the name of a file
_COMMON_VOICE: Final = r"^common_voice_(?P<language>[a-z]{2,3})(?:-[A-Za-z]+)?_\d+$"
_STEM: Final = r"(?P<stem>[^/]+?)(?:\.[^./]*)?$"


class Parts(NamedTuple):
    """The ids of a row's utterances, by what is known of them.

    Attributes:
        first: of the only audio, or of a comparison's first.
        second: of a comparison's second, null elsewhere.
    """

    first: pa.Array
    second: pa.Array


def parts_of(batch: Batch) -> Parts:
    """Return the ids of the utterances: as the row says, else its id itself, or the stems of a comparison's audios."""
    if batch.has("utterance_ids"):
        names = batch.column("utterance_ids")
        sizes = pc.list_value_length(names)
        return Parts(*(_element(names, sizes, place) for place in range(2)))
    if batch.shard.task == COMPARISON:
        return Parts(*(stems(audio) for audio in batch.said.audios))
    return Parts(batch.column("id"), pa.nulls(len(batch), pa.string()))


def _element(lists: pa.Array, sizes: pa.Array, place: int) -> pa.Array:
    """Return the list's element at a place, null where it is shorter."""
    starts = np.asarray(lists.offsets)[:-1] - lists.offsets[0].as_py()
    there = np.asarray(sizes) > place
    return pc.list_flatten(lists).take(pa.array(np.where(there, starts + place, 0), mask=~there))


def stems(paths: pa.Array) -> pa.Array:
    """Return the names of files without folder and ending."""
    return pc.struct_field(pc.extract_regex(paths, _STEM), "stem")


def flags(mask: pa.Array) -> NDArray[np.bool_]:
    """Return a mask as NumPy has it; null is False."""
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), np.bool_)


class Ids:
    """Looks at the names that a row bears."""

    def look(self, batch: Batch, found: Findings) -> None:
        """Look at some rows."""
        path, numbers = batch.shard.path, batch.numbers
        ids, parts = batch.column("id"), parts_of(batch)
        two = batch.shard.task == COMPARISON
        wrong = ~_well_formed(batch, parts.first)
        if two:
            wrong |= ~_well_formed(batch, parts.second) | ~flags(pc.starts_with(ids, "comparison_"))
        found.rows("id_form", path, numbers, wrong, lambda i: shown(ids[i].as_py()))
        self._stems(batch, found)
        if batch.has("utterance_ids"):
            whole = _compared(parts.first, parts.second) if two else parts.first
            sizes = np.asarray(pc.list_value_length(batch.column("utterance_ids")))
            other = ~flags(pc.equal(ids, whole)) | (sizes != (2 if two else 1))
            names = batch.column("utterance_ids")
            found.rows(
                "utterance_ids", path, numbers, other, lambda i: f"id {shown(ids[i].as_py())}: {names[i].as_py()}"
            )
        if batch.has("sample_id"):
            samples = batch.column("sample_id")
            form = rf"^[0-9a-f]{{16}}-{batch.shard.task}-\d+$"
            odd = ~flags(pc.match_substring_regex(samples, form))
            found.rows("sample_id_form", path, numbers, odd, lambda i: shown(samples[i].as_py()))

    def _stems(self, batch: Batch, found: Findings) -> None:
        ids, (first, second) = batch.column("id"), batch.said.audios
        heard = _compared(stems(first), stems(second)) if batch.shard.task == COMPARISON else stems(first)
        # (rows without audio are a matter of the messages' shape)
        other = flags(pc.not_equal(ids, heard))
        if other.any() and batch.has("audio_uris"):
            other &= ~self._at_its_address(batch)
        found.rows(
            "id_stem",
            batch.shard.path,
            batch.numbers,
            other,
            lambda i: f"id {shown(ids[i].as_py())}: {' and '.join(_paths(batch, i))}",
        )

    @staticmethod
    def _at_its_address(batch: Batch) -> NDArray[np.bool_]:
        """Return the rows whose paths are the addresses of the audio, which clients open and need not look for."""
        addresses = batch.column("audio_uris")
        sizes = pc.list_value_length(addresses)
        first, second = (flags(pc.equal(a, _element(addresses, sizes, k))) for k, a in enumerate(batch.said.audios))
        return first & second if batch.shard.task == COMPARISON else first


def _paths(batch: Batch, row: int) -> list[str]:
    return [shown(audio[row].as_py()) for audio in batch.said.audios if audio[row].is_valid]


def _compared(first: pa.Array, second: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise("comparison_", first, "__", second, "")


def _well_formed(batch: Batch, ids: pa.Array) -> NDArray[np.bool_]:
    """Return which ids look as their source's do; one that names Common Voice must look like its own anywhere."""
    sources = batch.column("data_source")
    made = flags(pc.match_substring_regex(ids, _ANY_FORM))
    for beginning, form in _FORMS.items():
        of_source = flags(pc.starts_with(sources, beginning))
        fits = flags(pc.match_substring_regex(ids, form))
        if batch.shard.task == COMPARISON and not batch.has("utterance_ids"):
            # a published comparison's data source is that of its first audio alone: the second may come from another
            for other in _FORMS.values():
                fits |= flags(pc.match_substring_regex(ids, other))
        made &= fits | ~of_source
    claimed = flags(pc.starts_with(ids, "common_voice_"))
    return made & (~claimed | flags(pc.match_substring_regex(ids, _FORMS["common_voice_"])))


def named_language(ids: pa.Array) -> pa.Array:
    """Return the language that an id names, null where it names none."""
    return pc.struct_field(pc.extract_regex(ids, _COMMON_VOICE), "language")
