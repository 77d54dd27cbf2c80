"""What the template engine asks about: items with all their phrasings, and the dice that choose among them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to ask: its questions and answers; any question goes with any answer.

    `slots` are the parts of an answer (of a synthesis prompt: of the question) that a
    model may join by its own words, alternatives of each.
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    slots: tuple[tuple[str, ...], ...] = ()


class Dice:
    """Choices that depend on the seed and on how many were made before, alike on every machine."""

    def __init__(self, *seed: object) -> None:
        self._seeded = hashlib.blake2b("\0".join(map(str, seed)).encode(), digest_size=8)
        self._thrown = 0

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1."""
        self._thrown += 1
        mixed = self._seeded.copy()
        mixed.update(self._thrown.to_bytes(4, "big"))
        return int.from_bytes(mixed.digest(), "big") % limit

    def pick(self, options: Sequence[T]) -> T:
        """Return one of `options`."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T], most: int | None = None) -> list[T]:
        """Return `options` in another order, or the first `most` of them in it; what is chosen next is the same."""
        left: list[T] = list(options)
        order: list[T] = []
        kept = len(left) if most is None else min(most, len(left))
        while len(order) < kept:
            order.append(left.pop(self.below(len(left))))
        self._thrown += len(left)  # (the dice for the rest, whose order nobody asks for)
        return order


def sentence(text: str) -> str:
    """Return `text` with a capital at its start."""
    return text[:1].upper() + text[1:]
