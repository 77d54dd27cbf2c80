"""What a language's dictionary makes recognisable, as a trie over words: one longest-match scan finds everything."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sift_ray.instruct.verify.text import Text, words
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
_NOT_SCANNED: Final = frozenset({"boundary", "question", "requests", "verbs"})
"""Signals that are looked up word by word instead."""


class Meaning(NamedTuple):
    """One thing that a phrase can mean.

    `kind` is "claim" or "short" (with key and label), one of `GRADED` (with key), "ordinal" (label: the number), or
    the name of a signal.
    """

    kind: str
    key: str = ""
    label: str = ""


class Hit(NamedTuple):
    """A recognised phrase: tokens `start` to `end` (exclusive) and what they can mean."""

    start: int
    end: int
    meanings: tuple[Meaning, ...]

    def kinds(self) -> frozenset[str]:
        """The kinds among the meanings."""
        return _kinds(self.meanings)

    def keys(self, *kinds: str) -> frozenset[str]:
        """The keys of the meanings of `kinds`."""
        return _keys(self.meanings, kinds)


@functools.lru_cache(maxsize=65_536)
def _kinds(meanings: tuple[Meaning, ...]) -> frozenset[str]:
    return frozenset(meaning.kind for meaning in meanings)


@functools.lru_cache(maxsize=65_536)
def _keys(meanings: tuple[Meaning, ...], kinds: tuple[str, ...]) -> frozenset[str]:
    return frozenset(meaning.key for meaning in meanings if meaning.kind in kinds and meaning.key)


_END = ""


class Lexicon:
    """The trie of one language, and its word sets. Get it from `lexicon(language)`."""

    def __init__(self, wording: Phrases) -> None:
        self.language = wording.language
        self.wording = wording
        self._root: dict[str, Any] = {}
        data = wording.data
        self.known: set[str] = set()
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
        lasts = wording.expand(data.signals.last)
        self._put([p for f in lasts for n in nouns for p in (f"{f} {n}", f"{n} {f}")], Meaning("ordinal", "", "-1"))
        self.boundaries = wording.expand(data.signals.boundary)
        self.requests = frozenset(words(" ".join(wording.expand(data.signals.requests)), self.language))
        self.questions = frozenset(words(" ".join(wording.expand(data.signals.question)), self.language))
        self.verbs = frozenset(words(" ".join(wording.expand(data.signals.verbs)), self.language))
        self.dangling = frozenset(words(" ".join(data.dangling), self.language))
        self.function_words = frozenset(words(" ".join(data.function_words), self.language))
        self.determiners = frozenset(data.determiners)
        self.vocabulary = frozenset(words(" ".join(data.vocabulary), self.language)) | self.function_words
        self.known |= self.vocabulary | self.requests | self.questions

    def _put(self, phrases_: Iterable[str], meaning: Meaning) -> None:
        for phrase in phrases_:
            parts = words(phrase, self.language)
            if not parts:
                continue
            self.known.update(parts)
            node = self._root
            for part in parts:
                node = node.setdefault(part, {})
            found = node.setdefault(_END, [])
            if meaning not in found:
                found.append(meaning)

    def scan(self, text: Text, ignore: frozenset[str], skip: frozenset[int] = frozenset()) -> list[Hit]:
        """Return the recognised phrases, longest first match, never overlapping.

        Args:
            text: what to read; quotations and sentence ends are never part of a phrase, nor crossed by one.
            ignore: kinds of meanings that count for nothing here.
            skip: indices of tokens that are not looked at.
        """
        tokens = text.tokens
        hits = []
        index, size = 0, len(tokens)
        while index < size:
            token = tokens[index]
            best: tuple[int, tuple[Meaning, ...]] | None = None
            if token.quote < 0 and index not in skip:
                node = self._root.get(token.text)
                place = index
                while node is not None:
                    place += 1
                    if (end := node.get(_END)) is not None:
                        meanings = tuple(m for m in end if m.kind not in ignore)
                        if meanings:
                            best = (place, meanings)
                    if place >= size:
                        break
                    following = tokens[place]
                    if following.sentence != token.sentence or following.quote >= 0 or place in skip:
                        break
                    node = node.get(following.text)
            if best is None:
                index += 1
            else:
                hits.append(Hit(index, best[0], best[1]))
                index = best[0]
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
        for word in lexicon(language).known:
            found.setdefault(word, []).append(language)
    return {word: tuple(languages) for word, languages in found.items()}
