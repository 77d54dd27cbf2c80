"""Rules about the shape of a pair: a question and an answer, each of whole sentences in the language asked for."""

from __future__ import annotations

from sift_ray.instruct.verify import wording
from sift_ray.instruct.verify.language import is_language
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.question import (
    is_question,
)
from sift_ray.instruct.verify.text import Text
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.instruct.verify.wording import Limits


def check_forms(question: str, asked: Text, answer: str, said: Text, limits: Limits) -> None:
    """Refuse a pair of which one text is no prose, or too long, or both are the same."""
    wording.check_form(question, asked, wording.QUESTION)
    wording.check_form(answer, said, limits)
    if len(asked.tokens) < 2:
        raise Refused("length", "a question of one word")
    if asked.words == said.words:
        raise Refused("echo", "the answer is the question")


def check_shape(question: str, asked: Text, said: Text, words: Lexicon) -> None:
    """Refuse a question that asks nothing, and sentences that break off."""
    if not question.rstrip().endswith("?"):
        wording.check_ends(asked, words)
    wording.check_ends(said, words)
    if not is_question(question, asked, words):
        raise Refused("not_a_question", f"{question[:80]!r}")


def check_language(text: Text, what: str, language: str) -> None:
    """Refuse a text, the pair's `what`, that is not in `language`."""
    if not is_language(text, language):
        raise Refused("language", f"the {what} is not in {language}: {text.source[:80]!r}")
