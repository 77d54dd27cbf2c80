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
        self._seed = "\0".join(map(str, seed)).encode()
        self._thrown = 0

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1."""
        self._thrown += 1
        data = self._seed + self._thrown.to_bytes(4, "big")
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") % limit

    def pick(self, options: Sequence[T]) -> T:
        """Return one of `options`."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Return `options` in another order."""
        left, order = list(options), []
        while left:
            order.append(left.pop(self.below(len(left))))
        return order


def sentence(text: str) -> str:
    """Return `text` with a capital at its start."""
    return text[:1].upper() + text[1:]
