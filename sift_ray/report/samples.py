"""A few question-answer pairs of each task, accepted and rejected ones, for a person to read."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from sift_ray.report.summary import pairs_told
from sift_ray.schema import TASKS
from sift_ray.storage import (
    OutputRoot,
    StorageError,
    WaveManifest,
    read_json,
    read_manifest,
    read_table,
    stable_id,
    wave_files,
)

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

    def takes(self, task: str, language: str, *, accepted: bool) -> bool:
        """Whether a pair is wanted."""
        return (
            (not self.tasks or task in self.tasks)
            and (not self.languages or language in self.languages)
            and accepted in self.fates
        )


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
        StorageError: there are no instructions yet, or none such as are wanted.
    """
    manifests = _finished(root)
    there = _there(manifests)
    languages = {language for _, language, _ in there}
    if missing := wanted.languages - languages:
        raise StorageError(
            f"{root.uri}: no instructions in {', '.join(sorted(missing))}; there are some in "
            f"{', '.join(sorted(languages))}"
        )
    left = Counter[tuple[str, bool]]()  # pairs of each wanted task and fate in the waves that are not read yet
    for (task, language, accepted), count in there.items():
        if wanted.takes(task, language, accepted=accepted):
            left[task, accepted] += count
    if not left:
        raise StorageError(f"{root.uri}: there are instructions, but no such pairs")
    drawn: dict[tuple[str, bool], list[Sample]] = {cell: [] for cell in left}
    for manifest in manifests:
        for file in wave_files(root, manifest):
            for some in _samples(root, file, wanted):
                for sample in some:
                    cell = sample.task, sample.pair["accepted"]
                    drawn[cell].append(sample)
                    left[cell] -= 1
                for cell, samples in drawn.items():
                    drawn[cell] = heapq.nsmallest(wanted.limit, samples)
        if all(len(samples) == wanted.limit or not left[cell] for cell, samples in drawn.items()):
            break
    order = sorted(drawn, key=lambda cell: (TASKS.index(cell[0]), not cell[1]))
    return [sample for cell in order for sample in drawn[cell]]


def _finished(root: OutputRoot) -> list[WaveManifest]:
    plan = read_json(root, "plan.json")
    if plan is None:
        raise StorageError(f"{root.uri}: nothing is planned here; run `sift-ray build` first")
    order = sorted(range(plan["waves"]), key=lambda wave: stable_id("samples", str(wave)))
    manifests = [found for wave in order if (found := read_manifest(root, _STAGE, wave)) is not None]
    if not manifests:
        raise StorageError(f"{root.uri}: no wave has instructions yet; run `sift-ray instruct` first")
    return manifests


def _there(manifests: Sequence[WaveManifest]) -> Counter[tuple[str, str, bool]]:
    """Return how many pairs of each task, language and fate the manifests tell of."""
    counts = Counter[tuple[str, str, bool]]()
    for manifest in manifests:
        for task, language, _, accepted, count in pairs_told(manifest.counts):
            counts[task, language, accepted] += round(count)
    return counts


def _samples(root: OutputRoot, file: str, wanted: Wanted) -> Iterator[list[Sample]]:
    """Yield what is wanted of a file, some rows at a time."""
    for batch in read_table(root, file, _COLUMNS).to_batches(max_chunksize=256):
        yield [
            Sample(
                stable_id("samples", str(row["unit_id"]), row["task"], str(index)),
                row["task"],
                row["language"],
                tuple(row["utterance_ids"]),
                pair,
            )
            for row in batch.to_pylist()
            for index, pair in enumerate(row["pairs"])
            if wanted.takes(row["task"], row["language"], accepted=pair["accepted"])
        ]


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
