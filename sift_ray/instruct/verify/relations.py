"""What a text says of two words or two audios together: higher, the highest, rising, the same, different."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lexicon import Hit
from sift_ray.instruct.verify.references import Ref
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.categories import ATTRIBUTES, WORD_KEY
from sift_ray.metadata.record import Fact

RELATIONS: Final = ("up", "down", "most", "least", "rise", "fall", "same", "differ")
_ORDERED: Final = frozenset(ATTRIBUTES)
_EXTREMES: Final = {"up": "most", "down": "least"}
_ALIKE: Final = {"up": ("up", "most"), "most": ("most", "up"), "down": ("down", "least"), "least": ("least", "down")}
_HEIGHT: Final = frozenset({"average_pitch"})
_SCALED: Final = frozenset({"average_intensity", "speaking_rate"})
"""What may be called higher and lower where it is named; only the pitch need not be."""
_UNORDERED: Final = frozenset({WORD_KEY, "transcript", "phonemes"})


def relation_keys(reading: Reading, hit: Hit, kind: str, known: Known) -> frozenset[str]:
    """Return the attributes that a relation is about.

    Raises:
        Refused: `ambiguous_claim`, where nothing says which.
    """
    own = frozenset(key for key in hit.keys(*_ALIKE.get(kind, (kind,))) if key)
    sentence = reading.sentence(hit)
    mentioned = frozenset(
        key
        for other in reading.hits
        if reading.sentence(other) == sentence
        for key in other.keys("mention")
        if key not in _UNORDERED
    )
    beside = frozenset(
        key
        for other in reading.with_kind("mention")
        if reading.clause(other) == reading.clause(hit) and other.start != hit.start
        for key in other.keys("mention")
        if key in ATTRIBUTES
    )
    if own and beside and not own & mentioned and own <= _HEIGHT:
        if beside <= _SCALED:
            return beside  # "the volume is higher"
        raise Refused("ambiguous_claim", f"{reading.words(hit)!r} does not fit {', '.join(sorted(beside))}")
    for keys in (own & mentioned or (frozenset() if own else mentioned), own & reading.context or own):
        if keys:
            # "noisier" may be of noise or of distortion: of what is known, all must hold
            return frozenset(key for key in keys if known.has(key)) or keys
    settled = {claim.hit.start: frozenset(key for key, _ in claim.readings) for claim in reading.claims}
    touching = (other for other in reading.hits if other.start == hit.end or other.end == hit.start)
    if keys := frozenset().union(*(settled.get(h.start) or h.keys("claim", "short", "watch") for h in touching)):
        return frozenset(key for key in keys if known.has(key)) or keys  # "equally loud"
    if context := reading.context - _UNORDERED:
        return context
    raise Refused("ambiguous_claim", f"{reading.words(hit)!r}: of what?")


def check_relation(
    reading: Reading, hit: Hit, kind: str, refs: Sequence[Ref], known: Known, *, audios: bool
) -> list[Fact]:
    """Check one comparative, superlative, change, sameness or difference by the ordinals.

    Args:
        reading: the text that the relation stands in.
        hit: the relation.
        kind: which of `RELATIONS` it is.
        refs: the references of its sentence.
        known: the facts.
        audios: whether two audios are compared (then "the other" may stay unsaid), or words.

    Raises:
        Refused: `false_claim`, `unknown_claim`, or `ambiguous_claim`.
    """
    said = reading.words(hit)
    evidence: list[Fact] = []
    kinds = hit.kinds()
    if not audios and kind == "same" and len(refs) == 1 and any(c.hit.start == hit.end for c in reading.claims):
        return []  # of one word, "stays moderate" says no more than "is moderate"
    if not audios and kind in _EXTREMES.values() and len(refs) > 1 and kinds & _EXTREMES.keys():
        return []  # "plus aigu" of two words is the comparative, which is checked too
    if not audios and len(refs) == 1 and len(refs[0].places) == 1:
        kind = _EXTREMES.get(kind, kind)  # "la palabra con el tono más alto"
    for key in sorted(relation_keys(reading, hit, kind, known)):
        if kind in ("most", "least") and not audios:
            evidence += _extreme(key, kind, refs, known, said)
            continue
        x, y = _pair(hit, refs, said, audios=audios)
        if kind in ("same", "differ"):
            a, b = known.get(x, key), known.get(y, key)
            if a is None or b is None:
                raise Refused("unknown_claim", f"{said!r}: {key} is unknown")
            if (a.value == b.value) != (kind == "same"):
                raise Refused("false_claim", f"{said!r}: {key} is {a.value} and {b.value}")
            evidence += [a, b]
            continue
        (left, a), (right, b) = known.ordinal(x, key, said), known.ordinal(y, key, said)
        upward = kind in ("up", "most", "rise")
        if kind in ("rise", "fall"):
            left, right = right, left  # from x to y it rises where y is higher
        if left == right or (left > right) != upward:
            raise Refused("false_claim", f"{said!r}: {key} is {a.value} and {b.value}")
        evidence += [a, b]
    return evidence


def _extreme(key: str, kind: str, refs: Sequence[Ref], known: Known, said: str) -> list[Fact]:
    """Check that the one word referred to has the greatest (least) ordinal of all words, and alone has it."""
    if key not in _ORDERED:
        raise Refused("unverifiable", f"{said!r}: values of {key} have no order")
    if len(refs) != 1 or len(refs[0].places) != 1:
        raise Refused("ambiguous_claim", f"{said!r}: of which word?")
    mine, fact = known.ordinal(refs[0].places[0], key, said)
    sign = 1 if kind == "most" else -1
    for place, other in known.graded(key):
        if place != refs[0].places[0] and sign * ATTRIBUTES[key].ordinal(other.value) >= sign * mine:
            raise Refused("false_claim", f"{said!r}: word {place.position} is {other.value}")
    return [fact]


def _pair(hit: Hit, refs: Sequence[Ref], said: str, *, audios: bool) -> tuple[Place, Place]:
    """Return the two places that a relation joins, its subject first."""
    if audios:
        single = [ref for ref in refs if len(ref.runs) == 1]
        before = [ref for ref in single if ref.start < hit.start]
        if not single:
            if not hit.kinds() & {"same", "differ"}:
                raise Refused("ambiguous_claim", f"{said!r}: which of the two?")
            return Place(0), Place(1)  # "they differ", "both have the same"; refused below where direction matters
        subject = (before[-1] if before else single[0]).runs[0][0]
        return subject, Place(1 - subject.audio)
    if len(refs) == 1 and len(refs[0].runs) == 1 and len(refs[0].runs[0]) > 1:
        return refs[0].runs[0][0], refs[0].runs[0][-1]  # a change within a phrase
    if len(refs) != 2 or any(len(ref.runs) != 1 for ref in refs):
        raise Refused("ambiguous_claim", f"{said!r}: between which words?")
    return refs[0].runs[0][0], refs[1].runs[0][-1]
