"""What part of a text is about which word or which audio, and whether claims and relations hold there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sift_ray.instruct.verify.claims import Claim, Reading
from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lexicon import Hit
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.categories import ATTRIBUTES, WORD_KEY
from sift_ray.metadata.record import Fact

Runs = tuple[tuple[Place, ...], ...]
RELATIONS: Final = ("up", "down", "most", "least", "rise", "fall", "same", "differ")
_ORDERED: Final = frozenset(ATTRIBUTES)
_UNORDERED: Final = frozenset({WORD_KEY, "transcript", "phonemes"})


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference: tokens `start` to `end`, and the places meant.

    `runs` are alternatives (a quoted word may be spoken several times); what is claimed must hold for all of them.
    """

    start: int
    end: int
    runs: Runs
    ordinal: bool = False

    @property
    def places(self) -> list[Place]:
        """All places of all runs."""
        return [place for run in self.runs for place in run]


def hold(known: Known, claim: Claim, refs: Sequence[Ref], said: str) -> list[Fact]:
    """Return the facts that `claim` rests on at `refs`.

    A claim about several words together must be true of each whose category is known, and of one at least.

    Raises:
        Refused: it is false there, or unknown.
    """
    evidence = []
    readings = claim.readings
    if len(readings) > 1:
        # of a wording that fits several attributes, those that nothing is known of are not meant
        readings = tuple(r for r in readings if known.has(r[0])) or readings
    for key, label in readings:
        for ref in refs:
            for run in ref.runs:
                places = [place for place in run if known.get(place, key) is not None] or list(run[:1])
                evidence += [known.check(place, key, label, said) for place in places]
    return evidence


def attach(claims: Sequence[Claim], refs: Sequence[Ref]) -> list[tuple[Claim, list[Ref]]]:
    """Pair the claims of one sentence with its references; every reference gets a claim.

    Counts equal and apart ("from low on a to high on b"): in order. Else a sentence that begins with a reference
    gives each claim to the references before it, one that begins with a claim to those after it. A reference left
    over ("…, and so is the second") takes the claims nearest to it.
    """
    ordered = sorted(claims, key=lambda c: c.hit.start)
    if len(ordered) == len(refs) > 1 and (
        ordered[-1].hit.start < refs[0].start or refs[-1].start < ordered[0].hit.start
    ):
        return [(claim, [ref]) for claim, ref in zip(ordered, refs, strict=True)]
    items: list[Claim | Ref] = sorted(
        [*ordered, *refs], key=lambda item: item.hit.start if isinstance(item, Claim) else item.start
    )
    if isinstance(items[0], Claim):
        # (mirrored: then each claim stands after its references)
        items.reverse()
    groups: list[tuple[list[Ref], list[Claim]]] = []
    for item in items:
        if isinstance(item, Ref):
            if not groups or groups[-1][1]:
                groups.append(([], []))
            groups[-1][0].append(item)
        elif groups:
            groups[-1][1].append(item)
        else:
            groups.append((list(refs), [item]))
    if len(groups) > 1 and not groups[-1][1]:
        groups[-2][0].extend(groups.pop()[0])
    return [(claim, group) for group, mine in groups for claim in mine]


def word_refs(reading: Reading, known: Known) -> list[Ref]:
    """Find quoted words and places ("the third word") in a text about words.

    Raises:
        Refused: a quotation that is not spoken, a place beyond the last word.
    """
    refs = []
    tokens = reading.text.tokens
    for number, quote in enumerate(reading.text.quotes):
        if not quote:
            continue
        runs = known.positions(quote)
        if not runs:
            raise Refused("quote_not_in_transcript", f"{' '.join(quote)!r} is not among the words")
        inside = [i for i, token in enumerate(tokens) if token.quote == number]
        places = tuple(tuple(Place(0, position) for position in run) for run in runs)
        refs.append(Ref(inside[0], inside[-1] + 1, places))
    for hit in reading.with_kind("ordinal"):
        label = next(m.label for m in hit.meanings if m.kind == "ordinal")
        position = known.last if label == "-1" else int(label)
        if not 1 <= position <= known.last:
            raise Refused("false_claim", f"{reading.words(hit)!r}: there are {known.last} words")
        refs.append(Ref(hit.start, hit.end, ((Place(0, position),),), ordinal=True))
    return sorted(refs, key=lambda ref: ref.start)


