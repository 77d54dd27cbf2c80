"""The phones that a model has, and what stands in for the others.

Minutes of speech do not hold every phone of a language: a phone heard too seldom is taught, and one never
heard is aligned, as its nearest neighbour among those that were heard often enough. A model made elsewhere has
phones of its own choice, in IPA or ARPABET: every other phone is told in those that lie nearest.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from operator import itemgetter
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from sift_ray.align.g2p import Phones

LEAST_OCCURRENCES = 4
_VOWEL_TO_CONSONANT: Final = 100.0
"""At this distance and further nothing stands in: no vowel for a consonant."""
_CUT: Final = 1.5
"""What telling one phone as two costs besides their distances."""
_CEDILLA = "c\u0327"


class Inventory:
    """Maps any phone to those that the model has."""

    def __init__(self, phones: Iterable[str]) -> None:
        """Take the model's own `phones`, in IPA or ARPABET; others are known by their names only."""
        self._phones = tuple(sorted(set(phones)))
        self._spelled: dict[str, Phones] = {phone: (phone,) for phone in self._phones}

    @classmethod
    def of_counts(cls, counts: Mapping[str, int]) -> Inventory:
        """Take the phones that occur at least `LEAST_OCCURRENCES` times, or all if none does."""
        return cls([p for p, n in counts.items() if n >= LEAST_OCCURRENCES] or counts)

    @property
    def phones(self) -> tuple[str, ...]:
        """The model's own phones, sorted."""
        return self._phones

    def spell(self, phone: str) -> Phones:
        """Return the model's own phones that stand for `phone`: most often one, and none if nobody knows it.

        A phone of several symbols (`ɑːɹ`, `ts`) is told as several where no single phone lies nearer.
        """
        if phone not in self._spelled:
            known = [found for place in _places(phone) if (found := self._cheapest(place)) is not None]
            self._spelled[phone] = min(known, key=itemgetter(0))[1] if known else ()  # of equals the first in the table
        return self._spelled[phone]

    def stand_in(self, phone: str) -> str | None:
        """Return what `spell` does, apart by spaces; None if nobody knows what `phone` is."""
        return " ".join(self.spell(phone)) or None

    def translate(self, phones: Phones) -> Phones | None:
        """Return `phones` in the model's own, or None if one of them has no place there."""
        told = [self.spell(phone) for phone in phones]
        return tuple(own for part in told for own in part) if told and all(told) else None

    def _cheapest(self, symbols: tuple[str, ...]) -> tuple[float, Phones] | None:
        """Return the cost of telling `symbols`, marks with each, as one phone or cut in two, and those phones."""
        ways = [self._nearest(symbols)]
        for cut in range(1, len(symbols)):
            head, tail = self._nearest(symbols[:cut]), self._cheapest(symbols[cut:])
            if head is not None and tail is not None:
                ways.append((head[0] + tail[0] + _CUT, head[1] + tail[1]))
        known = [way for way in ways if way is not None]
        return min(known, key=_order) if known else None

    def _nearest(self, symbols: tuple[str, ...]) -> tuple[float, Phones] | None:
        place = _place(symbols)
        near = [
            (distance, (own,))
            for own in self._phones
            for other in _places(own)
            if (distance := float(np.abs(place - _place(other)).sum())) < _VOWEL_TO_CONSONANT
        ]
        return min(near, key=_order) if near else None


def _order(way: tuple[float, Phones]) -> tuple[float, int, list[tuple[bool, str]]]:
    """Order by cost; then fewer phones, ARPABET's stressed before its unstressed ones, and by name."""
    cost, phones = way
    return cost, len(phones), [(not phone.endswith("1"), phone) for phone in phones]


@dataclass(frozen=True, slots=True)
class _Space:
    symbols: Mapping[str, tuple[float, ...]]
    vowels: frozenset[str]
    glides: Mapping[str, str]
    marks: Mapping[str, float]
    arpa: Mapping[str, tuple[str, ...]]


@cache
def _space() -> _Space:
    ipa = _document("ipa.yaml")

    def kinds(symbol: str) -> Iterator[float]:
        for kind in ipa["kinds"]:
            yield float(kind["distance"]) if symbol in kind["symbols"] else 0.0

    symbols = {
        symbol: (first, *map(float, place), *kinds(symbol))
        for first, group in ((0.0, ipa["vowels"]), (_VOWEL_TO_CONSONANT, ipa["consonants"]))
        for symbol, place in group.items()
    }
    arpa = {symbol: tuple(phones.split()) for symbol, phones in _document("arpa.yaml").items()}
    return _Space(symbols, frozenset(ipa["vowels"]), ipa["glides"], ipa["marks"], arpa)


def _document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(
        resources.files("sift_ray.align").joinpath(name).read_text(encoding="utf-8")
    )
    return document


@cache
def _places(phone: str) -> tuple[tuple[str, ...], ...]:
    """Return each IPA phone that `phone` stands for as its symbols, with each the marks that follow it.

    That is `phone` itself unless it is ARPABET; nothing if it is neither.
    """
    arpa = _space().arpa.get(phone) or _space().arpa.get(phone.rstrip("012"), (phone,))
    return tuple(symbols for ipa in arpa if (symbols := _symbols(ipa)))


def _symbols(phone: str) -> tuple[str, ...]:
    symbols: list[str] = []
    for letter in unicodedata.normalize("NFD", phone).replace(_CEDILLA, "ç"):
        if letter in _space().symbols:
            symbols.append(letter)
        elif unicodedata.category(letter) in ("Mn", "Lm", "Sk"):
            if symbols:  # a mark before the first symbol (prenasalised, preaspirated) counts nothing
                symbols[-1] += letter
        else:
            return ()
    if any(symbol[0] in _space().vowels for symbol in symbols):
        return tuple(_space().glides.get(symbol[0], symbol[0]) + symbol[1:] for symbol in symbols)
    return tuple(symbols)


@cache
def _place(symbols: tuple[str, ...]) -> NDArray[np.float64]:
    """Return where a phone begins and ends in the space of `ipa.yaml`, and its marks."""
    ends = [place for symbol in (symbols[0], symbols[-1]) for place in _space().symbols[symbol[0]]]
    marks = {mark for symbol in symbols for mark in symbol[1:]}
    return np.array([*ends, *(weight * (mark in marks) for mark, weight in _space().marks.items())], np.float64)
