"""Verifies an answer to a question: what each presupposes and claims is known, and what is told answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sift_ray.instruct.verify import content, faithful, pronouns, resting, roles, telling, wording
from sift_ray.instruct.verify.assertions import (
    ACOUSTIC,
    COMPARISON,
    CONTENT,
    OPEN,
    WORD_ALIGN,
    asked_of,
    check,
    refs_of,
)
from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.known import Known, Place, known_of
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.question import (
    check_question,
    is_polar,
    spoken_of,
)
from sift_ray.instruct.verify.retold import framed
from sift_ray.instruct.verify.shape import check_forms, check_language, check_shape
from sift_ray.instruct.verify.signals import check_left, check_signals, ignored
from sift_ray.instruct.verify.text import Text, read
from sift_ray.metadata.categories import WORD_KEY
from sift_ray.metadata.record import Fact

_LIMITS: Final = {CONTENT: wording.CONTENT, OPEN: wording.OPEN}


def check_answer(
    task: str, words: Lexicon, question: str, answer: str, facts: Sequence[Fact], focus: Sequence[str]
) -> list[Fact]:
    """Return the facts that an answer rests on, those of the words that it names among them.

    Raises:
        Refused: the first rule that is broken.
    """
    language = words.language
    asked_text, said_text = (read(text, language, words.boundaries) for text in (question, answer))
    check_forms(question, asked_text, answer, said_text, _LIMITS.get(task, wording.CLOSED))
    check_shape(question, asked_text, said_text, words)
    known = known_of(facts, language)
    check_language(asked_text, "question", language)
    check_language(said_text, "answer", language)
    wording.check_quotes(asked_text, known)
    quoted = wording.check_quotes(said_text, known)

    ignore = ignored(task)
    free = task in (CONTENT, OPEN)
    asked_run, _ = wording.said_tokens(asked_text, known) if free else (frozenset[int](), [])
    said_run, said = wording.said_tokens(said_text, known) if free else (frozenset[int](), [])
    asked_skip, said_skip = (framed(text, words, run) for text, run in ((asked_text, asked_run), (said_text, said_run)))
    asked_reading = content.interpret_with_accents(asked_text, words, ignore, asked_skip, frozenset(), known)
    leading = _leading(said_text, words)
    said_reading = content.interpret_with_accents(
        said_text, words, ignore, said_skip | leading.skip, spoken_of(asked_reading) or _hinted(asked_reading), known
    )
    check_signals(task, asked_reading, said_reading, known, (asked_run, said_run))
    wording.check_numbers(said_reading, known)
    wording.check_numbers(asked_reading, known)
    wording.check_names(asked_reading, words, known)
    wording.check_names(said_reading, words, known)

    asked = asked_of(task, asked_reading, known)
    evidence = check(task, said_reading, known, asked) + quoted + said
    evidence += content.check_phonemes(answer, known)
    content.check_said(said_text, said_reading, said_run, words, known)
    content.check_languages(said_reading)
    if free:
        telling.check_introduced(said_reading, asked_reading, said_run, words, known, described=task == OPEN)
        telling.check_denied(said_reading, words, known)
        roles.check_roles(said_reading, asked_reading, words, known)
    if task == CONTENT and all(fact.key != "transcript" for fact in evidence):
        evidence += telling.told_unquoted(said_reading, asked_reading, words, known)
    if task == COMPARISON:
        evidence += telling.check_speakers(
            said_reading, refs_of(task, said_reading, known)[0], asked.refs, words, known
        )
    allowed: list[Collection[str]] = [
        known.phonemes if task in (ACOUSTIC, WORD_ALIGN, COMPARISON) else known.written,
        # (what is asked for by yes or no is not vouched for by asking)
        () if is_polar(asked_reading, words) else asked_text.words,
    ]
    wording.check_familiar(said_reading, words, allowed, _LIMITS.get(task, wording.CLOSED).strange)
    wording.check_familiar(asked_reading, words, (known.vocabulary,), wording.QUESTION.strange)
    check_left(task, said_reading, known)
    resting.check_mentions(said_reading, evidence, known)
    told = {t.text for c in said_reading.claims for t in said_text.tokens[c.hit.start : c.hit.end]}
    answered = frozenset(f.key for f in evidence)
    check_question(task, asked_reading, known, asked, answered, frozenset(told), affirmed=leading.affirmed)
    resting.check_rests(task, asked_reading, asked, evidence, focus, known)
    resting.check_tells(task, asked_reading, evidence, known)
    if free:
        faithful.check_faithful(said_reading, asked_reading, words, known, described=task == OPEN)
    return evidence + _told_aside(task, asked_reading, said_reading, evidence, known)


def _hinted(question: Reading) -> frozenset[str]:
    """Return what a question hints at that speaks of nothing: "Describe the voice." of the pitch."""
    return question.keys("hint") - {"speaking_rate"}


class _Leading:
    """How an answer begins: with a yes, a no, or neither."""

    def __init__(self, skip: frozenset[int], *, affirmed: bool) -> None:
        self.skip = skip
        self.affirmed = affirmed


def _leading(text: Text, words: Lexicon) -> _Leading:
    if text.words[0] not in words.leading:
        return _Leading(frozenset(), affirmed=False)
    for kind in ("affirm", "deny"):
        for hit in words.scan(text, frozenset()):
            # ("No, it is low." denies the question; "No low pitch is heard." negates what follows)
            alone = hit.end == len(text.tokens) or text.tokens[hit.end].clause != text.tokens[0].clause
            if hit.start == 0 and kind in hit.kinds() and alone:
                return _Leading(frozenset(range(hit.start, hit.end)), affirmed=kind == "affirm")
            break
    return _Leading(frozenset(), affirmed=False)


def _told_aside(task: str, asked: Reading, said: Reading, evidence: Sequence[Fact], known: Known) -> list[Fact]:
    """Return what a pair tells that is no answer: the gender, by a pronoun, and the words that it names."""
    named = _words_named((asked, said), evidence, known)
    if task == COMPARISON or any(fact.key == "transcript" for fact in evidence):
        return named  # (a pronoun may stand for one of the other audio, or that is spoken of)
    return named + pronouns.told_by_pronouns(asked.text, said.text, known)


def _words_named(readings: Sequence[Reading], evidence: Sequence[Fact], known: Known) -> list[Fact]:
    """Return the word facts of the places in `evidence` whose words the texts quote, and of quoted neighbours."""
    places = {fact.position for fact in evidence if fact.position}
    if any(reading.with_kind("before", "after") for reading in readings):
        places |= {position + step for position in places for step in (-1, 1)}
    quoted = [quote for reading in readings for quote in reading.text.quotes]
    named = {position for quote in quoted for run in known.positions(quote) for position in run}
    facts = (known.get(Place(0, position), WORD_KEY) for position in sorted(places & named))
    return [fact for fact in facts if fact is not None]
