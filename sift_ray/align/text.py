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

from sift_ray.align.abbreviations import Abbreviations, abbreviations

APOSTROPHE = "'"
LONGEST_WORD = 100
"""No word has more bytes of UTF-8: what does is not pronounced, for espeak-ng holds a word in a buffer without room."""

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u0060\u00b4\uff07", APOSTROPHE))
_HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011", "-"))
_PARTING = r"\s\u2012-\u2015/\\|…;!?¡¿\"“”„«»‹›()\[\]{}<>*_~"
# a comma, colon or full stop parts words unless digits, or the letters of an abbreviation, stand on both sides
_BREAKS = re.compile(
    rf"[{_PARTING}]+"
    r"|--+"
    r"|(?<!\d)[,:]|[,:](?!\d)"
    r"|\.{2,}"
    r"|(?<=[^\W\d_]{2})\.(?=[^\W\d_]{2})"
)


_INITIALS = re.compile(r"(?:[^\W\d_]{1,6}')?(?:[^\W\d_]{1,2}\.){2,}")
_INNER_POINT = "\ue000"  # a character of no meaning holds a full stop's place while words are parted


@dataclass(frozen=True, slots=True)
class Ending:
    """How an ending sounds: behind one of the phones `after` (any, if empty) it is one of the forms `say`."""

    after: frozenset[str]
    say: tuple[tuple[str, ...], ...]


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
    pictures: re.Pattern[str]
    abbreviations: Abbreviations
    respell: tuple[tuple[re.Pattern[str], str], ...]
    elided: Mapping[str, str]
    endings: Mapping[str, tuple[Ending, ...]]
    spellings: tuple[tuple[str, str], ...]
    accents_dropped: bool


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
        pictures=re.compile(rf"[^\w{_PARTING}'\-.,:{re.escape(document['spoken'])}]"),
        abbreviations=abbreviations(language),
        respell=tuple((re.compile(old, re.IGNORECASE), new) for old, new in rules.get("respell", ())),
        elided=rules.get("elided", {}),
        endings={
            written: tuple(
                Ending(frozenset(sound.get("after", ())), tuple(tuple(form.split()) for form in sound["say"]))
                for sound in sounds
            )
            for written, sounds in rules.get("endings", {}).items()
        },
        spellings=tuple((old, new) for old, new in rules.get("spellings", ())),
        accents_dropped=rules.get("accents_dropped", False),
    )


def normalise(text: str) -> str:
    """Return `text` in NFC with one kind of apostrophe and of hyphen, without invisible characters."""
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES).translate(_HYPHENS)
    return text if text.isascii() else "".join(c for c in text if unicodedata.category(c) != "Cf")


def written_words(transcript: str, rules: TextRules) -> list[str]:
    """Cut `transcript` into its words as written, punctuation and pictures aside.

    A word has a letter or a digit, or is one of the signs that are read out (`rules.spoken`).
    """
    text = rules.pictures.sub(lambda sign: sign[0] if _is_mark(sign[0]) else "", normalise(transcript))
    inner = rules.abbreviations.inner
    if inner:
        text = inner.sub(lambda found: found[0][:-1] + _INNER_POINT, text)
    pieces = [piece.replace(_INNER_POINT, ".") for piece in _BREAKS.split(text) if piece]
    # each word without its full stop, and with it where there is one: its neighbours decide if it keeps it
    bare = [(word, pointed) for piece in pieces for word, pointed in (_bare(piece, rules),) if word]
    words: list[str] = []
    for index, (word, pointed) in enumerate(bare):
        if pointed == word:
            words.append(word)
            continue
        context = words[-1] if words else "", bare[index + 1][1] if index + 1 < len(bare) else ""
        known = rules.abbreviations
        keeps = known.readings(pointed, *context) or known.is_ordinal(pointed, *context)
        words.append(pointed if keeps else word)
    return words


def _bare(piece: str, rules: TextRules) -> tuple[str, str]:
    """Return the word in `piece` without and with the full stop at its end; empty if there is none."""
    if piece.isalpha():
        return piece, piece
    if piece[:-1].isalpha() and piece[-1] == ".":
        return piece[:-1], piece
    kept = _without_quotes(piece.strip("-,:").lstrip("."), rules).strip("-,:").lstrip(".")
    word = _without_quotes(kept.rstrip("-.,:"), rules).strip("-.,:")
    pointed = f"{word}." if word and kept.startswith(f"{word}.") else word
    if _INITIALS.fullmatch(pointed):
        word = pointed
    if any(c.isalnum() for c in word) or (word and all(c in rules.spoken for c in word)):
        return word, pointed
    return "", ""


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


def _is_mark(c: str) -> bool:
    return unicodedata.category(c) in ("Mn", "Mc")


def letters_in_script(text: str) -> tuple[int, int]:
    """Return how many letters of `text` are Latin, and how many letters it has."""
    letters = [c for c in text if c.isalpha()]
    return sum(is_latin(c) for c in letters), len(letters)


@cache
def is_latin(letter: str) -> bool:
    """Say whether `letter` belongs to the Latin script."""
    return unicodedata.name(letter, "").startswith(("LATIN", "FEMININE ORDINAL", "MASCULINE ORDINAL"))
