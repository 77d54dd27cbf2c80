"""Questions about when words are spoken, in seconds: the separate partition of word-align with numbers."""

from __future__ import annotations

from sift_ray.instruct.items import Dice, Item


def word_time_items(request: object, dice: Dice) -> list[Item]:
    """Return what can be asked about the times of words."""
    raise NotImplementedError
