"""The phones that a model has learnt, and what stands in for the others.

Minutes of speech do not hold every phone of a language. A phone heard too seldom is taught, and one never
heard is aligned, as its nearest neighbour among those that were heard often enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

import numpy as np
import yaml
from numpy.typing import NDArray

from sift_ray.align.g2p import Phones

LEAST_OCCURRENCES = 4
_VOWEL_TO_CONSONANT = 20.0


class Inventory:
    """Maps any phone to one that the model has."""

    def __init__(self, phones: Iterable[str]) -> None:
        """Take the model's own `phones`."""
        self._phones = tuple(sorted(set(phones)))
        self._standing_in: dict[str, str | None] = {phone: phone for phone in self._phones}

    @classmethod
    def of_counts(cls, counts: Mapping[str, int]) -> Inventory:
        """Take the phones that occur at least `LEAST_OCCURRENCES` times, or all if none does."""
        return cls([p for p, n in counts.items() if n >= LEAST_OCCURRENCES] or counts)

    @property
    def phones(self) -> tuple[str, ...]:
        """The model's own phones, sorted."""
        return self._phones

    def stand_in(self, phone: str) -> str | None:
        """Return `phone` or its nearest neighbour in the model; None if nobody knows what `phone` is."""
        if phone not in self._standing_in:
            self._standing_in[phone] = self._nearest(phone)
        return self._standing_in[phone]

    def translate(self, phones: Phones) -> Phones | None:
        """Return `phones` in the model's own, or None if one of them has no place there."""
        mapped = tuple(own for phone in phones if (own := self.stand_in(phone)) is not None)
        return mapped if mapped and len(mapped) == len(phones) else None

    def _nearest(self, phone: str) -> str | None:
        place = _place(phone)
        if place is None:
            return None
        known = [
            (float(np.abs(place - other).sum()), own) for own in self._phones if (other := _place(own)) is not None
        ]
        return min(known)[1] if known else None


@cache
def _symbols() -> dict[str, tuple[float, ...]]:
    source = resources.files("sift_ray.align").joinpath("ipa.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(source)
    vowels = {symbol: (0.0, *map(float, place)) for symbol, place in document["vowels"].items()}
    return vowels | {
        symbol: (_VOWEL_TO_CONSONANT, *map(float, place)) for symbol, place in document["consonants"].items()
    }


@cache
def _place(phone: str) -> NDArray[np.float64] | None:
    """Return where `phone` begins and ends in the space of `ipa.yaml`; None for a symbol it doesn't know."""
    known = [_symbols()[symbol] for symbol in phone if symbol in _symbols()]
    if not known:
        return None
    ends = [np.array(place, np.float64) for place in (known[0], known[-1])]
    length, nasal = float("ː" in phone), float("\u0303" in phone)
    return np.concatenate([*ends, [0.5 * length, 2.0 * nasal]])
