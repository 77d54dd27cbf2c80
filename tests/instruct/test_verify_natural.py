"""Natural wordings: most are accepted while they are true, and next to none once the facts under them are others."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sift_ray.instruct.verify import verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES

DATA = Path(__file__).parent / "data"
WORD_ALIGN, COMPARISON = "closed_ended_word_align", "closed_ended_comparison"
FIRST = {
    "average_pitch": "quite low pitch",
    "pitch_variation": "slightly expressive",
    "speaking_rate": "slightly fast",
    "average_intensity": "moderate volume",
    "noise_level": "very clean",
    "reverberation": "very close-sounding",
    "distortion_level": "almost no noise",
    "speech_quality": "wonderful speech quality",
    "gender": "male",
    "age_category": "forties",
}
SECOND = {
    "average_pitch": "very high pitch",
    "pitch_variation": "quite monotone",
    "speaking_rate": "very slowly",
    "average_intensity": "softly",
    "noise_level": "noisy",
    "reverberation": "distant-sounding",
    "distortion_level": "very noisy",
    "speech_quality": "bad speech quality",
    "gender": "female",
    "age_category": "sixties",
}
WORDS = (
    ("quite high pitch", "loudly"),
    ("slightly low pitch", "softly"),
    ("moderate pitch", "moderate volume"),
    ("very low pitch", "softly"),
    ("very high pitch", "loudly"),
)


@functools.cache
def data(language: str) -> dict[str, Any]:
    return yaml.safe_load((DATA / f"natural_{language}.yaml").read_text(encoding="utf-8"))


def voice(language: str, second: bool, audio: int = 0) -> list[Fact]:
    values = SECOND if second else FIRST
    said = data(language)["said"][second]
    return [*(Fact(key, value, audio) for key, value in values.items()), Fact("transcript", said, audio)]


def facts(task: str, language: str, place: int, swapped: bool) -> list[Fact]:
    """Return what the pair at `place` of its task is true of, or with `swapped` the other voice, or other order."""
    if task == COMPARISON:
        return voice(language, swapped) + voice(language, not swapped, 1)
    if task != WORD_ALIGN:
        return voice(language, (place >= 5) != swapped)
    words = data(language)["words"]
    found = [Fact("transcript", words)]
    grades = [*WORDS[1:], WORDS[0]] if swapped else WORDS
    for position, (word, (pitch, volume)) in enumerate(zip(words.split(), grades, strict=True), 1):
        found.append(Fact("word", word, 0, position))
        found.append(Fact("average_pitch", pitch, 0, position))
        found.append(Fact("average_intensity", volume, 0, position))
    return found


def judged(language: str, swapped: bool) -> Iterator[tuple[bool, str]]:
    for task, pairs in data(language)["pairs"].items():
        for place, (question, answer) in enumerate(pairs):
            verdict = verify(task, language, question, answer, facts(task, language, place, swapped))
            yield verdict.accepted, f"{task}: {verdict.reason}: {question} {answer}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_most_natural_wordings_are_accepted(language):
    found = list(judged(language, swapped=False))
    assert len(found) == 60
    refused = [what for accepted, what in found if not accepted]
    assert len(refused) <= 0.3 * len(found), refused


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_wordings_of_other_facts_are_refused(language):
    # (that a word follows another stays true when only their pitch and volume change)
    found = [
        what for accepted, what in judged(language, swapped=True) if accepted and not what.startswith(f"{WORD_ALIGN}:")
    ]
    assert not found
