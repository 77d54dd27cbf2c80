"""What facts of a whole audio can't bear: changes, parts of it, finer ages, sole words, doubts about a doubt."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from sift_ray.instruct.verify import verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES

DATA = Path(__file__).parent / "data"
TASKS = {
    "acoustic": "closed_ended_acoustic_level",
    "content": "closed_ended_content_level",
    "open": "open_ended",
    "comparison": "closed_ended_comparison",
    "controllable": "controllable_generation",
    "word_align": "closed_ended_word_align",
}
FIRST = {
    "average_pitch": "slightly low pitch",
    "pitch_variation": "quite expressive",
    "speaking_rate": "quite fast",
    "average_intensity": "moderate volume",
    "noise_level": "slightly noisy",
    "reverberation": "slightly distant-sounding",
    "distortion_level": "almost no noise",
    "speech_quality": "great speech quality",
    "gender": "male",
    "age_category": "forties",
}
SECOND = {
    "average_pitch": "quite high pitch",
    "pitch_variation": "slightly monotone",
    "speaking_rate": "very slowly",
    "average_intensity": "softly",
    "noise_level": "very clean",
    "reverberation": "very close-sounding",
    "distortion_level": "very clear",
    "speech_quality": "moderate speech quality",
    "gender": "female",
    "age_category": "sixties",
}
VOLUMES = ("loudly", "softly", "moderate volume", "softly", "loudly", "softly")


@functools.cache
def data(language: str) -> dict[str, Any]:
    return yaml.safe_load((DATA / f"changes_{language}.yaml").read_text(encoding="utf-8"))


def facts(language: str, task: str) -> list[Fact]:
    found = data(language)
    if task == "word_align":
        numbered = list(enumerate(zip(found["words"].split(), VOLUMES, strict=True), 1))
        said = [Fact("transcript", found["words"])]
        said += [Fact("word", word, 0, place) for place, (word, _) in numbered]
        return said + [Fact("average_intensity", volume, 0, place) for place, (_, volume) in numbered]
    first = [Fact(key, value) for key, value in FIRST.items()]
    if task == "comparison":
        return first + [Fact(key, value, 1) for key, value in SECOND.items()]
    return [*first, Fact("transcript", found["transcript"]), Fact("language", language)]


def rows(label: str) -> list[Any]:
    return [
        pytest.param(language, task, *pair, id=f"{language}-{task}-{' '.join(pair)}")
        for language in LANGUAGES
        for task, pairs in data(language)[label].items()
        for pair in pairs
    ]


@pytest.mark.parametrize(("language", "task", "question", "answer"), rows("false"))
def test_what_no_fact_tells_is_refused(language, task, question, answer):
    assert not verify(TASKS[task], language, question, answer, facts(language, task)).accepted


@pytest.mark.parametrize(("language", "task", "question", "answer"), rows("true"))
def test_what_the_facts_tell_is_accepted(language, task, question, answer):
    verdict = verify(TASKS[task], language, question, answer, facts(language, task))
    assert verdict.accepted, (verdict.reason, verdict.detail)


@pytest.mark.parametrize("language", LANGUAGES)
def test_that_nobody_can_tell_that_it_cannot_be_told_is_refused(language):
    texts = data(language)["unanswerable"]
    asked = TASKS["acoustic"], language, texts["question"]
    plain = verify(*asked, texts["plain"], (), unknown=("name",))
    assert plain.accepted, (plain.reason, plain.detail)
    assert not verify(*asked, texts["nested"], (), unknown=("name",)).accepted
