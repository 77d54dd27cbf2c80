"""What a number in a text about times is: a start, an end, a length, or some time while a word is spoken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from sift_ray.instruct.verify.text import Text
from sift_ray.instruct.verify.time_marks import Mark, Quantity
from sift_ray.instruct.verify.verdict import Refused

START: Final = "start"
END: Final = "end"
LASTS: Final = "lasts"
PAUSE: Final = "pause"
SPAN: Final = "span"  # start and end
AT: Final = "at"  # some time while the word is spoken
PAUSE_SPAN: Final = "pause_span"

CUES: Final = frozenset({START, END, LASTS, PAUSE})
"""The kinds of phrases that tell what a number is."""

_OF_ONE: Final = {
    frozenset({START}): START,
    frozenset({END}): END,
    frozenset({LASTS}): LASTS,
    frozenset({PAUSE}): PAUSE,
    frozenset({PAUSE, LASTS}): PAUSE,
}
_OF_TWO: Final[dict[frozenset[str], str]] = {
    frozenset(): SPAN,
    frozenset({LASTS}): SPAN,
    frozenset({PAUSE}): PAUSE_SPAN,
    frozenset({PAUSE, LASTS}): PAUSE_SPAN,
}


class HasRole(Protocol):
    """An earlier statement."""

    @property
    def role(self) -> str:
        """What its number is."""


def role_of(
    text: Text, marks: Sequence[Mark], quantity: Quantity, wanted: frozenset[str], earlier: HasRole | None
) -> str:
    """Return the role of a number, or of two that are joined.

    Args:
        text: what it stands in.
        marks: the phrases about times around it.
        quantity: the number.
        wanted: the roles that the question asks for.
        earlier: what the sentence said before of another word: "X at 1.2 s, Y at 1.5 s".

    Raises:
        Refused: `ambiguous_claim`, where the words around it tell nothing, or several things.
    """
    first = quantity.numbers[0]
    units = {i for number in quantity.numbers for i in range(number.start, number.end)}
    outer = [mark for mark in marks if units.isdisjoint(range(mark.start, mark.end))]
    starts = {number.start for number in quantity.numbers}
    if any(mark.kinds & {"before", "after"} and mark.end not in starts for mark in outer) or "before" in first.before:
        raise Refused("ambiguous_claim", "a number beside an order of words")
    cues = frozenset[str]().union(*(mark.kinds & CUES for mark in outer))
    role = _OF_TWO.get(cues) if len(quantity.numbers) == 2 else _role_of_one(cues, first.before, wanted, earlier)
    if role is None:
        raw = " ".join(token.raw for token in text.tokens[quantity.start : quantity.end])
        raise Refused("ambiguous_claim", f"what {raw!r} is")
    return role


def _role_of_one(
    cues: frozenset[str], before: frozenset[str], wanted: frozenset[str], earlier: HasRole | None
) -> str | None:
    timed = bool(before & {"at", "after"}) and "during" not in before
    role = _OF_ONE.get(cues)
    if "until" in before:
        return END if cues <= {LASTS, END} else None
    if "since" in before and "at" not in before and cues <= {START}:
        return START
    if not cues:
        role = _role_by_context(before, wanted, earlier)
    elif role in (START, END) and "during" in before and not before & {"at", "after", "words"}:
        return None  # ("It starts for 0.3 seconds.")
    return None if timed and role in (PAUSE, LASTS) else role


def _role_by_context(before: frozenset[str], wanted: frozenset[str], earlier: HasRole | None) -> str:
    if earlier is not None:
        return earlier.role
    if "during" in before and "at" not in before:
        return LASTS
    asked = next(iter(wanted)) if len(wanted) == 1 else AT
    return asked if asked in CUES else AT
