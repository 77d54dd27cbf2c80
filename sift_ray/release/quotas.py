"""Which samples of dev and test are taken where a quota allows only some: balanced over tasks and labels.

Each sample stands for one label of its evidence, drawn by its hash. A quota is shared evenly by the tasks under it, a
task's share by the keys of its labels, and a key's by its values, so that neither `gender` nor `moderate pitch` fills
a benchmark; what one has too few for, the others get. Under a label those of the lowest hash are taken, so that the
same instructions give the same samples however they are cut into waves.

Waves are gone over apart: each brings back at most the quota's number of samples of every label (24 bytes and two short
texts each), and never more than it has in dev and test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.config_release import ReleaseConfig
from sift_ray.release.samples import sample_hashes
from sift_ray.storage import stable_id

CANDIDATES: Final = pa.schema(
    [
        pa.field("split", pa.string()),
        pa.field("pool", pa.string()),  # the quota's name: a task, or `closed_ended`
        pa.field("language", pa.string()),
        pa.field("task", pa.string()),
        pa.field("key", pa.string()),  # of the label; "" where there is no evidence
        pa.field("value", pa.string()),  # "" where the key's values are no categories, or nothing can be told
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
        keys, values = _labels(rows["evidence"], hashes)
        same = {"split": split, "pool": pool, "task": task}
        columns = {name: pa.array([text] * rows.num_rows, pa.string()) for name, text in same.items()}
        columns |= {"language": rows["language"], "key": keys, "value": values, "hash": pa.array(hashes)}
        parts.append(pa.table([columns[name] for name in CANDIDATES.names], schema=CANDIDATES))
    return trimmed(pa.concat_tables(parts) if parts else CANDIDATES.empty_table(), config)


def _labels(evidence: pa.ChunkedArray, hashes: NDArray[np.uint64]) -> tuple[pa.Array, pa.Array]:
    """Return the key and value of one fact of each sample, which its hash chooses."""
    lists = evidence.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    some = lengths > 0
    # (the remainder says nothing of the order of whole hashes, by which samples of one label are taken)
    place = (hashes >> np.uint64(33)).astype(np.int64) % np.maximum(lengths, 1)
    starts = lists.offsets.to_numpy()[:-1].astype(np.int64)
    chosen = lists.values.take(pa.array(np.where(some, starts + place, 0), mask=~some))
    key = pc.fill_null(pc.struct_field(chosen, "key"), "")
    is_label = pc.or_(
        pc.is_valid(pc.struct_field(chosen, "ordinal")), pc.is_in(key, pa.array(sorted(_CATEGORIES), pa.string()))
    )
    value = pc.if_else(is_label, pc.fill_null(pc.struct_field(chosen, "value"), ""), "")
    return key, value


def trimmed(candidates: pa.Table, config: ReleaseConfig) -> pa.Table:
    """Return of every label of a task those of the lowest hash, at most as many as the whole quota; sorted."""
    if not candidates.num_rows:
        return candidates
    order = [(name, "ascending") for name in (*_CELL, "task", "key", "value", "hash")]
    table = candidates.sort_by(order).combine_chunks()
    rank = _rank_in_run(table, (*_CELL, "task", "key", "value"))
    limits = {cell: config.quota_of(*cell) or 0 for cell in _cells(table)}
    most = np.array([limits[cell] for cell in _cell_of_rows(table)], dtype=np.int64)
    return table.filter(pa.array(rank < most))


def chosen(candidates: pa.Table, config: ReleaseConfig) -> pa.Table:
    """Return the rows of `CANDIDATES` that are taken, of all waves' trimmed candidates."""
    table = trimmed(candidates, config)
    if not table.num_rows:
        return table
    labels = (*_CELL, "task", "key", "value")
    counts = table.group_by(list(labels)).aggregate([("hash", "count")])
    tree: dict[tuple[str, ...], dict[str, dict[str, dict[str, int]]]] = {}
    for row in counts.to_pylist():
        cell = tuple(row[name] for name in _CELL)
        of_key = tree.setdefault(cell, {}).setdefault(row["task"], {}).setdefault(row["key"], {})
        of_key[row["value"]] = row["hash_count"]
    shares: dict[tuple[str, ...], int] = {}
    for (split, pool, language), tasks in tree.items():
        quota = config.quota_of(split, pool, language) or 0
        by_task = evenly({task: sum(sum(v.values()) for v in keys.values()) for task, keys in tasks.items()}, quota)
        for task, keys in tasks.items():
            by_key = evenly({key: sum(values.values()) for key, values in keys.items()}, by_task[task])
            for key, values in keys.items():
                for value, share in evenly(values, by_key[key]).items():
                    shares[split, pool, language, task, key, value] = share
    rank = _rank_in_run(table, labels)
    rows = zip(*(table[name].to_pylist() for name in labels), strict=True)
    most = np.array([shares[row] for row in rows], dtype=np.int64)
    return table.filter(pa.array(rank < most))


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
    """Return for each split and key the label that was drawn for the most samples, and its share of the key's."""
    shares: dict[str, dict[str, float]] = {}
    counts = taken.group_by(["split", "key", "value"]).aggregate([("hash", "count")]).to_pylist()
    totals: dict[tuple[str, str], int] = {}
    for row in counts:
        totals[row["split"], row["key"]] = totals.get((row["split"], row["key"]), 0) + row["hash_count"]
    for row in sorted(counts, key=lambda row: (row["split"], row["key"], -row["hash_count"], row["value"])):
        of_split = shares.setdefault(row["split"], {})
        if row["value"] and not any(name.startswith(f"{row['key']}: ") for name in of_split):
            share = row["hash_count"] / totals[row["split"], row["key"]]
            of_split[f"{row['key']}: {row['value']}"] = round(share, 4)
    return shares


def _cell_of_rows(table: pa.Table) -> list[tuple[str, str, str]]:
    return list(zip(*(table[name].to_pylist() for name in _CELL), strict=True))


def _cells(table: pa.Table) -> set[tuple[str, str, str]]:
    groups = table.group_by(list(_CELL)).aggregate([])
    return set(_cell_of_rows(groups))


def _rank_in_run(table: pa.Table, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return each row's place, from 0, among the rows before it that are alike in `names`; the table is sorted."""
    rows = table.num_rows
    new = np.zeros(rows, dtype=bool)
    new[:1] = True
    for name in names:
        codes = table[name].combine_chunks().dictionary_encode().indices.to_numpy()
        new[1:] |= codes[1:] != codes[:-1]
    starts = np.flatnonzero(new)
    places: NDArray[np.int64] = np.arange(rows) - np.repeat(starts, np.diff(np.append(starts, rows)))
    return places
