"""What a text claims: which attributes it speaks of, and which category it gives each."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sift_ray.instruct.verify.lexicon import Hit, Lexicon
from sift_ray.instruct.verify.text import TEXTS_KEPT, Text, Token
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.categories import ATTRIBUTES, RELATED

_CHANGES: Final = ("rise", "fall")
_GRADABLE: Final = frozenset(ATTRIBUTES)
_NOTHING: Final[frozenset[str]] = frozenset()
_SPEAKING: Final = frozenset({"speaking_rate"})
_NOT_LEFT: Final = frozenset({"up", "down", "most", "least", "rise", "fall", "mention", "first", "second", "both"})


@dataclass(frozen=True, slots=True)
class Claim:
    """A recognised category; where the wording leaves several readings, each of them must be true."""

    hit: Hit
    sentence: int
    readings: tuple[tuple[str, str], ...]  # (key, label)


class _Spoken(NamedTuple):
    """A place where attributes are spoken of."""

    start: int
    clause: int
    keys: frozenset[str]


@dataclass(slots=True, eq=False)
class Reading:
    """A text with all that was recognised in it."""

    text: Text
    hits: list[Hit]
    claims: list[Claim] = field(default_factory=list)
    context: frozenset[str] = frozenset()  # keys that the question speaks of
    language: str = "en"
    by_kind: dict[str, list[Hit]] = field(init=False)  # the hits by the kinds that they can mean
    _keys: dict[tuple[str, ...], frozenset[str]] = field(default_factory=dict)
    _claimed: frozenset[int] | None = None
    _covered: frozenset[int] | None = None

    def with_more(self, hits: Iterable[Hit], claims: Iterable[Claim]) -> Reading:
        """Return a reading that has what was recognised elsewhere as well."""
        return Reading(
            self.text,
            sorted([*self.hits, *hits], key=lambda hit: hit.start),
            sorted([*self.claims, *claims], key=lambda claim: claim.hit.start),
            self.context,
            self.language,
        )

    def __post_init__(self) -> None:
        by_kind: dict[str, list[Hit]] = {}
        self.by_kind = by_kind
        for hit in self.hits:
            for kind in hit.meanings.kinds:
                if kind in by_kind:
                    by_kind[kind].append(hit)
                else:
                    by_kind[kind] = [hit]

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
        if len(kinds) == 1:
            return self.by_kind.get(kinds[0], [])
        if self.by_kind.keys().isdisjoint(kinds):
            return []
        return [hit for hit in self.hits if not hit.meanings.kinds.isdisjoint(kinds)]

    def keys(self, *kinds: str) -> frozenset[str]:
        """All keys of the meanings of `kinds`."""
        found = self._keys.get(kinds)
        if found is None:
            found = self._keys[kinds] = _NOTHING.union(*(hit.meanings.keys(kinds) for hit in self.hits))
        return found

    def claimed(self) -> frozenset[int]:
        """The first tokens of all claims."""
        if self._claimed is None:
            self._claimed = frozenset(claim.hit.start for claim in self.claims)
        return self._claimed

    def covered(self) -> frozenset[int]:
        """The tokens of all hits."""
        if self._covered is None:
            self._covered = frozenset(i for hit in self.hits for i in range(hit.start, hit.end))
        return self._covered


@functools.lru_cache(maxsize=TEXTS_KEPT)
def interpret(
    text: Text,
    words: Lexicon,
    ignore: frozenset[str],
    skip: frozenset[int] = frozenset(),
    context: frozenset[str] = frozenset(),
) -> Reading:
    """Read `text`: find its claims and settle which attribute each is about. What is returned is not to be changed.

    Raises:
        Refused: `ambiguous_claim`, where a wording does not fit the attribute that its clause speaks of.
    """
    reading = Reading(text, words.scan(text, ignore, skip), context=context, language=words.language)
    several = False
    for hit in reading.hits:
        if hit.meanings.strong or hit.meanings.weak:
            chosen = _settle(reading, hit)
            if chosen:
                reading.claims.append(Claim(hit, reading.sentence(hit), chosen))
                several |= len(chosen) > 1
    if several:
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
    strong = hit.meanings.strong
    tokens = reading.text.tokens
    alone = hit.start == 0 and hit.end < len(tokens) and tokens[hit.end].clause != tokens[hit.end - 1].clause
    if alone and not strong and not hit.kinds().isdisjoint(_CHANGES):
        return ()  # "Baja: …" is how it changes, not what it is
    every = strong + hit.meanings.weak
    for keys, binding, mentioned in _surroundings(reading, hit):
        # (what says a category by itself comes before what says it only where that is spoken of)
        usable = every if mentioned or not strong else strong
        fitting = [r for r in strong if r[0] in keys] or [r for r in usable if r[0] in keys]
        if fitting := fitting or [r for r in strong if RELATED.get(r[0], _NOTHING) & keys]:
            return tuple(fitting)
        if not keys.isdisjoint(hit.keys("watch")):
            return ()  # a grade word of what is spoken of: left over
        if binding and all(key in ATTRIBUTES for key, _ in every):
            raise Refused(
                "ambiguous_claim",
                f"{reading.words(hit)!r} does not fit what is spoken of: {', '.join(sorted(keys))}",
            )
        if len({key for key, _ in strong}) == 1:
            return strong
    if strong:
        return strong
    # a bare grade that nothing ties to an attribute: a grade word of several ("high") is no claim but left over, and
    # refused; one of a single attribute ("distant") is of that; others ("very high") keep all their readings, each of
    # which must then be true
    several = len(hit.keys("short", "watch")) > 1
    return () if several and any(m.kind == "watch" for m in hit.meanings) else every


def _surroundings(reading: Reading, hit: Hit) -> Iterable[tuple[frozenset[str], bool, bool]]:
    """Yield the keys spoken of around `hit`, nearest first, whether the claim must fit them, whether by mention."""
    first = reading.text.tokens[hit.start]
    mentions = _spoken(reading, "mention", hit, first.sentence)
    hints = _spoken(reading, "hint", hit, first.sentence)
    if mentions or hints:
        if mentions and (keys := _nearest([s for s in mentions if s.clause == first.clause], hit.start)):
            yield keys, True, True
        # (that someone speaks does not make "quite low" a speed: that takes a mention)
        if hints and (keys := _nearest([s for s in hints if s.clause == first.clause], hit.start) - _SPEAKING):
            yield keys, False, False
        if keys := _nearest(mentions, hit.start):
            yield keys, False, True
        if keys := _nearest(hints, hit.start) - _SPEAKING:
            yield keys, False, False
    if keys := reading.context & _GRADABLE:
        yield keys, False, True


def _spoken(reading: Reading, kind: str, but: Hit, sentence: int) -> list[_Spoken]:
    """Return where other hits of a sentence than `but` mention attributes, or hint at them."""
    found = []
    for hit in reading.by_kind.get(kind, ()):
        token = reading.text.tokens[hit.start]
        if token.sentence == sentence and hit is not but and (keys := hit.meanings.keys((kind,)) & _GRADABLE):
            found.append(_Spoken(hit.start, token.clause, keys))
    return found


def _nearest(spoken: Sequence[_Spoken], start: int) -> frozenset[str]:
    """Return the keys of the last place before `start`, else of the first behind it."""
    before = _NOTHING
    for place in spoken:
        if place.start > start:
            return before or place.keys
        before = place.keys
    return before


def grade_words_left(reading: Reading, *, strict: bool) -> Iterable[Hit]:
    """Yield hits that grade something but were not understood as a claim: watch words, loose degrees.

    With `strict` any degree word counts, else only one right before a claim, a grade word or a mention.
    """
    candidates = reading.with_kind("watch", "degree")
    if not candidates:
        return
    claimed = reading.claimed()
    starts = {hit.start for hit in reading.with_kind("claim", "short", "watch", "mention", "up", "down")}
    for hit in candidates:
        kinds = hit.meanings.kinds
        if hit.start in claimed or not kinds.isdisjoint(_NOT_LEFT):
            continue
        # (a short form that nothing ties to an attribute is a claim with all its readings: never left)
        if "watch" in kinds or strict or hit.end in starts:
            yield hit


@functools.lru_cache(maxsize=TEXTS_KEPT)
def loose_tokens(reading: Reading) -> tuple[Token, ...]:
    """Return the tokens outside quotations and outside every hit."""
    covered = reading.covered()
    return tuple(t for i, t in enumerate(reading.text.tokens) if i not in covered and t.quote < 0)


def asked_meanings(hit: Hit) -> frozenset[str]:
    """Return the keys that a claim or grade word could be about."""
    return hit.keys("claim", "short", "watch")
