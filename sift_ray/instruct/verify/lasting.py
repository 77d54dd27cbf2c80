"""What facts of a whole utterance can't bear: a claim of a change, of a part of it, of what should be or used to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import lexicon
from sift_ray.instruct.verify.text import Runs, find_run
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.categories import ATTRIBUTES

_GRADING: Final = ("claim", "short", "mention", "hint")
_FAR: Final = frozenset({"speaking_rate"})  # (that someone speaks does not make what is told a matter of the voice)


def check_lasting(reading: Reading, known: Known, *, free: bool) -> None:
    """Refuse a change over time, and what is said of a part of the audio: nothing is known of either.

    Args:
        reading: a question or an answer about whole recordings.
        known: the facts.
        free: whether the text may retell what is said; then only sentences about the voice or the recording count, and
            what a transcript holds word by word does not.

    Raises:
        Refused: `unknown_claim`.
    """
    _refuse(reading, known, lexicon(reading.language).passing, free=free)


def check_real(reading: Reading, known: Known, *, free: bool) -> None:
    """Refuse what an answer says should be, must be or used to be; arguments and errors as in `check_lasting`."""
    _refuse(reading, known, lexicon(reading.language).unreal, free=free)


def check_alone(reading: Reading) -> None:
    """Refuse that something is true of one word or recording only, which would take a look at all the others.

    Raises:
        Refused: `unknown_claim`.
    """
    for start, run in _standing(reading, lexicon(reading.language).alone):
        raise Refused("unknown_claim", f"{_raw(reading, start, run)!r}: nothing tells that of no other it is true")


def _refuse(reading: Reading, known: Known, phrases: Runs, *, free: bool) -> None:
    about: frozenset[int] | None = None
    for start, run in _standing(reading, phrases):
        if free:
            about = _about_sound(reading) if about is None else about
            if reading.text.tokens[start].sentence not in about:
                continue
            if any(find_run(run, said) for said in known.transcripts.values()):
                continue
        raise Refused("unknown_claim", f"{_raw(reading, start, run)!r}: what is known is of the whole recording")


def _about_sound(reading: Reading) -> frozenset[int]:
    """Return the sentences that speak of something measured."""
    return frozenset(
        reading.sentence(hit)
        for hit in reading.hits
        if (hit.keys(*_GRADING) - hit.keys("hint") & _FAR) & ATTRIBUTES.keys()
    )


def _standing(reading: Reading, phrases: Runs) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield where a phrase begins outside quotations, claims and set phrases, and the phrase."""
    text = reading.text
    for start, run in phrases.within(text.words):
        if text.tokens[start].quote < 0 and not _is_taken(reading, start):
            yield start, run


def _is_taken(reading: Reading, index: int) -> bool:
    """Say whether a token is part of a claim or of a set phrase."""
    claimed = reading.claimed()
    return any(
        hit.start <= index < hit.end and (hit.start in claimed or "harmless" in hit.kinds()) for hit in reading.hits
    )


def _raw(reading: Reading, start: int, run: tuple[str, ...]) -> str:
    return " ".join(token.raw for token in reading.text.tokens[start : start + len(run)])
