"""A text as tokens with their sentence, clause and quotation marks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_APOSTROPHES = re.compile("[’ʼ‘`´]")
# English and German keep an apostrophe inside a word and part the genitive; Romance languages part elided words
_GERMANIC = re.compile(r"\d+(?:[.,:]\d+)*%?\w*|'s\b|[^\W\d_]+(?:'(?!s\b)[^\W\d_]+)*")
_ROMANCE = re.compile(r"\d+(?:[.,:]\d+)*%?\w*|(?:po|di)'|[^\W\d_]+'(?=[^\W\d_])|[^\W\d_]+")
_WORDS: Final = {"en": _GERMANIC, "de": _GERMANIC, "fr": _ROMANCE, "it": _ROMANCE, "es": _ROMANCE}
_QUOTES = re.compile(
    r"\"([^\"]*)\"|“([^”“\"]*)[”“\"]|„([^“”\"]*)[“”\"]|«([^»]*)»|»([^«]*)«|(?<!\w)'(?=\S)((?:[^']|'(?=\w))*)(?<=\S)'(?!\w)"
)
# "3.ª palabra", "das 3. Wort": a full stop that ends no sentence
_NUMBERED = re.compile(r"(?<=\d)\.(?=[ªº])")
_NUMBERED_GERMAN = re.compile(r"\b(\d{1,2})\.(?= [Ww]ort\b)")
_SENTENCE_END = re.compile(r"[.!?…\n。]")
_CLAUSE_END = re.compile(r"[,;:–—()]|\s-\s")


class Token(NamedTuple):
    """A word: lower case `text`, `raw` as written, its sentence and clause, and the quotation it stands in or -1."""

    text: str
    raw: str
    sentence: int
    clause: int
    quote: int
    initial: bool  # first of its sentence or quotation


@dataclass(frozen=True, slots=True)
class Text:
    """A tokenised text; `words` are all its words in lower case, `quotes` those of each quotation."""

    source: str
    tokens: tuple[Token, ...]
    quotes: tuple[tuple[str, ...], ...]
    words: list[str]


def normal(text: str) -> str:
    """Return `text` in NFC with plain apostrophes."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return _APOSTROPHES.sub("'", text)


def words(text: str, language: str) -> list[str]:
    """Return the words of `text` in lower case, without punctuation."""
    return _WORDS[language].findall(_plain(text, language).lower())


def _plain(text: str, language: str) -> str:
    plain = _NUMBERED.sub("", normal(text))
    return _NUMBERED_GERMAN.sub(r"\1", plain) if language == "de" else plain


def read(text: str, language: str, boundaries: frozenset[str] = frozenset()) -> Text:
    """Tokenise `text`; `boundaries` are words that begin a new clause."""
    plain = _plain(text, language)
    spans = [match.span() for match in _QUOTES.finditer(plain)]
    tokens: list[Token] = []
    sentence = clause = 0
    end, initial = 0, True
    for match in _WORDS[language].finditer(plain):
        gap = plain[end : match.start()]
        end = match.end()
        raw = match[0]
        lower = raw.lower()
        quote = -1
        if spans:
            quote = next((i for i, (a, b) in enumerate(spans) if a <= match.start() < b), -1)
        if tokens:
            # (a full stop inside a quotation does not end the sentence around it)
            initial = False
            if gap and gap != " " and not (quote >= 0 and tokens[-1].quote == quote):
                if _SENTENCE_END.search(gap):
                    sentence, clause, initial = sentence + 1, clause + 1, True
                elif _CLAUSE_END.search(gap):
                    clause += 1
            if quote < 0 and lower in boundaries:
                clause += 1
            if quote >= 0 and tokens[-1].quote != quote:
                initial = True
        tokens.append(Token(lower, raw, sentence, clause, quote, initial))
    quoted = [tuple(t.text for t in tokens if t.quote == i) for i in range(len(spans))]
    return Text(plain, tuple(tokens), tuple(quoted), [token.text for token in tokens])


def find_run(needle: Sequence[str], hay: Sequence[str]) -> list[int]:
    """Return every index at which `needle` occurs in `hay` as a run."""
    if not needle:
        return []
    size = len(needle)
    first = needle[0]
    return [i for i in range(len(hay) - size + 1) if hay[i] == first and list(hay[i : i + size]) == list(needle)]
