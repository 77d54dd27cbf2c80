"""A transcript as words of content with the links (prepositions and such) before each."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.small_words import Excerpts, small_words
from sift_ray.instruct.verify.word_forms import forms_of_one


class Grammar(NamedTuple):
    """A language's small words, put together as excerpts are looked at by them."""

    words: Excerpts
    links: dict[str, str]  # by their plain form
    telling: frozenset[str]
    free: frozenset[str]
    audio: frozenset[str]  # speak of the speaker or the recording


@functools.cache
def grammar_of(language: str) -> Grammar:
    """Return the words of `language`."""
    words = small_words(language).excerpts
    links = {word: word for word in words.prepositions | words.other_links}
    links |= {form: plain for plain, forms in words.contracted.items() for form in forms}
    return Grammar(words, links, words.telling | words.named, words.free | words.pronouns, words.audio | words.speakers)


class Transcript:
    """A transcript as words of content with the links before each."""

    def __init__(self, said: Sequence[str], words: Lexicon) -> None:
        self.grammar = grammar_of(words.language)
        self.lexicon = words
        self.said = said
        self.first_person = not self.grammar.words.first_person.isdisjoint(said)
        self.content = [i for i, word in enumerate(said) if self.is_content(word)]
        self.number = {place: n for n, place in enumerate(self.content)}
        self._forms: dict[str, list[int]] = {}

    def is_content(self, word: str) -> bool:
        """Say whether a word is none of the small ones."""
        if word in self.grammar.links or word in self.grammar.free or word.endswith("'"):
            return False
        return word not in self.lexicon.function_words and word not in self.lexicon.determiners

    def places(self, word: str) -> list[int]:
        """Return where the transcript has a word of content, in its form or another."""
        found = self._forms.get(word)
        if found is None:
            found = []
            if self.is_content(word):
                found = [i for i in self.content if forms_of_one(word, self.said[i], self.lexicon.language)]
                found = [i for i in found if self.said[i] == word] or found
            self._forms[word] = found
        return found

    def links(self, place: int) -> tuple[str, ...]:
        """Return the links between a word of content and the one before it."""
        number = self.number[place]
        start = self.content[number - 1] + 1 if number else 0
        return self.linked(self.said[start:place])

    def linked(self, between: Sequence[str]) -> tuple[str, ...]:
        """Return the links among some words."""
        return tuple(self.grammar.links[word] for word in between if word in self.grammar.links)


def recast(said: Sequence[str], language: str) -> list[list[str]]:
    """Return a transcript that is one passive with the one who acts, turned active; none for others."""
    grammar = grammar_of(language)
    first = next((i for i, word in enumerate(said) if word in grammar.words.passive), len(said))
    by = next((i for i in range(first + 1, len(said)) if grammar.links.get(said[i]) == grammar.words.agent), len(said))
    if not 0 < first < by < len(said) - 1:
        return []
    end = next((i for i in range(by + 1, len(said)) if said[i] in grammar.links), len(said))
    if language == "de":
        verb, rest = len(said) - 1, list(said[end:-1])
        end = min(end, verb)
    else:
        verb, rest = by - 1, list(said[end:])
    while said[first - 1] in grammar.free and first > 1:
        first -= 1
    towards = ["a"] if language == "es" else []
    return [[*said[by + 1 : end], said[verb], *towards, *said[:first], *rest]]
