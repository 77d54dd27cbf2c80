"""Verifies a synthesis prompt: true characteristics, of those given, and nothing of the transcript."""

from __future__ import annotations

from collections.abc import Sequence

from sift_ray.instruct.verify import content, resting, wording
from sift_ray.instruct.verify.assertions import (
    CONTROLLABLE,
    Asked,
    check,
)
from sift_ray.instruct.verify.known import SAID_RUN, known_of
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.shape import check_language
from sift_ray.instruct.verify.signals import check_left, check_signals, ignored
from sift_ray.instruct.verify.text import read
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.record import Fact


def check_prompt(words: Lexicon, prompt: str, facts: Sequence[Fact], focus: Sequence[str]) -> list[Fact]:
    """Return the facts that a synthesis prompt rests on.

    Raises:
        Refused: the first rule that is broken.
    """
    text = read(prompt, words.language, words.boundaries)
    wording.check_form(prompt, text, wording.PROMPT)
    known = known_of(facts, words.language)
    check_language(text, "prompt", words.language)
    named = known.accents.values()
    if (
        any(quote and quote not in named for quote in text.quotes)
        or len(wording.said_tokens(text, known)[0]) >= SAID_RUN
    ):
        raise Refused("transcript_leak", "the prompt quotes what is to be said")
    reading = content.interpret_with_accents(text, words, ignored(CONTROLLABLE), frozenset(), frozenset(focus), known)
    check_signals(CONTROLLABLE, reading, reading, known, (frozenset(), frozenset()))
    wording.check_numbers(reading, known_of((), words.language))
    wording.check_names(reading, words, known)
    wording.check_familiar(reading, words, (), wording.PROMPT.strange)
    evidence = check(CONTROLLABLE, reading, known, Asked())
    check_left(CONTROLLABLE, reading, known)
    resting.check_mentions(reading, evidence, known)
    rested = {fact.key for fact in evidence}
    if not rested:
        raise Refused("unverifiable", "no characteristic is asked for")
    if focus and (extra := rested - set(focus)):
        raise Refused("off_focus", f"{', '.join(sorted(extra))} were not given")
    return evidence
