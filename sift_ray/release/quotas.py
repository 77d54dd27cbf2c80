"""Which samples of dev and test are taken where a quota allows only some: balanced over tasks and labels.

A quota is shared evenly by the tasks under it, and a task's share is balanced over the labels of all facts that its
samples rest on (`balancing`), so that neither `gender` nor `moderate pitch` fills a benchmark; what one has too few
for, the others get. Else those of the lowest hash are taken, so that the same instructions give the same samples
however they are cut into waves.

Waves are gone over apart: each brings back at most the quota's number of samples of every label (the labels' texts
and some bytes each), and never more than it has in dev and test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.config_release import ReleaseConfig
from sift_ray.release.balancing import balanced, key_of
from sift_ray.release.samples import sample_hashes
from sift_ray.storage import stable_id

CANDIDATES: Final = pa.schema(
    [
        pa.field("split", pa.string()),
        pa.field("pool", pa.string()),  # the quota's name: a task, or `closed_ended`
        pa.field("language", pa.string()),
        pa.field("task", pa.string()),
        # `key: value` of each fact; the key alone where its values are no categories, or nothing can be told
        pa.field("labels", pa.list_(pa.string())),
        pa.field("hash", pa.uint64()),
    ]
)
_CELL: Final = ("split", "pool", "language")
_CATEGORIES: Final = frozenset({"gender", "age_category", "accent"})
"""Keys whose values are labels though they have no order; those of others (transcripts, words) differ by sample."""


def hashes_of(pairs: pa.Table, task: str) -> NDArray[np.uint64]:
    """Return the hash of each row of `accepted_pairs`."""
    return sample_hashes(pairs["unit_id"].to_numpy(), stable_id("sample", task), pairs["place"].to_numpy())


def candidates_of(pairs: pa.Table, task: str, config: ReleaseConfig) -> pa.Table:
    """Return `CANDIDATES` for those rows of `accepted_pairs` that a quota holds for.

    Args:
        pairs: with `unit_id`, `language`, `split`, `evidence`, `place`; all of `task`.
        task: their task.
        config: with the quotas.
    """
    parts = []
    for split in config.quotas:
        pool = config.pool_of(split, task)
        if pool is None:
            continue
        limited = {
            str(language)
            for language in pairs["language"].unique().to_pylist()
            if config.quota_of(split, pool, language) is not None
        }
        wanted = pc.and_(pc.equal(pairs["split"], split), pc.is_in(pairs["language"], pa.array(sorted(limited))))
        rows = pairs.filter(wanted)
        hashes = hashes_of(rows, task)
        same = {"split": split, "pool": pool, "task": task}
        columns = {name: pa.array([text] * rows.num_rows, pa.string()) for name, text in same.items()}
        columns |= {"language": rows["language"], "labels": _labels(rows["evidence"]), "hash": pa.array(hashes)}
        parts.append(pa.table([columns[name] for name in CANDIDATES.names], schema=CANDIDATES))
    return trimmed(pa.concat_tables(parts) if parts else CANDIDATES.empty_table(), config)


def _labels(evidence: pa.ChunkedArray) -> pa.Array:
    """Return the labels of each sample's facts."""
    lists = evidence.combine_chunks()
    facts = pc.list_flatten(lists)
    key, value = pc.struct_field(facts, "key"), pc.struct_field(facts, "value")
    is_label = pc.or_(
        pc.is_valid(pc.struct_field(facts, "ordinal")), pc.is_in(key, pa.array(sorted(_CATEGORIES), pa.string()))
    )
    told = pc.if_else(pc.and_(is_label, pc.is_valid(value)), pc.binary_join_element_wise(key, value, ": "), key)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), told)


def trimmed(candidates: pa.Table, config: ReleaseConfig) -> pa.Table:
    """Return of every label of a task those of the lowest hash, at most as many as the whole quota; sorted.

    A sample stays while one of its labels wants it.
    """
    if not candidates.num_rows:
        return candidates
    order = [(name, "ascending") for name in (*_CELL, "task", "hash")]
    # (sorted without the lists, which cannot be sorted along)
    rank_of = pc.sort_indices(candidates.drop_columns(["labels"]), order)
    table = candidates.take(rank_of).combine_chunks()
    limits = {cell: config.quota_of(*cell) or 0 for cell in _cells(table)}
    most = np.array([limits[cell] for cell in _cell_of_rows(table)], dtype=np.int64)
    labels = pa.concat_arrays(table["labels"].chunks)
    lengths = np.diff(labels.offsets.to_numpy())
    # (a sample without a label stands under one of its own)
    owners = np.concatenate([np.repeat(np.arange(len(labels)), lengths), np.flatnonzero(lengths == 0)])
    names = pa.concat_arrays([labels.values, pa.array([""] * int((lengths == 0).sum()), pa.string())])
    groups = _codes(table, (*_CELL, "task"))[owners] * (len(names) + 1)
    groups = groups + names.dictionary_encode().indices.to_numpy()
    by_group = np.lexsort((owners, groups))
    begins = np.append(True, np.diff(groups[by_group]) != 0)
    first = np.maximum.accumulate(np.where(begins, np.arange(len(by_group)), 0))
    wanted = owners[by_group][np.arange(len(by_group)) - first < most[owners[by_group]]]
    return table.filter(pa.array(np.isin(np.arange(len(labels)), wanted)))


