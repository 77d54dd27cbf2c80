"""A few question-answer pairs of each task, accepted and rejected ones, for a person to read."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from sift_ray.schema import TASKS
from sift_ray.storage import OutputRoot, StorageError, read_json, read_manifest, read_table, stable_id, wave_files

_STAGE = "instructions"
_COLUMNS = ["unit_id", "task", "language", "utterance_ids", "pairs"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pairs are wanted; an empty set is all.

    Attributes:
        tasks: names of `schema.TASKS`.
        languages: codes, such as `de`.
        fates: True for accepted pairs, False for rejected ones.
        limit: at most so many of each task and fate.
    """

    tasks: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    fates: frozenset[bool] = frozenset({True, False})
    limit: int = 10

    @property
    def cells(self) -> set[tuple[str, bool]]:
        """The tasks and fates to fill."""
        return {(task, fate) for task in TASKS if not self.tasks or task in self.tasks for fate in self.fates}


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """One pair. Samples stand in the order of `place`, a hash of what the pair is the answer to."""

    place: int
    task: str = field(compare=False)
    language: str = field(compare=False)
    utterance_ids: tuple[str, ...] = field(compare=False)
    pair: Mapping[str, Any] = field(compare=False)


def draw_samples(root: OutputRoot, wanted: Wanted) -> list[Sample]:
    """Return pairs of finished waves: the same ones each time, by task, accepted before rejected.

    Waves are read in an order given by their hashes, until there are enough of all; each wave mixes corpora,
    languages and durations.

    Raises:
        StorageError: there are no instructions yet, or none in one of the languages.
    """
    drawn: dict[tuple[str, bool], list[Sample]] = {cell: [] for cell in wanted.cells}
    seen: set[str] = set()
    for files in _waves(root):
        for file in files:
            for sample in _samples(root, file, seen):
                cell = drawn.get((sample.task, sample.pair["accepted"]))
                if cell is not None and (not wanted.languages or sample.language in wanted.languages):
                    cell.append(sample)
        for name, cell in drawn.items():
            drawn[name] = heapq.nsmallest(wanted.limit, cell)
        if all(len(cell) == wanted.limit for cell in drawn.values()):
            break
    if missing := wanted.languages - seen:
        there = ", ".join(sorted(seen)) or "none"
        raise StorageError(f"{root.uri}: no instructions in {', '.join(sorted(missing))}; there are some in {there}")
    order = sorted(drawn, key=lambda cell: (TASKS.index(cell[0]), not cell[1]))
    return [sample for cell in order for sample in drawn[cell]]


def _waves(root: OutputRoot) -> Iterator[list[str]]:
    plan = read_json(root, "plan.json")
    if plan is None:
        raise StorageError(f"{root.uri}: nothing is planned here; run `sift-ray build` first")
    finished = 0
    for wave in sorted(range(plan["waves"]), key=lambda wave: stable_id("samples", str(wave))):
        manifest = read_manifest(root, _STAGE, wave)
        if manifest is not None:
            finished += 1
            yield wave_files(root, manifest)
    if not finished:
        raise StorageError(f"{root.uri}: no wave has instructions yet; run `sift-ray instruct` first")


def _samples(root: OutputRoot, file: str, languages: set[str]) -> Iterator[Sample]:
    for batch in read_table(root, file, _COLUMNS).to_batches(max_chunksize=256):
        for row in batch.to_pylist():
            languages.add(row["language"])
            for index, pair in enumerate(row["pairs"]):
                place = stable_id("samples", str(row["unit_id"]), row["task"], str(index))
                yield Sample(place, row["task"], row["language"], tuple(row["utterance_ids"]), pair)


def render(samples: Sequence[Sample], console: Console) -> None:
    """Print the samples, each with what it rests on or why it was refused."""
    last: tuple[str, bool] | None = None
    for sample in samples:
        pair = sample.pair
        cell = (sample.task, pair["accepted"])
        if cell != last:
            console.print(Text(f"{sample.task}, {'accepted' if pair['accepted'] else 'rejected'}", style="bold"))
            last = cell
        asked = "" if pair["attempt"] == 0 else f", attempt {pair['attempt'] + 1}"
        lines = [f"  {sample.language} {' + '.join(sample.utterance_ids)} ({pair['generator']}{asked})"]
        # (a synthesis prompt is answered by its recording, and bears the text to be spoken on a line of its own)
        lines += [f"    Q  {_one_line(pair['question'])}", f"    A  {_one_line(pair['answer']) or '(the recording)'}"]
        if pair["accepted"]:
            lines.append(f"    =  {', '.join(map(_fact, pair['evidence'] or ())) or 'nothing'}")
        else:
            lines.append(f"    ✗  {pair['reason']}")
        console.print(Text("\n".join(lines)), soft_wrap=True)
        console.print()


def _one_line(text: str) -> str:
    return " | ".join(text.splitlines())


def _fact(fact: Mapping[str, Any]) -> str:
    where = f" of word {fact['position']}" if fact["position"] else ""
    which = " of the second" if fact["audio"] else ""
    return f"{fact['key']}{where}{which}: {fact['value']}"
