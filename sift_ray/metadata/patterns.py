"""A small pattern notation that stands for a finite set of phrases.

`(a|b)` is a choice, `?` after a group or a letter makes it optional, `{name}` inserts a macro. There is no
repetition, so a pattern can be written out in full: whether two categories share a form is then a question of set
intersection, and texts are searched by looking words up instead of by trying expressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MACRO = re.compile(r"\{(\w+)\}")
MOST_FORMS = 20_000


class PatternError(ValueError):
    """A pattern cannot be read; the message names it."""


def insert_macros(pattern: str, macros: Mapping[str, str]) -> str:
    """Replace every `{name}` by its macro, macros within macros too.

    Raises:
        PatternError: there is no such macro, or macros contain each other.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in macros:
            raise PatternError(f"{pattern!r}: no macro {name!r}; there are {', '.join(sorted(macros))}")
        return f"({macros[name]})"

    text = pattern
    for _ in range(8):
        if not _MACRO.search(text):
            return text
        text = _MACRO.sub(value, text)
    raise PatternError(f"{pattern!r}: macros nest more than 8 deep; does one contain itself?")


def expand(pattern: str, macros: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return every phrase that `pattern` stands for, with single spaces and none at the ends.

    Raises:
        PatternError: unbalanced parentheses, a `?` with nothing before it, or more than `MOST_FORMS` phrases.
    """
    text = insert_macros(pattern, macros or {})
    phrases, end = _choice(text, 0, pattern)
    if end != len(text):
        raise PatternError(f"{pattern!r}: ')' without '(' at character {end}")
    return frozenset(" ".join(phrase.split()) for phrase in phrases)


def _choice(text: str, start: int, pattern: str) -> tuple[set[str], int]:
    """Expand alternatives from `start` up to a closing parenthesis or the end."""
    found: set[str] = set()
    while True:
        phrases, start = _sequence(text, start, pattern)
        found |= phrases
        if start < len(text) and text[start] == "|":
            start += 1
            continue
        return found, start


def _sequence(text: str, start: int, pattern: str) -> tuple[set[str], int]:
    phrases = {""}
    while start < len(text) and text[start] not in "|)":
        if text[start] == "?":
            raise PatternError(f"{pattern!r}: '?' follows nothing")
        if text[start] == "(":
            part, start = _choice(text, start + 1, pattern)
            if start >= len(text):
                raise PatternError(f"{pattern!r}: '(' is never closed")
            start += 1
        else:
            part, start = {text[start]}, start + 1
        if start < len(text) and text[start] == "?":
            part, start = part | {""}, start + 1
        phrases = {head + tail for head in phrases for tail in part}
        if len(phrases) > MOST_FORMS:
            raise PatternError(f"{pattern!r}: stands for more than {MOST_FORMS} phrases; split it")
    return phrases, start
