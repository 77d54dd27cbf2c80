"""What a text says of the times of words: which number is whose start, end or length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.references import Ref, identify, word_refs
from sift_ray.instruct.verify.text import Text
from sift_ray.instruct.verify.time_marks import (
    Mark,
    Number,
    Quantity,
    check_known,
    marks_of,
    ordinals_of,
    quantities_of,
)
from sift_ray.instruct.verify.time_roles import CUES, LASTS, PAUSE, role_of
from sift_ray.instruct.verify.verdict import Refused

BEFORE: Final = "before"
"""The role of an order of two words, which has no number."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing said: a role, its numbers, and the words it is of; none where the text leaves that to another."""

    role: str
    numbers: tuple[Number, ...]
    of: tuple[Ref, ...]


@dataclass(slots=True)
class TimeReading:
    """A text about times: its references, what it states, and what it asks for."""

    text: Text
    marks: list[Mark]
    refs: list[Ref]
    statements: list[Statement] = field(default_factory=list)
    named: list[Ref] = field(default_factory=list)
    """Words that nothing is stated of."""

    def kinds(self) -> frozenset[str]:
        """All kinds of phrases in the text."""
        return frozenset().union(*(mark.kinds for mark in self.marks))


def read_times(
    text: Text, lexicon: Lexicon, known: Known, wanted: frozenset[str] | None = None, of: tuple[Ref, ...] = ()
) -> TimeReading:
    """Read the statements of `text`.

    Args:
        text: a question or an answer.
        lexicon: its language's.
        known: the facts.
        wanted: for an answer, the roles that its question asks for; None for a question.
        of: the words that its question is about.

    Raises:
        Refused: a word or number is not understood, or it is open what a number is of.
    """
    ordinals = ordinals_of(text, lexicon)
    taken = frozenset(i for hit in ordinals for i in range(hit.start, hit.end))
    marks = marks_of(text, lexicon.language, taken)
    check_known(text, lexicon, marks, taken)
    quantities = quantities_of(text, lexicon.language, marks, ordinals)
    _check_about(text, marks, quantities)
    refs, _ = identify(word_refs(Reading(text, ordinals, language=lexicon.language), known), _plain(text), known)
    reading = TimeReading(text, marks, refs)
    last: Statement | None = None
    carried: list[Ref] = []
    for start, end, quantity in _segments(text, quantities, lexicon.boundaries):
        mine = [mark for mark in marks if start <= mark.start < end]
        carried += [ref for ref in refs if start <= ref.start < end]
        statement: Statement | None
        if quantity is None:
            statement = _order(text, mine, carried, asking=wanted is None)
            if statement is None:
                continue
        else:
            sentence = text.tokens[start].sentence
            earlier = last if last is not None and text.tokens[last.numbers[0].start].sentence == sentence else None
            role = role_of(text, mine, quantity, wanted or frozenset(), earlier if carried else None)
            if role == LASTS and wanted == frozenset({PAUSE}) and not carried:
                role = PAUSE  # ("It is 0.3 seconds long.")
            subject = tuple(carried) or (last.of if last is not None else ()) or of
            statement = Statement(role, quantity.numbers, subject)
            last = statement
        reading.statements.append(statement)
        carried = []
    reading.named = carried
    return reading


def _plain(text: Text) -> Reading:
    return Reading(text, [])


def _check_about(text: Text, marks: Sequence[Mark], quantities: Sequence[Quantity]) -> None:
    """Refuse an "about" that stands neither before nor after a number."""
    numbers = [number for quantity in quantities for number in quantity.numbers]
    starts, ends = {number.start for number in numbers}, {number.end for number in numbers}
    for mark in marks:
        if mark.kinds == {"about"} and mark.end not in starts and mark.start not in ends:
            raise Refused("hedge", text.tokens[mark.start].raw)


def _segments(
    text: Text, quantities: Sequence[Quantity], boundaries: frozenset[str]
) -> Iterator[tuple[int, int, Quantity | None]]:
    """Part a text into runs of tokens with one quantity at most: at sentences, then at "and", then at commas."""
    tokens = text.tokens
    start = 0
    while start < len(tokens):
        end = next((i for i in range(start, len(tokens)) if tokens[i].sentence != tokens[start].sentence), len(tokens))
        mine = [quantity for quantity in quantities if start <= quantity.start < end]
        for left, right in pairwise(mine):
            between = [i for i in range(left.end, right.start) if tokens[i].quote < 0]
            joints = [i for i in between if tokens[i].text in boundaries] or [
                i for i in range(left.end, right.start + 1) if tokens[i].clause != tokens[i - 1].clause
            ]
            if not joints:
                raise Refused("ambiguous_claim", "two numbers, and nothing that parts them")
            yield start, joints[0], left
            start = joints[0]
        yield start, end, mine[-1] if mine else None
        start = end


def _order(text: Text, marks: Sequence[Mark], refs: Sequence[Ref], *, asking: bool) -> Statement | None:
    """Read a run without a number: "X is spoken before Y", or nothing."""
    if asking and {"before", "after"} <= frozenset().union(*(mark.kinds for mark in marks)):
        return None  # ("before or after?")
    for mark in marks:
        orders = mark.kinds & {"before", "after"}
        if orders and not mark.kinds & {"at", "when"}:
            later = [ref for ref in refs if ref.start >= mark.end]
            if len(refs) != 2 or not later:
                if asking:
                    return None
                raise Refused("ambiguous_claim", "an order is claimed of other than two words")
            other = next(ref for ref in refs if ref is not later[0])
            pair = (other, later[0]) if "before" in orders else (later[0], other)
            return Statement(BEFORE, (), pair)
        if not asking and mark.kinds & CUES:
            raw = " ".join(token.raw for token in text.tokens[mark.start : mark.end])
            raise Refused("unverifiable", f"{raw!r} without a number")
    return None
