"""What a text claims: which attributes it speaks of, and which category it gives each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sift_ray.instruct.verify.lexicon import Hit, Lexicon
from sift_ray.instruct.verify.text import Text, Token
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.categories import ATTRIBUTES, RELATED

CLAIMING: Final = ("claim", "short")
_CHANGES: Final = ("rise", "fall")


@dataclass(frozen=True, slots=True)
class Claim:
    """A recognised category; where the wording leaves several readings, each of them must be true."""

    hit: Hit
    sentence: int
    readings: tuple[tuple[str, str], ...]  # (key, label)


@dataclass(slots=True)
class Reading:
    """A text with all that was recognised in it."""

    text: Text
    hits: list[Hit]
    claims: list[Claim] = field(default_factory=list)
    context: frozenset[str] = frozenset()  # keys that the question speaks of
    language: str = "en"
    _of: list[Hit] | None = None
    _by_kind: dict[str, list[Hit]] = field(default_factory=dict)

    def sentence(self, hit: Hit) -> int:
        """The sentence that a hit stands in."""
        return self.text.tokens[hit.start].sentence

    def clause(self, hit: Hit) -> int:
        """The clause that a hit begins in."""
        return self.text.tokens[hit.start].clause

    def words(self, hit: Hit) -> str:
        """The hit as written."""
        return " ".join(token.raw for token in self.text.tokens[hit.start : hit.end])

    def with_kind(self, *kinds: str) -> list[Hit]:
        """The hits that can mean one of `kinds`."""
        if self._of is not self.hits:
            self._of, self._by_kind = self.hits, {}
            for hit in self.hits:
                for kind in hit.kinds():
                    self._by_kind.setdefault(kind, []).append(hit)
        if len(kinds) == 1:
            return self._by_kind.get(kinds[0], [])
        if self._by_kind.keys().isdisjoint(kinds):
            return []
        return [hit for hit in self.hits if not hit.kinds().isdisjoint(kinds)]

    def keys(self, *kinds: str) -> frozenset[str]:
        """All keys of the meanings of `kinds`."""
        return frozenset().union(*(hit.keys(*kinds) for hit in self.hits))


def interpret(
    text: Text,
    words: Lexicon,
    ignore: frozenset[str],
    skip: frozenset[int] = frozenset(),
    context: frozenset[str] = frozenset(),
) -> Reading:
    """Read `text`: find its claims and settle which attribute each is about.

    Raises:
        Refused: `ambiguous_claim`, where a wording does not fit the attribute that its clause speaks of.
    """
    reading = Reading(text, words.scan(text, ignore, skip), context=context, language=words.language)
    for hit in reading.hits:
        if not hit.kinds().isdisjoint(CLAIMING):
            chosen = _settle(reading, hit)
            if chosen:
                reading.claims.append(Claim(hit, reading.sentence(hit), chosen))
    _narrow(reading)
    return reading


def _narrow(reading: Reading) -> None:
    """Drop readings about what the text grades elsewhere: "distorted … and noisy" is noisy in the other sense."""
    settled = {claim.readings[0][0] for claim in reading.claims if len(claim.readings) == 1}
    contrasted = bool(reading.with_kind("first") and reading.with_kind("second"))
    for index, claim in enumerate(reading.claims):
        if len(claim.readings) > 1:
            # (of two audios the same is graded: "the first is noisy, while the second is clean")
            left = tuple(r for r in claim.readings if (r[0] in settled) == contrasted)
            if left:
                reading.claims[index] = Claim(claim.hit, claim.sentence, left)


def _settle(reading: Reading, hit: Hit) -> tuple[tuple[str, str], ...]:
    """Choose the readings of a claim by what its clause, sentence and question speak of."""
    strong = [(m.key, m.label) for m in hit.meanings if m.kind == "claim"]
    tokens = reading.text.tokens
    alone = hit.start == 0 and hit.end < len(tokens) and tokens[hit.end].clause != tokens[hit.end - 1].clause
    if alone and not strong and not hit.kinds().isdisjoint(_CHANGES):
        return ()  # "Baja: …" is how it changes, not what it is
    every = strong + [(m.key, m.label) for m in hit.meanings if m.kind == "short"]
    for keys, binding, mentioned in _surroundings(reading, hit):
        # (what says a category by itself comes before what says it only where that is spoken of)
        usable = every if mentioned or not strong else strong
        fitting = [r for r in strong if r[0] in keys] or [r for r in usable if r[0] in keys]
        if fitting := fitting or [r for r in strong if RELATED.get(r[0], frozenset()) & keys]:
            return tuple(fitting)
        if not keys.isdisjoint(hit.keys("watch")):
            return ()  # a grade word of what is spoken of: left over
        if binding and all(key in ATTRIBUTES for key, _ in every):
            raise Refused(
                "ambiguous_claim",
                f"{reading.words(hit)!r} does not fit what is spoken of: {', '.join(sorted(keys))}",
            )
        if len({key for key, _ in strong}) == 1:
            return tuple(strong)
    if strong:
        return tuple(strong)
    # a bare grade that nothing ties to an attribute: a grade word of several ("high") is no claim but left over, and
    # refused; one of a single attribute ("distant") is of that; others ("very high") keep all their readings, each of
    # which must then be true
    several = len(hit.keys("short", "watch")) > 1
    return () if several and any(m.kind == "watch" for m in hit.meanings) else tuple(every)


def _surroundings(reading: Reading, hit: Hit) -> Iterable[tuple[frozenset[str], bool, bool]]:
    """Yield the keys spoken of around `hit`, nearest first, whether the claim must fit them, whether by mention."""
    clause, sentence = reading.clause(hit), reading.sentence(hit)
    here = [h for h in reading.hits if reading.sentence(h) == sentence and h is not hit]

    def gradable(found: frozenset[str]) -> frozenset[str]:
        return frozenset(found & ATTRIBUTES.keys())

    def nearest(kind: str, candidates: Sequence[Hit]) -> frozenset[str]:
        before = [h for h in candidates if h.start < hit.start and gradable(h.keys(kind))]
        after = [h for h in candidates if h.start > hit.start and gradable(h.keys(kind))]
        if before:
            return gradable(before[-1].keys(kind))
        return gradable(after[0].keys(kind)) if after else frozenset()

    own = [h for h in here if reading.clause(h) == clause]
    if keys := nearest("mention", own):
        yield keys, True, True
    # (that someone speaks does not make "quite low" a speed: that takes a mention)
    if keys := nearest("hint", own) - {"speaking_rate"}:
        yield keys, False, False
    if keys := nearest("mention", here):
        yield keys, False, True
    if keys := nearest("hint", here) - {"speaking_rate"}:
        yield keys, False, False
    if keys := gradable(reading.context):
        yield keys, False, True


def grade_words_left(reading: Reading, *, strict: bool) -> Iterable[Hit]:
    """Yield hits that grade something but were not understood as a claim: watch words, loose degrees.

    With `strict` any degree word counts, else only one right before a claim, a grade word or a mention.
    """
    claimed = {claim.hit.start for claim in reading.claims}
    starts = {hit.start for hit in reading.hits if hit.kinds() & {"claim", "short", "watch", "mention", "up", "down"}}
    for hit in reading.hits:
        if hit.start in claimed:
            continue
        kinds = hit.kinds()
        if kinds & {"up", "down", "most", "least", "rise", "fall", "mention", "first", "second", "both"}:
            continue
        # (a short form that nothing ties to an attribute is a claim with all its readings: never left)
        if "watch" in kinds or ("degree" in kinds and (strict or hit.end in starts)):
            yield hit


def loose_tokens(reading: Reading) -> list[Token]:
    """Return the tokens outside quotations and outside every hit."""
    covered = {i for hit in reading.hits for i in range(hit.start, hit.end)}
    return [t for i, t in enumerate(reading.text.tokens) if i not in covered and t.quote < 0]


def asked_meanings(hit: Hit) -> frozenset[str]:
    """Return the keys that a claim or grade word could be about."""
    return hit.keys("claim", "short", "watch")
