"""What a pronoun tells of the one who speaks where it stands for no noun: "Parle-t-elle fort ?" is asked of a woman.

In English every such pronoun tells it, and the phrase dictionary has them; elsewhere "elle" may be the person or the
voice, whatever the speaker is. A text that has named nothing of that gender yet leaves only the speaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.small_words import small_words
from sift_ray.instruct.verify.text import Text, Token
from sift_ray.metadata.record import Fact

_NEAR: Final = 3
"""So many words around a pronoun may make it impersonal: "y a-t-il", "il s'agit"."""


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
    tokens = (*asked.tokens, *said.tokens)
    evidence: list[Fact] = []
    for gender, own, articles in (
        ("female", words.female, words.female_articles),
        ("male", words.male, words.male_articles),
    ):
        for index, token in enumerate(tokens):
            if token.quote >= 0 or token.text in articles:
                break  # from here on there is something that it may stand for, a quoted word maybe
            if token.text in own and not _is_idle(tokens, index, words.idle):
                evidence.append(known.check(Place(), "gender", gender, token.raw))
    return evidence


def _is_idle(tokens: Sequence[Token], index: int, idle: frozenset[str]) -> bool:
    """Say whether the pronoun at `index` is impersonal, or one of address: "Können Sie …?"."""
    token = tokens[index]
    if token.raw[0].isupper() and not token.initial:
        return True
    near = tokens[max(0, index - _NEAR) : index + _NEAR]
    return any(other.text in idle for other in near)
