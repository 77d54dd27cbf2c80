"""Rules on how tasks, labels and answers are spread."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.metadata.categories import KEYS, labels_of
from sift_ray.schema import CLOSED_ENDED
from sift_ray.validate.findings import Example, Findings, shown
from sift_ray.validate.hashing import text_hashes
from sift_ray.validate.reading import Batch

LEAST_COUNT: Final = 50
"""So many rows there must be for the balance of tasks and answers to be told."""

LEAST_LABELS: Final = 200
"""So many labels there must be: each clip bears its own several times."""

LARGEST_TASK: Final = 0.75
"""The most that one task should be of a split with three or more."""

BENCHMARK_RATIO: Final = 1.5
"""By how much the closed-ended tasks of a language in the benchmark should differ at most."""

ANSWER_SHARE: Final = 0.2
"""The most that one answer should be of a split's task in a language."""

_BENCHMARK: Final = "test"
_BUCKETS: Final = 1 << 14  # answers are counted by hash: an answer's bucket is its count, and a few others'

Cell = tuple[str, str, str]
"""Split, task, language."""


class Balance:
    """Counts rows, labels and answers."""

    def __init__(self) -> None:
        self._rows: Counter[Cell] = Counter()
        self._labels: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._answers: dict[Cell, NDArray[np.int64]] = {}
        self._sayings: dict[Cell, dict[int, str]] = defaultdict(dict)

    def look(self, batch: Batch) -> None:
        """Count some rows."""
        shard = batch.shard
        cell = (shard.split, shard.task, shard.language)
        self._rows[cell] += len(batch)
        if batch.has("evidence"):
            self._count_labels(shard.split, batch.column("evidence"))
        if batch.said.answer.null_count < len(batch):
            self._count_answers(cell, batch.said.answer.drop_null())

    def _count_labels(self, split: str, evidence: pa.Array) -> None:
        facts = pc.list_flatten(evidence)
        known = facts.filter(pc.struct_field(facts, "value").is_valid())
        keys = pc.struct_field(known, "key")
        # (free texts have no balance, and the language is that of the folder)
        balanced = pc.is_in(keys, value_set=pa.array([k for k in KEYS if labels_of(k) and k != "language"]))
        pairs = pc.binary_join_element_wise(keys, pc.struct_field(known, "value"), "\x1f").filter(balanced)
        for entry in pairs.value_counts().to_pylist():
            key, _, label = entry["values"].partition("\x1f")
            self._labels[split, key][label] += entry["counts"]

    def _count_answers(self, cell: Cell, answers: pa.Array) -> None:
        buckets = (text_hashes(answers) % np.uint64(_BUCKETS)).astype(np.int64)
        counts = np.bincount(buckets, minlength=_BUCKETS)
        self._answers[cell] = self._answers.get(cell, np.zeros(_BUCKETS, np.int64)) + counts
        fullest = int(np.argmax(self._answers[cell]))
        if fullest not in self._sayings[cell] and counts[fullest]:
            self._sayings[cell][fullest] = answers[int(np.argmax(buckets == fullest))].as_py()

    def finish(self, found: Findings) -> None:
        """Report what is out of balance."""
        self._check_tasks(found)
        self._check_labels(found)
        found.looked("answer_balance", len(self._answers), "tasks")
        for (split, task, language), counts in sorted(self._answers.items()):
            total, fullest = int(counts.sum()), int(np.argmax(counts))
            share = counts[fullest] / total
            if total >= LEAST_COUNT and share > ANSWER_SHARE:
                said = shown(self._sayings[split, task, language].get(fullest))
                place = f"{split}/{task}/{language}"
                found.add("answer_balance", 1, [Example(place, None, f"{share:.0%} of {total:,} answers are {said}")])

    def _check_tasks(self, found: Findings) -> None:
        splits: dict[str, Counter[str]] = defaultdict(Counter)
        for (split, task, _), count in self._rows.items():
            splits[split][task] += count
        found.looked("missing_task", len(self._rows), "folders")
        found.looked("task_balance", len(self._rows), "folders")
        for split, tasks in splits.items():
            total = sum(tasks.values())
            task, most = tasks.most_common(1)[0]
            if len(tasks) > 2 and total >= LEAST_COUNT and most > LARGEST_TASK * total:
                detail = f"{task} is {most / total:.0%} of {total:,} rows"
                found.add("task_balance", 1, [Example(split, None, detail)])
            languages = sorted({language for of, _, language in self._rows if of == split})
            for language in languages:
                gone = [task for task in tasks if not self._rows[split, task, language]]
                found.add("missing_task", len(gone), [Example(f"{split}/{task}/{language}", None, "") for task in gone])
                if split == _BENCHMARK:
                    self._check_benchmark(language, found)

    def _check_benchmark(self, language: str, found: Findings) -> None:
        rows = {task: self._rows[_BENCHMARK, task, language] for task in CLOSED_ENDED}
        rows = {task: count for task, count in rows.items() if count and not task.endswith("_numeric")}
        if rows and max(rows.values()) >= LEAST_COUNT and max(rows.values()) > BENCHMARK_RATIO * min(rows.values()):
            most, least = max(rows, key=rows.__getitem__), min(rows, key=rows.__getitem__)
            detail = f"{rows[most]:,} rows of {most}, {rows[least]:,} of {least}"
            found.add("task_balance", 1, [Example(f"{_BENCHMARK}/*/{language}", None, detail)])

    def _check_labels(self, found: Findings) -> None:
        for (split, key), counts in sorted(self._labels.items()):
            rule = "label_balance" if split == _BENCHMARK else "label_balance_training"
            found.looked(rule, 1, "attributes")
            total, labels = sum(counts.values()), len(labels_of(key))
            label, most = counts.most_common(1)[0]
            # halfway between an even share and all of it
            if total >= LEAST_LABELS and most / total > (1 + 1 / labels) / 2:
                detail = f"{most / total:.0%} of {total:,} {key} are {label!r}"
                found.add(rule, 1, [Example(split, None, detail)])
