"""Rules on repetition within and across splits, by hashes that may lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.validate.findings import Example, Findings
from sift_ray.validate.hashing import Hashes, joined, text_hashes
from sift_ray.validate.ids import PUBLISHED_SOURCES, flags, parts_of
from sift_ray.validate.reading import Batch, shard_numbers
from sift_ray.validate.shards import Shard
from sift_ray.validate.spill import HashSpill, Places, Sorted, repeats

Explain = Callable[[str, int, int | None], Example]
"""Makes an example of a place, for a rule, with the other place that it is held against."""

_EXAMPLES: Final = 5

_SPEAKERS: Final = {
    "multilingual_librispeech_": r"^(?P<speaker>\d+)_\d+_\d+$",
    "vctk_": r"^(?P<speaker>p\d+|s5)_\d+$",
}
"""Where an id begins with its speaker, by the beginning of the data source."""


class Repeats:
    """The pairs of places that break a rule: how many, and the first few of the release."""

    def __init__(self, rule: str) -> None:
        self._rule = rule
        self._count = 0
        self._first: list[tuple[int, int]] = []

    def add(self, places: Places, others: Places) -> None:
        """Add places, each with the one that it repeats."""
        self._count += len(places)
        order = np.argsort(places, kind="stable")[:_EXAMPLES]
        pairs = zip(places[order].tolist(), others[order].tolist(), strict=True)
        self._first = sorted([*self._first, *pairs])[:_EXAMPLES]

    def settle(self, found: Findings, explain: Explain) -> None:
        """Report what was added."""
        found.add(self._rule, self._count, [explain(self._rule, place, other) for place, other in self._first])


def across(part: Sorted, splits: NDArray[np.int64], *, once: bool = False) -> tuple[Places, Places]:
    """Return the places of entries whose hash first stood in another split, and for each that first place.

    Args:
        part: the entries.
        splits: the split of each shard, as a number.
        once: only the first such entry of each hash.
    """
    if not len(part.hashes):
        return part.places, part.places
    begins = np.append(True, part.hashes[1:] != part.hashes[:-1])
    first = part.places[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
    other = np.flatnonzero(splits[shard_numbers(part.places)] != splits[shard_numbers(first)])
    if once:
        other = other[np.unique(part.hashes[other], return_index=True)[1]]
    return part.places[other], first[other]


class Duplicates:
    """Looks for rows, audios and speakers that come again.

    Attributes:
        rows: a hash of each row's source, id, texts and task, with its place.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard], *, held_bytes: int, speakers_by_id: bool) -> None:
        """Prepare empty tables.

        Args:
            folder: a scratch folder that is there.
            shards: all files.
            held_bytes: what each of the four tables may hold in memory.
            speakers_by_id: whether speakers are taken from ids; else from `add_speakers` alone.
        """
        names = sorted({shard.split for shard in shards})
        self._splits = np.array([names.index(shard.split) for shard in shards], np.int64)
        self._samples, self.rows, self._audios, self._speakers = (
            HashSpill(folder / name, held_bytes=held_bytes) for name in ("samples", "rows", "audios", "speakers")
        )
        self._by_id = speakers_by_id

    def look(self, batch: Batch) -> None:
        """Remember some rows."""
        places = batch.places()
        if batch.has("sample_id"):
            self._samples.add(text_hashes(batch.column("sample_id")), places)
        sources, said = text_hashes(batch.column("data_source")), batch.said
        names = text_hashes(batch.column("id"))
        texts = joined(*(text_hashes(text) for text in (said.question, said.answer)))
        task = np.full(len(batch), text_hashes(pa.array([batch.shard.task]))[0])
        self.rows.add(joined(sources, names, texts, task), places)
        owners = np.where(_published(batch), text_hashes(pa.array([batch.shard.language]))[0], sources)
        for part in parts_of(batch):
            known = np.asarray(part.is_valid())
            if known.any():
                self._once(self._audios, joined(owners, text_hashes(part))[known], places[known])
                if self._by_id:
                    self._speak(part, batch, places)

    def _speak(self, part: pa.Array, batch: Batch, places: Places) -> None:
        for beginning, form in _SPEAKERS.items():
            of_source = pc.starts_with(batch.column("data_source"), beginning)
            speakers = pc.struct_field(pc.extract_regex(part, form), "speaker")
            known = np.asarray(pc.and_(of_source, speakers.is_valid()).to_numpy(zero_copy_only=False), np.bool_)
            if known.any():
                language = text_hashes(pa.array([f"{beginning}{batch.shard.language}"]))
                hashes = joined(np.full(len(batch), language[0]), text_hashes(speakers))
                self.add_speakers(hashes[known], places[known])

    def add_speakers(self, hashes: Hashes, places: Places) -> None:
        """Remember who speaks where."""
        self._once(self._speakers, hashes, places)

    @staticmethod
    def _once(table: HashSpill, hashes: Hashes, places: Places) -> None:
        """Add each hash of a batch, which is of one split, once."""
        found, first = np.unique(hashes, return_index=True)
        table.add(found, places[first])

    def finish(self, found: Findings, explain: Explain) -> None:
        """Report what came again."""
        samples, rows = Repeats("duplicate_sample_id"), Repeats("duplicate_row")
        crossing = Repeats("row_in_two_splits")
        for part in self._samples.parts():
            samples.add(*repeats(part))
        for part in self.rows.parts():
            crossing.add(*across(part, self._splits))
            rows.add(*self._within(part))
        for repeated in (samples, rows, crossing):
            repeated.settle(found, explain)
        for rule, table in (("audio_in_two_splits", self._audios), ("speaker_in_two_splits", self._speakers)):
            shared, distinct = Repeats(rule), 0
            for part in table.parts():
                distinct += len(np.unique(part.hashes))
                shared.add(*across(part, self._splits, once=True))
            found.looked(rule, distinct, rule.partition("_")[0] + "s")
            shared.settle(found, explain)

    def _within(self, part: Sorted) -> tuple[Places, Places]:
        """Return the repeats whose first row is of the same split; others stand in two."""
        places, first = repeats(part)
        same = self._splits[shard_numbers(places)] == self._splits[shard_numbers(first)]
        return places[same], first[same]


def _published(batch: Batch) -> NDArray[np.bool_]:
    """Return which rows are of the reference's corpora, whose ids tell utterances of a language apart by themselves.

    (A comparison's second audio may be of another of them than its data source says. Elsewhere ids may be numbers
    that every source has.)
    """
    sources = batch.column("data_source")
    made = np.zeros(len(batch), np.bool_)
    for beginning in PUBLISHED_SOURCES:
        made |= flags(pc.starts_with(sources, beginning))
    return made
