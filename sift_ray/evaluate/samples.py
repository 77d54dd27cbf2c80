"""The samples of a release that a model is to be held against, of our own releases and of the published layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sift_ray.metadata.record import Fact
from sift_ray.release.layout import SPLIT_FOLDERS, SPLIT_NAMES
from sift_ray.schema import CLOSED_ENDED, LANGUAGES
from sift_ray.storage import OutputRoot, StorageError
from sift_ray.validate.findings import Example
from sift_ray.validate.ids import parts_of
from sift_ray.validate.reading import Batch, read_batches
from sift_ray.validate.shards import Shard, known_language, list_release

GENERATION: Final = "controllable_generation"
OPEN_ENDED: Final = "open_ended"
ANSWERED: Final = (*CLOSED_ENDED, OPEN_ENDED)
"""Tasks whose answers are texts."""

_LANGUAGES: Final = f"one of {', '.join(LANGUAGES)}"
_SPLITS: Final[Mapping[str, str]] = {
    name: split for names in (SPLIT_NAMES, SPLIT_FOLDERS) for split, name in names.items()
} | {split: split for split in SPLIT_NAMES}


@dataclass(frozen=True, slots=True)
class Sample:
    """One question of a release, or one prompt to synthesize.

    Attributes:
        sample_id: unique in the split; see `read_samples`.
        task: one of `schema.TASKS`.
        language: of the texts.
        data_source: of the (first) audio, such as `common_voice_de`.
        utterance_ids: of the audio, two for a comparison.
        question: the user's text; for controllable generation the prompt, with the text to be spoken attached.
        answer: the reference answer; None for controllable generation, where it is the audio.
        evidence: what the reference answer, or the prompt, rests on; None where the layout does not tell.
    """

    sample_id: str
    task: str
    language: str
    data_source: str
    utterance_ids: tuple[str, ...]
    question: str
    answer: str | None
    evidence: tuple[Fact, ...] | None


def split_of(name: str) -> str:
    """Return our name of a split that is given as ours, as `datasets` names it, or as its folder is called.

    Raises:
        ValueError: there is no such split.
    """
    if name not in _SPLITS:
        raise ValueError(f"no split {name!r}; there are {', '.join(dict.fromkeys(_SPLITS))}")
    return _SPLITS[name]


def read_samples(
    root: OutputRoot, split: str = "test", tasks: Collection[str] = ANSWERED, languages: Collection[str] = ()
) -> Iterator[Sample]:
    """Yield the samples of a split in the order of their files.

    A row of the published layout, which has no `sample_id`, is named `<id>-<task>-<n>`, n counting from 0 the rows of
    that id in the task's folder of its language, in the order in which they lie there.

    Args:
        root: of a release or a job's output.
        split: ours: train, dev or test.
        tasks: which of `schema.TASKS`.
        languages: only these; none named: all.

    Raises:
        StorageError: there is no release, none of its files is of the split, a file is empty or in a folder of a
            language that there is not, or a file or row can't be read.
    """
    listing = list_release(root)
    shards = [shard for shard in listing.shards if shard.split == split]
    if not shards:
        raise StorageError(f"{root.uri}: no file of the split {split} ({SPLIT_FOLDERS[split]}/…) lies in the release")
    named: dict[tuple[str, str], Counter[str]] = {}
    for shard in shards:
        if shard.task in tasks and (not languages or shard.language in languages):
            refusing = _Refusing(root, shard)
            if not known_language(shard):
                refusing("unknown_language", 1, [Example(shard.path, None, f"{shard.language}: not {_LANGUAGES}")])
            counted = named.setdefault((shard.task, shard.language), Counter())
            for batch in read_batches(root, shard, refusing):
                yield from _samples(batch, counted)


class _Refusing:
    """Ends the reading at what is wrong with a file's form: scores of half a benchmark would pass for the whole's."""

    def __init__(self, root: OutputRoot, shard: Shard) -> None:
        self._where = f"{root.uri}/{shard.path}"

    def __call__(self, rule: str, count: int, examples: Any) -> None:
        if not count:
            return
        found: list[Example] = list(examples)
        line = f":{found[0].row}" if found and found[0].row is not None else ""
        detail = found[0].detail if found else ""
        raise StorageError(f"{self._where}{line}: {rule}: {detail}; `sift-ray validate` lists all that is wrong")


def _samples(batch: Batch, counted: Counter[str]) -> Iterator[Sample]:
    rows = len(batch)
    ids, sources = batch.column("id").to_pylist(), batch.column("data_source").to_pylist()
    task, language = batch.shard.task, batch.shard.language
    questions, answers = batch.said.question.to_pylist(), batch.said.answer.to_pylist()
    parts = parts_of(batch)
    first, second = parts.first.to_pylist(), parts.second.to_pylist()
    names = batch.column("sample_id").to_pylist() if batch.has("sample_id") else [None] * rows
    facts: list[Any] = batch.column("evidence").to_pylist() if batch.has("evidence") else [None] * rows
    for row in range(rows):
        place = f"{batch.shard.path}:{batch.numbers[row]}"
        if questions[row] is None or (answers[row] is None) != (task == GENERATION):
            raise StorageError(f"{place}: its messages are not those of {task}; `sift-ray validate` tells more")
        name = names[row]
        if name is None:
            name = f"{ids[row]}-{task}-{counted[ids[row]]}"
            counted[ids[row]] += 1
        yield Sample(
            sample_id=name,
            task=task,
            language=language,
            data_source=sources[row],
            utterance_ids=tuple(part for part in (first[row], second[row]) if part is not None),
            question=questions[row],
            answer=answers[row],
            evidence=None if facts[row] is None else tuple(Fact.from_row(fact) for fact in facts[row]),
        )
