"""Verifies one question and answer against the facts, failing closed: what is not understood is not published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.instruct.verify import content, faithful, resting, roles, telling, wording
from sift_ray.instruct.verify.assertions import (
    ACOUSTIC,
    COMPARISON,
    CONTENT,
    OPEN,
    WORD_ALIGN,
    Asked,
    asked_of,
    check,
    refs_of,
)
from sift_ray.instruct.verify.claims import Reading, grade_words_left
from sift_ray.instruct.verify.known import Known, Place, known_of
from sift_ray.instruct.verify.language import is_language
from sift_ray.instruct.verify.lexicon import Hit, Lexicon, lexicon
from sift_ray.instruct.verify.question import (
    check_question,
    is_polar,
    is_question,
    spoken_of,
)
from sift_ray.instruct.verify.text import Text, read
from sift_ray.instruct.verify.times import check_times
from sift_ray.instruct.verify.unanswerable import check_unanswerable
from sift_ray.instruct.verify.verdict import Refused, Verdict
from sift_ray.instruct.verify.wording import Duplicates, Limits
from sift_ray.metadata.categories import WORD_KEY
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES, TASKS

CONTROLLABLE: Final = "controllable_generation"

_PLACES: Final = frozenset({"ordinal", "last", "before", "after", "rise", "fall"})
_AUDIOS: Final = frozenset({"first", "second", "both"})
_ALWAYS_IGNORED: Final = frozenset({"affirm", "deny", "than", "last"})
_IGNORED: Final = {
    WORD_ALIGN: _ALWAYS_IGNORED | _AUDIOS,
    COMPARISON: _ALWAYS_IGNORED | _PLACES,
}
_IGNORED_ELSEWHERE: Final = _ALWAYS_IGNORED | _PLACES | _AUDIOS | {"same", "differ"}
_LIMITS: Final = {CONTENT: wording.CONTENT, OPEN: wording.OPEN}


def verify(
    task: str,
    language: str,
    question: str,
    answer: str,
    facts: Sequence[Fact],
    focus: Sequence[str] = (),
    duplicates: Duplicates | None = None,
    unknown: Sequence[str] = (),
) -> Verdict:
    """Say whether a pair may be published.

    Args:
        task: one of `schema.TASKS`. For controllable generation `question` is the synthesis prompt without its
            transcript, and `answer` is not looked at.
        language: what both texts must be in.
        question: asked about the audio; may presuppose only what is true.
        answer: every claim in it must be among the facts.
        facts: all that is known.
        focus: keys that were asked for; if any, the answer must rest on one of them.
        duplicates: pairs accepted before; an accepted pair is added.
        unknown: topics (`unanswerable.topics`) that were asked for though nobody can tell; with any, the question must
            be about one of them, and the answer must say that it can't be told, and nothing else.

    Returns:
        The verdict; where accepted, with the facts that the answer rests on, each once, in the order of `facts`.

    Raises:
        ValueError: no such task or language.
    """
    if task not in TASKS:
        raise ValueError(f"no task {task!r}; there are {', '.join(TASKS)}")
    if language not in LANGUAGES:
        raise ValueError(f"no language {language!r}; there are {', '.join(LANGUAGES)}")
    evidence: list[Fact] = []
    untold: tuple[str, ...] = ()
    try:
        if unknown:
            untold = check_unanswerable(lexicon(language), question, answer, unknown)
        elif task == WORD_TIMES:
            evidence = _timed(lexicon(language), question, answer, facts, focus)
        elif task == CONTROLLABLE:
            evidence = _controllable(lexicon(language), question, facts, focus)
        else:
            evidence = _answered(task, lexicon(language), question, answer, facts, focus)
        if duplicates is not None:
            if refused := duplicates.check(question, answer):
                raise refused
            duplicates.add(question, answer)
    except Refused as refused:
        return Verdict(False, refused.reason, refused.detail)
    used = set(evidence)
    return Verdict(True, evidence=tuple(fact for fact in dict.fromkeys(facts) if fact in used), unknown=untold)


def _answered(
    task: str, words: Lexicon, question: str, answer: str, facts: Sequence[Fact], focus: Sequence[str]
) -> list[Fact]:
    language = words.language
    asked_text = read(question, language, words.boundaries)
    said_text = read(answer, language, words.boundaries)
    _check_forms(question, asked_text, answer, said_text, _LIMITS.get(task, wording.CLOSED))
    _check_shape(question, asked_text, said_text, words)
    known = known_of(tuple(facts), language)
    _check_language(asked_text, "question", language)
    _check_language(said_text, "answer", language)
    wording.check_quotes(asked_text, known)
    quoted = wording.check_quotes(said_text, known)

    ignore = _IGNORED.get(task, _IGNORED_ELSEWHERE)
    free = task in (CONTENT, OPEN)
    asked_run, _ = wording.said_tokens(asked_text, known) if free else (frozenset[int](), [])
    said_run, said = wording.said_tokens(said_text, known) if free else (frozenset[int](), [])
    asked_skip, said_skip = (
        faithful.framed(text, words, run) for text, run in ((asked_text, asked_run), (said_text, said_run))
    )
    asked_reading = content.interpret_with_accents(asked_text, words, ignore, asked_skip, frozenset(), known)
    leading = _leading(said_text, words)
    said_reading = content.interpret_with_accents(
        said_text, words, ignore, said_skip | leading.skip, spoken_of(asked_reading) or _hinted(asked_reading), known
    )
    _check_signals(task, asked_reading, said_reading, known, (asked_run, said_run))
    wording.check_numbers(said_reading, known)
    wording.check_numbers(asked_reading, known)
    wording.check_names(asked_reading, words, known)
    wording.check_names(said_reading, words, known)

    asked = asked_of(task, asked_reading, known)
    evidence = check(task, said_reading, known, asked) + quoted + said
    evidence += content.check_phonemes(answer, known)
    content.check_said(said_text, said_reading, said_run, words, known)
    content.check_languages(said_reading)
    if free:
        telling.check_introduced(said_reading, asked_reading, said_run)
        telling.check_denied(said_reading, words, known)
        roles.check_roles(said_reading, asked_reading, words, known)
    if task == CONTENT and all(fact.key != "transcript" for fact in evidence):
        evidence += telling.told_unquoted(said_reading, asked_reading, words, known)
    if task == COMPARISON:
        evidence += telling.check_speakers(
            said_reading, refs_of(task, said_reading, known)[0], asked.refs, words, known
        )
    allowed = known.phonemes if task == ACOUSTIC else known.written
    if not is_polar(asked_reading, words):
        allowed |= set(asked_text.words)  # (what is asked for by yes or no is not vouched for by asking)
    wording.check_familiar(said_reading, words, allowed, _LIMITS.get(task, wording.CLOSED).strange)
    wording.check_familiar(asked_reading, words, known.vocabulary, wording.QUESTION.strange)
    _check_left(task, said_reading, known)
    resting.check_mentions(said_reading, evidence, known)
    told = {t.text for c in said_reading.claims for t in said_text.tokens[c.hit.start : c.hit.end]}
    answered = frozenset(f.key for f in evidence)
    check_question(task, asked_reading, known, asked, answered, frozenset(told), affirmed=leading.affirmed)
    resting.check_rests(task, asked_reading, asked, evidence, focus, known)
    resting.check_tells(task, asked_reading, evidence, known)
    if free:
        faithful.check_faithful(said_reading, asked_reading, words, known, described=task == OPEN)
    return evidence + _words_named((asked_reading, said_reading), evidence, known)


def _timed(words: Lexicon, question: str, answer: str, facts: Sequence[Fact], focus: Sequence[str]) -> list[Fact]:
    """Check a pair about when words are spoken; what else it might say is not understood, and so refused."""
    asked, said = (read(text, words.language, words.boundaries) for text in (question, answer))
    _check_forms(question, asked, answer, said, wording.CLOSED)
    if not is_question(question, asked, words):
        raise Refused("not_a_question", f"{question[:80]!r}")
    evidence = check_times(asked, said, words, known_of(tuple(facts), words.language))
    if focus and not {fact.key for fact in evidence} & set(focus):
        raise Refused("off_focus", f"it does not speak of {', '.join(focus)}")
    return evidence


def _words_named(readings: Sequence[Reading], evidence: Sequence[Fact], known: Known) -> list[Fact]:
    """Return the word facts of the places in `evidence` whose words the texts quote, and of quoted neighbours."""
    places = {fact.position for fact in evidence if fact.position}
    if any(reading.with_kind("before", "after") for reading in readings):
        places |= {position + step for position in places for step in (-1, 1)}
    quoted = [quote for reading in readings for quote in reading.text.quotes]
    named = {position for quote in quoted for run in known.positions(quote) for position in run}
    facts = (known.get(Place(0, position), WORD_KEY) for position in sorted(places & named))
    return [fact for fact in facts if fact is not None]


def _check_forms(question: str, asked: Text, answer: str, said: Text, limits: Limits) -> None:
    wording.check_form(question, asked, wording.QUESTION)
    wording.check_form(answer, said, limits)
    if len(asked.tokens) < 2:
        raise Refused("length", "a question of one word")
    if asked.words == said.words:
        raise Refused("echo", "the answer is the question")


def _check_shape(question: str, asked: Text, said: Text, words: Lexicon) -> None:
    if not question.rstrip().endswith("?"):
        wording.check_ends(asked, words)
    wording.check_ends(said, words)
    if not is_question(question, asked, words):
        raise Refused("not_a_question", f"{question[:80]!r}")


def _check_language(text: Text, what: str, language: str) -> None:
    if not is_language(text, language):
        raise Refused("language", f"the {what} is not in {language}: {text.source[:80]!r}")


def _hinted(question: Reading) -> frozenset[str]:
    """Return what a question hints at that speaks of nothing: "Describe the voice." of the pitch."""
    return question.keys("hint") - {"speaking_rate"}


class _Leading:
    """How an answer begins: with a yes, a no, or neither."""

    def __init__(self, skip: frozenset[int], *, affirmed: bool) -> None:
        self.skip = skip
        self.affirmed = affirmed


def _leading(text: Text, words: Lexicon) -> _Leading:
    if text.words[0] not in words.leading:
        return _Leading(frozenset(), affirmed=False)
    for kind in ("affirm", "deny"):
        for hit in words.scan(text, frozenset()):
            # ("No, it is low." denies the question; "No low pitch is heard." negates what follows)
            alone = hit.end == len(text.tokens) or text.tokens[hit.end].clause != text.tokens[0].clause
            if hit.start == 0 and kind in hit.kinds() and alone:
                return _Leading(frozenset(range(hit.start, hit.end)), affirmed=kind == "affirm")
            break
    return _Leading(frozenset(), affirmed=False)


def _check_signals(
    task: str, asked: Reading, said: Reading, known: Known, runs: tuple[frozenset[int], frozenset[int]]
) -> None:
    """Refuse what may not be said; `runs` are the places of words that repeat the transcript, in the two texts."""
    rules: list[tuple[str, str]] = [
        ("leak", "leak"),
        ("negation", "negation"),
        ("hedge", "hedge"),
        ("comparative", "comparative"),
    ]
    free = task in (CONTENT, OPEN)
    if task not in (COMPARISON, WORD_ALIGN):
        rules += [(kind, "comparative") for kind in ("up", "down", "most", "least")]
    # what is said may be asked about as it stands, and told in the question's words
    named = set(asked.text.words) if task == CONTENT and not is_polar(asked, lexicon(asked.language)) else set()
    asked_words = {token.text for token in asked.text.tokens} - lexicon(asked.language).function_words
    of_said = task == CONTENT and any(wording.alike(one, word) for one in asked_words for word in known.vocabulary)
    for reading, run in zip((asked, said), runs, strict=True):
        repeated = run | {hit.start for hit in telling.denials(reading, known)} if free else frozenset[int]()
        mine = rules if reading is said else [rule for rule in rules if rule[0] != "hedge"]
        wording.check_signals(reading, tuple(mine), repeated)
        claimed = {claim.hit.start for claim in reading.claims}
        for hit in reading.with_kind("unknowable", "simile"):
            if (
                hit.start in run
                or (hit.end in claimed and "simile" in hit.kinds())
                or (task == COMPARISON and "both" in hit.kinds())
            ):
                continue
            told = (
                of_said
                or telling.is_told(reading, hit.start)
                or named.issuperset(token.text for token in reading.text.tokens[hit.start : hit.end])
            )
            if not (free and told and _transcribed(reading, hit, known)):
                raise Refused("unknown_claim", f"{reading.words(hit)!r} is not known of the audio")
    wording.check_signals(said, (("causal", "causal"),))


def _transcribed(reading: Reading, hit: Hit, known: Known) -> bool:
    tokens = reading.text.tokens[hit.start : hit.end]
    return all(any(wording.alike(token.text, word) for word in known.vocabulary) for token in tokens)


def _check_left(task: str, reading: Reading, known: Known) -> None:
    free = task in (CONTENT, OPEN)
    for hit in grade_words_left(reading, strict=task in (ACOUSTIC, CONTROLLABLE)):
        spoken = reading.keys("mention", "hint") & hit.keys("watch")
        if free and not spoken and _transcribed(reading, hit, known):
            continue
        raise Refused("ungraded_claim", f"{reading.words(hit)!r} is outside any known category")


def _controllable(words: Lexicon, prompt: str, facts: Sequence[Fact], focus: Sequence[str]) -> list[Fact]:
    """Check a synthesis prompt: true characteristics, of those given, and nothing of the transcript."""
    text = read(prompt, words.language, words.boundaries)
    wording.check_form(prompt, text, wording.PROMPT)
    known = known_of(tuple(facts), words.language)
    _check_language(text, "prompt", words.language)
    named = known.accents.values()
    if (
        any(quote and quote not in named for quote in text.quotes)
        or len(wording.said_tokens(text, known)[0]) >= wording.SAID_RUN
    ):
        raise Refused("transcript_leak", "the prompt quotes what is to be said")
    reading = content.interpret_with_accents(text, words, _IGNORED_ELSEWHERE, frozenset(), frozenset(focus), known)
    _check_signals(CONTROLLABLE, reading, reading, known, (frozenset(), frozenset()))
    wording.check_numbers(reading, Known([], words.language))
    wording.check_names(reading, words, known)
    wording.check_familiar(reading, words, frozenset(), wording.PROMPT.strange)
    evidence = check(CONTROLLABLE, reading, known, Asked())
    _check_left(CONTROLLABLE, reading, known)
    resting.check_mentions(reading, evidence, known)
    rested = {fact.key for fact in evidence}
    if not rested:
        raise Refused("unverifiable", "no characteristic is asked for")
    if focus and (extra := rested - set(focus)):
        raise Refused("off_focus", f"{', '.join(sorted(extra))} were not given")
    return evidence
