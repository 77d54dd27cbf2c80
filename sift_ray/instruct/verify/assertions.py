"""Checks all that an answer asserts, sentence by sentence, against the facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sift_ray.instruct.verify.claims import Claim, Reading
from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lasting import check_alone, check_lasting, check_real
from sift_ray.instruct.verify.references import (
    Ref,
    attach,
    audio_refs,
    hold,
    identify,
    neighbours,
    order,
    word_refs,
)
from sift_ray.instruct.verify.relations import RELATIONS, check_relation
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.record import Fact

ACOUSTIC: Final = "closed_ended_acoustic_level"
CONTENT: Final = "closed_ended_content_level"
OPEN: Final = "open_ended"
WORD_ALIGN: Final = "closed_ended_word_align"
COMPARISON: Final = "closed_ended_comparison"
CONTROLLABLE: Final = "controllable_generation"
_HERE: Final = Ref(0, 0, ((Place(),),))
_BOTH: Final = Ref(0, 0, ((Place(0),), (Place(1),)))


@dataclass(slots=True)
class Asked:
    """What a question hands on to an answer that leaves it unsaid ("It is spoken loudly.", "The second one.")."""

    refs: list[Ref] = field(default_factory=list)
    order: frozenset[str] = frozenset()  # "after" or "before", of the one reference
    claims: list[Claim] = field(default_factory=list)
    reading: Reading | None = None
    relations: list[tuple[str, int]] = field(default_factory=list)  # kind, index of its hit


def asked_of(task: str, reading: Reading, known: Known) -> Asked:
    """Read what the question refers to.

    Raises:
        Refused: it asks for what facts of a whole audio don't tell.
    """
    asked = Asked(reading=reading)
    _check_whole(task, reading, known, answer=False)
    if task not in (WORD_ALIGN, COMPARISON):
        return asked
    asked.refs = refs_of(task, reading, known)[0]
    if task == WORD_ALIGN:
        found = reading.with_kind("before", "after")
        if found and len(asked.refs) == 1:
            asked.order = found[0].kinds() & {"before", "after"}
    asked.claims = reading.claims
    asked.relations = relations(reading)
    return asked


def _check_whole(task: str, reading: Reading, known: Known, *, answer: bool) -> None:
    """Refuse what would take facts of parts of an audio, and what words alone can't be looked up for."""
    free = task in (CONTENT, OPEN)
    if task in (WORD_ALIGN, COMPARISON):
        check_alone(reading)
    if task != WORD_ALIGN:
        check_lasting(reading, known, free=free)
        if answer and task != OPEN:
            check_real(reading, known, free=free)


def relations(reading: Reading) -> list[tuple[str, int]]:
    """Return the relations of a text, each with the index of its hit; a claim is none."""
    if reading.by_kind.keys().isdisjoint(RELATIONS):
        return []
    claimed = reading.claimed()
    return [
        (kind, index)
        for index, hit in enumerate(reading.hits)
        if hit.start not in claimed
        for kind in RELATIONS
        if kind in hit.kinds()
    ]


def refs_of(task: str, reading: Reading, known: Known) -> tuple[list[Ref], list[Fact]]:
    """Return the references of a whole text, and the word facts that their identities rest on."""
    if task == COMPARISON:
        return audio_refs(reading, known), []
    return identify(word_refs(reading, known), reading, known)


def check(task: str, reading: Reading, known: Known, asked: Asked) -> list[Fact]:
    """Return the facts that all claims and relations of a text rest on.

    Raises:
        Refused: the first that is false, unknown or cannot be placed.
    """
    _check_whole(task, reading, known, answer=asked.reading is not None)
    if task not in (WORD_ALIGN, COMPARISON):
        return [f for claim in reading.claims for f in hold(known, claim, [_HERE], reading.words(claim.hit))]
    refs, evidence = refs_of(task, reading, known)
    tokens = reading.text.tokens
    found = relations(reading)
    carried: list[Ref] = []
    last = tokens[-1].sentence if tokens else -1
    for sentence in range(last + 1):
        mine = [ref for ref in refs if tokens[ref.start].sentence == sentence]
        claims = [claim for claim in reading.claims if claim.sentence == sentence]
        here = [(kind, reading.hits[i]) for kind, i in found if reading.sentence(reading.hits[i]) == sentence]
        free = mine
        if task == WORD_ALIGN:
            mine, free, facts = _in_order(reading, sentence, mine, known, asked)
            evidence += facts
        for kind, hit in here:
            evidence += check_relation(
                reading, hit, kind, mine or carried or asked.refs, known, audios=task == COMPARISON
            )
        if claims and free:
            free = _unrelated(free, bool(here), claims)
            for claim, places in attach(claims, free, reading):
                evidence += hold(known, claim, places, reading.words(claim.hit))
        elif not carried and _from_to(asked.refs, claims):
            for claim, ref in zip(claims, asked.refs, strict=True):
                evidence += hold(known, claim, [ref], reading.words(claim.hit))
        elif claims:
            for claim in claims:
                places = carried or _unsaid(task, asked)
                evidence += hold(known, claim, places, reading.words(claim.hit))
        carried = mine or carried
    if refs and not found and all(key == "gender" for claim in reading.claims for key, _ in claim.readings):
        evidence += _inherited(task, refs, known, asked)
    return evidence


