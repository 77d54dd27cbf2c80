"""What is known of an utterance as facts, and the localised record of them that a prompt shows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from sift_ray.metadata.categories import ATTRIBUTES, CONTENT_KEYS, TIME_KEYS, WORD_KEY, ordinal_of
from sift_ray.metadata.mapping import OrdinalSource, fact_lists
from sift_ray.metadata.phrases import phrases


class Fact(NamedTuple):
    """One thing that is known: the atom of evidence.

    `value` is the English label whatever the text's language; `audio` is 0, or 1 for a comparison's second
    utterance; `position` is 0 for the utterance and a word's place from 1.
    """

    key: str
    value: str
    audio: int = 0
    position: int = 0

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Fact:
        """Read a row of `schema.FACT`, as `to_pylist` gives it."""
        return cls(*(row[name] for name in cls._fields))

    def to_row(self) -> dict[str, Any]:
        """Return the row of `schema.FACT`: with the label's ordinal, None where the key's values have no order.

        Raises:
            ValueError: the value is none of the key's.
        """
        key, value, audio, position = self
        return {"key": key, "value": value, "audio": audio, "position": position, "ordinal": ordinal_of(key, value)}


def facts_of(table: pa.Table, rulers: OrdinalSource, *, times: bool = False) -> list[list[Fact]]:
    """Return the facts of every row of an annotations table: `mapping.fact_lists`, which has the rules, as Python.

    Args:
        table: `schema.ANNOTATIONS`.
        rulers: turns measurements into ordinals.
        times: whether words come with their start and end.
    """
    lists = fact_lists(table, rulers, times=times)
    flat = lists.flatten()
    facts = list(map(Fact, *(flat.field(name).to_pylist() for name in Fact._fields)))
    return [facts[start:end] for start, end in itertools.pairwise(lists.offsets.to_pylist())]


_RANK: Mapping[str, int] = {key: rank for rank, key in enumerate((*TIME_KEYS, *ATTRIBUTES, *CONTENT_KEYS))}


def record(facts: Iterable[Fact], language: str, audio: int = 0) -> dict[str, Any]:
    """Return the metadata record of one audio, keys and values in `language`, in the reference's order.

    Words become a list under the key for words, each with its position, times and categories.
    """
    wording = phrases(language)
    utterance: list[Fact] = []
    words: dict[int, list[Fact]] = {}
    for fact in facts:
        if fact.audio == audio:
            (utterance if fact.position == 0 else words.setdefault(fact.position, [])).append(fact)
    utterance.sort(key=lambda fact: _RANK[fact.key])
    made: dict[str, Any] = {wording.record_key(fact.key): wording.phrase(fact.key, fact.value) for fact in utterance}
    if words:
        made[wording.data.words_key] = [
            {
                **{wording.record_key(f.key): f.value for f in words[position] if f.key == WORD_KEY},
                wording.data.position_key: position,
                **{
                    wording.record_key(f.key): wording.phrase(f.key, f.value)
                    for f in sorted(words[position], key=lambda f: _RANK.get(f.key, -1))
                    if f.key != WORD_KEY
                },
            }
            for position in sorted(words)
        ]
    return made


def render(facts: Sequence[Fact], language: str) -> str:
    """Return the record as JSON text for a prompt, one line; two audios become a list of two records."""
    if any(fact.audio == 1 for fact in facts):
        both = [record(facts, language, 0), record(facts, language, 1)]
        return json.dumps(both, ensure_ascii=False)
    return json.dumps(record(facts, language), ensure_ascii=False)
