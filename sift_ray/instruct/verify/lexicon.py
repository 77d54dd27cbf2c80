"""What a language's dictionary makes recognisable, as a trie over words: one longest-match scan finds everything."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

from sift_ray.instruct.verify.text import Runs, Text, words
from sift_ray.metadata.accents import accent_forms, display_names
from sift_ray.metadata.categories import KEYS
from sift_ray.metadata.phrases import Phrases, Signals, phrases
from sift_ray.schema import LANGUAGES

GRADED: Final = ("mention", "hint", "watch", "up", "down", "most", "least")
_FIELDS: Final = {
    "mention": "mentions",
    "hint": "hints",
    "watch": "watch",
    "up": "up",
    "down": "down",
    "most": "most",
    "least": "least",
}
_NOT_SCANNED: Final = frozenset(
    {"alone", "boundary", "nesting", "openings", "passing", "question", "requests", "towards", "unreal", "verbs"}
)
"""Signals that are looked up word by word instead."""


_FORBIDDEN: Final = frozenset({"leak", "unknowable"})
"""Signals whose phrases are refused: their words are not known for standing in them."""


class Meaning(NamedTuple):
    """One thing that a phrase can mean.

    `kind` is "claim" or "short" (with key and label), one of `GRADED` (with key), "ordinal" (label: the number), or
    the name of a signal.
    """

    kind: str
    key: str = ""
    label: str = ""


class Meanings(tuple[Meaning, ...]):
    """All that a phrase can mean; their kinds and keys are looked up far more often than phrases are made."""

    kinds: frozenset[str]
    strong: tuple[tuple[str, str], ...]
    """Keys and labels of what claims a category by itself."""
    weak: tuple[tuple[str, str], ...]
    """Those of what claims one where its key is spoken of."""
    _keys: dict[tuple[str, ...], frozenset[str]]

    def __new__(cls, meanings: Iterable[Meaning]) -> Self:
        """Take the meanings, in their order."""
        made = super().__new__(cls, meanings)
        made.kinds = frozenset(meaning.kind for meaning in made)
        made.strong = tuple((m.key, m.label) for m in made if m.kind == "claim")
        made.weak = tuple((m.key, m.label) for m in made if m.kind == "short")
        made._keys = {}
        return made

    def keys(self, kinds: tuple[str, ...]) -> frozenset[str]:
        """The keys of the meanings of `kinds`."""
        found = self._keys.get(kinds)
        if found is None:
            found = frozenset(meaning.key for meaning in self if meaning.kind in kinds and meaning.key)
            self._keys[kinds] = found
        return found


class Hit(NamedTuple):
    """A recognised phrase: tokens `start` to `end` (exclusive) and what they can mean."""

    start: int
    end: int
    meanings: Meanings

    def kinds(self) -> frozenset[str]:
        """The kinds among the meanings."""
        return self.meanings.kinds

    def keys(self, *kinds: str) -> frozenset[str]:
        """The keys of the meanings of `kinds`."""
        return self.meanings.keys(kinds)


_LAST_ORDINAL: Final = 60
_END: Final = ""
_WATCH: Final = frozenset({"watch"})


class _Ends:
    """What phrases that end at one node of a trie mean."""

    __slots__ = ("_all", "_kept")

    def __init__(self) -> None:
        self._all: list[Meaning] = []
        self._kept: dict[frozenset[str], Meanings] = {}

    def add(self, meaning: Meaning) -> None:
        """Add a meaning, once; not to be called any more after `without`."""
        if meaning not in self._all:
            self._all.append(meaning)

    def without(self, ignore: frozenset[str]) -> Meanings:
        """Return the meanings that are of no ignored kind."""
        kept = self._kept.get(ignore)
        if kept is None:
            kept = self._kept[ignore] = Meanings(m for m in self._all if m.kind not in ignore)
        return kept


class Lexicon:
    """The trie of one language, and its word sets. Get it from `lexicon(language)`."""

    def __init__(self, wording: Phrases) -> None:
        self.language = wording.language
        self.wording = wording
        self._root: dict[str, Any] = {}
        data = wording.data
        self.known: set[str] = set()
        self.telltale: set[str] = set()  # words that tell the language, but vouch for nothing
        for key in KEYS:
            entry = data.keys[key]
            self._put([entry.name], Meaning("mention", key))
            for kind, name in _FIELDS.items():
                self._put(wording.expand(getattr(entry, name)), Meaning(kind, key))
            for label in entry.labels:
                self._put(wording.expressions(key, label), Meaning("claim", key, label))
                self._put(wording.expressions(key, label, short=True), Meaning("short", key, label))
        for name in Signals.model_fields:
            if name not in _NOT_SCANNED:
                self._put(wording.expand(getattr(data.signals, name)), Meaning(name))
        nouns = wording.expand(data.word_nouns)
        for place, pattern in enumerate(data.ordinal_forms or data.ordinals, start=1):
            forms = wording.expand((pattern,))
            self._put(
                [p for f in forms for n in nouns for p in (f"{f} {n}", f"{n} {f}")],
                Meaning("ordinal", "", str(place)),
            )
        for place in range(len(data.ordinals) + 1, _LAST_ORDINAL + 1):
            form = wording.ordinal(place)
            self._put([f"{form} {noun}" for noun in nouns], Meaning("ordinal", "", str(place)))
        lasts = wording.expand(data.signals.last)
        self._put([p for f in lasts for n in nouns for p in (f"{f} {n}", f"{n} {f}")], Meaning("ordinal", "", "-1"))
        self.boundaries = wording.expand(data.signals.boundary)
        self.requests = frozenset(words(" ".join(wording.expand(data.signals.requests)), self.language))
        self.questions = frozenset(words(" ".join(wording.expand(data.signals.question)), self.language))
        self.verbs = frozenset(words(" ".join(wording.expand(data.signals.verbs)), self.language))
        self.leading = frozenset(
            words(phrase, self.language)[0]
            for kind in (data.signals.affirm, data.signals.deny)
            for phrase in wording.expand(kind)
        )
        self.openings = tuple(f"{opening} " for opening in wording.expand(data.signals.openings))
        self.towards = wording.expand(data.signals.towards)
        signals = data.signals
        self.passing = self._runs(wording.expand((*signals.passing, *signals.rise, *signals.fall)))
        self.unreal = self._runs(wording.expand(signals.unreal))
        self.nesting = wording.expand(signals.nesting)
        self.alone = self._runs(wording.expand(signals.alone))
        self.negations = frozenset(p for p in wording.expand(data.signals.negation) if " " not in p)
        self.dangling = frozenset(words(" ".join(data.dangling), self.language))
        self.function_words = frozenset(words(" ".join(data.function_words), self.language))
        self.determiners = frozenset(data.determiners)
        self.vocabulary = frozenset(words(" ".join(data.vocabulary), self.language)) | self.function_words
        accents = (form for name in display_names() for form in accent_forms(self.language, name))
        self.telltale.update(words(" ".join(accents), self.language))
        self.known |= {word for word in data.vocabulary if word.endswith("'")}  # elided: "qu'"
        self.known |= self.vocabulary | self.requests | self.questions

    def _put(self, phrases_: Iterable[str], meaning: Meaning) -> None:
        for phrase in phrases_:
            parts = words(phrase, self.language)
            if not parts:
                continue
            (self.telltale if meaning.kind in _FORBIDDEN else self.known).update(parts)
            node = self._root
            for part in parts:
                node = node.setdefault(part, {})
            node.setdefault(_END, _Ends()).add(meaning)

    def _runs(self, phrases_: Iterable[str]) -> Runs:
        return Runs(words(phrase, self.language) for phrase in phrases_)

    def scan(self, text: Text, ignore: frozenset[str], skip: frozenset[int] = frozenset()) -> list[Hit]:
        """Return the recognised phrases, longest first match, never overlapping.

        Args:
            text: what to read; quotations and sentence ends are never part of a phrase, nor crossed by one.
            ignore: kinds of meanings that count for nothing here.
            skip: indices of tokens that are not looked at.
        """
        tokens, words_, root = text.tokens, text.words, self._root
        hits = []
        free_from, size = 0, len(tokens)
        for index, word in enumerate(words_):
            node = root.get(word)
            if node is None or index < free_from:
                continue
            token = tokens[index]
            if token.quote >= 0 or index in skip:
                continue
            best: Meanings | None = None
            place = index
            while node is not None:
                place += 1
                if (ends := node.get(_END)) is not None:
                    meanings = ends.without(ignore)
                    # (a grade word and what a comma parts from it are not one phrase)
                    if meanings and not (
                        best is not None and meanings.kinds == _WATCH and tokens[place - 1].clause != token.clause
                    ):
                        best, free_from = meanings, place
                if place >= size or (node := node.get(words_[place])) is None:
                    break
                following = tokens[place]
                if following.sentence != token.sentence or following.quote >= 0 or place in skip:
                    break
            if best is not None:
                hits.append(Hit(index, free_from, best))
        return hits


@functools.cache
def lexicon(language: str) -> Lexicon:
    """Return the lexicon of `language`, built once (a tenth of a second or so)."""
    return Lexicon(phrases(language))


@functools.cache
def languages_of_word() -> dict[str, tuple[str, ...]]:
    """Map every known word to the languages that know it."""
    found: dict[str, list[str]] = {}
    for language in LANGUAGES:
        for word in lexicon(language).known | lexicon(language).telltale:
            found.setdefault(word, []).append(language)
    return {word: tuple(languages) for word, languages in found.items()}
