"""Rules about roles: who does what to whom, as far as a transcript's order of words and its prepositions tell."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.small_words import Roles, small_words
from sift_ray.instruct.verify.text import Token
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.instruct.verify.word_forms import alike

_SHORT: Final = 2
_LOOK_BACK: Final = 3
"""So many words before a word may be its preposition, its article and an adjective."""
_SENTENCE: Final = 3  # (fewer words of the transcript have no order to speak of)


def check_roles(answer: Reading, question: Reading, words: Lexicon, known: Known) -> None:
    """Refuse one taken for another: the buyer for the seller.

    In the five languages the one who acts comes before the rest of a plain clause, and one to whom something is done
    has a preposition or, in German, an article of its own. Where nothing tells the roles, nothing is refused.

    Args:
        answer: without any claim that is false.
        question: what it answers.
        words: the language's.
        known: the facts; only those of one audio are looked at.

    Raises:
        Refused: `wrong_role`.
    """
    said = known.transcripts.get(0)
    if not said:
        return
    found = _shared(known, words)
    own = [token for token in answer.text.tokens if token.quote < 0]
    asked = [token for token in question.text.tokens if token.quote < 0]
    found.check_asked(asked, [token for token in own if token.sentence == own[0].sentence] if own else [])
    topics = {answer.sentence(hit) for hit in answer.with_kind("topic")}
    for sentence in range(answer.text.tokens[-1].sentence + 1):
        if sentence not in topics:
            found.check_order([token for token in own if token.sentence == sentence])


@functools.lru_cache(maxsize=64)
def _shared(known: Known, words: Lexicon) -> _Shared:
    """Return what is looked up of a transcript, once for all pairs of a request."""
    return _Shared(known.transcripts[0], words, small_words(words.language).roles)


class _Shared:
    """What texts share with a transcript."""

    def __init__(self, said: Sequence[str], words: Lexicon, grammar: Roles) -> None:
        self._said = said
        self._words = words
        self._grammar = grammar
        self._passive = not grammar.passive.isdisjoint(said)
        first = next((i for i, word in enumerate(said) if word in grammar.passive), len(said))
        self._agentive = not grammar.agent.isdisjoint(said[first:])
        self._places: dict[str, list[int]] = {}
        self._empty = (words.function_words, words.determiners, grammar.articles)

    def check_asked(self, asked: Sequence[Token], own: Sequence[Token]) -> None:
        """Check the one that an answer's first sentence gives to a question for a person or a thing."""
        role = self._role(asked)
        anchors = [places for token in asked if (places := self._at(token.text))]
        if not role or not anchors:
            return
        given = {token.text for token in asked}
        fresh = [t for t in own if self._at(t.text) and not any(alike(t.text, other) for other in given)]
        repeated = [i for i, token in enumerate(own) if token.text in given and self._at(token.text)]
        if role == "subject" and repeated:
            ahead = [token for token in own[: repeated[0]] if token in fresh]
            by = next((i for i, token in enumerate(own) if token.text in self._grammar.agent), None)
            fresh = ahead or ([] if by is None else [token for token in own[by:] if token in fresh])
        if fresh and not any(self._fits(role, place, asked, own, anchors) for place in self._at(fresh[0].text)):
            raise Refused("wrong_role", f"{fresh[0].raw!r} has another part in the transcript")

    def _fits(
        self, role: str, place: int, asked: Sequence[Token], own: Sequence[Token], anchors: Sequence[Sequence[int]]
    ) -> bool:
        grammar, german = self._grammar, self._words.language == "de"
        by = self._agentive and self._before(place, grammar.agent, 1)
        towards = self._before(place, grammar.towards)
        if role == "thing":
            prepositions = {token.text for token in (*asked, *own)} & grammar.towards
            return bool(prepositions) or not towards
        first = anchors[0]
        if german:
            nouns = [self._at(token.text) for token in asked[1:] if token.raw[0].isupper()]
            first = next((places for places in nouns if places), [])
        if role == "object":
            return not first or any(place > other for other in first)
        if not grammar.passive.isdisjoint(token.text for token in asked) and self._asks_in_passive(asked):
            if self._passive:
                return not by
            return german or any(place > other for other in first)
        return by or (not (towards and german) and (not first or any(place < other for other in first)))

    def _role(self, asked: Sequence[Token]) -> str:
        """Say what a question asks for: "subject", "object", "thing", or "" for something else."""
        grammar, own = self._grammar, [token.text for token in asked]
        index = next((i for i, word in enumerate(own) if word in grammar.who | grammar.whom | grammar.what), None)
        if index is None or index > 1:
            return ""
        word, ahead, behind = own[index], own[:index], own[index + 1 : index + 3]
        if word in grammar.what:
            return "" if ahead and ahead[-1] not in grammar.what else "thing"
        if word in grammar.whom or (ahead and ahead[-1] in grammar.towards):
            return "object"
        if ahead:
            return ""
        if self._words.language == "en":
            moved = bool(behind) and behind[0] in grammar.asking
            inverted = moved and (behind[0] in ("did", "does", "do") or behind[-1] in grammar.articles)
            return "object" if inverted else "subject"
        return "object" if self._words.language == "fr" and behind and behind[0] in grammar.articles else "subject"

    def _asks_in_passive(self, asked: Sequence[Token]) -> bool:
        """Say whether a passive's auxiliary stands right behind the word of asking."""
        own = [token.text for token in asked]
        if self._words.language in ("fr", "it"):
            return any(word in own for word in ("été", "stato", "stata", "stati", "state"))
        return len(own) > 1 and own[1] in self._grammar.passive

    def check_order(self, own: Sequence[Token]) -> None:
        """Check that a sentence keeps the transcript's order, but for a part of it moved to the front."""
        grammar, german = self._grammar, self._words.language == "de"
        mapped = [
            (places[0], token)
            for token in own
            if len(places := self._at(token.text)) == 1 and (not german or token.raw[0].isupper())
        ]
        places = [place for place, _ in mapped]
        own_words = {token.text for token in own}
        passive = not grammar.passive.isdisjoint(own_words)
        if self._agentive and not passive and grammar.agent.isdisjoint(own_words):
            acts = [self._before(place, grammar.agent, 1) for place in places]
            if True in acts[acts.index(False) if False in acts else len(acts) :]:
                raise Refused("wrong_role", "the one who acts in the transcript is acted on")
        if len(places) < _SENTENCE or (self._agentive if not passive else not self._passive):
            return
        falls = [i for i, (one, other) in enumerate(pairwise(places)) if one > other]
        moved = len(falls) == 1 and places[-1] < places[0]
        if german and len(falls) == 1:
            moved = any(self._keeps_preposition(own, part) for part in (mapped[falls[0]], mapped[falls[0] + 1]))
        if falls and not moved:
            raise Refused("wrong_role", f"{mapped[falls[0]][1].raw!r} comes later in the transcript")

    def _keeps_preposition(self, own: Sequence[Token], first: tuple[int, Token]) -> bool:
        place, token = first
        index = own.index(token)
        ahead = {other.text for other in own[max(0, index - _LOOK_BACK) : index]}
        return any(
            word in ahead
            and (word in self._grammar.contracted or word in self._words.function_words - self._words.determiners)
            for word in self._said[max(0, place - _LOOK_BACK) : place]
        )

    def _at(self, word: str) -> list[int]:
        """Return where the transcript has a word of content, in its form or another."""
        places = self._places.get(word)
        if places is None:
            content = (len(word) > _SHORT or word[0].isdigit()) and word not in self._words.function_words
            places = [i for i, other in enumerate(self._said) if alike(word, other)] if content else []
            self._places[word] = places
        return places

    def _before(self, place: int, wanted: frozenset[str], filled: int = 0) -> bool:
        """Say whether one of `wanted` stands before a place, with articles and up to `filled` others between."""
        for word in reversed(self._said[max(0, place - _LOOK_BACK) : place]):
            if word in wanted:
                return True
            if not any(word in empty for empty in self._empty):
                filled -= 1
            if filled < 0:
                return False
        return False
