"""Rules about what was said and by whom: accents, phonemes, reported speech."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from sift_ray.instruct.verify.claims import Claim, Reading, interpret
from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lexicon import Hit, Lexicon, Meaning, Meanings, lexicon
from sift_ray.instruct.verify.text import TEXTS_KEPT, Text, read, words
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.accents import accent_forms, display_names, language_cues
from sift_ray.metadata.record import Fact

_IPA: Final = re.compile(r"[ɑɐɒæəɚɛɜɝɪʊʌɔʃʒθðŋɲɹɾʁʔɡɣβχʎɥɨʉːˈˌ̃]")
_SLASHED: Final = re.compile(r"/([^/]+)/")


class _Wording(NamedTuple):
    """How a language names an accent: a run of words; a weak one only where accents are spoken of."""

    run: tuple[str, ...]
    name: str
    weak: bool
    tongue: bool  # it names one of the five languages too


def interpret_with_accents(
    text: Text, words_: Lexicon, ignore: frozenset[str], skip: frozenset[int], context: frozenset[str], known: Known
) -> Reading:
    """Read `text`, the names of accents being claims too: of the known ones, and of all that have a dictionary entry.

    One that names a language ("English") is read as the language where the text or its question speaks of languages
    and not of accents; words of the transcript name no accent that is not known.
    """
    found = _accent_hits(text, words_, skip, context, known)
    if not found:
        return interpret(text, words_, ignore, skip, context)
    taken = frozenset(i for hit in found for i in range(hit.start, hit.end))
    claims = (Claim(hit, text.tokens[hit.start].sentence, hit.meanings.strong) for hit in found)
    return interpret(text, words_, ignore, skip | taken, context).with_more(found, claims)


@functools.cache
def _accent_words(language: str) -> dict[str, list[_Wording]]:
    """Map the first words of the dictionary's accents to their wordings, the longest first."""
    found: dict[str, list[_Wording]] = {}
    for name in display_names():
        weak = {tuple(words(form, language)) for form in accent_forms(language, name, weak=True)}
        strong = {tuple(words(form, language)) for form in accent_forms(language, name)}
        for run in sorted(weak | strong):
            wording = _Wording(run, name, run in weak, _names_language(run, lexicon(language)))
            found.setdefault(run[0], []).append(wording)
    for wordings in found.values():
        wordings.sort(key=lambda wording: -len(wording.run))
    return found


@functools.lru_cache(maxsize=TEXTS_KEPT)
def _accent_starts(text: Text, language: str) -> tuple[int, ...]:
    """Return where the dictionary's name of an accent may begin."""
    dictionary = _accent_words(language)
    return tuple(index for index, word in enumerate(text.words) if word in dictionary)


def _accent_hits(text: Text, words_: Lexicon, skip: frozenset[int], context: frozenset[str], known: Known) -> list[Hit]:
    candidates = _named_accents(text, words_, skip, known)
    if not candidates:
        return []
    heard = words_.scan(text, frozenset())
    aged = {i for hit in heard if "age_category" in hit.keys("claim") for i in range(hit.start, hit.end)}
    mentions = [hit for hit in heard if "accent" in hit.keys("mention")]
    spoken = context.union(*(hit.keys("mention") for hit in heard))
    sentences = {text.tokens[hit.start].sentence for hit in mentions}
    touched = {hit.end for hit in mentions} | {hit.start - 1 for hit in mentions}
    cues = language_cues(words_.language)
    plain = {text.tokens[start].clause for start, wording in candidates if not wording.tongue}
    hits: list[Hit] = []
    for start, wording in candidates:
        end = start + len(wording.run)
        if not aged.isdisjoint(range(start, end)):
            continue  # "sulla trentina" is no Trentino
        mine = wording.run in known.accent_of
        touching = not touched.isdisjoint(range(start, end))
        about = text.tokens[start].sentence in sentences or (not mentions and "accent" in context)
        if wording.tongue and not touching:
            cued = start > 0 and text.tokens[start - 1].text in cues
            if mine:
                other = known.has("language") and ("accent" not in spoken or cued)
            else:
                other = not about or cued or text.tokens[start].clause in plain
            if other:
                continue
        if wording.weak and not about:
            continue
        if not mine and not touching and known.vocabulary.issuperset(wording.run):
            continue
        label = known.accent_of[wording.run] if mine else wording.name
        hits.append(Hit(start, end, Meanings((Meaning("claim", "accent", label),))))
    return hits


def _named_accents(text: Text, words_: Lexicon, skip: frozenset[int], known: Known) -> list[tuple[int, _Wording]]:
    """Find the wordings of accents, with where they start: the longest at each place, none overlapping.

    What is quoted is one where it is all of the quotation, what repeats the transcript only where it stands alone.
    """
    dictionary, own = _accent_words(words_.language), known.accent_words
    starts: Sequence[int] = _accent_starts(text, words_.language)
    if not own.keys().isdisjoint(text.words):
        starts = [index for index, word in enumerate(text.words) if word in dictionary or word in own]
    tokens = text.tokens
    found: list[tuple[int, _Wording]] = []
    free_from = 0
    for index in starts:
        if index < free_from:
            continue
        first, word = tokens[index], text.words[index]
        wordings = dictionary.get(word, [])
        if word in own:
            listed = {wording.run for wording in wordings}
            free = [_Wording(r, known.accent_of[r], False, False) for r in own[word] if r not in listed]
            wordings = sorted((*wordings, *free), key=lambda wording: -len(wording.run))
        for wording in wordings:
            end = index + len(wording.run)
            inside = tokens[index:end]
            if (
                tuple(text.words[index:end]) == wording.run
                and inside[-1].sentence == first.sentence
                and inside[-1].quote == first.quote
                and (first.quote < 0 or text.quotes[first.quote] == wording.run)
                and not (index in skip and (index - 1 in skip or end in skip))
            ):
                found.append((index, wording))
                free_from = end
                break
    return found


def _names_language(run: Sequence[str], words_: Lexicon) -> bool:
    """Say whether all of `run` is the name of a language: "English", but not "Scottish English"."""
    hits = words_.scan(read(" ".join(run), words_.language), frozenset())
    return any("language" in hit.keys("claim") and len(run) == hit.end - hit.start for hit in hits)


def check_languages(reading: Reading) -> None:
    """Refuse an accent given as a language: "The language is Irish"."""
    spoken: dict[int, set[str]] = {}
    if all(claim.readings[0][0] != "accent" for claim in reading.claims):
        return
    for hit in reading.with_kind("mention"):
        spoken.setdefault(reading.sentence(hit), set()).update(hit.keys("mention") & {"accent", "language"})
    for claim in reading.claims:
        if claim.readings[0][0] == "accent" and spoken.get(claim.sentence) == {"language"}:
            raise Refused("false_claim", f"{reading.words(claim.hit)!r} is no language")


def check_phonemes(answer: str, known: Known) -> list[Fact]:
    """Refuse phonetic writing that is not the utterance's; return the phonemes where there is some."""
    if "/" not in answer and not _IPA.search(answer):
        return []
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
    if not said and not reading.with_kind("topic"):
        return
    covered = reading.covered()
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