def chosen(candidates: pa.Table, config: ReleaseConfig) -> pa.Table:
    """Return the rows of `CANDIDATES` that are taken, of all waves' trimmed candidates."""
    table = trimmed(candidates, config)
    places: dict[tuple[str, str, str], dict[str, list[int]]] = {}
    cells = _cell_of_rows(table)
    for place, (cell, task) in enumerate(zip(cells, table["task"].to_pylist(), strict=True)):
        places.setdefault(cell, {}).setdefault(task, []).append(place)
    labels = table["labels"].to_pylist()
    taken: list[int] = []
    for cell, by_task in places.items():
        quota = config.quota_of(*cell) or 0
        shares = evenly({task: len(rows) for task, rows in by_task.items()}, quota)
        for task, rows in by_task.items():
            taken += [rows[place] for place in balanced([labels[row] for row in rows], shares[task])]
    return table.take(pa.array(sorted(taken), pa.int64()))


def evenly(available: Mapping[str, int], total: int) -> dict[str, int]:
    """Share `total` as evenly as what is available allows: nobody gets more than that, and nothing is left over.

    A remainder goes one by one to the first in the order of their names.
    """
    shares = dict.fromkeys(available, 0)
    left = min(total, sum(available.values()))
    while left:
        open_ = sorted(name for name in available if shares[name] < available[name])
        each = max(left // len(open_), 1)
        for name in open_:
            more = min(each, available[name] - shares[name], left)
            shares[name] += more
            left -= more
    return shares


def merged(parts: Iterable[pa.Table], config: ReleaseConfig) -> pa.Table:
    """Return the trimmed candidates of several waves' together."""
    return trimmed(pa.concat_tables([CANDIDATES.empty_table(), *parts]), config)


def kept(pairs: pa.Table, task: str, config: ReleaseConfig, taken: NDArray[np.uint64]) -> pa.Table:
    """Return the rows of `accepted_pairs` that no quota holds for, and of the others those that are taken.

    Args:
        pairs: all of `task`.
        task: their task.
        config: with the quotas.
        taken: sorted hashes of `chosen`.
    """
    held = np.zeros(pairs.num_rows, dtype=bool)
    for split in config.quotas:
        pool = config.pool_of(split, task)
        if pool is None:
            continue
        of_split = pc.equal(pairs["split"], split).to_numpy().astype(bool)
        for language in pairs["language"].filter(pa.array(of_split)).unique().to_pylist():
            if config.quota_of(split, pool, language) is not None:
                held |= of_split & pc.equal(pairs["language"], language).to_numpy().astype(bool)
    if not held.any():
        return pairs
    return pairs.filter(pa.array(~held | np.isin(hashes_of(pairs, task), taken)))


def label_shares(taken: pa.Table) -> dict[str, dict[str, float]]:
    """Return for each split and key the label that the most samples have, and its share of those with the key."""
    having: dict[str, dict[str, int]] = {}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for split, labels in zip(taken["split"].to_pylist(), taken["labels"].to_pylist(), strict=True):
        with_key = having.setdefault(split, {})
        for key in {key_of(label) for label in labels}:
            with_key[key] = with_key.get(key, 0) + 1
        for label in set(labels):
            if label != key_of(label):
                of_key = counts.setdefault(split, {}).setdefault(key_of(label), {})
                of_key[label] = of_key.get(label, 0) + 1
    shares: dict[str, dict[str, float]] = {}
    for split, of_split in sorted(counts.items()):
        for key, of_key in sorted(of_split.items()):
            label, count = min(of_key.items(), key=lambda item: (-item[1], item[0]))
            shares.setdefault(split, {})[label] = round(count / having[split][key], 4)
    return shares


def _codes(table: pa.Table, names: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each row, the same for rows that are alike in `names`."""
    joined = pc.binary_join_element_wise(*(table[name].combine_chunks() for name in names), "\x1f")
    codes: NDArray[np.int64] = joined.dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _cell_of_rows(table: pa.Table) -> list[tuple[str, str, str]]:
    return list(zip(*(table[name].to_pylist() for name in _CELL), strict=True))


def _cells(table: pa.Table) -> set[tuple[str, str, str]]:
    groups = table.group_by(list(_CELL)).aggregate([])
    return set(_cell_of_rows(groups))
