"""The rule about what is told of a transcript without quotation marks: it must be a faithful excerpt of it.

All words of content that an answer tells lie on one stretch of the transcript, in its order, each behind the same
prepositions, conjunctions and denials; only articles, pronouns, auxiliaries and endings may differ. What the question
restates must lie beside that stretch. Nothing of it is told of the one who speaks, unless that one says so of himself.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.excerpts import Excerpts
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.retold import Group, Told, told_by
from sift_ray.instruct.verify.transcript import Transcript, recast
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.instruct.verify.word_forms import forms_of_one


def check_faithful(answer: Reading, question: Reading, words: Lexicon, known: Known, *, described: bool) -> None:
    """Refuse what is told of a transcript and is no faithful excerpt of it.

    Args:
        answer: without any claim that is false.
        question: what it answers.
        words: the language's.
        known: the facts; only the first audio's transcript is looked at.
        described: whether the recording is described: a sentence of words that descriptions have tells nothing then.

    Raises:
        Refused: `quote_not_in_transcript`.
    """
    if not known.transcripts.get(0):
        return
    fault: Refused | None = None
    for transcript in _versions(known, words):
        try:
            _check_sentences(transcript, answer, question, described=described)
        except Refused as refused:
            fault = fault or refused
        else:
            return
    if fault is not None:
        raise fault


@functools.lru_cache(maxsize=64)
def _versions(known: Known, words: Lexicon) -> tuple[Transcript, ...]:
    """Return a transcript as it stands and turned active, once for all pairs of a request."""
    said = known.transcripts[0]
    return tuple(Transcript(version, words) for version in (said, *recast(said, words.language)))


def _check_sentences(transcript: Transcript, answer: Reading, question: Reading, *, described: bool) -> None:
    tokens = answer.text.tokens
    asked = _asked(transcript, question)
    for sentence in range(tokens[-1].sentence + 1):
        told = told_by(transcript, answer, sentence)
        hard = any(tokens[w.at].text not in transcript.lexicon.known for g in told.groups for w in g.words)
        single = sum(len(group.words) for group in told.groups) == 1
        if not told.groups or (described and single and not hard):
            continue
        bare = any(not group.frame for group in told.groups)
        if told.strange:
            raise Refused("quote_not_in_transcript", f"{tokens[told.strange[0]].raw!r} is not in the transcript")
        if bare and (told.claims or (told.speaks and not transcript.first_person)):
            raise Refused("quote_not_in_transcript", "what is said is told of who says it, or of the recording")
        for group in told.groups:
            inside = range(group.words[0].at, group.words[-1].at)
            if strange := [i for i in told.foreign if i in inside]:
                raise Refused("quote_not_in_transcript", f"{tokens[strange[0]].raw!r} is not said there")
            _check_group(transcript, group, answer, sentence, question, asked)


def _asked(transcript: Transcript, question: Reading) -> list[Told]:
    last = question.text.tokens[-1].sentence
    return [told_by(transcript, question, sentence, asks=True) for sentence in range(last + 1)]


def _check_group(
    transcript: Transcript,
    group: Group,
    answer: Reading,
    sentence: int,
    question: Reading,
    asked: Sequence[Told],
) -> None:
    excerpts = Excerpts(transcript)
    mine = [token for token in answer.text.tokens if token.sentence == sentence]
    own = [token.text for token in mine if token.quote < 0]
    quoted = len(own) < len(mine)
    asked_words = [t.text for t in question.text.tokens if t.quote < 0]
    restated = [word for told in asked for part in told.groups for word in part.words]
    again = {word.text for word in restated}
    if quoted and all(any(forms_of_one(w.text, o, answer.language) for o in again) for w in group.words):
        places = next(excerpts.ways(group.words), ())
        if places and not excerpts.unlinked(group, places, set(places), asked_words):
            return  # ("the dog barks" of the question, and then what is quoted)
    if not group.frame:
        grammar = transcript.grammar
        acts = [i for told in asked for i in told.foreign if question.text.tokens[i].text in grammar.words.acts]
        strange = [i for told in asked for i in told.strange] + acts
        if strange:
            raw = question.text.tokens[strange[0]].raw
            raise Refused("quote_not_in_transcript", f"the question's {raw!r} is not said")
        telling = not (grammar.telling - grammar.words.talking).isdisjoint(asked_words)
        if not restated and not telling and any(told.speaks or told.claims for told in asked):
            raise Refused("quote_not_in_transcript", "asked about the speaker, told what is said")
        if restated and any(told.speaks for told in asked) and not transcript.first_person:
            raise Refused("quote_not_in_transcript", "the question has the speaker do what another does")
    why = ""
    for places in excerpts.ways(group.words):
        why = excerpts.fault(group, places, answer.text.words, own, asked_words)
        if not why and not group.frame:
            why = excerpts.beside(places, restated, asked_words)
        if not why:
            return
    raise Refused("quote_not_in_transcript", why or "the words are not one stretch of the transcript")
