"""The rule for questions that nobody can answer who only hears the audio."""

from __future__ import annotations

from collections.abc import Sequence

from sift_ray.instruct.verify.lexicon import Lexicon


def check_unanswerable(words: Lexicon, question: str, answer: str, topics: Sequence[str]) -> tuple[str, ...]:
    """Return the topics that the question is about, and of which the answer says that they can't be told."""
    raise NotImplementedError
