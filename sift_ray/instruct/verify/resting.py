"""Rules about what an answer rests on: something, all that it speaks of, and what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sift_ray.instruct.verify import telling
from sift_ray.instruct.verify.assertions import ACOUSTIC, COMPARISON, CONTENT, OPEN, WORD_ALIGN, Asked
from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import lexicon
from sift_ray.instruct.verify.question import asks_place_or_time, asks_reason, is_polar, presumed_keys, wanted
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.categories import RELATED
from sift_ray.metadata.record import Fact

_SELF_EVIDENT: Final = frozenset({"word", "transcript", "phonemes", "language"})
"""Keys that a text may speak of without giving a value."""


def check_rests(
    task: str, question: Reading, asked: Asked, evidence: Sequence[Fact], focus: Sequence[str], known: Known
) -> None:
    """Refuse an answer that rests on nothing, or on nothing that was asked for."""
    rested = {fact.key for fact in evidence}
    if not rested:
        raise Refused("unverifiable", "nothing in the answer can be checked")
    if task == WORD_ALIGN and not any(fact.position for fact in evidence):
        raise Refused("unverifiable", "no word is spoken of")
    if (
        task == COMPARISON
        and {fact.audio for fact in evidence} != {0, 1}
        and not telling.one_audio_will_do(question, asked.refs, evidence, lexicon(question.language), known)
    ):
        raise Refused("unverifiable", "only one of the two audios is spoken of")
    if focus and not rested & set(focus):
        raise Refused("off_focus", f"it speaks of {', '.join(sorted(rested))}, not of {', '.join(focus)}")
    topics = wanted(question) - _SELF_EVIDENT
    near = topics | {other for key in topics for other in RELATED.get(key, frozenset())}
    if task != OPEN and topics and not near & rested and not (asked.refs and "word" in rested):
        raise Refused("off_topic", f"asked about {', '.join(sorted(topics))}, told {', '.join(sorted(rested))}")


def check_tells(task: str, question: Reading, evidence: Sequence[Fact], known: Known) -> None:
    """Refuse an answer that tells only what the question takes for granted: "What is the woman's job?" "A woman."."""
    words = lexicon(question.language)
    told, topics = {fact.key for fact in evidence}, wanted(question)
    if asks_reason(question) and "transcript" not in told:
        raise Refused("off_topic", "asked for a reason, which nothing but what is said could tell")
    for hit in question.with_kind("unknowable"):
        if "transcript" not in told:
            raise Refused("off_topic", f"asked of {question.words(hit)!r}, which nothing but what is said could tell")
    if task not in (ACOUSTIC, CONTENT) or is_polar(question, words):
        return
    granted = presumed_keys(question) - topics
    if told <= granted:
        raise Refused("off_topic", f"it tells only what the question takes for granted: {', '.join(sorted(granted))}")
    said = told & {"transcript", "phonemes"}
    if (
        task == CONTENT
        and not said
        and not topics - _SELF_EVIDENT
        and telling.asks_what_is_said(question, words, known)
    ):
        raise Refused("off_topic", f"asked what is said, told {', '.join(sorted(told))}")
    if asks_place_or_time(question) and not topics and "transcript" not in told:
        raise Refused("off_topic", f"asked where, when or why, told {', '.join(sorted(told))}")


def check_mentions(reading: Reading, evidence: Sequence[Fact], known: Known) -> None:
    """Refuse an attribute that is spoken of and given no category."""
    rested = {fact.key for fact in evidence}
    claimed = reading.claimed()
    for hit in reading.with_kind("mention"):
        keys = hit.keys("mention")
        if hit.start in claimed or keys & _SELF_EVIDENT:
            continue
        if not any(key in rested or RELATED.get(key, frozenset()) & rested for key in keys):
            unknown = not any(known.has(key) for key in keys)
            raise Refused(
                "unknown_claim" if unknown else "ungraded_claim",
                f"{reading.words(hit)!r} is spoken of, and no category of it was found",
            )
