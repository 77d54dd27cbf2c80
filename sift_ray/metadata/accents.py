"""Accents: from what a corpus's speakers wrote to a clean display name, and from that to each language's words.

`accents.yaml` holds the accents that corpora name, each with its raw spellings and its wordings in every language,
and plain names of places, peoples and dialects ("Yorkshire"), which are their own wording. What is made of neither is
no accent, however much it looks like a name: a name that is missed is a label less, a "young" that passes for an
accent is a claim about a person that nobody measured.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sift_ray.metadata.data_files import parse_data
from sift_ray.metadata.patterns import expand, insert_macros
from sift_ray.schema import LANGUAGES

MOST_WORDS: Final = 5
MOST_LETTERS: Final = 40
MOST_SKIPPED: Final = 3
_NAME: Final = re.compile(rf"[^\W\d_]+(?:[ '’-][^\W\d_]+){{0,{MOST_WORDS - 1}}}")
_APOSTROPHES: Final = str.maketrans({"’": "'", "ʼ": "'", "‘": "'", "`": "'", "´": "'"})
_PARENTHESIS: Final = re.compile(r"\([^()]*\)?")
_CHOICE: Final = re.compile(r"\(([^|()]*)(?:\|[^()]*)?\)")
_SEPARATOR: Final = re.compile(r"[,|;]")
_ELIDED: Final = re.compile(r"\b([dl]|dell)'", re.IGNORECASE)


def _listed(text: str) -> tuple[str, ...]:
    """Split at commas that stand in no parentheses."""
    return tuple(part for piece in re.split(r",(?![^(]*\))", text) if (part := piece.strip()))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Accent(_Part):
    """One accent: raw spellings, old codes (their case counts), and patterns by language, the first the phrase."""

    names: str = ""
    codes: str = ""
    en: str = ""
    de: str
    fr: str
    it: str
    es: str
    weak: Mapping[str, str] = Field(default_factory=dict)


class Words(_Part):
    """A language's words around accents.

    Attributes:
        macros: endings, for the patterns.
        nouns: words for "accent", which a raw cell may add to the name.
        tongues: names of languages, which it may add too ("Scottish English").
        cues: words after which the name of a language is the language ("speaks English").
    """

    macros: Mapping[str, str]
    nouns: str
    tongues: str
    cues: str


class _File(_Part):
    languages: Mapping[str, Words]
    particles: str
    accents: Mapping[str, Accent]
    names: Mapping[str, tuple[str, ...]]
    directions: str

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for part in (self.languages, self.names):
            if set(part) != set(LANGUAGES):
                raise ValueError(f"there must be an entry for each of {', '.join(LANGUAGES)}, and no other")
        return self


@functools.cache
def _data() -> _File:
    return _File.model_validate(parse_data(accents_file()))


def accents_file() -> str:
    """Return the text of the dictionary, for fingerprints."""
    return resources.files("sift_ray.metadata").joinpath("accents.yaml").read_text(encoding="utf-8")


def display_names() -> tuple[str, ...]:
    """Return the display names of the dictionary's 169 accents, in its order."""
    return tuple(_data().accents)


@functools.lru_cache(maxsize=65_536)
def known_name(text: str) -> str | None:
    """Return the display name of the dictionary that `text` means ("Schottisches Englisch"), or None."""
    index = _spellings()
    return next((index[spelling] for spelling in _ways_to_look(text) if spelling in index), None)


@functools.lru_cache(maxsize=65_536)
def display_accent(raw: str | None) -> str | None:
    """Return the clean name of an accent, or None where the text is no name.

    Common Voice's speakers may write anything. Of several pieces (`,`, `|` or `;` between them) the first that is a
    name counts; one of more than `MOST_SKIPPED` words that is none ends the search, for it tells a story ("grew up in
    Texas, Ohio"). What the dictionary's accents mean gets their English display name; case matters to old codes alone
    ("indian" is Common Voice's for South Asian, "Indian" is Indian). What is made of the dictionary's other names
    stays as written, without "accent" and a leading "from". All else, a name in no list included, is None.
    """
    text = " ".join(unicodedata.normalize("NFC", raw or "").translate(_APOSTROPHES).split())
    if (name := _codes().get(text) or known_name(text)) is not None:
        return name
    for piece in _SEPARATOR.split(_PARENTHESIS.sub(" ", text)):
        words = piece.split()
        whole = " ".join(words)
        if (name := known_name(whole) or known_name(whole.partition(":")[0]) or _free_name(whole)) is not None:
            return name
        if len(words) > MOST_SKIPPED:
            return None
    return None


def _free_name(text: str) -> str | None:
    """Return free text without "accent" and a leading "from" if it is made of names, else None."""
    if len(text) > MOST_LETTERS or not _NAME.fullmatch(text):
        return None
    words = [word for word in _ELIDED.sub(r"\1' ", text).split() if _spelling(word) not in _nouns()]
    for start, word in enumerate(words):
        if _made_of_names(_spelling(" ".join(words[start:])).split()):
            return " ".join(words[start:]).replace("' ", "'")
        if word.casefold() not in _particles():
            break
    return None


def _made_of_names(words: list[str]) -> bool:
    """Say whether `words`, as spelled for comparison, are names, directions and, between them, "of"; one name at least.

    Directions alone are no name: north of what?
    """
    named, start = False, 0
    while start < len(words):
        ends = range(len(words), start, -1)
        if (end := next((end for end in ends if " ".join(words[start:end]) in _names()), None)) is not None:
            named, start = True, end
        elif words[start] in _directions() or (words[start] in _particles() and 0 < start < len(words) - 1):
            start += 1
        else:
            return False
    return named


