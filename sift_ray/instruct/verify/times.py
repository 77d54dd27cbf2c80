"""Verifies questions about when words are spoken: every number must be a time or length of the words spoken of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Final

from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.references import Ref
from sift_ray.instruct.verify.text import Text
from sift_ray.instruct.verify.time_marks import Number
from sift_ray.instruct.verify.time_roles import AT, END, LASTS, PAUSE, PAUSE_SPAN, SPAN, START
from sift_ray.instruct.verify.time_statements import BEFORE, Statement, TimeReading, read_times
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.categories import TIME_KEYS, WORD_KEY
from sift_ray.metadata.record import Fact

TOLERANCE_S: Final = 0.05
"""How far a number may be from the fact: the aligners place nearly all boundaries within so much of the truth, so what
is nearer is no more wrong than the fact itself. Numbers of one decimal are rounded by as much."""

LEAST_PAUSE_S: Final = 0.1
"""Words nearer to each other have no pause between them: twice what a boundary may be off."""

_WHEN: Final = "when"
_TOLD_BY: Final = {
    START: frozenset({START, SPAN}),
    END: frozenset({END, SPAN}),
    LASTS: frozenset({LASTS}),
    PAUSE: frozenset({PAUSE}),
    AT: frozenset({AT, START, SPAN}),
    SPAN: frozenset({SPAN}),
    PAUSE_SPAN: frozenset({PAUSE_SPAN}),
    BEFORE: frozenset({BEFORE}),
    _WHEN: frozenset({AT, START, SPAN}),
}
_EPSILON: Final = 1e-6


def check_times(asked_text: Text, said_text: Text, lexicon: Lexicon, known: Known) -> list[Fact]:
    """Return the facts that an answer about times rests on: words, and their starts and ends.

    Raises:
        Refused: a number is not true of the word that it is said of, in question or answer; the answer does not tell
            what was asked, or of other words; or something is not understood.
    """
    asked = read_times(asked_text, lexicon, known)
    wanted = _wanted(asked)
    said = read_times(said_text, lexicon, known, wanted, tuple(asked.refs))
    _check_yes(asked, said)
    open_ = [s for s in asked.statements if not s.of and s.role != BEFORE]
    names = said.named
    if open_:
        return _of_a_word(asked, said, open_, known)
    evidence = [fact for s in asked.statements for fact in _hold(s, known)]
    if names or not said.statements:
        raise Refused("unverifiable", "nothing is told of a word" if names else "nothing is told")
    evidence += [fact for statement in said.statements for fact in _hold(statement, known)]
    _check_told(asked, said, wanted | {s.role for s in asked.statements})
    return evidence


def _of_a_word(asked: TimeReading, said: TimeReading, asking: Sequence[Statement], known: Known) -> list[Fact]:
    """Check an answer that names the word, or the two words of a pause, that the question describes by times."""
    if not asked.kinds() & {"which"} or len(asked.statements) != len(asking):
        raise Refused("unverifiable", "the question names no word, and asks for none")
    told = {s.of for s in said.statements} | ({tuple(said.named)} if said.named else set())
    if len(told) != 1 or not (of := next(iter(told))):
        raise Refused("off_topic", "asked for a word, told none, or several")
    evidence: list[Fact] = []
    statements = [Statement(s.role, s.numbers, of) for s in asking] + list(said.statements)
    for option in _options(of, pairs=any(s.role in (PAUSE, PAUSE_SPAN) for s in statements)):
        try:
            evidence = [fact for s in statements for fact in _true(s, option, known)]
        except Refused as refused:
            last = refused
        else:
            return evidence + _named(option, known)
    raise last


def _wanted(asked: TimeReading) -> frozenset[str]:
    """Return the roles that a question asks for; none where it gives numbers, or asks for an order."""
    if asked.statements:
        return frozenset()
    kinds = asked.kinds()
    if not asked.refs:
        raise Refused("unverifiable", "the question names no word")
    if {"before", "after"} <= kinds and len(asked.refs) == 2:
        return frozenset({BEFORE})
    if "before" in kinds or "after" in kinds:
        raise Refused("ambiguous_claim", "of which word the question is")
    if "span" in kinds:
        return frozenset({SPAN})
    if PAUSE in kinds:
        return frozenset({PAUSE})
    if not kinds & {"when", "length", START, END, LASTS}:
        raise Refused("off_topic", "the question is not about times")
    roles = kinds & {START, END}
    if LASTS in kinds or "length" in kinds:
        roles |= {LASTS}
    if not kinds & {"when", "length", "which"}:
        raise Refused("off_topic", "the question asks for no time")
    if roles == {LASTS} and len(asked.refs) == 2 and "pair_from" in kinds:
        return frozenset({PAUSE})  # ("How much time passes between X and Y?")
    return roles or frozenset({_WHEN})


def _check_yes(asked: TimeReading, said: TimeReading) -> None:
    """Refuse a yes to what is not asked by yes or no."""
    yes = [mark for mark in said.marks if mark.start == 0 and "affirm" in mark.kinds]
    following = said.text.tokens[yes[0].end : yes[0].end + 1] if yes else ()
    apart = not following or following[0].clause != said.text.tokens[0].clause
    if yes and apart and asked.kinds() & {"when", "length", "span", "which"}:
        raise Refused("off_topic", "yes, to a question that asks for more")


def _check_told(asked: TimeReading, said: TimeReading, wanted: Iterable[str]) -> None:
    """Refuse an answer that tells less than was asked, or of other words."""
    asked_of: list[tuple[Ref, ...]] = [(ref,) for ref in asked.refs]
    for role in wanted:
        of = [tuple(asked.refs)] if role in (PAUSE, PAUSE_SPAN, BEFORE) else asked_of
        for refs in of:
            told = {s.role for s in said.statements if _same(s.of, refs)}
            if not told & _TOLD_BY[role] and not (role == SPAN and {START, END} <= told):
                raise Refused("off_topic", f"asked for {role}, told {', '.join(sorted(told)) or 'nothing'} of it")


def _same(some: Sequence[Ref], others: Sequence[Ref]) -> bool:
    mine, theirs = ({place for ref in refs for place in ref.places} for refs in (some, others))
    return mine == theirs


_Option = tuple[tuple[Place, ...], ...]


def _options(of: Sequence[Ref], *, pairs: bool) -> Iterator[_Option]:
    """Yield what the words spoken of may be: runs of places, or for a pause pairs of neighbouring ones."""
    if len(of) != (2 if pairs else 1):
        raise Refused("ambiguous_claim", "of which words a number is said")
    options = list(product(*(ref.runs for ref in of)))
    if pairs:
        options = [
            tuple(pair)
            for option in options
            for pair in (option, option[::-1])
            if pair[1][0].position == pair[0][-1].position + 1
        ]
        if not options:
            raise Refused("false_claim", "the words are no neighbours")
    yield from options


def _hold(statement: Statement, known: Known) -> list[Fact]:
    """Return the facts that a statement rests on; of a word that is spoken more than once it must hold each time."""
    if statement.role == BEFORE:
        return _ordered(statement, known)
    evidence = []
    for option in _options(statement.of, pairs=statement.role in (PAUSE, PAUSE_SPAN)):
        evidence += _true(statement, option, known) + _named(option, known)
    return evidence


def _ordered(statement: Statement, known: Known) -> list[Fact]:
    evidence = []
    for first, second in product(*(ref.runs for ref in statement.of)):
        starts = [_time(known, run[0], 0) for run in (first, second)]
        if _seconds(starts[0]) >= _seconds(starts[1]):
            raise Refused("false_claim", "the words come in the other order")
        evidence += [*starts, *_named((first, second), known)]
    return evidence


def _true(statement: Statement, option: _Option, known: Known) -> list[Fact]:
    """Return the time facts by which a statement is true of some words.

    Raises:
        Refused: `false_claim`, or `unknown_claim` where a time is unknown.
    """
    role, numbers = statement.role, statement.numbers
    if role in (PAUSE, PAUSE_SPAN):
        start, end = _time(known, option[0][-1], 1), _time(known, option[1][0], 0)
        if _seconds(end) - _seconds(start) < LEAST_PAUSE_S - _EPSILON:
            raise Refused("false_claim", "there is no pause between the words")
    elif role == START:
        start = end = _time(known, option[0][0], 0)
    elif role == END:
        start = end = _time(known, option[0][-1], 1)
    else:
        start, end = _time(known, option[0][0], 0), _time(known, option[0][-1], 1)
    if role == AT:
        number = numbers[0]
        inside = _seconds(start) - number.rounding <= number.seconds + _EPSILON
        fits = inside and number.seconds - _EPSILON <= _seconds(end) + number.rounding
    elif role in (LASTS, PAUSE):
        fits = _near(numbers[0], _seconds(end) - _seconds(start))
    else:
        facts = (start, end) if role in (SPAN, PAUSE_SPAN) else (end,)
        fits = all(_near(number, _seconds(fact)) for number, fact in zip(numbers, facts, strict=True))
    if not fits:
        told = ", ".join(f"{number.seconds:.2f} s" for number in numbers)
        raise Refused("false_claim", f"{told}: {role} of word {option[0][0].position}: {start.value}, {end.value}")
    return list(dict.fromkeys((start, end)))


def _near(number: Number, seconds: float) -> bool:
    return abs(number.seconds - seconds) <= TOLERANCE_S + _EPSILON


def _time(known: Known, place: Place, which: int) -> Fact:
    """Return the fact of a word's start (0) or end (1)."""
    fact = known.get(place, TIME_KEYS[which])
    if fact is None:
        raise Refused("unknown_claim", f"{TIME_KEYS[which]} of word {place.position} is unknown")
    return fact


def _seconds(fact: Fact) -> float:
    return float(fact.value)


def _named(option: _Option, known: Known) -> list[Fact]:
    facts = (known.get(place, WORD_KEY) for run in option for place in run)
    return [fact for fact in facts if fact is not None]
