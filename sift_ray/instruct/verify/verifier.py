"""Verifies one question and answer against the facts, failing closed: what is not understood is not published."""

from __future__ import annotations

from collections.abc import Sequence

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.instruct.verify import wording
from sift_ray.instruct.verify.answered import check_answer
from sift_ray.instruct.verify.assertions import CONTROLLABLE
from sift_ray.instruct.verify.controllable import check_prompt
from sift_ray.instruct.verify.known import known_of
from sift_ray.instruct.verify.lexicon import Lexicon, lexicon
from sift_ray.instruct.verify.question import is_question
from sift_ray.instruct.verify.shape import check_forms
from sift_ray.instruct.verify.text import read
from sift_ray.instruct.verify.times import check_times
from sift_ray.instruct.verify.unanswerable import check_unanswerable
from sift_ray.instruct.verify.verdict import Refused, Verdict
from sift_ray.instruct.verify.wording import Duplicates
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES, TASKS


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
    facts = tuple(facts)
    evidence: list[Fact] = []
    untold: tuple[str, ...] = ()
    try:
        if unknown:
            untold = check_unanswerable(lexicon(language), question, answer, unknown)
        elif task == WORD_TIMES:
            evidence = _timed(lexicon(language), question, answer, facts, focus)
        elif task == CONTROLLABLE:
            evidence = check_prompt(lexicon(language), question, facts, focus)
        else:
            evidence = check_answer(task, lexicon(language), question, answer, facts, focus)
        if duplicates is not None:
            if refused := duplicates.check(question, answer):
                raise refused
            duplicates.add(question, answer)
    except Refused as refused:
        return Verdict(False, refused.reason, refused.detail)
    return Verdict(True, evidence=_in_order(evidence, facts, language), unknown=untold)


def _in_order(evidence: Sequence[Fact], facts: Sequence[Fact], language: str) -> tuple[Fact, ...]:
    if not evidence:
        return ()
    place_of = known_of(facts, language).place_of
    return tuple(sorted(set(evidence) & place_of.keys(), key=place_of.__getitem__))


def _timed(words: Lexicon, question: str, answer: str, facts: Sequence[Fact], focus: Sequence[str]) -> list[Fact]:
    """Check a pair about when words are spoken; what else it might say is not understood, and so refused."""
    asked, said = (read(text, words.language, words.boundaries) for text in (question, answer))
    check_forms(question, asked, answer, said, wording.CLOSED)
    if not is_question(question, asked, words):
        raise Refused("not_a_question", f"{question[:80]!r}")
    evidence = check_times(asked, said, words, known_of(facts, words.language))
    if focus and not {fact.key for fact in evidence} & set(focus):
        raise Refused("off_focus", f"it does not speak of {', '.join(focus)}")
    return evidence
