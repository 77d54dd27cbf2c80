"""Is a short text in the language that it should be in?

Known words are the evidence: a word that few of the five languages know counts more. A statistical identifier
(py3langid) is asked only where the words do not decide; alone it fails on texts such as "Die Stimme klingt weiblich."
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import py3langid.langid

from sift_ray.instruct.verify.lexicon import languages_of_word, lexicon
from sift_ray.instruct.verify.text import TEXTS_KEPT, Text, Token
from sift_ray.schema import LANGUAGES

SHARES: Final = 60
"""What a word of one language speaks for it; one of several speaks for each with an equal part, a whole number."""

_PART: Final = {owners: SHARES // owners for owners in range(1, len(LANGUAGES) + 1)}
MARGIN: Final = SHARES * 3 // 4
"""By how much the language's evidence must exceed any other's to be beyond doubt."""

FAMILIAR: Final = 0.25
"""The share of words that must be known in the language."""


@functools.cache
def _letters() -> dict[str, str]:
    """Map each letter that speaks for one language to it."""
    claims: dict[str, list[str]] = {}
    for language in LANGUAGES:
        for letter in lexicon(language).wording.data.letters:
            claims.setdefault(letter, []).append(language)
    return {letter: owners[0] for letter, owners in claims.items() if len(owners) == 1}


@functools.cache
def _identify() -> Callable[[str], str]:
    identifier = py3langid.langid.LanguageIdentifier.from_modelpath(
        Path(py3langid.langid.MODEL_DIR) / py3langid.langid.MODEL_FILE
    )
    identifier.set_languages(list(LANGUAGES))
    return lambda text: str(identifier.classify(text)[0])


def evidence(words: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Return for each language how much words and letters speak for it, in shares, and how many words it knows."""
    known, letters = languages_of_word(), _letters()
    scores, counts = dict.fromkeys(LANGUAGES, 0), dict.fromkeys(LANGUAGES, 0)
    for word in words:
        if not word.isascii():
            for letter in word:
                if letter in letters:
                    scores[letters[letter]] += SHARES // 2
    for owners, times in Counter(map(known.get, words)).items():
        if owners is not None:
            for owner in owners:
                scores[owner] += times * _PART[len(owners)]
                counts[owner] += times
    return scores, counts


@functools.lru_cache(maxsize=TEXTS_KEPT)
def is_language(text: Text, language: str) -> bool:
    """Say whether the whole of `text`, and each longer sentence of it, is in `language`; quotations are left out."""
    own = [token for token in text.tokens if token.quote < 0] if text.quotes else text.tokens
    if not own or (len(own) <= 2 and text.quotes):
        return True  # (a word or two beside a quotation; that each is known is another rule)
    if own[0].sentence == own[-1].sentence:
        return _speaks(own, text.own, language)
    by_sentence: dict[int, list[Token]] = {}
    for token in own:
        by_sentence.setdefault(token.sentence, []).append(token)
    parts = [own, *(part for part in by_sentence.values() if len(part) >= 4 and len(part) < len(own))]
    return all(_speaks(part, [token.text for token in part], language) for part in parts)


def _speaks(tokens: Sequence[Token], words: Sequence[str], language: str) -> bool:
    scores, counts = evidence(words)
    if counts[language] < FAMILIAR * len(tokens):
        return False  # a sixth language can share a word or a letter with one of the five
    mine = scores[language]
    del scores[language]
    other = max(scores.values())
    if mine >= other + MARGIN:
        return True
    if other >= mine + MARGIN:
        return False
    if len(tokens) <= 3:
        # an answer of a word or two ("Normal.") may be several languages' own
        return mine >= other and mine > 0
    return mine > 0 and _identify()(" ".join(token.raw for token in tokens)) == language
