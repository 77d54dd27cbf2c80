"""Rules about telling what was said: by whom, nothing turned into its opposite, and told where it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from sift_ray.instruct.verify.claims import Reading, loose_tokens
from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lexicon import Hit, Lexicon
from sift_ray.instruct.verify.question import asks_place_or_time, is_polar, wanted
from sift_ray.instruct.verify.references import Ref
from sift_ray.instruct.verify.small_words import small_words
from sift_ray.instruct.verify.text import Token
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.instruct.verify.word_forms import alike
from sift_ray.metadata.record import Fact

_NEAR: Final = 5
"""So many words around a negation are what it denies."""


def spoken_words(reading: Reading, words: Lexicon, known: Known) -> list[Token]:
    """Return the unquoted words that only a transcript vouches for, in its form or another."""
    return [
        token
        for token in loose_tokens(reading)
        if token.text not in words.known and any(alike(token.text, word) for word in known.vocabulary)
    ]


def check_speakers(
    reading: Reading, refs: Sequence[Ref], asked: Sequence[Ref], words: Lexicon, known: Known
) -> list[Fact]:
    """Refuse words put into the mouth of the other of two speakers.

    What is said belongs to the audio named before it in its sentence, or behind it where the sentence begins with
    what is said; where none is named, to the one named last, or that the question is about.

    Returns:
        The transcripts that words outside quotations are told of, as no other audio's.

    Raises:
        Refused: `false_claim`.
    """
    tokens = reading.text.tokens
    evidence: list[Fact] = []
    _check_turns(reading, refs)
    said: list[tuple[int, tuple[str, ...]]] = []
    for number, quote in enumerate(reading.text.quotes):
        if quote:
            said.append((next(i for i, token in enumerate(tokens) if token.quote == number), quote))
    loose = set(spoken_words(reading, words, known))
    said += [(i, (token.text,)) for i, token in enumerate(tokens) if token in loose]
    single = [ref for ref in refs if len(ref.runs) == 1]
    for start, run in said:
        sentence = tokens[start].sentence
        mine = [ref for ref in single if tokens[ref.start].sentence == sentence]
        begins = min((i for i, _ in said if tokens[i].sentence == sentence), default=start)
        ahead = [ref for ref in mine if ref.start < start]
        if mine and begins < mine[0].start:
            near = [ref for ref in mine if ref.start > start][:1]
        else:
            near = ahead[-1:] or [ref for ref in single if ref.start < start][-1:]
        if not near and len(asked) == 1 and len(asked[0].runs) == 1:
            near = list(asked)
        for audio in {place.audio for ref in near for place in ref.places}:
            holders = [holder for holder, other in known.transcripts.items() if _within(run, other)]
            if holders and audio not in holders:
                raise Refused("false_claim", f"{' '.join(run)!r} is said in the other audio")
            fact = known.get(Place(audio), "transcript")
            if holders == [audio] and tokens[start].quote < 0 and fact is not None:
                evidence.append(fact)
    return evidence


def _check_turns(reading: Reading, refs: Sequence[Ref]) -> None:
    """Refuse speakers told one after the other, and named by nothing but what they are, in another order than given."""
    people = {claim.hit.start for claim in reading.claims if claim.readings[0][0] == "gender"}
    audios = [ref.places[0].audio for ref in refs if ref.start in people]
    own = {token.text for token in reading.text.tokens if token.quote < 0}
    words = small_words(reading.language).speakers
    if len(set(audios)) > 1 and (
        not own.isdisjoint(words.backwards) or (audios[0] and not own.isdisjoint(words.turns))
    ):
        raise Refused("ambiguous_claim", "one speaker is told of after the other: in which order?")


def _within(run: Sequence[str], transcript: Sequence[str]) -> bool:
    if len(run) == 1:
        return any(alike(run[0], word) for word in transcript)
    return f" {' '.join(run)} " in f" {' '.join(transcript)} "


def one_audio_will_do(
    question: Reading, asked: Sequence[Ref], evidence: Sequence[Fact], words: Lexicon, known: Known
) -> bool:
    """Say whether an answer about one of two audios answers the question.

    It does where only that one is asked about, or where one is told to say what is asked for and the other does not.
    """
    audios = {fact.audio for fact in evidence}
    if len(audios) != 1:
        return False
    if asked:
        return {place.audio for ref in asked for place in ref.places} == audios
    if "transcript" not in {fact.key for fact in evidence}:
        return False
    (audio,) = audios
    topic = [token.text for token in loose_tokens(question) if token.text not in words.function_words]
    topic = [word for word in topic if _within((word,), known.transcripts.get(audio, []))]
    return bool(topic) and not any(_within((word,), known.transcripts.get(1 - audio, [])) for word in topic)


def is_told(reading: Reading, index: int) -> bool:
    """Say whether a word stands as one that is said: quoted, or in a sentence that speaks of what is said."""
    token = reading.text.tokens[index]
    return token.quote >= 0 or token.sentence in _telling_sentences(reading)


def _telling_sentences(reading: Reading) -> frozenset[int]:
    telling = (hit for hit in reading.with_kind("mention", "hint", "topic"))
    return frozenset(
        reading.sentence(hit)
        for hit in telling
        if "topic" in hit.kinds() or "transcript" in hit.keys("mention", "hint")
    )


def check_introduced(
    reading: Reading, question: Reading, said: Collection[int], words: Lexicon, known: Known, *, described: bool
) -> None:
    """Refuse what is made of a transcript's words and does not say so, unless it is asked what is said.

    "She is happy" may well be said; beside "She speaks slowly" it passes for a claim about who says it. It is looked
    for in each clause, or in each sentence where a question may well be about what is said: "He speaks of the market,
    which closes at noon."

    Args:
        reading: the answer.
        question: what it answers.
        said: the places of its unquoted words that repeat a transcript.
        words: the language's.
        known: the facts.
        described: whether the question is one that invites to describe a recording.

    Raises:
        Refused: `unknown_claim`.
    """
    if not said:
        return
    topics = wanted(question)
    if topics <= {"transcript"} and (
        asks_place_or_time(question)
        or asks_what_is_said(question, words, known)
        or (question.with_kind("unknowable") and not is_polar(question, words))
    ):
        return
    by_clause = described or bool(topics)
    excerpts = small_words(reading.language).excerpts
    tells = excerpts.telling - excerpts.talking
    own: set[int] = set()
    introduced = set(_telling_sentences(reading))
    for index, token in enumerate(reading.text.tokens):
        if index in said and token.quote < 0:
            continue
        if token.text in tells:
            introduced.add(token.sentence)
        if token.quote >= 0 or not (by_clause and token.text in words.function_words):
            own.add(token.clause if by_clause else token.sentence)
    for index in sorted(said):
        token = reading.text.tokens[index]
        if token.sentence not in introduced and (token.clause if by_clause else token.sentence) not in own:
            raise Refused("unknown_claim", f"{token.raw!r} … is said in the audio, and told as if it were known of it")


def denials(reading: Reading, known: Known) -> Iterator[Hit]:
    """Yield the negations of a text that repeat the transcript's: its next word is denied there too."""
    tokens = reading.text.tokens
    for hit in reading.with_kind("negation"):
        after = [token.text for token in tokens[hit.end : hit.end + _NEAR] if len(token.text) > 2][:2]
        first = tokens[hit.start].text
        for said in known.transcripts.values():
            places = [i for i, word in enumerate(said) if word == first]
            near = {word for i in places for word in said[max(0, i - _NEAR) : i + _NEAR + 1]}
            if any(alike(word, other) for word in after for other in near):
                yield hit
                break


