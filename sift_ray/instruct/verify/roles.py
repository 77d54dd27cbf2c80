"""Rules about roles: who does what to whom, as far as a transcript's order of words and its prepositions tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.text import Token
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.instruct.verify.wording import alike


class _Grammar(NamedTuple):
    """A language's words that give roles away."""

    who: frozenset[str]  # asks for a person; for the one who acts unless something else says otherwise
    whom: frozenset[str]  # asks for another than the one who acts
    what: frozenset[str]
    towards: frozenset[str]  # stands before one to whom something is given, told or done
    agent: frozenset[str]  # stands before the one who acts in a passive
    passive: frozenset[str]
    asking: frozenset[str] = frozenset()  # verbs behind "who" that a subject of its own follows
    articles: frozenset[str] = frozenset()


_CONTRACTED: Final = frozenset(("am", "im", "beim", "vom", "zum", "zur", "ins", "ans"))


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_GRAMMAR: Final = {
    "en": _Grammar(
        who=_set("who"),
        whom=_set("whom"),
        what=_set("what"),
        towards=_set("to for"),
        agent=_set("by"),
        passive=_set("is are was were been being be got"),
        asking=_set("did does do has have had is are was were will would can could should"),
        articles=_set("the a an my your his her its our their this that these those he she it they we you i"),
    ),
    "de": _Grammar(
        who=_set("wer"),
        whom=_set("wen wem"),
        what=_set("was"),
        towards=_set("dem meinem deinem seinem ihrem unserem eurem einem"),
        agent=_set("von vom"),
        passive=_set("wird werden wurde wurden worden"),
    ),
    "fr": _Grammar(
        who=_set("qui"),
        whom=frozenset(),
        what=_set("que qu' quoi"),
        towards=_set("à au aux pour"),
        agent=_set("par"),
        passive=_set("est sont était étaient été fut furent"),
        articles=_set(
            "le la les l' un une des mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cette"
        ),
    ),
    "it": _Grammar(
        who=_set("chi"),
        whom=frozenset(),
        what=_set("che cosa cos'"),
        towards=_set("a al allo alla all' ai agli alle per"),
        articles=_set("mio mia miei mie tuo tua tuoi tue suo sua suoi sue nostro nostra vostro vostra loro"),
        agent=_set("da dal dallo dalla dall' dai dagli dalle"),
        passive=_set("è sono era erano stato stata stati state viene vengono fu furono venne vennero"),
    ),
    "es": _Grammar(
        who=_set("quién quiénes"),
        whom=frozenset(),
        what=_set("qué"),
        towards=_set("a al para"),
        agent=_set("por"),
        passive=_set("es son fue fueron era eran sido"),
    ),
}
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
    found = _Shared(said, words, _GRAMMAR[words.language])
    own = [token for token in answer.text.tokens if token.quote < 0]
    asked = [token for token in question.text.tokens if token.quote < 0]
    found.check_asked(asked, [token for token in own if token.sentence == own[0].sentence] if own else [])
    topics = {answer.sentence(hit) for hit in answer.with_kind("topic")}
    for sentence in range(answer.text.tokens[-1].sentence + 1):
        if sentence not in topics:
            found.check_order([token for token in own if token.sentence == sentence])


class _Shared:
    """What texts share with a transcript."""

    def __init__(self, said: Sequence[str], words: Lexicon, grammar: _Grammar) -> None:
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
            word in ahead and (word in _CONTRACTED or word in self._words.function_words - self._words.determiners)
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
