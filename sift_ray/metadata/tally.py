"""The last pass: what the rulers make of a data set, its categories and the reasons of those that are unknown."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.metadata.categories import ATTRIBUTES, Attribute
from sift_ray.metadata.columns import Places, codes, floats, places
from sift_ray.metadata.rulers import Group, Rulers, feasible, in_order
from sift_ray.schema import GENDERS

Ordinals = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]


class Tally:
    """Counts of each group's categories, and of unknown ones by attribute and reason. Mergeable.

    Every row is counted once for each attribute. The reasons: what `null_reasons` says of the attribute's column
    (`unvoiced`, `too_short`, …), `not_measured` where there is no number and it says nothing, `not_a_number`,
    `out_of_range`, `unknown_gender`, and `no_ruler` where rulers from elsewhere know nothing of the attribute.
    """

    def __init__(self) -> None:
        self.counts: dict[Group, npt.NDArray[np.int64]] = {}
        self.unknown: dict[str, Counter[str]] = {key: Counter() for key in ATTRIBUTES}

    def add(self, batch: pa.RecordBatch | pa.Table, rulers: Rulers) -> None:
        """Take in rows with `corpus`, `language`, `gender`, `null_reasons` and the measured columns."""
        at = places(batch.column("corpus"), batch.column("language"), batch.column("gender"))
        said = _Said(batch.column("null_reasons"))
        for attribute in ATTRIBUTES.values():
            column = batch.column(attribute.column)
            numbers = floats(column)
            ordinals = rulers.ordinals_at(attribute.key, numbers, at)
            self._add_categories(attribute, ordinals, at, rulers)
            unknown = ordinals < 0
            null = unknown & _flags(pc.is_null(column))
            number = unknown & ~np.isnan(numbers)
            within = unknown & feasible(attribute.key, numbers)
            reasons = said.reasons(attribute.column, null)
            reasons["not_a_number"] += _count(unknown & ~number & ~null)
            reasons["out_of_range"] += _count(number & ~within)
            ungendered = np.array([_needs_gender(attribute, place.gender, rulers) for place in at.distinct], bool)
            reasons["unknown_gender"] += _count(within & ungendered[at.of])
            reasons["no_ruler"] += _count(within & ~ungendered[at.of])
            self.unknown[attribute.key] += reasons  # (which leaves out those that never were)

    def _add_categories(self, attribute: Attribute, ordinals: Ordinals, at: Places, rulers: Rulers) -> None:
        cells = len(attribute.labels) + 1  # (the first: unknown)
        found = np.bincount(at.of * cells + ordinals + 1, minlength=len(at.distinct) * cells).reshape(-1, cells)
        for place, counts in zip(at.distinct, found[:, 1:], strict=True):
            group = rulers.group_of(attribute.key, place.corpus, place.gender, place.language)
            if group is not None and counts.any():
                self._put(group, counts)

    def merge(self, other: Tally) -> None:
        """Add what `other` has counted."""
        for group, counts in other.counts.items():
            self._put(group, counts)
        for attribute, reasons in other.unknown.items():
            self.unknown[attribute] += reasons

    def _put(self, group: Group, counts: npt.NDArray[np.int64]) -> None:
        self.counts[group] = self.counts.get(group, 0) + counts

    def put_into(self, rulers: Rulers) -> Rulers:
        """Return `rulers` with these counts, in an order that tells nothing of the rows'."""
        counts = {group: tuple(self.counts[group].tolist()) for group in sorted(self.counts, key=in_order)}
        return rulers.with_counts(counts, {key: dict(sorted(self.unknown[key].items())) for key in ATTRIBUTES})


def _needs_gender(attribute: Attribute, gender: str | None, rulers: Rulers) -> bool:
    """Return whether there is no category of `attribute` because the gender is not known."""
    return attribute.by_gender and gender not in GENDERS and not rulers.judge_everyone(attribute.key)


class _Said:
    """What a batch's `null_reasons` ("pitch_median_hz:unvoiced", …) say of its rows."""

    def __init__(self, lists: Any) -> None:
        if isinstance(lists, pa.ChunkedArray):
            lists = lists.combine_chunks()
        self._texts, self._text_of = codes(pc.list_flatten(lists))
        self._row_of = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
        self._rows = len(lists)

    def reasons(self, column: str, rows: Flags) -> Counter[str]:
        """Count the reasons that say why `column` is null in these rows; the first counts where there are several."""
        parts = [(text or "").partition(":") for text in self._texts]
        of_column = np.array([name == column for name, _, _ in parts], bool)
        mine = np.flatnonzero(of_column[self._text_of])[::-1] if self._texts else np.zeros(0, np.int64)
        said = np.full(self._rows, len(parts))
        said[self._row_of[mine]] = self._text_of[mine]  # (backwards: the first of a row is written last)
        found = np.bincount(said[rows], minlength=len(parts) + 1).tolist()
        reasons: Counter[str] = Counter()
        for (_, _, slug), number in zip([*parts, ("", "", "not_measured")], found, strict=True):
            reasons[slug] += number
        return reasons


def _flags(column: Any) -> Flags:
    flags: Flags = np.asarray(column, dtype=bool)
    return flags


def _count(flags: Flags) -> int:
    return int(np.count_nonzero(flags))