def check_denied(reading: Reading, words: Lexicon, known: Known) -> None:
    """Refuse a sentence that tells what the transcript denies, and leaves the denial out.

    Raises:
        Refused: `negation`.
    """
    for said in known.transcripts.values():
        for place, word in enumerate(said):
            if word not in words.negations:
                continue
            near = said[max(0, place - _NEAR) : place] + said[place + 1 : place + _NEAR + 1]
            denied = {other for other in near if len(other) > 2 and other not in words.function_words}
            if denied:
                _check_sentences(reading, words, denied, word)


def _check_sentences(reading: Reading, words: Lexicon, denied: set[str], negation: str) -> None:
    tokens = reading.text.tokens
    topics = {reading.sentence(hit) for hit in reading.with_kind("topic")}
    for sentence in range(tokens[-1].sentence + 1):
        mine = [token for token in tokens if token.sentence == sentence]
        if sentence in topics or any(token.text in words.negations for token in mine):
            continue
        own = {token.text for token in mine if token.quote < 0}
        told = {word for word in denied if any(alike(word, other) for other in own)}
        if len(told) >= min(2, len(denied)):
            raise Refused("negation", f"{' '.join(sorted(told))!r} is told without {negation!r}")


def told_unquoted(reading: Reading, question: Reading, words: Lexicon, known: Known) -> list[Fact]:
    """Return the transcript where an answer tells something of it in its words, which the question did not hold.

    Numbers must stand before the words they are said with.
    """
    asked = set(question.text.words)
    # (what cannot be known by itself, a trade, is vouched for by the transcript here)
    covered = {i for hit in reading.hits if "unknowable" not in hit.kinds() for i in range(hit.start, hit.end)}
    tokens = reading.text.tokens
    for audio, said in known.transcripts.items():
        inside = [
            i
            for i, token in enumerate(tokens)
            if i not in covered
            and token.quote < 0
            and token.text not in words.function_words
            and (len(token.text) > 2 or token.text[0].isdigit())
            and _within((token.text,), said)
        ]
        fact = known.get(Place(audio), "transcript")
        if fact is None or not any(tokens[i].text not in asked for i in inside):
            continue
        if all(_counts_the_same(tokens, i, said) for i in inside if tokens[i].text[0].isdigit()):
            return [fact]
    return []


def _counts_the_same(tokens: Sequence[Token], index: int, said: Sequence[str]) -> bool:
    """Say whether the word behind a number, if the transcript has it, is what the number counts there."""
    number = tokens[index].text
    following = tokens[index + 1].text if index + 1 < len(tokens) else ""
    if len(following) <= 2 or not _within((following,), said):
        return True
    places = [i for i, word in enumerate(said) if word == number]
    return any(alike(following, word) for i in places for word in said[i + 1 : i + 3])


def asks_what_is_said(question: Reading, words: Lexicon, known: Known) -> bool:
    """Say whether a question has words that only the transcript vouches for, or speaks of the transcript."""
    return "transcript" in question.keys("mention") or bool(spoken_words(question, words, known))
