"""Written text to words: what counts as one word of a transcript, and how it is written.

The words are those a reader would count: whitespace, dashes and slashes part them; hyphens, apostrophes and
the points of numbers and abbreviations stay inside. Punctuation around a word and pictures (emoji) go.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

APOSTROPHE = "'"
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u0060\u00b4\uff07", APOSTROPHE))
_HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011\u00ad", "-"))
# a comma, colon or full stop parts words unless digits, or the letters of an abbreviation, stand on both sides
_BREAKS = re.compile(
    r"[\s\u2012-\u2015/\\|…;!?¡¿\"“”„«»‹›()\[\]{}<>*_~]+"
    r"|--+"
    r"|(?<!\d)[,:]|[,:](?!\d)"
    r"|\.{2,}"
    r"|(?<=[^\W\d_]{2})\.(?=[^\W\d_]{2})"
)


@dataclass(frozen=True, slots=True)
class TextRules:
    """One language's part of `text_rules.yaml`."""

    language: str
    voice: str
    reader: str
    leading: frozenset[str]
    trailing: re.Pattern[str]
    variants: Mapping[str, tuple[tuple[str, ...], ...]]
    fold: Mapping[str, str]
    spoken: frozenset[str]


@cache
def text_rules(language: str) -> TextRules:
    """Return the rules of `language`.

    Raises:
        ValueError: there are no rules for it.
    """
    source = resources.files("sift_ray.align").joinpath("text_rules.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(source)
    known: dict[str, Any] = document["languages"]
    if language not in known:
        raise ValueError(f"no text rules for language {language!r}; there are {', '.join(known)}")
    rules = known[language]
    return TextRules(
        language=language,
        voice=rules["voice"],
        reader=rules.get("reader", rules["voice"]),
        leading=frozenset(str(word) for word in rules["leading"]),
        trailing=re.compile(rules["trailing"]),
        variants={word: tuple(tuple(phones.split()) for phones in forms) for word, forms in rules["variants"].items()},
        fold=rules.get("fold", {}),
        spoken=frozenset(document["spoken"]),
    )


def normalise(text: str) -> str:
    """Return `text` in NFC with one kind of apostrophe and of hyphen, and no zero-width characters."""
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES).translate(_HYPHENS)
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


def written_words(transcript: str, rules: TextRules) -> list[str]:
    """Cut `transcript` into its words as written, punctuation and pictures aside.

    A word has a letter or a digit, or is one of the signs that are read out (`rules.spoken`).
    """
    words = []
    for piece in _BREAKS.split(normalise(transcript)):
        word = _bare(piece or "", rules)
        if word:
            words.append(word)
    return words


def _bare(piece: str, rules: TextRules) -> str:
    kept = "".join(c for c in piece if _is_word_character(c) or c in "'-.,:" or c in rules.spoken)
    abbreviation = kept.endswith(".") and re.fullmatch(r"(?:[^\W\d_]{1,2}\.){2,}", kept.strip("'-,:"))
    kept = kept.strip("-,:") if abbreviation else kept.strip("-.,:")
    kept = _without_quotes(kept, rules)
    kept = kept.strip("-,:") if abbreviation else kept.strip("-.,:")
    if any(c.isalnum() for c in kept):
        return kept
    return kept if kept and all(c in rules.spoken for c in kept) else ""


def _without_quotes(word: str, rules: TextRules) -> str:
    """Drop apostrophes at the ends that are quotation marks, keep those that are spelling."""
    stem = word.strip(APOSTROPHE)
    if not stem:
        return ""
    folded = stem.lower()
    if word.startswith(APOSTROPHE) and (folded in rules.leading or stem[0].isdigit()):
        stem = APOSTROPHE + stem
    if word.endswith(APOSTROPHE) and not word.startswith(APOSTROPHE) and rules.trailing.fullmatch(folded):
        stem += APOSTROPHE
    return stem


def _is_word_character(c: str) -> bool:
    return c.isalnum() or unicodedata.category(c) in ("Mn", "Mc")


def letters_in_script(text: str) -> tuple[int, int]:
    """Return how many letters of `text` are Latin, and how many letters it has."""
    letters = [c for c in text if c.isalpha()]
    return sum(is_latin(c) for c in letters), len(letters)


@cache
def is_latin(letter: str) -> bool:
    """Say whether `letter` belongs to the Latin script."""
    return unicodedata.name(letter, "").startswith(("LATIN", "FEMININE ORDINAL", "MASCULINE ORDINAL"))
