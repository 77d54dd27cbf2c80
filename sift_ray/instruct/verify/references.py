"""What part of a text is about which word or which audio, and whether claims and relations hold there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sift_ray.instruct.verify.claims import Claim, Reading
from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lexicon import Hit, lexicon
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.categories import WORD_KEY
from sift_ray.metadata.record import Fact

Runs = tuple[tuple[Place, ...], ...]


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


def attach(
    claims: Sequence[Claim], refs: Sequence[Ref], reading: Reading | None = None
) -> list[tuple[Claim, list[Ref]]]:
    """Pair the claims of one sentence with its references; every reference gets a claim.

    Counts equal and apart ("from low on a to high on b"): in order. Else a sentence that begins with a reference
    gives each claim to the references before it, one that begins with a claim to those after it. A reference left
    over ("…, and so is the second") takes the claims nearest to it. With a `reading` clauses that have references
    and claims of their own are taken apart first: "a man in the first, a woman in the second".
    """
    ordered = sorted(claims, key=lambda c: c.hit.start)
    if reading is not None and (parts := _by_clause(ordered, refs, reading)):
        return [pair for mine, group in parts for pair in attach(mine, group)]
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


def _by_clause(claims: Sequence[Claim], refs: Sequence[Ref], reading: Reading) -> list[tuple[list[Claim], list[Ref]]]:
    """Part claims and references by clauses, one without references going with the clause before it.

    Empty where the clauses do not part them: some part would be without claims, or the first without references.
    """
    tokens = reading.text.tokens
    starts = sorted({tokens[ref.start].clause for ref in refs})
    if len(starts) < 2 or any(tokens[claim.hit.start].clause < starts[0] for claim in claims):
        return []
    bounds = [*starts[1:], tokens[-1].clause + 1]
    parts: list[tuple[list[Claim], list[Ref]]] = []
    for start, end in zip(starts, bounds, strict=True):
        mine = [claim for claim in claims if start <= tokens[claim.hit.start].clause < end]
        group = [ref for ref in refs if tokens[ref.start].clause == start]
        if not mine:
            return []
        parts.append((mine, group))
    return parts


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


def audio_refs(reading: Reading, known: Known) -> list[Ref]:
    """Find references to the first, the second or both audios; else by "the man", where only one is of a man."""
    refs = []
    for kind, runs in (
        ("first", ((Place(0),),)),
        ("second", ((Place(1),),)),
        ("both", ((Place(0),), (Place(1),))),
    ):
        refs += [Ref(hit.start, hit.end, runs) for hit in reading.with_kind(kind)]
    if not refs:
        refs = _by_gender(reading, known)
    return sorted(refs, key=lambda ref: ref.start)


def _by_gender(reading: Reading, known: Known) -> list[Ref]:
    """Find "the man" and "the woman" where only one of the two audios is of each."""
    refs = []
    for claim in reading.claims:
        if claim.readings[0][0] == "gender":
            fitting = [
                p for p in (Place(0), Place(1)) if (f := known.get(p, "gender")) and f.value == claim.readings[0][1]
            ]
            if len(fitting) == 1:
                refs.append(Ref(claim.hit.start, claim.hit.end, ((fitting[0],),)))
    return refs


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


def order(reading: Reading, relation: Hit, refs: Sequence[Ref], known: Known) -> tuple[Ref, Ref, list[Fact]]:
    """Check "X after Y", "after Y comes X" or "auf Y folgt X" between two references; return X, Y and the word facts.

    Only neighbours count: X is the word right after (or before) Y.

    Raises:
        Refused: `false_claim`, or `ambiguous_claim` where there are not two references.
    """
    if len(refs) != 2:
        raise Refused("ambiguous_claim", "an order is claimed of other than two words")
    left, right = refs
    between = left.end <= relation.start < right.start
    x, y = (left, right) if between and not _is_anchor(reading, left) else (right, left)
    runs = neighbours(x.runs, y, relation.kinds())
    if not runs:
        raise Refused("false_claim", "the words do not follow each other so")
    x = Ref(x.start, x.end, runs)
    return x, y, _word_facts(runs, known) + _word_facts(y.runs, known)


def _is_anchor(reading: Reading, ref: Ref) -> bool:
    """Say whether a preposition ("auf", "a") stands before a reference, maybe with "the word" between."""
    towards = lexicon(reading.language).towards
    before = reading.text.tokens[max(0, ref.start - 3) : ref.start]
    clause = reading.text.tokens[ref.start].clause
    return any(token.text in towards and token.clause == clause and token.quote < 0 for token in before)


def neighbours(runs: Runs, anchor: Ref, kinds: frozenset[str]) -> Runs:
    """Return those of `runs` that stand right after (or before, as `kinds` says) `anchor`."""
    if "after" in kinds:
        ends = {run[-1].position for run in anchor.runs}
        return tuple(run for run in runs if run[0].position - 1 in ends)
    starts = {run[0].position for run in anchor.runs}
    return tuple(run for run in runs if run[-1].position + 1 in starts)
