"""Where in a text a value is spoken of, so that a page can mark it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sift_ray.metadata.categories import labels_of
from sift_ray.metadata.phrases import phrases

_SPACES = re.compile(r"[\s-]+")
_APOSTROPHES = "'’ʼ‘`´"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text, and the numbers (from 1) of the facts that it tells; none where it tells none."""

    text: str
    facts: tuple[int, ...] = ()


def mark(text: str, evidence: Sequence[Mapping[str, Any]], language: str) -> list[Piece]:
    """Return the text in pieces, those marked that word a fact of `evidence` (`schema.FACT`).

    A category is found in any wording that its dictionary accepts, the longest first; free text as it is. Of what
    overlaps, the longer wins, and facts that are worded alike share their mark. Facts that the text words otherwise
    (by comparing, or by denying the contrary) have none.
    """
    text = unicodedata.normalize("NFC", text)
    spans: dict[tuple[int, int], list[int]] = {}
    for number, fact in enumerate(evidence, 1):
        for span in _found(text, fact, language):
            spans.setdefault(span, []).append(number)
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0] - span[1], span)):
        if all(end <= left or start >= right for left, right in kept):
            kept.append((start, end))
    pieces: list[Piece] = []
    last = 0
    for start, end in sorted(kept):
        if start > last:
            pieces.append(Piece(text[last:start]))
        pieces.append(Piece(text[start:end], tuple(dict.fromkeys(spans[start, end]))))
        last = end
    if last < len(text):
        pieces.append(Piece(text[last:]))
    return pieces


def _found(text: str, fact: Mapping[str, Any], language: str) -> list[tuple[int, int]]:
    """Return where the longest wording of a fact that the text has stands in it."""
    if fact["value"] is None:
        return []
    for wording in sorted(
        _wordings(fact["key"], fact["value"], language), key=lambda wording: (-len(wording), wording)
    ):
        if found := [match.span() for match in _pattern(wording).finditer(text)]:
            return found
    return []


def _wordings(key: str, value: str, language: str) -> set[str]:
    try:
        dictionary = phrases(language)
        if value in labels_of(key):
            return {*dictionary.expressions(key, value), *dictionary.expressions(key, value, short=True)}
        return {dictionary.phrase(key, value), value}
    except (KeyError, ValueError):  # a key or language of another version: as it is, or not at all
        return {value}


def _pattern(wording: str) -> re.Pattern[str]:
    words = [
        "".join(f"[{_APOSTROPHES}]" if char in _APOSTROPHES else re.escape(char) for char in word)
        for word in _SPACES.split(unicodedata.normalize("NFC", wording).strip())
    ]
    return re.compile(r"(?<!\w)" + r"[\s-]+".join(words) + r"(?!\w)", re.IGNORECASE)
