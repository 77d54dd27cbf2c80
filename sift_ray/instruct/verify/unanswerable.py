"""The rule for questions that nobody can answer who only hears the audio.

Both texts must be made up wholly of phrases that the language's `unanswerable/<language>.yaml` lists: what is asked
about, ways of saying that it can't be told, and what may stand beside them. So a word more ("…, but probably tall",
"this tall woman's name") refuses the pair, whatever the word is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from sift_ray.instruct.unanswerable import MACRO, unanswerable
from sift_ray.instruct.verify import wording
from sift_ray.instruct.verify.language import is_language
from sift_ray.instruct.verify.lexicon import Lexicon, lexicon
from sift_ray.instruct.verify.question import is_question
from sift_ray.instruct.verify.text import TEXTS_KEPT, Text, Token, read, words
from sift_ray.instruct.verify.verdict import Refused

_ASKING: Final = "asking"
_WHETHER: Final = "asking to tell"
_TELLING: Final = "cannot tell"
_BESIDE: Final = "beside"
_REFUSING: Final = "refusing"
_POLAR: Final = "polar "  # and the topic
_ABOUT: Final = "about "
_END: Final = ""
_UNTOLD: Final = -1
"""In place of the index at which a phrase ended that says that something can't be told: there was none yet."""
_SIGNALS: Final = ("leak", "hedge", "comparative", "causal")
"""Kinds of recognised phrases that give a refusal its reason."""


class _Parse(NamedTuple):
    """Phrases that cover a text: their kinds."""

    kinds: frozenset[str]

    def topics(self) -> frozenset[str]:
        """The topics spoken of."""
        marks = (_ABOUT, _POLAR)
        return frozenset(kind.removeprefix(m) for kind in self.kinds for m in marks if kind.startswith(m))


def check_unanswerable(words: Lexicon, question: str, answer: str, topics: Sequence[str]) -> tuple[str, ...]:
    """Return the topics that the question is about, and of which the answer says that they can't be told.

    Args:
        words: the lexicon of the language that both texts must be in.
        question: about one or more of `topics`; presumes nothing.
        answer: says of them that they can't be told, in each of its sentences, and nothing else.
        topics: what was asked for.

    Returns:
        The topics, in the order of `topics`.

    Raises:
        Refused: the first rule that is broken.
    """
    asked_text = read(question, words.language)
    said_text = read(answer, words.language)
    wording.check_form(question, asked_text, wording.QUESTION)
    wording.check_form(answer, said_text, wording.CLOSED)
    if len(asked_text.tokens) < 2:
        raise Refused("length", "a question of one word")
    if not is_question(question, asked_text, words):
        raise Refused("not_a_question", f"{question[:80]!r}")
    _check_signals(asked_text, words, "question", ("leak",))
    _check_signals(said_text, words, "answer", ("leak",))
    asked = _asked(asked_text, words, tuple(topics))
    named = _said(said_text, words, whether=_WHETHER in asked.kinds)
    spoken_of = asked.topics()
    if named - spoken_of:
        raise Refused("off_topic", f"the answer is about {', '.join(sorted(named - spoken_of))}, not what was asked")
    if named and spoken_of - named:
        raise Refused("unverifiable", f"the answer says nothing of {', '.join(sorted(spoken_of - named))}")
    return tuple(topic for topic in dict.fromkeys(topics) if topic in spoken_of)


@functools.lru_cache(maxsize=TEXTS_KEPT)
def _asked(text: Text, lexicon: Lexicon, topics: tuple[str, ...]) -> _Parse:
    """Read a question.

    Raises:
        Refused: it is not about the topics alone.
    """
    grammar = _grammar(lexicon.language)
    kinds = {_ASKING, _WHETHER, *(mark + topic for topic in topics for mark in (_ABOUT, _POLAR))}
    parses, reached = grammar.cover(text.tokens, frozenset(kinds))
    about = [parse for parse in parses if parse.topics()]
    if about:
        return min(about, key=lambda parse: (len(parse.topics()), sorted(parse.kinds)))
    everything = kinds | {mark + topic for topic in unanswerable(lexicon.language).topics for mark in (_ABOUT, _POLAR)}
    if any(parse.topics() for parse in grammar.cover(text.tokens, frozenset(everything))[0]):
        raise Refused("off_topic", f"the question is about none of {', '.join(topics)}")
    _explain(text, lexicon, "question")
    if parses:
        raise Refused("off_topic", f"the question is about none of {', '.join(topics)}")
    raise Refused("unknown_claim", f"the question says {_from(text.tokens, reached)!r}")


@functools.lru_cache(maxsize=TEXTS_KEPT)
def _said(text: Text, lexicon: Lexicon, *, whether: bool) -> frozenset[str]:
    """Read an answer; return the topics that it names, which may be none: "That can't be told."

    `whether` is for an answer to a question that asks whether something can be told.

    Raises:
        Refused: a sentence of it doesn't say that something can't be told, or says more.
    """
    grammar = _grammar(lexicon.language)
    kinds = frozenset({_TELLING, _BESIDE, *(_ABOUT + topic for topic in unanswerable(lexicon.language).topics)})
    if "?" in text.source:
        raise Refused("unverifiable", "the answer asks")
    named: frozenset[str] = frozenset()
    for sentence in range(text.tokens[-1].sentence + 1):
        tokens = [token for token in text.tokens if token.sentence == sentence]
        if not tokens:
            continue
        allowed = kinds | {_REFUSING} if sentence == 0 and whether else kinds
        parses, reached = grammar.cover(tokens, allowed)
        telling = [parse for parse in parses if _TELLING in parse.kinds]
        if not telling:
            _explain(text, lexicon, "answer")
            if parses or not grammar.finds(tokens, _TELLING):
                said = " ".join(token.raw for token in tokens)
                raise Refused("unverifiable", f"{said[:80]!r} doesn't say that something can't be told")
            raise Refused("unknown_claim", f"the answer says {_from(tokens, reached)!r} besides that it can't be told")
        # (of two readings the one that names less, as "that" may stand for what is asked)
        best = min(telling, key=lambda parse: (len(parse.topics()), sorted(parse.kinds)))
        named |= best.topics()
    return named


