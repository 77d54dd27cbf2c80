"""Rules about what was said and by whom: accents, phonemes, reported speech."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sift_ray.instruct.verify.claims import Claim, Reading, interpret
from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lexicon import Hit, Lexicon, Meaning
from sift_ray.instruct.verify.text import Text, find_run, read
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.record import Fact

_IPA: Final = re.compile(r"[ɑɐɒæəɚɛɜɝɪʊʌɔʃʒθðŋɲɹɾʁʔɡɣβχʎɥɨʉːˈˌ̃]")
_SLASHED: Final = re.compile(r"/([^/]+)/")


def interpret_with_accents(
    text: Text, lexicon: Lexicon, ignore: frozenset[str], skip: frozenset[int], context: frozenset[str], known: Known
) -> Reading:
    """Read `text`, known accents being claims too: an accent is free text, so no dictionary holds it.

    One that names a language ("English") is read as the language where the text or its question speaks of languages
    and not of accents.
    """
    found: list[Hit] = []
    own = text.words
    for value, run in known.accents.items():
        starts = find_run(run, own)
        if starts and _names_language(run, lexicon) and _about_language(text, lexicon, context, known):
            continue
        for start in starts:
            span = range(start, start + len(run))
            if not any(h.start < span.stop and span.start < h.end for h in found):
                found.append(Hit(span.start, span.stop, (Meaning("claim", "accent", value),)))
    if not found:
        return interpret(text, lexicon, ignore, skip, context)
    taken = frozenset(i for hit in found for i in range(hit.start, hit.end))
    reading = interpret(text, lexicon, ignore, skip | taken, context)
    for hit in found:
        label = hit.meanings[0].label
        reading.claims.append(Claim(hit, text.tokens[hit.start].sentence, (("accent", label),)))
    reading.hits = sorted([*reading.hits, *found])
    reading.claims.sort(key=lambda claim: claim.hit.start)
    return reading


def _names_language(run: Sequence[str], lexicon: Lexicon) -> bool:
    hits = lexicon.scan(read(" ".join(run), lexicon.language), frozenset())
    return any("language" in hit.keys("claim") for hit in hits)


def _about_language(text: Text, lexicon: Lexicon, context: frozenset[str], known: Known) -> bool:
    """Say whether a language's name in `text` is meant as the language that is spoken."""
    spoken = context.union(*(hit.keys("mention") for hit in lexicon.scan(text, frozenset())))
    return known.has("language") and "accent" not in spoken


def check_phonemes(answer: str, known: Known) -> list[Fact]:
    """Refuse phonetic writing that is not the utterance's; return the phonemes where there is some."""
    written = [match[1] for match in _SLASHED.finditer(answer)]
    rest = _SLASHED.sub(" ", answer)
    written += [part for part in rest.split() if _IPA.search(part)]
    evidence: list[Fact] = []
    for part in written:
        wanted = " ".join(part.strip(".,;:!?\"'").split())
        fact = known.get(Place(), "phonemes")
        if fact is None or wanted not in " ".join(fact.value.split()):
            raise Refused("false_claim", f"/{wanted}/ is not how it was pronounced")
        evidence.append(fact)
    return evidence


def check_said(text: Text, reading: Reading, said: frozenset[int], lexicon: Lexicon, known: Known) -> None:
    """Refuse a word that carries unquoted transcript on and is not in it: "says I ate the pears" for apples."""
    covered = {i for hit in reading.hits for i in range(hit.start, hit.end)}
    strange = {
        i
        for i, token in enumerate(text.tokens)
        if i not in covered
        and token.quote < 0
        and token.text not in lexicon.known
        and token.text not in known.vocabulary
    }
    for hit in reading.with_kind("topic"):
        clause = reading.clause(hit)
        for index in sorted(strange):
            if index >= hit.end and text.tokens[index].clause == clause:
                raise Refused("quote_not_in_transcript", f"{text.tokens[index].raw!r} is no topic of the transcript")
    for index in sorted(said):
        following = index + 1
        if following in said or following >= len(text.tokens):
            continue
        here, then = text.tokens[index], text.tokens[following]
        if then.clause != here.clause or then.quote >= 0 or following in covered:
            continue
        if following in strange:
            raise Refused("quote_not_in_transcript", f"{here.raw} {then.raw}: not how the transcript goes on")
