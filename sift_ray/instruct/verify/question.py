"""What a question asks, and what it smuggles in: "Why is the voice so high?" presupposes a high voice."""

from __future__ import annotations

import functools
from typing import Final

from sift_ray.instruct.verify.assertions import COMPARISON, WORD_ALIGN, Asked, check
from sift_ray.instruct.verify.claims import Claim, Reading, asked_meanings, grade_words_left
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import Hit, Lexicon, lexicon
from sift_ray.instruct.verify.relations import check_relation
from sift_ray.instruct.verify.small_words import small_words
from sift_ray.instruct.verify.text import TEXTS_KEPT, Text, Token
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.instruct.verify.word_forms import alike
from sift_ray.metadata.categories import ATTRIBUTES

_COMPARING: Final = ("up", "down", "most", "least", "same", "differ", "rise", "fall")


def is_question(source: str, text: Text, words: Lexicon) -> bool:
    """Say whether a text asks or instructs: it ends in a question mark, or begins with a word of request."""
    own = text.own
    if source.rstrip(" \"'”»“").endswith("?"):
        return True
    return bool(own) and any(word in words.requests for word in own[:3])


@functools.lru_cache(maxsize=TEXTS_KEPT)
def spoken_of(reading: Reading) -> frozenset[str]:
    """Return the keys that a question is about: mentioned, or graded by a word that it asks with."""
    mentioned = reading.keys("mention")
    between = _alternatives(reading)
    graded: frozenset[str] = frozenset()
    for hit in reading.hits:
        if not hit.kinds() & {"mention", "hint"}:
            graded |= between.get(hit.start, asked_meanings(hit))
    compared = reading.keys("up", "down", "most", "least") if not mentioned else frozenset()
    if mentioned & graded or not graded:
        return mentioned | compared
    return mentioned | graded | compared


def _alternatives(reading: Reading) -> dict[int, frozenset[str]]:
    """Return the hits that a question offers as alternatives, each with what they have in common.

    In "clean or noisy" both are of the noise level, though "noisy" alone might be of the distortion.
    """
    found: dict[int, frozenset[str]] = {}
    offered = reading.with_kind("either")
    graded = [hit for hit in reading.hits if asked_meanings(hit)] if offered else []
    for either in offered:
        sentence = reading.sentence(either)
        before = [h for h in graded if h.start < either.start and reading.sentence(h) == sentence]
        after = [h for h in graded if h.start > either.start and reading.sentence(h) == sentence]
        if before and after and _opposed(reading, before[-1], after[0]):
            keys = asked_meanings(before[-1]) & asked_meanings(after[0])
            for hit in (*before, *after):
                if asked_meanings(hit) & keys:
                    found[hit.start] = keys
    return found


@functools.lru_cache(maxsize=TEXTS_KEPT)
def _asked_hits(reading: Reading) -> frozenset[int]:
    """Return the starts of hits that ask instead of claiming: "how high", "high or low", "a man or a woman"."""
    asked: set[int] = set()
    # (what is asked by degree has degrees: in "how does the man speak" the man is taken for granted)
    graded = [hit for hit in reading.hits if asked_meanings(hit) & ATTRIBUTES.keys()]
    adjacent = {hit.end for hit in reading.with_kind("degree_question", "same", "differ")}
    asked |= {hit.start for hit in graded if hit.start in adjacent}
    free = [(reading.sentence(h), h.start) for h in reading.with_kind("free_degree_question")]
    for hit in graded:
        if any(sentence == reading.sentence(hit) and start < hit.start for sentence, start in free):
            asked.add(hit.start)
    asked |= _alternatives(reading).keys()
    return frozenset(asked)


@functools.lru_cache(maxsize=TEXTS_KEPT)
def wanted(reading: Reading) -> frozenset[str]:
    """Return the keys that a question wants told; what it merely takes for granted ("the man") is none."""
    asking = _asked_hits(reading)
    words = lexicon(reading.language)
    polar = is_polar(reading, words)
    between = _alternatives(reading)
    graded = frozenset(
        key
        for hit in reading.hits
        if hit.start in asking or polar
        for key in between.get(hit.start, asked_meanings(hit))
        if "mention" not in hit.kinds()
    )
    mentioned = reading.keys("mention")
    return mentioned | reading.keys("up", "down", "most", "least") | graded


def asks_place_or_time(reading: Reading) -> bool:
    """Say whether a question has a word that asks where, when or why: of those, only what is said could tell."""
    return not small_words(reading.language).questions.place_or_time.isdisjoint(reading.text.own)


