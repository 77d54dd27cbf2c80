"""Questions about what nobody can tell who only hears the audio, and answers that say so.

A model that is only ever asked what is known learns to answer everything. `unanswerable/<language>.yaml` holds the
topics and the sentences; a topic that the transcript might tell after all is left out for that utterance.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib import resources

from sift_ray.instruct.items import Dice, Item
from sift_ray.schema import LANGUAGES


def askable_topics(language: str, transcript: str | None) -> tuple[str, ...]:
    """Return the topics that neither voice nor words can tell; none where the words are unknown."""
    raise NotImplementedError


def topic_names(language: str, topics: Sequence[str]) -> list[str]:
    """Return how a text in `language` names each topic, such as "the speaker's name"."""
    raise NotImplementedError


def unanswerable_items(request: object, dice: Dice) -> list[Item]:
    """Return an item for each of `request.unknown`."""
    raise NotImplementedError


@functools.cache
def unanswerable_hash(language: str) -> str:
    """Return the hash of the file of `language`."""
    if language not in LANGUAGES:
        raise ValueError(language)
    folder = resources.files("sift_ray.instruct").joinpath("unanswerable")
    return hashlib.sha256(folder.joinpath(f"{language}.yaml").read_bytes()).hexdigest()[:16]
