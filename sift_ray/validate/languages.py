"""Rules on language: id, source, folder and text must agree."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import pyarrow.compute as pc

from sift_ray.instruct.synthesis import split_transcript
from sift_ray.instruct.verify.language import is_language
from sift_ray.instruct.verify.text import read
from sift_ray.schema import LANGUAGES
from sift_ray.validate.findings import Example, Findings, shown
from sift_ray.validate.hashing import mixed
from sift_ray.validate.ids import flags, named_language, parts_of
from sift_ray.validate.reading import Batch
from sift_ray.validate.shards import known_language

FOREIGN_SHARE: Final = 0.05
"""The share of a file's texts in one other language from which the file is taken to hold that language."""

_LEAST_FOREIGN: Final = 3  # a text or two of a small file can be misjudged
_UNCLEAR_SHARE: Final = 0.5


class SourceLanguage:
    """Looks at what ids and data sources say of the language."""

    def look(self, batch: Batch, found: Findings) -> None:
        """Look at some rows."""
        shard, numbers = batch.shard, batch.numbers
        sources = batch.column("data_source")
        other = ~flags(pc.ends_with(sources, f"_{shard.language}"))
        found.rows("language_of_source", shard.path, numbers, other, lambda i: shown(sources[i].as_py()))
        wrong = np.zeros(len(batch), np.bool_)
        for ids in parts_of(batch):
            wrong |= flags(pc.not_equal(named_language(ids), shard.language))
        names = batch.column("id")
        found.rows("language_of_id", shard.path, numbers, wrong, lambda i: shown(names[i].as_py()))


class TextLanguage:
    """Tells the language of some texts of every batch: question and answer together, a synthesis prompt by itself.

    A text is another language's only if it is not the folder's by `instruct.verify.language`, and is that other's by
    the same measure; what is neither is unclear. Single texts are too short to be sure of, so a file is judged by
    shares: an error if at least `FOREIGN_SHARE` of what was looked at (and 3) are in one other language; fewer
    are a warning, one that fits no language but in half of the texts is a note.
    """

    def __init__(self, texts: int) -> None:
        """Take how many texts of each batch are looked at: they are chosen by a hash of the row's number."""
        self._wanted = texts
        self._foreign: Counter[str] = Counter()
        self._examples: dict[str, list[Example]] = {}
        self._unclear: list[Example] = []
        self._looked = 0

    def look(self, batch: Batch) -> None:
        """Look at some rows."""
        if not known_language(batch.shard):
            return
        order = np.argsort(mixed(batch.numbers.astype(np.uint64)), kind="stable")
        chosen = np.sort(order[: self._wanted])
        for row in chosen.tolist():
            self._tell(batch, row)

    def _tell(self, batch: Batch, row: int) -> None:
        shard = batch.shard
        question, answer = batch.said.question[row].as_py(), batch.said.answer[row].as_py()
        if question and shard.task == "controllable_generation":
            question = _prompt(question, shard.language)
        text = " ".join(filter(None, (question, answer)))
        if not text.strip():
            return
        self._looked += 1
        if _is(text, shard.language):
            return
        example = Example(shard.path, int(batch.numbers[row]), shown(text, 100))
        other = next((name for name in LANGUAGES if name != shard.language and _is(text, name)), None)
        if other is None:
            self._unclear.append(example)
            return
        self._foreign[other] += 1
        examples = self._examples.setdefault(other, [])
        if len(examples) < 5:
            examples.append(example._replace(detail=f"{other}: {example.detail}"))

    def leave(self, found: Findings) -> None:
        """Judge the file that was read."""
        for rule in ("language_of_text", "language_of_some_texts", "language_unclear"):
            found.looked(rule, self._looked, "texts")
        for language, count in self._foreign.items():
            many = count >= max(_LEAST_FOREIGN, FOREIGN_SHARE * self._looked)
            found.add("language_of_text" if many else "language_of_some_texts", count, self._examples[language])
        if len(self._unclear) > max(_LEAST_FOREIGN, _UNCLEAR_SHARE * self._looked):
            found.add("language_unclear", len(self._unclear), self._unclear)
        self._foreign.clear()
        self._examples.clear()
        self._unclear.clear()
        self._looked = 0


def _is(text: str, language: str) -> bool:
    return is_language(read(text, language), language)


def _prompt(question: str, language: str) -> str:
    try:
        return split_transcript(language, question)[0]
    except ValueError:
        return question