@functools.lru_cache(maxsize=TEXTS_KEPT)
def asks_reason(reading: Reading) -> bool:
    """Say whether a question asks for a reason."""
    own = f" {' '.join(reading.text.own)} "
    return any(f" {word} " in own for word in small_words(reading.language).questions.reasons)


@functools.lru_cache(maxsize=TEXTS_KEPT)
def presumed_keys(reading: Reading) -> frozenset[str]:
    """Return the keys that a question gives a value of instead of asking for it: "the woman"."""
    asking = _asked_hits(reading)
    return frozenset(key for claim in reading.claims if claim.hit.start not in asking for key, _ in claim.readings)


def _opposed(reading: Reading, left: Hit, right: Hit) -> bool:
    return bool(asked_meanings(left) & asked_meanings(right)) and reading.words(left) != reading.words(right)


@functools.lru_cache(maxsize=TEXTS_KEPT)
def is_polar(reading: Reading, words: Lexicon) -> bool:
    """Say whether a question asks for yes or no: no word of asking in it, and no "could you" in front."""
    if not reading.text.source.rstrip().endswith("?"):
        return False
    own = reading.text.own
    return words.questions.isdisjoint(own) and not " ".join(own[:4]).startswith(words.openings)


def check_question(
    task: str,
    reading: Reading,
    known: Known,
    asked: Asked,
    answered: frozenset[str],
    told: frozenset[str],
    *,
    affirmed: bool,
) -> None:
    """Refuse a question that takes for granted what is false, unknown or cannot be checked.

    Args:
        task: the pair's task.
        reading: the question.
        known: the facts.
        asked: the question's references.
        answered: keys that the (verified) answer gives a value of: a yes-or-no question may suppose what it wants
            about those, for the answer sets it right.
        told: the words of the answer's claims: "Is it close?" may be affirmed by "slightly close".
        affirmed: whether the answer begins with "yes": then what the question supposes is asserted.
    """
    words = lexicon(known.language)
    asking = _asked_hits(reading)
    polar = is_polar(reading, words)
    presumed = [claim for claim in reading.claims if claim.hit.start not in asking]
    if polar and not affirmed:
        presumed = [c for c in presumed if answered.isdisjoint(key for key, _ in c.readings)]
    if presumed:
        _check_presumed(task, reading, presumed, known, asked)
    excused = asking | {
        hit.start
        for hit in reading.hits
        if polar
        and (not affirmed or any(alike(token.text, word) for token in _tokens(reading, hit) for word in told))
        and (hit.keys("watch") | hit.keys("short") | hit.keys("claim")) & answered
    }
    for hit in grade_words_left(reading, strict=False):
        if hit.start in excused or ("watch" not in hit.kinds() and hit.end in excused):
            continue
        raise Refused("ungraded_claim", f"the question says {reading.words(hit)!r}")
    if polar and affirmed and reading.with_kind(*_COMPARING):
        if task not in (WORD_ALIGN, COMPARISON) or not asked.relations:
            raise Refused("unverifiable", "yes, to a comparison")
        for kind, index in asked.relations:
            check_relation(reading, reading.hits[index], kind, asked.refs, known, audios=task == COMPARISON)


def _tokens(reading: Reading, hit: Hit) -> tuple[Token, ...]:
    return reading.text.tokens[hit.start : hit.end]


def _check_presumed(task: str, reading: Reading, claims: list[Claim], known: Known, asked: Asked) -> None:
    hits = reading.hits
    if task == COMPARISON and all(len(ref.runs) > 1 for ref in asked.refs):
        # "Which of the two is louder?" takes no direction for granted
        hits = [hit for hit in hits if hit.kinds().isdisjoint(_COMPARING)]
    supposed = Reading(reading.text, hits, claims, reading.context, reading.language)
    if task in (WORD_ALIGN, COMPARISON) and not asked.refs:
        # "Which speaker is female?": true of one of them at least
        for claim in claims:
            for key, label in [r for r in claim.readings if known.has(r[0])] or claim.readings:
                if not any(key in facts and facts[key].value == label for facts in known.facts.values()):
                    raise Refused("false_claim", f"the question says {reading.words(claim.hit)!r}")
        return
    try:
        check(task, supposed, known, Asked(refs=asked.refs, order=asked.order))
    except Refused as refused:
        raise Refused(refused.reason, f"in the question: {refused.detail}") from refused
