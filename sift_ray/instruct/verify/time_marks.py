"""What tells a time in a text: numbers with their unit, and the words that say what a number is."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from sift_ray.instruct.verify.lexicon import Hit, Lexicon
from sift_ray.instruct.verify.text import Text, words
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.phrases import Signals, Times, phrases

_NUMBER: Final = re.compile(r"(\d{1,4})(?:[.,](\d{1,2}))?([^\W\d_]+)?")
_SIGNED: Final = re.compile(r"[-−–+±~≈<>=*/^]\s?\d")
_REFUSED_AS: Final = (
    (("leak",), "leak"),
    (("negation",), "negation"),
    (("hedge",), "hedge"),
    (("comparative", "up", "down", "most", "least"), "comparative"),
    (("causal",), "causal"),
    (("claim", "short", "watch", "mention", "degree"), "unknown_claim"),
)
_ALL_BUT_ORDINALS: Final = frozenset(
    {*Signals.model_fields, "claim", "short", "mention", "hint", "watch", "up", "down", "most", "least"}
)
_END: Final = ""


class Mark(NamedTuple):
    """A phrase of `phrases.Times`: tokens `start` to `end` (exclusive) and the fields that hold it."""

    start: int
    end: int
    kinds: frozenset[str]


class Number(NamedTuple):
    """A time or a length of time in a text.

    `start` and `end` (exclusive) are its tokens with the unit's; `before` are the kinds of the phrase in front of it,
    past an "about"; `rounding` is by how many seconds it may be off for having one decimal only.
    """

    start: int
    end: int
    seconds: float
    rounding: float
    before: frozenset[str]


class Quantity(NamedTuple):
    """A number, or two that a text joins: from one to the other."""

    numbers: tuple[Number, ...]

    @property
    def start(self) -> int:
        """The first token."""
        return self.numbers[0].start

    @property
    def end(self) -> int:
        """The token after the last."""
        return self.numbers[-1].end


@functools.cache
def _trie(language: str) -> dict[str, Any]:
    wording = phrases(language)
    root: dict[str, Any] = {}
    for kind in Times.model_fields:
        for phrase in wording.expand(getattr(wording.data.times, kind)):
            node = root
            for part in _parts(phrase, language):
                node = node.setdefault(part, {})
            node[_END] = node.get(_END, frozenset()) | {kind}
    return root


def _parts(phrase: str, language: str) -> list[str]:
    """Return the tokens of a phrase; an elided word ("l'") is one, though none follows it."""
    pieces = ([piece] if piece.endswith("'") else words(piece, language) for piece in phrase.split())
    return [part for parts in pieces for part in parts]


def ordinals_of(text: Text, lexicon: Lexicon) -> list[Hit]:
    """Return the words that are spoken of by their place: "the second word"."""
    return lexicon.scan(text, _ALL_BUT_ORDINALS)


def marks_of(text: Text, language: str, taken: frozenset[int]) -> list[Mark]:
    """Return the phrases about times, longest first, never overlapping; tokens in `taken` or quoted are in none."""
    tokens = text.tokens
    root = _trie(language)
    found = []
    index = 0
    while index < len(tokens):
        node: dict[str, Any] | None = root
        place, best = index, None
        while place < len(tokens) and place not in taken and tokens[place].quote < 0 and node is not None:
            if tokens[place].sentence != tokens[index].sentence or tokens[place].text not in node:
                break
            node = node[tokens[place].text]
            place += 1
            if _END in node:
                best = Mark(index, place, node[_END])
        if best is not None:
            found.append(best)
        index = best.end if best is not None else index + 1
    return found


def check_known(text: Text, lexicon: Lexicon, marks: Sequence[Mark], taken: frozenset[int]) -> None:
    """Refuse words that no phrase about times holds, and a sentence that ends in a word which none can end in.

    What is not understood is not vouched for.
    """
    dangling = lexicon.dangling - set(lexicon.wording.data.times.particles)
    for token, following in zip_longest(text.tokens, text.tokens[1:]):
        ends = following is None or following.sentence != token.sentence
        if ends and token.quote < 0 and token.text in dangling:
            raise Refused("broken_off", f"a sentence ends in {token.raw!r}")
    covered = {i for mark in marks for i in range(mark.start, mark.end)} | taken
    stray = [
        i for i, t in enumerate(text.tokens) if t.quote < 0 and i not in covered and not t.text[0].isdigit()
    ]  # (numbers are checked by themselves)
    if not stray:
        return
    hits = lexicon.scan(text, frozenset())
    for kinds, slug in _REFUSED_AS:
        for hit in hits:
            if hit.kinds() & set(kinds) and any(hit.start <= i < hit.end for i in stray):
                raise Refused(slug, f"{_raw(text, hit.start, hit.end)!r}")
    raise Refused("ungrounded", " ".join(text.tokens[i].raw for i in stray[:8]))


def quantities_of(text: Text, language: str, marks: Sequence[Mark], ordinals: Iterable[Hit]) -> list[Quantity]:
    """Return the numbers of a text in order, pairs ("from 1.2 to 1.5 seconds") as one.

    Raises:
        Refused: `number_form`, for a number without a unit, or in no form that a time has.
    """
    counted = {i for hit in ordinals for i in range(hit.start, hit.end)}
    if match := _SIGNED.search(text.source):
        raise Refused("number_form", f"{match[0]!r}")
    starting, ending = {mark.start: mark for mark in marks}, {mark.end: mark for mark in marks}
    read = [
        _number(text, language, index, starting, ending)
        for index, token in enumerate(text.tokens)
        if token.quote < 0 and index not in counted and token.text[0].isdigit()
    ]
    counting = {i for number, _ in read for i in range(number.start, number.end)}
    for mark in marks:
        if mark.kinds <= {"seconds", "milliseconds"} and mark.start not in counting:
            raise Refused("number_form", f"{_raw(text, mark.start, mark.end)!r} of no number")  # ("second to last")
    found: list[Quantity] = []
    index = 0
    while index < len(read):
        number, scale = read[index]
        if index + 1 < len(read) and _joined(number, read[index + 1][0], starting):
            second, second_scale = read[index + 1]
            pair = [(number, scale or second_scale), (second, second_scale)]
            index += 2
        else:
            pair = [(number, scale)]
            index += 1
        found.append(Quantity(tuple(_scaled(text, *entry) for entry in pair)))
    return found


def _number(
    text: Text, language: str, index: int, starting: dict[int, Mark], ending: dict[int, Mark]
) -> tuple[Number, float | None]:
    """Return the number at a token, as written, and what to multiply it by; None without a unit."""
    token = text.tokens[index]
    match = _NUMBER.fullmatch(token.text)
    if match is None:
        raise Refused("number_form", f"{token.raw!r}")
    start, end = index, index + 1
    scale = None
    if match[3]:
        scale = _unit(_trie(language).get(match[3], {}).get(_END, frozenset()))
        if scale is None:
            raise Refused("number_form", f"{token.raw!r}")
    elif (mark := starting.get(end)) is not None and (scale := _unit(mark.kinds)) is not None:
        end = mark.end
    elif (mark := ending.get(start)) is not None and (scale := _unit(mark.kinds)) is not None:
        start = mark.start  # ("at second 1.2")
    if scale == 1.0 / 1000 and match[2]:
        raise Refused("number_form", f"{token.raw!r}")
    mark = ending.get(start)
    if mark is not None and "about" in mark.kinds:
        mark = ending.get(mark.start) or mark
    value = float(f"{match[1]}.{match[2] or 0}")
    rounding = 0.05 if match[2] and len(match[2]) == 1 else 0.0
    return Number(start, end, value, rounding, frozenset() if mark is None else mark.kinds), scale


def _unit(kinds: frozenset[str]) -> float | None:
    return 1.0 if "seconds" in kinds else 1.0 / 1000 if "milliseconds" in kinds else None


def _joined(first: Number, second: Number, starting: dict[int, Mark]) -> bool:
    """Say whether "from 1.2 to 1.5" or "1.2 until 1.5" makes two numbers one stretch."""
    between = starting.get(first.end)
    if between is not None and "about" in between.kinds:
        between = starting.get(between.end)
    if between is None or "pair_to" not in between.kinds:
        return False
    after = starting.get(between.end)
    reaches = second.start in (between.end, after.end if after is not None and "about" in after.kinds else -1)
    return reaches and ("pair_from" in first.before or "until" in between.kinds)


def _scaled(text: Text, number: Number, scale: float | None) -> Number:
    if scale is None:
        raise Refused("number_form", f"{_raw(text, number.start, number.end)!r} has no unit")
    return number._replace(seconds=number.seconds * scale)


def _raw(text: Text, start: int, end: int) -> str:
    return " ".join(token.raw for token in text.tokens[start:end])
