"""What a pronoun tells of the one who speaks where it stands for no noun: "Parle-t-elle fort ?" is asked of a woman.

In English every such pronoun tells it, and the phrase dictionary has them; elsewhere "elle" may be the person or the
voice, whatever the speaker is. A text that has named nothing of that gender yet leaves only the speaker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.small_words import small_words
from sift_ray.instruct.verify.text import Text, Token
from sift_ray.metadata.record import Fact

_NEAR: Final = 3
"""So many words around a pronoun may make it impersonal, as may all of its clause that follow: "il est possible"."""


def told_by_pronouns(asked: Text, said: Text, known: Known) -> list[Fact]:
    """Return the gender where a pronoun tells it, in a pair about one utterance.

    Args:
        asked: the question.
        said: the answer to it.
        known: the facts.

    Raises:
        Refused: `false_claim` or `unknown_claim`.
    """
    words = small_words(known.language).pronouns
    if words.either.isdisjoint(asked.own) and words.either.isdisjoint(said.own):
        return []
    evidence: list[Fact] = []
    for gender, own, articles in (
        ("female", words.female, words.female_articles),
        ("male", words.male, words.male_articles),
    ):
        for tokens, index in _unnamed((asked, said), articles):
            token = tokens[index]
            if token.text in own and not _is_idle(tokens, index, words.idle):
                evidence.append(known.check(Place(), "gender", gender, token.raw))
    return evidence


def _unnamed(texts: Sequence[Text], articles: frozenset[str]) -> Iterator[tuple[Sequence[Token], int]]:
    """Yield the places, one after the other, at which nothing is named that a pronoun of a gender may stand for.

    A noun with an article of the gender, or a quoted word maybe, is named from there on, and before it as far as its
    sentence reaches: "Est-elle forte, cette voix ?"
    """
    for text in texts:
        tokens = text.tokens
        named = {token.sentence for token in tokens if token.text in articles}
        for index, token in enumerate(tokens):
            if token.quote >= 0 or token.sentence in named:
                return
            yield tokens, index


def _is_idle(tokens: Sequence[Token], index: int, idle: frozenset[str]) -> bool:
    """Say whether the pronoun at `index` is impersonal, or one of address: "Können Sie …?"."""
    token = tokens[index]
    if token.raw[0].isupper() and not token.initial:
        return True
    near = range(max(0, index - _NEAR), min(len(tokens), index + _NEAR + 1))
    rest = (place for place in range(index, len(tokens)) if tokens[place].clause == token.clause)
    return any(tokens[place].text in idle for place in (*near, *rest))
