"""A text as tokens with their sentence, clause and quotation marks."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

_APOSTROPHES: Final = "’ʼ‘`´"
# English and German keep an apostrophe inside a word and part the genitive; Romance languages part elided words
_GERMANIC = re.compile(r"(\d+(?:[.,:]\d+)*%?\w*|'s\b|[^\W\d_]+(?:'(?!s\b)[^\W\d_]+)*)")
_ROMANCE = re.compile(r"(\d+(?:[.,:]\d+)*%?\w*|(?:po|di)'|[^\W\d_]+'(?=[^\W\d_])|[^\W\d_]+)")
_WORDS: Final = {"en": _GERMANIC, "de": _GERMANIC, "fr": _ROMANCE, "it": _ROMANCE, "es": _ROMANCE}
_QUOTES = re.compile(
    r"\"([^\"]*)\"|“([^”“\"]*)[”“\"]|„([^“”\"]*)[“”\"]|«([^»]*)»|»([^«]*)«|(?<!\w)'(?=\S)((?:[^']|'(?=\w))*)(?<=\S)'(?!\w)"
)
# (only where this is found can there be a quotation)
_QUOTE_MARK = re.compile(r"[\"“„«»]|(?<!\w)'")
# "3.ª palabra", "das 3. Wort": a full stop that ends no sentence
_NUMBERED = re.compile(r"(?<=\d)\.(?=[ªº])")
_NUMBERED_GERMAN = re.compile(r"\b(\d{1,2})\.(?= [Ww]ort\b)")
_SENTENCE_END = re.compile(r"[.!?…\n。]")
_CLAUSE_END = re.compile(r"[,;:–—()]|\s-\s")

TEXTS_KEPT: Final = 2048
"""So many texts are kept as read, and what was found in them, some 10 KB each.

Nine questions in ten were asked of some utterance before, and seven answers of templates in ten were given.
"""


class Token(NamedTuple):
    """A word: lower case `text`, `raw` as written, its sentence and clause, and the quotation it stands in or -1."""

    text: str
    raw: str
    sentence: int
    clause: int
    quote: int
    initial: bool  # first of its sentence or quotation


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A tokenised text; `words` are all its words in lower case, `quotes` those of each quotation.

    Not to be changed: the same is given to all who read the same. Two are equal if they are one.
    """

    source: str
    tokens: tuple[Token, ...]
    quotes: tuple[tuple[str, ...], ...]
    words: list[str]
    own: list[str]  # those of them that stand in no quotation


def normal(text: str) -> str:
    """Return `text` in NFC with plain apostrophes."""
    if text.isascii():
        return text.replace("`", "'")
    text = unicodedata.normalize("NFC", text)
    for apostrophe in _APOSTROPHES:
        text = text.replace(apostrophe, "'")
    return text


def words(text: str, language: str) -> list[str]:
    """Return the words of `text` in lower case, without punctuation."""
    return _WORDS[language].findall(_plain(text, language).lower())


def _plain(text: str, language: str) -> str:
    plain = normal(text)
    if "º" in plain or "ª" in plain:
        plain = _NUMBERED.sub("", plain)
    return _NUMBERED_GERMAN.sub(r"\1", plain) if language == "de" and "ort" in plain else plain


@functools.lru_cache(maxsize=TEXTS_KEPT)
def read(text: str, language: str, boundaries: frozenset[str] = frozenset()) -> Text:
    """Tokenise `text`; `boundaries` are words that begin a new clause."""
    plain = _plain(text, language)
    spans = [match.span() for match in _QUOTES.finditer(plain)] if _QUOTE_MARK.search(plain) else []
    tokens: list[Token] = []
    words_: list[str] = []
    sentence = clause = end = 0
    last = quote = -1  # the quotations that the word before stands in, and this one
    initial = True
    parts = _WORDS[language].split(plain)  # what is between the words, and the words, by turns
    token_of = tuple.__new__  # (half the time of the class's own constructor)
    for gap, raw in zip(parts[::2], parts[1::2], strict=False):
        lower = raw.lower()
        if spans:
            start = end + len(gap)
            end = start + len(raw)
            last, quote = quote, next((i for i, (a, b) in enumerate(spans) if a <= start < b), -1)
        if words_:
            initial = False
            # (a full stop inside a quotation does not end the sentence around it)
            if gap and gap != " " and not (quote >= 0 and last == quote):
                if _SENTENCE_END.search(gap):
                    sentence, clause, initial = sentence + 1, clause + 1, True
                elif _CLAUSE_END.search(gap):
                    clause += 1
            if quote < 0:
                if lower in boundaries:
                    clause += 1
            elif last != quote:
                initial = True
        tokens.append(token_of(Token, (lower, raw, sentence, clause, quote, initial)))
        words_.append(lower)
    if not spans:
        return Text(plain, tuple(tokens), (), words_, words_)
    quoted = [tuple(t.text for t in tokens if t.quote == i) for i in range(len(spans))]
    return Text(plain, tuple(tokens), tuple(quoted), words_, [t.text for t in tokens if t.quote < 0])


class Runs:
    """Phrases as runs of words, looked for by words alone."""

    def __init__(self, runs: Iterable[Sequence[str]]) -> None:
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for run in sorted({tuple(run) for run in runs if run}, key=len, reverse=True):
            self._by_first.setdefault(run[0], []).append(run)
        every = [run for begun in self._by_first.values() for run in begun]
        # (many begin with an article: two words tell at once that most texts hold none)
        self._single = frozenset(run[0] for run in every if len(run) == 1)
        self._begun = frozenset(run[:2] for run in every if len(run) > 1)

    def within(self, words: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield each index of `words` at which a phrase begins, and the longest that does."""
        if self._begun.isdisjoint(pairwise(words)) and self._single.isdisjoint(words):
            return
        for start, word in enumerate(words):
            for run in self._by_first.get(word, ()):
                if tuple(words[start : start + len(run)]) == run:
                    yield start, run
                    break


def find_run(needle: Sequence[str], hay: Sequence[str]) -> list[int]:
    """Return every index at which `needle` occurs in `hay` as a run."""
    if not needle:
        return []
    size = len(needle)
    first = needle[0]
    return [i for i in range(len(hay) - size + 1) if hay[i] == first and list(hay[i : i + size]) == list(needle)]