def _explain(text: Text, lexicon: Lexicon, what: str) -> None:
    """Refuse a text for a fault that has a name of its own, if it has one.

    Raises:
        Refused: the fault.
    """
    if not is_language(text, lexicon.language):
        raise Refused("language", f"the {what} is not in {lexicon.language}: {text.source[:80]!r}")
    if text.quotes:
        raise Refused("quote_not_in_transcript", f"{' '.join(text.quotes[0])!r}")
    for token in text.tokens:
        if token.text[0].isdigit():
            raise Refused("number_not_in_transcript", f"{token.raw!r}")
    _check_signals(text, lexicon, what, _SIGNALS)


def _check_signals(text: Text, lexicon: Lexicon, what: str, kinds: Sequence[str]) -> None:
    for hit in lexicon.scan(text, frozenset()):
        for kind in kinds:
            if kind in hit.kinds():
                raise Refused(kind, f"the {what} says {_raw(text.tokens[hit.start : hit.end])!r}")


def _raw(tokens: Sequence[Token]) -> str:
    return " ".join(token.raw for token in tokens)


def _from(tokens: Sequence[Token], place: int) -> str:
    return _raw(tokens[place : place + 8])


class _Grammar:
    """The phrases of one language as a trie over words and macros, each with its kinds; a trie for each macro."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._lexicon = lexicon(language)
        self._root: dict[str, Any] = {}
        data = unanswerable(language)
        self._macros: dict[str, dict[str, Any]] = {name: {} for name in data.macros}
        for name, pattern in data.macros.items():
            self._put(self._macros[name], data.expand([pattern]), name)
        for kind, patterns in (
            (_TELLING, data.cannot_tell),
            (_BESIDE, data.beside),
            (_REFUSING, data.refusing),
            (_ASKING, data.asking),
            (_WHETHER, data.asking_to_tell),
        ):
            self._put(self._root, data.expand(patterns), kind)
        for slug, topic in data.topics.items():
            self._put(self._root, [*data.expand(topic.asks), topic.name], _ABOUT + slug)
            self._put(self._root, data.expand(topic.polar), _POLAR + slug)

    def _put(self, root: dict[str, Any], phrases: Iterable[str], kind: str) -> None:
        for phrase in phrases:
            node = root
            for part in phrase.split():
                for word in self._split(part):
                    node = node.setdefault(word, {})
            if node is not root:
                node.setdefault(_END, set()).add(kind)

    def _split(self, part: str) -> list[str]:
        if part.startswith(MACRO):
            return [part]
        if part.endswith("'"):  # elided before a macro: what follows makes it a word
            return words(f"{part}x", self._language)[:-1]
        return words(part, self._language)

    def _phrases(self, tokens: Sequence[Token], place: int, node: dict[str, Any]) -> Iterator[tuple[int, set[str]]]:
        """Yield the end and the kinds of each phrase that goes on from `node` at `place`."""
        if _END in node:
            yield place, node[_END]
        if place == len(tokens) or tokens[place].quote >= 0:
            return
        if (following := node.get(tokens[place].text)) is not None:
            yield from self._phrases(tokens, place + 1, following)
        for name, macro in self._macros.items():
            if (following := node.get(MACRO + name)) is not None:
                for end, _ in self._phrases(tokens, place, macro):
                    yield from self._phrases(tokens, end, following)

    def _apart(self, tokens: Sequence[Token], told: int, start: int) -> bool:
        """Say whether what begins at `start` stands beside what ends at `told`, not within it."""
        if told == _UNTOLD:
            return True
        for before, token in pairwise(tokens[told : start + 1]):
            if token.text in self._lexicon.boundaries:
                return True
            if token.clause != before.clause and token.text not in self._lexicon.nesting:
                return True
        return False

    def finds(self, tokens: Sequence[Token], kind: str) -> bool:
        """Say whether a phrase of `kind` stands anywhere in `tokens`."""
        return any(
            kind in kinds for start in range(len(tokens)) for _, kinds in self._phrases(tokens, start, self._root)
        )

    def cover(self, tokens: Sequence[Token], allowed: frozenset[str]) -> tuple[list[_Parse], int]:
        """Cover `tokens` by phrases of `allowed` kinds, end to end.

        Returns:
            Every set of kinds by which all can be covered, and how far any covering came.
        """
        reached: list[set[tuple[frozenset[str], int]]] = [set() for _ in range(len(tokens) + 1)]
        reached[0].add((frozenset(), _UNTOLD))
        furthest = 0
        for start in range(len(tokens)):
            if not reached[start]:
                continue
            furthest = start
            for end, found in self._phrases(tokens, start, self._root):
                for kind in found & allowed:
                    if kind == _REFUSING and start:
                        continue
                    states = reached[start]
                    if kind == _TELLING:
                        # (that nobody can tell that it can't be told says that it can)
                        states = {(kinds, end - 1) for kinds, told in states if self._apart(tokens, told, start)}
                    reached[end] |= {(kinds | {kind}, told) for kinds, told in states}
        if reached[-1]:
            furthest = len(tokens)
        return [_Parse(kinds) for kinds in {kinds for kinds, _ in reached[-1]}], furthest


@functools.cache
def _grammar(language: str) -> _Grammar:
    return _Grammar(language)
