from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.align.g2p import in_context
from sift_ray.align.inventory import Inventory
from sift_ray.align.lexicon import Lexicon, read_dictionary
from sift_ray.align.protocol import AlignError
from sift_ray.schema import LANGUAGES

CASES = {
    "en": [
        ("Don’t stop, it's 21.5% at 10:30!", ["Don't", "stop", "it's", "21.5%", "at", "10:30"]),
        ("‘quoted’ well-known U.S. dogs'", ["quoted", "well-known", "U.S.", "dogs"]),
        ("and/or hello,world… yes—no 😀", ["and", "or", "hello", "world", "yes", "no"]),
        ("'Twas $5 & 3,000 cats", ["'Twas", "$5", "&", "3,000", "cats"]),
        ("End. Start", ["End", "Start"]),
    ],
    "fr": [("«L’eau d'abord, qu' il a-t-il 50 % ?", ["L'eau", "d'abord", "qu'", "il", "a-t-il", "50", "%"])],
    "it": [("Dell’arte: un po' perché c'è", ["Dell'arte", "un", "po'", "perché", "c'è"])],
    "de": [("Geht's z.B. gut? Straße 21", ["Geht's", "z.B.", "gut", "Straße", "21"])],
    "es": [("¿Qué? ¡Vergüenza!", ["Qué", "Vergüenza"])],
}


@pytest.mark.parametrize(
    ("language", "text", "words"), [(lang, text, words) for lang, cases in CASES.items() for text, words in cases]
)
def test_words_are_those_a_reader_counts(language: str, text: str, words: list[str]) -> None:
    assert Lexicon(language).words(text) == words
    decomposed = unicodedata.normalize("NFD", text)
    assert Lexicon(language).words(decomposed) == words


def test_pictures_and_punctuation_are_no_words() -> None:
    assert Lexicon("en").words("😀 … !? — 👍🏽 ''") == []
    assert Lexicon("en").phonemes("😀") == ""
    assert Lexicon("en").phone_count("") == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_digits_are_read_out_in_the_language(language: str) -> None:
    phones = "".join(Lexicon(language).pronounce(["21"])[0])
    heard = {"en": "twɛn", "de": "tsvan", "fr": "vɛ̃", "it": "vent", "es": "beɪnt"}
    assert heard[language] in phones


def test_each_word_keeps_its_place_where_espeak_joins_words() -> None:
    lexicon = Lexicon("en")
    entries = lexicon.lookup("the sound of the tone has been heard")
    assert [entry.word for entry in entries] == ["the", "sound", "of", "the", "tone", "has", "been", "heard"]
    assert entries[2].pronunciations[0] == ("ʌ", "v")
    assert entries[3].pronunciations[0] == ("ð", "ə")
    assert lexicon.phonemes("the sound of the tone").split() == ["ðə", "saʊnd", "ʌv", "ðə", "toʊn"]


def test_liaison_is_one_of_the_pronunciations() -> None:
    entry = Lexicon("fr").lookup("les amis")[0]
    assert entry.pronunciations[0] == ("l", "e", "z")
    assert ("l", "e") in entry.pronunciations


def test_a_word_in_another_script_keeps_its_place_without_pronunciation() -> None:
    entries = Lexicon("en").lookup("hello 日本 world")
    assert [entry.word for entry in entries] == ["hello", "日本", "world"]
    assert entries[1].pronunciations == ()
    assert Lexicon("en").pronounce(["日本"]) == [[]]


def test_many_transcripts_at_once_come_out_as_each_alone() -> None:
    texts = ["Press 1 to list users in the conference.", "", "Hello", "the end of the day, 日本"]
    lexicon = Lexicon("en")
    assert lexicon.lookup_many(texts) == [Lexicon("en").lookup(text) for text in texts]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.sampled_from(LANGUAGES))
def test_any_text_gives_one_entry_a_word(text: str, language: str) -> None:
    lexicon = Lexicon(language)
    words = lexicon.words(text)
    assert all(word and not word.isspace() and " " not in word for word in words)
    assert [entry.word for entry in lexicon.lookup(text)] == words


@given(
    st.lists(st.lists(st.sampled_from("ptkaeiou"), max_size=4).map(tuple), min_size=1, max_size=6),
    st.lists(st.sampled_from("ptkaeiou"), max_size=20),
)
def test_cutting_a_sentence_keeps_all_its_phones_in_order(alone: list[tuple[str, ...]], read: list[str]) -> None:
    alone = [*alone, ("a",)]
    words = in_context(alone, [tuple(read)])
    assert len(words) == len(alone)
    assert [phone for word in words for phone in word] == read


def test_a_given_dictionary_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_text("hello 0.9 h ʌ l oʊ\nhello(2) j oʊ\n; note\nsilent sil\n", encoding="utf-8")
    assert read_dictionary(path) == {"hello": (("h", "ʌ", "l", "oʊ"), ("j", "oʊ"))}
    lexicon = Lexicon("en", path)
    assert lexicon.pronounce(["Hello", "world"])[0] == ["h", "ʌ", "l", "oʊ"]
    assert lexicon.lookup("Hello world")[0].from_dictionary
    assert lexicon.lookup("Hello world")[1].pronunciations == (("w", "ɜː", "l", "d"),)


def test_an_unusable_dictionary_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AlignError, match=r"none\.txt"):
        read_dictionary(tmp_path / "none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(AlignError, match=r"empty\.txt: no dictionary entry"):
        read_dictionary(empty)


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(ValueError, match="'xx'"):
        Lexicon("xx")


def test_a_phone_that_was_not_taught_is_stood_in_for_by_a_near_one() -> None:
    inventory = Inventory(["a", "i", "t", "s", "n", "m"])
    assert inventory.translate(("d", "iː", "ɱ")) is None  # ɱ is in no table
    assert inventory.translate(("d", "iː", "z", "ɛ")) == ("t", "i", "s", "a")
    assert Inventory.of_counts({"a": 9, "t": 4, "ʒ": 1}).phones == ("a", "t")


def test_twins_of_a_phone_are_one_to_the_aligner() -> None:
    lexicon = Lexicon("es")
    assert lexicon.folded(tuple(lexicon.pronounce(["M"])[0])) == ("e", "m", "e")
    assert Lexicon("en").folded(("ɛ", "m")) == ("ɛ", "m")
