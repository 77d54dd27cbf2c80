"""Every rule in every language: each reason that the verifier can give, with a near twin of the pair that is accepted.

The pairs are in `data/matrix_<language>.yaml`, the facts they are about here.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sift_ray.instruct.verify import Duplicates, Verdict, verifier, verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES

DATA = Path(__file__).parent / "data"
SOURCE = Path(verifier.__file__).parent
ELSEWHERE = ("time", "unanswerable")  # modules that begin so have tests of their own
ONE = {
    "average_pitch": "quite low pitch",
    "pitch_variation": "slightly expressive",
    "speaking_rate": "slightly fast",
    "noise_level": "very clean",
    "gender": "male",
}
OTHER = {
    "average_pitch": "very high pitch",
    "speaking_rate": "very slowly",
    "noise_level": "noisy",
    "gender": "female",
}
WORDS = (
    ("quite high pitch", "loudly"),
    ("slightly low pitch", "softly"),
    ("moderate pitch", "moderate volume"),
    ("very low pitch", "softly"),
    ("very high pitch", "loudly"),
)
TASKS = {
    "voice": "closed_ended_acoustic_level",
    "words": "closed_ended_word_align",
    "pair": "closed_ended_comparison",
}
INVISIBLE = (
    "\x00",
    "\x08",
    "\x1b",
    "\x7f",
    "\x85",
    "\xad",
    "\u200b",
    "\u200d",
    "\u200e",
    "\u2060",
    "\u2066",
    "\u2069",
    "\u202a",
    "\u202e",
    "\u2028",
    "\ufeff",
    "\ufff9",
    "\U000e0041",
)
TAGS = ("<b>", "</p>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- x -->", "&lt;b&gt;", "&#60;")


@functools.cache
def matrix(language: str) -> dict[str, Any]:
    return yaml.safe_load((DATA / f"matrix_{language}.yaml").read_text(encoding="utf-8"))


def rows() -> list[Any]:
    return [
        pytest.param(language, reason, row, id=f"{language}-{reason}-{row['what']}")
        for language in LANGUAGES
        for reason, found in matrix(language)["rules"].items()
        for row in found
    ]


def facts_of(language: str, kind: str) -> list[Fact]:
    data = matrix(language)
    first = [*(Fact(*item) for item in ONE.items()), Fact("transcript", data["said"][0])]
    if kind == "pair":
        second = [*(Fact(*item, 1) for item in OTHER.items()), Fact("transcript", data["said"][1], 1)]
        return first + second
    if kind == "words":
        found = [Fact("transcript", data["words"])]
        for place, (word, (pitch, volume)) in enumerate(zip(data["words"].split(), WORDS, strict=True), 1):
            found.append(Fact("word", word, 0, place))
            found.append(Fact("average_pitch", pitch, 0, place))
            found.append(Fact("average_intensity", volume, 0, place))
        return found
    return [*first, Fact("age_category", "forties"), Fact("accent", data["accent"]), Fact("language", language)]


def judge(language: str, row: dict[str, Any], label: str) -> Verdict:
    question, answer = row[label]
    if answer.startswith("REPEAT "):
        answer = answer.removeprefix("REPEAT ") * 30
    kind = row.get("facts", "voice")
    facts = facts_of(language, kind)
    task = row.get("task", TASKS[kind])
    duplicates = Duplicates()
    if "earlier" in row:
        assert verify(task, language, *row["earlier"], facts, duplicates=duplicates).accepted
    return verify(task, language, question, answer, facts, row.get("focus", ()), duplicates)


def reasons() -> set[str]:
    """Collect the reasons from the source, that none is forgotten."""
    found: set[str] = set()
    for path in sorted(SOURCE.glob("*.py")):
        if path.name.startswith(ELSEWHERE):
            continue
        source = path.read_text(encoding="utf-8")
        found.update(re.findall(r"Refused\(\s*\"(\w+)\"", source))
        found.update(re.findall(r"\(\"\w+\", \"(\w+)\"\)[,)]", source) if path.name == "signals.py" else ())
    return found


def test_the_reasons_are_found_in_the_source():
    assert reasons() >= {"length", "leak", "hedge", "causal", "false_claim", "wrong_role", "transcript_leak"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_has_pairs_in_every_language(language):
    assert set(matrix(language)["rules"]) == reasons()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_languages_test_the_same(language):
    def tested(code: str) -> set[tuple[str, str]]:
        return {(reason, row["what"]) for reason, found in matrix(code)["rules"].items() for row in found}

    assert tested(language) == tested("en")


@pytest.mark.parametrize(("language", "reason", "row"), rows())
def test_a_pair_is_refused_for_its_reason_and_its_twin_is_not(language, reason, row):
    refused, accepted = judge(language, row, "refused"), judge(language, row, "accepted")
    assert (refused.accepted, refused.reason) == (False, reason), refused.detail
    assert accepted.accepted, (accepted.reason, accepted.detail)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("hostile", [*INVISIBLE, *TAGS], ids=ascii)
def test_markup_and_invisible_characters_are_refused_anywhere(language, hostile):
    row = next(row for row in matrix(language)["rules"]["false_claim"] if row["what"] == "category")
    facts = facts_of(language, "voice")
    for place in (0, 1):
        for inside in (True, False):
            pair = list(row["accepted"])
            head, space, tail = pair[place].partition(" ")
            pair[place] = f"{head}{hostile}{space}{tail}" if inside else f"{pair[place]} {hostile}"
            assert verify(TASKS["voice"], language, *pair, facts).reason == "markup", pair