def display_accents(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return `display_accent` of each value of a column of strings, of the column's length; null where no name.

    Computed once for each distinct value.
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = values if pa.types.is_dictionary(values.type) else pc.dictionary_encode(values)
    names = [display_accent(raw) for raw in encoded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(encoded.indices)


@functools.lru_cache(maxsize=4096)
def accent_phrase(language: str, name: str) -> str:
    """Return how a text in `language` words an accent: "schottisch"; a name of no dictionary as it is.

    Raises:
        KeyError: `language` is none of the five.
    """
    macros = _words(language).macros
    if (label := _resolved(name)) is None:
        return name
    return _CHOICE.sub(r"\1", insert_macros(_listed(_patterns(language, label))[0], macros))


def accent_forms(language: str, name: str, *, weak: bool = False) -> frozenset[str]:
    """Return the wordings by which a text in `language` names an accent, lower case.

    Args:
        language: the text's.
        name: a display name; one of no dictionary has itself as its only form.
        weak: return instead those that name it only where the text speaks of accents ("polish").

    Raises:
        KeyError: `language` is none of the five.
    """
    words = _words(language)
    if (label := _resolved(name)) is None:
        return frozenset() if weak else frozenset((name.lower(),))
    patterns = _data().accents[label].weak.get(language, "") if weak else _patterns(language, label)
    tongues = _listed(words.tongues)
    weaker = accent_forms(language, name, weak=True) if not weak else frozenset()
    alone = {form.lower() for pattern in _listed(patterns) for form in expand(pattern, words.macros)} - weaker
    if weak:
        return frozenset(alone)
    adjective_first = language in ("en", "de")
    both = {
        f"{form} {tongue}" if adjective_first else f"{tongue} {form}"
        for form in alone | weaker
        for tongue in tongues
        if form not in tongues
    }
    return frozenset(alone | both)


def language_cues(language: str) -> frozenset[str]:
    """Return the words after which the name of a language is the language that is spoken ("speaks English")."""
    return frozenset(_listed(_words(language).cues))


def _words(language: str) -> Words:
    if language not in _data().languages:
        raise KeyError(f"no accents in language {language!r}; there are {', '.join(LANGUAGES)}")
    return _data().languages[language]


def _resolved(name: str) -> str | None:
    return name if name in _data().accents else known_name(name)


def _patterns(language: str, label: str) -> str:
    patterns: str = getattr(_data().accents[label], language)
    return patterns or label


def _spelling(text: str) -> str:
    """Return `text` as spellings are compared: lower case, hyphens as spaces, elided articles apart."""
    plain = unicodedata.normalize("NFC", text).translate(_APOSTROPHES).casefold()
    plain = _ELIDED.sub(r"\1' ", re.sub(r"[-_/]", " ", plain))
    return " ".join(plain.split()).strip(" .!?\"'")


@functools.cache
def _codes() -> dict[str, str]:
    return {code: label for label, accent in _data().accents.items() for code in _listed(accent.codes)}


@functools.cache
def _spellings() -> dict[str, str]:
    """Map every spelling to its display name.

    Raises:
        ValueError: one spelling is given to two accents.
    """
    index: dict[str, str] = {}
    for label, spelling in _all_spellings():
        if index.setdefault(spelling, label) != label:
            raise ValueError(f"accents.yaml: {spelling!r} is given to {index[spelling]} and to {label}")
    return index


def _all_spellings() -> Iterator[tuple[str, str]]:
    for label, accent in _data().accents.items():
        yield label, _spelling(label)
        for name in _listed(accent.names):
            yield label, _spelling(name)
        for language in LANGUAGES:
            macros = _words(language).macros
            for pattern in (*_listed(_patterns(language, label)), *_listed(accent.weak.get(language, ""))):
                for form in expand(pattern, macros):
                    yield label, _spelling(form)


def _ways_to_look(text: str) -> Iterator[str]:
    """Yield spellings to look for: the whole, then without "accent", without the language, without "from"."""
    words = _spelling(text).split()
    yield " ".join(words)
    words = [word for word in words if word not in _nouns()]
    cut = [words]
    if len(words) > 1:
        cut += [words[:-1]] if words[-1] in _tongues() else []
        cut += [words[1:]] if words[0] in _tongues() else []
    for left in cut:
        yield " ".join(left)
        yield " ".join(itertools.dropwhile(_particles().__contains__, left))


@functools.cache
def _nouns() -> frozenset[str]:
    return frozenset(noun for words in _data().languages.values() for noun in _listed(words.nouns))


@functools.cache
def _tongues() -> frozenset[str]:
    return frozenset(tongue for words in _data().languages.values() for tongue in _listed(words.tongues))


@functools.cache
def _particles() -> frozenset[str]:
    return frozenset(part.strip('"') for part in _listed(_data().particles))


@functools.cache
def _directions() -> frozenset[str]:
    return frozenset(_listed(_data().directions))


@functools.cache
def _names() -> frozenset[str]:
    """Return the spellings of all names: the accents', and those that are kept as written."""
    found = set(_spellings())
    for language, lists in _data().names.items():
        macros = _words(language).macros
        patterns = _listed(", ".join(lists))
        found |= {_spelling(form) for pattern in patterns for form in expand(pattern, macros)}
    return frozenset(found)
