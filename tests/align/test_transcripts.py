from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sift_ray.align.inventory import Inventory
from sift_ray.align.lexicon import LexicalWord, Lexicon
from sift_ray.align.protocol import AlignmentFailure
from sift_ray.align.transcripts import SpokenWord, prepare


@pytest.mark.parametrize(
    ("transcript", "duration_s", "reason"),
    [
        ("", 3.0, "empty_transcript"),
        (" \n", 3.0, "empty_transcript"),
        ("— … 😀", 3.0, "no_words"),
        ("Привет, мир", 3.0, "other_script"),
        ("one 日 本 two", 3.0, "unpronounceable"),
        ("a sentence of some words that nobody can say so soon", 0.3, "transcript_too_long"),
        ("12,345,678 people", 0.5, "transcript_too_long"),  # read out, two words are many phones
    ],
)
def test_what_cannot_be_aligned_says_why(transcript: str, duration_s: float, reason: str) -> None:
    (outcome,) = prepare(Lexicon("en"), None, [transcript], [duration_s])
    assert isinstance(outcome, AlignmentFailure)
    assert outcome.reason == reason


@pytest.mark.parametrize(
    "transcript",
    ["in the house of the king " * 200, "9" * 4301, " ".join("qwfpzx" * 50 for _ in range(20)), "a/" * 5000],
)
def test_what_is_far_too_long_is_refused_before_it_is_looked_up(
    transcript: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lexicon = Lexicon("en")
    asked: list[str] = []
    lookup_many = lexicon.lookup_many

    def watched(texts: Sequence[str]) -> list[list[LexicalWord]]:
        asked.extend(texts)
        return lookup_many(texts)

    monkeypatch.setattr(lexicon, "lookup_many", watched)
    refused, aligned = prepare(lexicon, None, [transcript, "a fine clip"], [1.0, 2.0])
    assert isinstance(refused, AlignmentFailure)
    assert refused.reason == "transcript_too_long"
    assert isinstance(aligned, list)
    assert asked == ["a fine clip"]


def test_each_transcript_is_judged_by_itself() -> None:
    lexicon = Lexicon("en")
    texts = ["hello world", "", "hello 日本 dear old world"]
    together = prepare(lexicon, None, texts, [2.0, 2.0, 3.0])
    assert together == [prepare(lexicon, None, [t], [s])[0] for t, s in zip(texts, [2.0, 2.0, 3.0], strict=True)]
    words = together[2]
    assert isinstance(words, list)
    assert [word.word for word in words] == ["hello", "日本", "dear", "old", "world"]
    assert words[1] == SpokenWord("日本", ())


def test_pronunciations_are_told_in_the_models_phones(tmp_path: Path) -> None:
    dictionary = tmp_path / "d.txt"
    dictionary.write_text("dizz\td iː z\ndizz\td i z\nodd\t?? ??\n", encoding="utf-8")
    inventory = Inventory(["a", "i", "t", "s", "n"])
    (outcome,) = prepare(Lexicon("en", dictionary), inventory, ["dizz odd dizz dizz"], [3.0])
    assert isinstance(outcome, list)
    assert outcome[0] == SpokenWord("dizz", (("t", "i", "s"),))  # both forms are one to this model
    assert outcome[1] == SpokenWord("odd", ())  # phones that nobody knows
