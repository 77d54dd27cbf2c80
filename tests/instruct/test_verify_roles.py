"""Who does what to whom: true answers about one transcript, and the same with the roles changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sift_ray.instruct.verify import verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES

DATA = Path(__file__).parent / "data"
CONTENT = "closed_ended_content_level"


def rows(label: str) -> list[Any]:
    return [
        pytest.param(language, found["transcript"], *pair, id=f"{language}-{' '.join(pair)}")
        for language in LANGUAGES
        for found in yaml.safe_load((DATA / f"roles_{language}.yaml").read_text(encoding="utf-8"))["sets"]
        for pair in found[label]
    ]


def facts(transcript: str) -> list[Fact]:
    return [Fact("transcript", transcript), Fact("gender", "female")]


@pytest.mark.parametrize(("language", "transcript", "question", "answer"), rows("true"))
def test_who_has_the_part_that_is_asked_for_is_accepted(language, transcript, question, answer):
    verdict = verify(CONTENT, language, question, answer, facts(transcript))
    assert verdict.accepted, (verdict.reason, verdict.detail)


@pytest.mark.parametrize(("language", "transcript", "question", "answer"), rows("false"))
def test_one_taken_for_another_is_refused(language, transcript, question, answer):
    assert not verify(CONTENT, language, question, answer, facts(transcript)).accepted


@pytest.mark.parametrize(
    ("language", "transcript", "answer", "reason"),
    [
        ("en", "at noon the hunter saw a bear", "She says that the hunter saw a bear at noon.", None),
        ("en", "at noon the hunter saw a bear", "At noon a bear saw the hunter.", "wrong_role"),
        ("en", "the roof was mended by the mason", "The mason mended the roof.", None),
        ("en", "the roof was mended by the mason", "The roof mended the mason.", "wrong_role"),
        ("de", "am Mittag sah der Jäger einen Bären", "Der Jäger sah am Mittag einen Bären.", None),
        ("de", "mein Onkel gab der Tante einen Ring", "Die Tante gab dem Onkel einen Ring.", "wrong_role"),
    ],
)
def test_a_sentence_keeps_the_transcripts_order(language, transcript, answer, reason):
    question = {"en": "What happens?", "de": "Was passiert?"}[language]
    assert verify(CONTENT, language, question, answer, facts(transcript)).reason == reason