def _in_order(
    reading: Reading, sentence: int, mine: list[Ref], known: Known, asked: Asked
) -> tuple[list[Ref], list[Ref], list[Fact]]:
    """Check what a sentence says of before and after.

    Returns:
        The sentence's references, those of them that its claims can be about, and the word facts it rests on.
    """
    orders = [hit for hit in reading.with_kind("before", "after") if reading.sentence(hit) == sentence]
    if orders:
        x, y, facts = order(reading, orders[0], mine, known)
        # where the anchor stands last, a claim after it could be about either
        free = [x] if y.start < x.start else [x, y]
        return free, free, facts
    if asked.order and len(mine) == 1 and not mine[0].ordinal and mine[0].runs != asked.refs[0].runs:
        runs = neighbours(mine[0].runs, asked.refs[0], asked.order)
        if not runs:
            raise Refused("false_claim", "the words do not follow each other so")
        free = [Ref(mine[0].start, mine[0].end, runs)]
        return free, free, [f for run in runs for p in run if (f := known.get(p, "word")) is not None]
    return mine, mine, []


def _unrelated(refs: Sequence[Ref], related: bool, claims: Sequence[Claim]) -> list[Ref]:
    """Leave out references after the last claim that only a relation ("than the second") needs."""
    if not related:
        return list(refs)
    if _alternating(refs, claims):
        return list(refs)
    kept = [ref for ref in refs if ref.start <= claims[-1].hit.start]
    return kept or list(refs)


def _alternating(refs: Sequence[Ref], claims: Sequence[Claim]) -> bool:
    """Say whether each claim has a reference right behind it: "from low on a to high on b"."""
    if len(refs) != len(claims) or len(refs) < 2:
        return False
    ends = [*(claim.hit.start for claim in claims[1:]), float("inf")]
    return all(c.hit.start < r.start < end for c, r, end in zip(claims, refs, ends, strict=True))


def _from_to(asked: Sequence[Ref], claims: Sequence[Claim]) -> bool:
    """Say whether two claims of one attribute are of the two references of the question, in turn."""
    return (
        len(asked) == len(claims) == 2
        and claims[0].readings != claims[1].readings
        and {key for key, _ in claims[0].readings} == {key for key, _ in claims[1].readings}
    )


def _unsaid(task: str, asked: Asked) -> list[Ref]:
    """Return what a claim is about where the answer does not say it."""
    if task == COMPARISON:
        return list(asked.refs) if len(asked.refs) == 1 else [_BOTH]
    if not asked.refs:
        return [_HERE]
    if asked.order:
        anchor = asked.refs[0]
        step = 1 if "after" in asked.order else -1
        ends = [run[-1] if step == 1 else run[0] for run in anchor.runs]
        return [Ref(0, 0, tuple((Place(0, end.position + step),) for end in ends))]
    return list(asked.refs)


def _inherited(task: str, refs: Sequence[Ref], known: Known, asked: Asked) -> list[Fact]:
    """Check what the question asks of the references that the answer names: "Which …?" "The second one."."""
    question = asked.reading
    if question is None or asked.refs:
        return []
    evidence = []
    for claim in asked.claims:
        held = hold(known, claim, refs, question.words(claim.hit))
        evidence += held
        if task == COMPARISON and len({fact.audio for fact in held}) == 1:
            evidence += _otherwise(held, known)
    for kind, index in asked.relations:
        hit = question.hits[index]
        evidence += check_relation(question, hit, kind, refs, known, audios=task == COMPARISON)
    return evidence


def _otherwise(held: Sequence[Fact], known: Known) -> list[Fact]:
    """Return the other audio's facts: "Which is noisy?" "The first." says that the second is known not to be.

    Raises:
        Refused: `false_claim`, where both are.
    """
    others = [known.get(Place(1 - fact.audio), fact.key) for fact in held]
    if any(other is not None and other.value == fact.value for fact, other in zip(held, others, strict=True)):
        raise Refused("false_claim", "what is asked for is true of both audios")
    return [other for other in others if other is not None]
