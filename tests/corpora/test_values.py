from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.corpora.values import (
    age_of,
    agreed_gender,
    foreign_share,
    gender_of,
    gender_withheld,
    one_line,
    split_by_speaker,
    split_of,
    text_of,
)
from sift_ray.schema import AGES, SPLITS


@pytest.mark.parametrize(
    ("text", "gender"),
    [
        ("F", "female"),
        ("male", "male"),
        ("male_masculine", "male"),
        ("female_feminine", "female"),
        ("other", None),
        ("transgender", None),
        ("non-binary", None),
        ("intersex", None),
        ("do_not_wish_to_say", None),
        ("", None),
        (None, None),
    ],
)
def test_gender_is_female_male_or_unknown(text: str | None, gender: str | None) -> None:
    assert gender_of(text) == gender


@pytest.mark.parametrize(
    ("text", "withheld"),
    [
        *((word, True) for word in ("other", "Non-binary", "do_not_wish_to_say", "transgender", " intersex ", "1")),
        *((word, False) for word in ("F", "male_masculine", None, "", "  ", "NA", "n/a", "nan", "None", "Unknown")),
    ],
)
def test_a_word_that_is_neither_ours_nor_unknown_withholds_a_gender(text: str | None, withheld: bool) -> None:
    assert gender_withheld(text) == withheld


@pytest.mark.parametrize(
    ("one", "other", "agreed"),
    [
        ("f", "female", "f"),
        ("f", "m", ""),
        ("f", "", ""),
        ("unknown", "", "unknown"),
        ("f", "other", "other"),
        ("other", "f", "other"),
        ("", "other", "other"),
    ],
)
def test_of_two_words_for_one_speaker_that_which_withholds_stands(one: str, other: str, agreed: str) -> None:
    assert agreed_gender(one, other) == agreed


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("fourties", "forties"),
        ("teens", "teens"),
        ("nineties", "nineties"),
        ("23", "twenties"),
        ("13", "teens"),
        ("12", None),
        ("99", "nineties"),
        ("100", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_age_is_a_decade_or_unknown(text: str | None, age: str | None) -> None:
    assert age_of(text) == age


def test_common_voices_ages_are_the_labels_in_order() -> None:
    said = ("teens", "twenties", "thirties", "fourties", "fifties", "sixties", "seventies", "eighties", "nineties")
    assert tuple(age_of(label) for label in said) == AGES
    assert tuple(age_of(f" {label.title()} ") for label in AGES) == AGES


def test_every_year_has_the_decade_that_it_is_in() -> None:
    years = {label: [year for year in range(120) if age_of(str(year)) == label] for label in AGES}
    assert years["teens"] == list(range(13, 20))
    for decade, label in enumerate(AGES[1:], start=2):
        assert years[label] == list(range(10 * decade, 10 * decade + 10))
    # VCTK's speakers are 18 to 38; a table may hold its ages as floats
    assert [age_of(year) for year in ("18", "22", "38", "38.0")] == ["teens", "twenties", "thirties", "thirties"]


@pytest.mark.parametrize("text", ["20-29", "< 19", "> 89", "-20", "+20", "20.5", "٢٣", "twenty", "adult", "NaN"])
def test_what_no_corpus_writes_for_an_age_is_not_guessed_at(text: str) -> None:
    assert age_of(text) is None


@given(st.text())
def test_age_of_anything_is_a_label_or_none(text: str) -> None:
    assert age_of(text) is None or age_of(text) in AGES


def test_text_is_composed_and_its_spaces_collapse() -> None:
    assert text_of("  Cafe\u0301 \t au\u00a0 lait ") == "Café au lait"
    assert text_of(" \u2028 ") is None
    assert text_of(None) is None


def test_split_names() -> None:
    assert [split_of(name) for name in ("train", "Validation", "dev", "test", "holdout")] == [
        "train",
        "dev",
        "dev",
        "test",
        None,
    ]


@given(st.text(), st.text(), st.text())
def test_split_depends_on_the_speaker_alone(speaker: str, one: str, other: str) -> None:
    assert split_by_speaker(speaker, one) == split_by_speaker(speaker, other)


def test_split_shares_are_90_5_5_and_stable() -> None:
    splits = [split_by_speaker(f"speaker{n}", "x") for n in range(20_000)]
    shares = {split: splits.count(split) / len(splits) for split in SPLITS}
    assert shares["dev"] == pytest.approx(0.05, abs=0.006)
    assert shares["test"] == pytest.approx(0.05, abs=0.006)
    # the very assignment is part of a release: it must not change between versions
    assert (splits.index("dev"), splits.index("test")) == (60, 14)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("plain", 0.0),
        ("Çà et là, œuvre de Łódź, 1ª 2º", 0.0),
        ("Привет, мир", 1.0),
        ("日本語", 1.0),
        ("ab вг", 0.5),
        ("123 🙂 …", 0.0),
    ],
)
def test_share_of_letters_that_are_not_latin(text: str, share: float) -> None:
    assert foreign_share(text) == share


def test_an_error_of_several_lines_becomes_one() -> None:
    assert one_line("don't know what type: \nDeserializing failed.\n\n; fetch  it") == (
        "don't know what type: Deserializing failed. ; fetch  it"
    )
