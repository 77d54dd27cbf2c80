from __future__ import annotations

from typing import Any

import pytest

from sift_ray.report.page.marks import Piece, mark


def fact(key: str, value: str | None, audio: int = 0, position: int = 0) -> dict[str, Any]:
    return {"key": key, "value": value, "ordinal": None, "audio": audio, "position": position}


def marked(text: str, facts: list[dict[str, Any]], language: str = "en") -> list[tuple[str, tuple[int, ...]]]:
    pieces = mark(text, facts, language)
    assert "".join(piece.text for piece in pieces) == text
    return [(piece.text, piece.facts) for piece in pieces if piece.facts]


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("en", "They speak Quite Slowly here.", "Quite Slowly"),
        ("de", "Die Person spricht ziemlich langsam.", "ziemlich langsam"),
        ("fr", "Cette personne parle assez lentement.", "assez lentement"),
        ("it", "La persona parla piuttosto lentamente.", "piuttosto lentamente"),
        ("es", "La persona habla bastante despacio.", "bastante despacio"),
    ],
)
def test_a_category_is_found_as_each_language_words_it(language: str, text: str, found: str) -> None:
    assert marked(text, [fact("speaking_rate", "quite slowly")], language) == [(found, (1,))]


def test_of_what_overlaps_the_longer_is_marked_and_equal_wordings_share_a_mark() -> None:
    facts = [fact("average_pitch", "high pitch"), fact("average_intensity", "loudly"), fact("gender", "female")]
    facts += [fact("average_intensity", "loudly", audio=1)]
    text = "A woman speaks loudly, and so does the other: loudly."
    assert marked(text, facts) == [("woman", (3,)), ("loudly", (2, 4)), ("loudly", (2, 4))]


def test_a_wording_is_not_found_within_a_word_and_may_be_hyphenated() -> None:
    assert marked("Unmanly.", [fact("gender", "male")]) == []
    assert marked("A very-slowly spoken line.", [fact("speaking_rate", "very slowly")]) == [("very-slowly", (1,))]


@pytest.mark.parametrize("value", ["a.*b (c", "l’eau", "[x] \\d+", "ça va"])
def test_free_text_is_found_as_it_is(value: str) -> None:
    text = f"On entend « {value} »."
    assert marked(text, [fact("transcript", value)], "fr") == [(value, (1,))]


def test_what_is_worded_otherwise_or_cannot_be_told_is_not_marked() -> None:
    text = "The first one is faster."
    assert mark(text, [fact("speaking_rate", "very fast"), fact("gender", None)], "en") == [Piece(text)]
    assert mark("", [fact("gender", "male")], "en") == []


def test_keys_and_languages_of_another_version_are_found_as_they_are() -> None:
    assert marked("It sounds happy.", [fact("emotion", "happy")]) == [("happy", (1,))]
    assert marked("Bom dia.", [fact("transcript", "dia")], "pt") == [("dia", (1,))]
