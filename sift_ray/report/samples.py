"""A few question-answer pairs of each task, accepted and rejected ones, for a person to read."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from sift_ray.report.tables import count_text, largest_first
from sift_ray.report.yields import PairCount, pairs_told, untold_told
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
        rules: of the rejected ones, only what these rules refused.
        untold: of the accepted ones, only what says that something can't be told; no rejected ones then.
        limit: at most so many of each task and fate.
    """

    tasks: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    fates: frozenset[bool] = frozenset({True, False})
    rules: frozenset[str] = frozenset()
    untold: bool = False
    limit: int = 10

    def takes(self, task: str, language: str, rule: str | None) -> bool:
        """Whether a pair is wanted; `rule` is what refused it, None if it was accepted."""
        return (
            (not self.tasks or task in self.tasks)
            and (not self.languages or language in self.languages)
            and (rule is None) in self.fates
            and (rule is None or not self.untold)
            and (rule is None or not self.rules or rule in self.rules)
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
    _check(root, [pairs for manifest in manifests for pairs in pairs_told(manifest.counts)], wanted)
    told = untold_told if wanted.untold else pairs_told
    there = [pairs for manifest in manifests for pairs in told(manifest.counts)]
    left = Counter[tuple[str, bool]]()  # pairs of each wanted task and fate in the waves that are not read yet
    for pairs in there:
        if wanted.takes(pairs.task, pairs.language, None if pairs.accepted else pairs.rule):
            left[pairs.task, pairs.accepted] += round(pairs.number)
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


def _check(root: OutputRoot, there: Sequence[PairCount], wanted: Wanted) -> None:
    """Raise StorageError where a language or rule that is wanted occurs nowhere."""
    languages = {pairs.language for pairs in there}
    if missing := wanted.languages - languages:
        raise StorageError(
            f"{root.uri}: no instructions in {', '.join(sorted(missing))}; there are some in "
            f"{', '.join(sorted(languages))}"
        )
    rules = Counter[str]()
    for pairs in there:
        if not pairs.accepted:
            rules[pairs.rule] += round(pairs.number)
    if missing := wanted.rules - set(rules):
        refused = ", ".join(f"{rule} {count_text(count)}" for rule, count in largest_first(rules))
        raise StorageError(
            f"{root.uri}: no pair was rejected for {', '.join(sorted(missing))}; there are {refused or 'no rejects'}"
        )


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
            if wanted.takes(row["task"], row["language"], None if pair["accepted"] else pair["reason"])
            and (not wanted.untold or any(fact["value"] is None for fact in pair["evidence"] or ()))
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
        score = "" if pair.get("score") is None else f", score {pair['score']:g}"
        lines = [f"  {sample.language} {' + '.join(sample.utterance_ids)} ({pair['generator']}{asked}{score})"]
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
    value = "can't be told" if fact["value"] is None else fact["value"]
    return f"{fact['key']}{where}{which}: {value}"
