"""What a sentence tells of a transcript without quotation marks, and behind which words of telling."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.text import Text, Token
from sift_ray.instruct.verify.transcript import Grammar, Transcript, grammar_of


class Word(NamedTuple):
    """A told word of content: where it stands in its text, and the links (prepositions and such) right before it."""

    at: int
    text: str
    links: tuple[str, ...]


class Group(NamedTuple):
    """Words told in one go, behind a word of telling (`frame`: "tell", "name", or "" for none)."""

    words: list[Word]
    frame: str


class Told(NamedTuple):
    """What a sentence tells of a transcript."""

    groups: list[Group]
    foreign: list[int]  # words that are neither of the transcript nor of telling, though the language knows them
    strange: list[int]
    speaks: bool  # it has the speaker do something
    claims: bool  # it tells of the voice or the recording too, outside of what introduces the telling


def framed(text: Text, words: Lexicon, run: Collection[int]) -> frozenset[int]:
    """Return those of the tokens `run` that stand behind a word of telling in their sentence.

    A stretch of them that speaks of the speaker or the recording is not among them: its claims count.
    """
    if not run:
        return frozenset()
    grammar = grammar_of(words.language)
    found: set[int] = set()
    for stretch in _stretches(sorted(run)):
        first = text.tokens[stretch[0]]
        ahead = [t for t in text.tokens[: stretch[0]] if t.sentence == first.sentence and t.quote < 0]
        topic = False
        while (
            ahead
            and ahead[-1].text not in grammar.telling
            and ahead[-1].text in words.function_words | grammar.words.that
        ):
            topic |= grammar.links.get(ahead.pop().text) in grammar.words.topics
        own = {text.tokens[i].text for i in stretch}
        introduced = (
            bool(ahead) and ahead[-1].text in grammar.telling and (topic or ahead[-1].text not in grammar.words.talking)
        )
        if introduced and own.isdisjoint(grammar.audio):
            found.update(stretch)
    return frozenset(found)


def _stretches(places: Sequence[int]) -> Iterator[list[int]]:
    stretch: list[int] = []
    for place in places:
        if stretch and place != stretch[-1] + 1:
            yield stretch
            stretch = []
        stretch.append(place)
    if stretch:
        yield stretch


def told_by(transcript: Transcript, reading: Reading, sentence: int, *, asks: bool = False) -> Told:  # noqa: PLR0912
    """Return what a sentence, with `asks` of a question, tells of the transcript, and what else it has."""
    grammar, words = transcript.grammar, transcript.lexicon
    tokens = reading.text.tokens
    covered, spoken = _covered(transcript.grammar, reading)
    groups: list[Group] = []
    found = Told(groups, [], [], False, False)
    speaks = claims = False
    begun = 0  # where the last word of telling stands
    frame, links, current = "", [], None  # type: str, list[str], Group | None
    for index, token in enumerate(tokens):
        if token.sentence != sentence:
            continue
        text = token.text
        if token.quote >= 0:
            frame, links, current = "", [], None
        elif _is_speaker(grammar, tokens, index):
            genitive = _is_genitive(grammar, tokens, index)
            speaks |= not genitive
            links = []
        elif asks and text in grammar.words.asking:
            links = []
        elif text in grammar.links and (index not in covered or text in transcript.said):
            links.append(grammar.links[text])
        elif text in grammar.telling and not (transcript.places(text) and current):
            named = text in grammar.words.named
            if groups and not groups[-1].frame:  # "three trees are mentioned", but not "Anna says"
                near = tokens[groups[-1].words[-1].at].clause == token.clause
                claims |= near and not named and not transcript.places(text)
                if named:
                    groups[-1] = groups[-1]._replace(frame="name")
            frame, links, current = "name", [], None
            begun, speaks = index, speaks or (text in grammar.words.talking and asks)
        elif text in grammar.words.that and frame and current is None:
            frame = "tell"
        elif index in covered:
            near = current is not None and index - current.words[-1].at <= 3
            claims |= (
                index in spoken and not frame and not (near and _is_genitive(grammar, tokens, index, "von", "vom"))
            )
            links = links if text in grammar.free else []
        elif text in grammar.words.asking and not transcript.places(text):
            links = []
        elif transcript.places(text) and (asks or text not in words.known or text in transcript.said):
            if current is None:
                talks = frame == "name" and tokens[begun].text in grammar.words.talking
                current = Group([], "" if talks and not grammar.words.topics.intersection(links) else frame)
                groups.append(current)
            current.words.append(Word(index, text, tuple(links)))
            links = []
        elif transcript.is_content(text) and len(text) > 2:
            (found.foreign if text in words.known else found.strange).append(index)
            links = []
    return found._replace(speaks=speaks, claims=claims)


def _covered(grammar: Grammar, reading: Reading) -> tuple[set[int], set[int]]:
    """Return the tokens that claims and mentions cover, and those of them that tell of voice or recording."""
    covered: set[int] = set()
    spoken: set[int] = set()
    for hit in reading.hits:
        kinds = hit.kinds()
        inside = range(hit.start, hit.end)
        own = [reading.text.tokens[i].text for i in inside]
        if kinds & {"claim", "short", "mention", "hint"} and "transcript" not in hit.keys("mention", "hint"):
            covered.update(inside)
            if any(word not in grammar.free for word in own):
                spoken.update(inside)
    return covered, spoken


def _is_speaker(grammar: Grammar, tokens: Sequence[Token], index: int) -> bool:
    text = tokens[index].text
    before = tokens[index - 1].text if index else ""
    return text in grammar.words.speakers or f"{before} {text}" in grammar.words.speakers


def _is_genitive(grammar: Grammar, tokens: Sequence[Token], index: int, *others: str) -> bool:
    if index + 1 < len(tokens) and tokens[index + 1].text == "'s":
        return True
    before = {token.text for token in tokens[max(0, index - 3) : index]}
    return not before.isdisjoint((*grammar.words.genitive, *others))
