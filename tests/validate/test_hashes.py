"""Texts by their hashes, and hashes that lie on disk."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.validate import hashing
from sift_ray.validate.duplicates import across
from sift_ray.validate.hashing import joined, text_hashes
from sift_ray.validate.spill import PARTS, HashSpill, absent, repeats

texts = st.lists(st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["", "a", "aa", "a\0", "\0", "ä"])))


@given(texts, st.integers(0, 3))
def test_texts_share_a_hash_if_they_are_equal(values: list[str | None], offset: int) -> None:
    hashes = text_hashes(pa.array([*"xyz", *values], pa.string()).slice(offset))[3 - offset :]
    by_hash = defaultdict(set)
    for value, number in zip(values, hashes.tolist(), strict=True):
        by_hash[number].add(value)
    assert all(len(same) == 1 for same in by_hash.values())
    assert len(by_hash) == len(set(values))


def test_hashes_do_not_depend_on_where_a_text_stands() -> None:
    long = "wort " * 40_000  # (several times what is hashed at once)
    values = ["a", long, "b", None, "c" * hashing._BYTES_AT_ONCE, "", "a", long]
    together = text_hashes(pa.array(values))
    apart = [text_hashes(pa.array([value], pa.string()))[0] for value in values]
    chunked = text_hashes(pa.chunked_array([values[:3], values[3:]]))
    assert together.tolist() == apart == chunked.tolist()
    assert len(set(apart)) == 6


def test_a_million_texts_that_hardly_differ_have_a_million_hashes() -> None:
    numbers = pa.array(np.arange(1_000_000)).cast(pa.string())
    assert len(np.unique(text_hashes(numbers))) == 1_000_000


def test_the_order_of_columns_counts() -> None:
    one, two = text_hashes(pa.array(["a", "b"])), text_hashes(pa.array(["b", "a"]))
    assert joined(one, two)[0] != joined(two, one)[0]
    assert joined(one, two)[0] == joined(two, one)[1]


batches = st.lists(
    st.lists(st.tuples(st.sampled_from([0, 1, 7, 1 << 63, (1 << 64) - 1, 5 << 57]), st.integers(0, 3)), max_size=30),
    max_size=8,
)


def spilled(folder: Path, entries: list[list[tuple[int, int]]], held_bytes: int) -> HashSpill:
    """Put batches of (hash, shard) in; a place is the shard and the number of the entry."""
    table = HashSpill(folder / f"table-{len(list(folder.iterdir()))}", held_bytes=held_bytes)
    number = 0
    for batch in entries:
        hashes = np.array([entry for entry, _ in batch], np.uint64)
        places = np.array([(shard << 40) + number + i for i, (_, shard) in enumerate(batch)], np.int64)
        table.add(hashes, places)
        number += len(batch)
    return table


@settings(deadline=None)
@given(batches, st.sampled_from([0, 64, 1 << 20]))
def test_what_comes_again_is_what_a_dictionary_says(entries: list[list[tuple[int, int]]], held_bytes: int) -> None:
    first: dict[int, int] = {}
    expected, crossing = [], []
    number = 0
    for batch in entries:
        for value, shard in batch:
            place = (shard << 40) + number
            number += 1
            if value in first:
                expected.append((place, first[value]))
                if shard % 2 != (first[value] >> 40) % 2:
                    crossing.append((place, first[value]))
            first.setdefault(value, place)
    splits = np.array([0, 1, 0, 1])
    found, crossed, once = [], [], []
    with TemporaryDirectory() as folder:
        for part in spilled(Path(folder), entries, held_bytes).parts():
            found += list(zip(*(places.tolist() for places in repeats(part)), strict=True))
            crossed += list(zip(*(places.tolist() for places in across(part, splits)), strict=True))
            once += across(part, splits, once=True)[1].tolist()
    assert sorted(found) == sorted(expected)
    assert sorted(crossed) == sorted(crossing)
    assert sorted(once) == sorted({other for _, other in crossing})


@settings(deadline=None)
@given(batches, batches, st.sampled_from([0, 1 << 20]))
def test_what_is_absent_is_what_a_set_says(
    entries: list[list[tuple[int, int]]], known: list[list[tuple[int, int]]], held_bytes: int
) -> None:
    there = {value for batch in known for value, _ in batch}
    expected = sorted(value for batch in entries for value, _ in batch if value not in there)
    found: list[int] = []
    with TemporaryDirectory() as folder:
        mine, theirs = (spilled(Path(folder), table, held_bytes) for table in (entries, known))
        for number in range(PARTS):
            part = mine.part(number)
            found += part.hashes[absent(part, theirs.part(number))].tolist()
    assert sorted(found) == expected
