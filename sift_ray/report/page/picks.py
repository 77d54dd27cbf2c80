"""Which question-answer pairs a page shows: a few of each task and language, and of each rule that refused some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pyarrow.compute as pc

from sift_ray.report.page.reading import least, ranks, whole
from sift_ray.report.tables import largest_first
from sift_ray.report.yields import pairs_told
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import OutputRoot, WaveManifest, stable_id, wave_files

RULES_SHOWN: Final = 12
"""Of rules that refused pairs, so many have examples: those that refused most."""

_SURVEYED: Final = ("unit_id", "task", "language", "pairs.accepted", "pairs.reason")
_SHOWN: Final = ("unit_id", "task", "language", "split", "utterance_ids", "audio_uris", "pairs")


class Cell(NamedTuple):
    """Pairs that are drawn among each other: accepted ones by task and language, others by the rule (`task` empty)."""

    task: str
    language: str
    rule: str


@dataclass(frozen=True, slots=True)
class Pick:
    """A pair that is shown.

    Attributes:
        wave: that it lies in, with its utterances.
        row: of `schema.INSTRUCTIONS`, as Python values.
        pair: one of its pairs.
    """

    wave: int
    row: Mapping[str, Any]
    pair: Mapping[str, Any]


def pick_pairs(root: OutputRoot, manifests: Sequence[WaveManifest], each: int, seed: int) -> dict[Cell, list[Pick]]:
    """Return at most `each` accepted pairs of every task, spread over its languages, and as many of a rule.

    Waves are looked at in an order given by their hashes, and only those that hold what is still wanted, by their
    counts; of a wave those pairs are taken whose hashes are least. So the same seed gives the same pairs.
    """
    wanted = _wanted(manifests, each)
    found: dict[Cell, list[Pick]] = {cell: [] for cell in wanted}
    for manifest in sorted(manifests, key=lambda m: stable_id("report", str(seed), str(m.wave))):
        here = {cell for cell in _cells(manifest) if len(found.get(cell, ())) < wanted.get(cell, 0)}
        for file in wave_files(root, manifest) if here else ():
            open_ = {cell: wanted[cell] - len(found[cell]) for cell in here}
            for cell, row, pair in _drawn(root, file, open_, str(seed)):
                found[cell].append(Pick(manifest.wave, row, pair))
    return _trimmed(found, each)


def _cells(manifest: WaveManifest) -> set[Cell]:
    told = pairs_told(manifest.counts)
    return {Cell(p.task, p.language, "") if p.accepted else Cell("", "", p.rule) for p in told}


def _wanted(manifests: Sequence[WaveManifest], each: int) -> dict[Cell, int]:
    if not each:
        return {}
    accepted: set[Cell] = set()
    rules: Counter[str] = Counter()
    for manifest in manifests:
        for pairs in pairs_told(manifest.counts):
            if pairs.accepted:
                accepted.add(Cell(pairs.task, pairs.language, ""))
            else:
                rules[pairs.rule] += round(pairs.number)
    refused = [Cell("", "", rule) for rule, _ in largest_first(rules)[:RULES_SHOWN]]
    order = sorted(accepted, key=lambda cell: (TASKS.index(cell.task), LANGUAGES.index(cell.language)))
    return dict.fromkeys(order, each) | {cell: min(each, 2) for cell in refused}


def _trimmed(found: Mapping[Cell, list[Pick]], each: int) -> dict[Cell, list[Pick]]:
    """Keep `each` pairs of a task: the first of every language, then the second, and so on."""
    kept: dict[Cell, list[Pick]] = {cell: [] if cell.task else picks for cell, picks in found.items()}
    for task in dict.fromkeys(cell.task for cell in found if cell.task):
        cells = [cell for cell in found if cell.task == task]
        turns = [(turn, cell) for turn in range(each) for cell in cells if turn < len(found[cell])]
        for turn, cell in turns[:each]:
            kept[cell].append(found[cell][turn])
    return kept


def _drawn(
    root: OutputRoot, file: str, wanted: Mapping[Cell, int], seed: str
) -> Iterator[tuple[Cell, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the pairs of one file that are taken, each with its cell and row; never two of a row for a cell."""
    table = whole(root, file, _SURVEYED)
    pairs = pc.list_flatten(table["pairs"])
    parents = pc.list_parent_indices(table["pairs"])
    accepted = pc.struct_field(pairs, "accepted")
    reason = pc.fill_null(pc.struct_field(pairs, "reason"), "unknown")
    task, language = table["task"].take(parents), table["language"].take(parents)
    unit = table["unit_id"].take(parents)
    taken: list[tuple[Cell, int]] = []
    for cell, number in wanted.items():
        if cell.task:
            mask = pc.and_(accepted, pc.and_(pc.equal(task, cell.task), pc.equal(language, cell.language)))
        else:
            mask = pc.and_(pc.invert(accepted), pc.equal(reason, cell.rule))
        places = pc.indices_nonzero(mask)
        hashes = ranks(unit.take(places), seed, cell.task, cell.rule)
        # (pairs of one row share a hash: the first of them is taken)
        rows: dict[int, int] = {}
        for place in least(hashes, number * _PAIRS_OF_A_ROW):
            rows.setdefault(parents[places[place].as_py()].as_py(), places[place].as_py())
        taken += [(cell, pair) for pair in list(rows.values())[:number]]
    if not taken:
        return
    offsets = pc.list_value_length(table["pairs"]).to_numpy().cumsum()
    shown = whole(root, file, _SHOWN)
    for cell, pair in taken:
        parent = parents[pair].as_py()
        row = shown.slice(parent, 1).to_pylist()[0]
        yield cell, row, row["pairs"][pair - int(offsets[parent]) + len(row["pairs"])]


_PAIRS_OF_A_ROW: Final = 10