def audio_refs(reading: Reading, known: Known) -> list[Ref]:  # noqa: ARG001 - one signature for both finders
    """Find references to the first, the second or both audios."""
    refs = []
    for kind, runs in (
        ("first", ((Place(0),),)),
        ("second", ((Place(1),),)),
        ("both", ((Place(0),), (Place(1),))),
    ):
        refs += [Ref(hit.start, hit.end, runs) for hit in reading.with_kind(kind)]
    return sorted(refs, key=lambda ref: ref.start)


def identify(refs: list[Ref], reading: Reading, known: Known) -> tuple[list[Ref], list[Fact]]:
    """Join "the first word" and "'hello'" next to it into one reference, and return the word facts it rests on.

    Raises:
        Refused: `false_claim`, where another word is spoken there.
    """
    made: list[Ref] = []
    evidence: list[Fact] = []
    index = 0
    while index < len(refs):
        ref = refs[index]
        following = refs[index + 1] if index + 1 < len(refs) else None
        if (
            following is not None
            and ref.ordinal != following.ordinal
            and following.start - ref.end <= 4
            and not any(ref.end <= claim.hit.start < following.start for claim in reading.claims)
            and reading.text.tokens[ref.start].sentence == reading.text.tokens[following.start].sentence
        ):
            numbered, quoted = (ref, following) if ref.ordinal else (following, ref)
            place = numbered.runs[0][0]
            runs = tuple(run for run in quoted.runs if run[0] == place)
            if not runs:
                raise Refused("false_claim", f"word {place.position} is another")
            made.append(Ref(ref.start, following.end, runs))
            evidence += _word_facts(runs, known)
            index += 2
        else:
            made.append(ref)
            index += 1
    return made, evidence


def _word_facts(runs: Runs, known: Known) -> list[Fact]:
    facts = (known.get(place, WORD_KEY) for run in runs for place in run)
    return [fact for fact in facts if fact is not None]


def order(relation: Hit, refs: Sequence[Ref], known: Known) -> tuple[Ref, Ref, list[Fact]]:
    """Check "X after Y" or "after Y comes X" between two references; return X, Y and the word facts.

    Only neighbours count: X is the word right after (or before) Y.

    Raises:
        Refused: `false_claim`, or `ambiguous_claim` where there are not two references.
    """
    if len(refs) != 2:
        raise Refused("ambiguous_claim", "an order is claimed of other than two words")
    left, right = refs
    x, y = (left, right) if left.end <= relation.start < right.start else (right, left)
    runs = neighbours(x.runs, y, relation.kinds())
    if not runs:
        raise Refused("false_claim", "the words do not follow each other so")
    x = Ref(x.start, x.end, runs)
    return x, y, _word_facts(runs, known) + _word_facts(y.runs, known)


def neighbours(runs: Runs, anchor: Ref, kinds: frozenset[str]) -> Runs:
    """Return those of `runs` that stand right after (or before, as `kinds` says) `anchor`."""
    if "after" in kinds:
        ends = {run[-1].position for run in anchor.runs}
        return tuple(run for run in runs if run[0].position - 1 in ends)
    starts = {run[0].position for run in anchor.runs}
    return tuple(run for run in runs if run[-1].position + 1 in starts)


def relation_keys(reading: Reading, hit: Hit, kind: str, known: Known) -> frozenset[str]:
    """Return the attributes that a relation is about.

    Raises:
        Refused: `ambiguous_claim`, where nothing says which.
    """
    own = frozenset(key for key in hit.keys(kind) if key)
    sentence = reading.sentence(hit)
    mentioned = frozenset(
        key
        for other in reading.hits
        if reading.sentence(other) == sentence
        for key in other.keys("mention")
        if key not in _UNORDERED
    )
    for keys in (own & mentioned or (frozenset() if own else mentioned), own & reading.context or own):
        if keys:
            # "noisier" may be of noise or of distortion: of what is known, all must hold
            return frozenset(key for key in keys if known.has(key)) or keys
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
    for key in relation_keys(reading, hit, kind, known):
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
            return Place(0), Place(1)  # "they differ", "both have the same"; refused below where direction matters
        subject = (before[-1] if before else single[0]).runs[0][0]
        return subject, Place(1 - subject.audio)
    if len(refs) == 1 and len(refs[0].runs) == 1 and len(refs[0].runs[0]) > 1:
        return refs[0].runs[0][0], refs[0].runs[0][-1]  # a change within a phrase
    if len(refs) != 2 or any(len(ref.runs) != 1 for ref in refs):
        raise Refused("ambiguous_claim", f"{said!r}: between which words?")
    return refs[0].runs[0][0], refs[1].runs[0][-1]
