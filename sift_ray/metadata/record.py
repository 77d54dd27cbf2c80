"""What is known of an utterance as facts, and the localised record of them that a prompt shows."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.metadata.categories import ATTRIBUTES, CONTENT_KEYS, VALUES, WORD_KEY, Attribute
from sift_ray.metadata.phrases import phrases
from sift_ray.schema import DOUBTED_TRANSCRIPT


class Fact(NamedTuple):
    """One thing that is known: the atom of evidence.

    `value` is the English label whatever the text's language; `audio` is 0, or 1 for a comparison's second
    utterance; `position` is 0 for the utterance and a word's place from 1.
    """

    key: str
    value: str
    audio: int = 0
    position: int = 0


class OrdinalSource(Protocol):
    """What `facts_of` needs of `metadata.bins.Rulers`."""

    def ordinals(self, attribute: str, values: Any, corpus: Any, gender: Any) -> npt.NDArray[np.int8]:
        """Return each value's ordinal, -1 where unknown."""
        ...


_ACCENT = re.compile(r"[^\W\d_]+(?:[ '’-][^\W\d_]+){0,4}")
MOST_ACCENT_LETTERS = 40


def display_accent(raw: str | None) -> str | None:
    """Return a clean accent name, or None where the free text is a story and not a name.

    Common Voice's speakers may write anything: only the first of a comma-separated list is kept, and only if it
    is at most five words of letters.
    """
    if raw is None:
        return None
    name = " ".join(re.sub(r"\(.*?\)", " ", unicodedata.normalize("NFC", raw)).split(",")[0].split())
    if len(name) > MOST_ACCENT_LETTERS or not _ACCENT.fullmatch(name):
        return None
    return name


_OF_THE_TRANSCRIPT = ("transcript", "phonemes")


def facts_of(table: pa.Table, rulers: OrdinalSource) -> list[list[Fact]]:
    """Return the facts of every row of an annotations table, null being absent.

    A transcript that the alignment says is not what is heard is not known, nor are its phonemes.

    Order within a row: acoustic keys, content keys (the reference's order), then the words by position, each with
    its word-level categories. Words are judged by their utterance's rulers.
    """
    rows = table.num_rows
    facts: list[list[Fact]] = [[] for _ in range(rows)]
    corpus, gender = table.column("corpus"), table.column("gender")
    for attribute in ATTRIBUTES.values():
        ordinals = rulers.ordinals(attribute.key, table.column(attribute.column), corpus, gender)
        made = [Fact(attribute.key, label) for label in attribute.labels]
        for row in np.flatnonzero(ordinals >= 0).tolist():
            facts[row].append(made[ordinals[row]])
    doubted = pc.is_in(table.column("alignment_reason"), value_set=pa.array(sorted(DOUBTED_TRANSCRIPT))).to_pylist()
    for key in CONTENT_KEYS:
        column = {"age_category": "age"}.get(key, key)
        allowed = VALUES.get(key)
        for row, value in enumerate(table.column(column).to_pylist()):
            known = display_accent(value) if key == "accent" else value
            if key in _OF_THE_TRANSCRIPT and doubted[row]:
                continue
            if known and (allowed is None or known in allowed):
                facts[row].append(Fact(key, known))
    _append_word_facts(facts, table, rulers)
    return facts


def _append_word_facts(facts: list[list[Fact]], table: pa.Table, rulers: OrdinalSource) -> None:
    column = table.column("words").combine_chunks()
    words = pc.list_flatten(column)
    if len(words) == 0:
        return
    parents = pc.list_parent_indices(column)
    corpus, gender = table.column("corpus").take(parents), table.column("gender").take(parents)
    levels: list[tuple[Attribute, npt.NDArray[np.int8]]] = [
        (a, rulers.ordinals(a.key, pc.struct_field(words, a.word_column), corpus, gender))
        for a in ATTRIBUTES.values()
        if a.word_column is not None
    ]
    texts = pc.struct_field(words, "word").to_pylist()
    positions = pc.struct_field(words, "position").to_pylist()
    for index, row in enumerate(parents.to_pylist()):
        mine, position = facts[row], positions[index]
        mine.append(Fact(WORD_KEY, texts[index], 0, position))
        for attribute, ordinals in levels:
            if ordinals[index] >= 0:
                mine.append(Fact(attribute.key, attribute.labels[ordinals[index]], 0, position))


_RANK: Mapping[str, int] = {key: rank for rank, key in enumerate((*ATTRIBUTES, *CONTENT_KEYS))}


def record(facts: Iterable[Fact], language: str, audio: int = 0) -> dict[str, Any]:
    """Return the metadata record of one audio, keys and values in `language`, in the reference's order.

    Words become a list under the key for words, each with its position and categories.
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
