from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.align.g2p import espeak, in_context
from sift_ray.align.lexicon import LexicalWord, Lexicon
from sift_ray.align.text import text_rules
from sift_ray.schema import LANGUAGES
from tests.human_speech import recordings

SENTENCES = Path(__file__).parents[2] / "sift_ray" / "corpora" / "demo_sentences.yaml"


def demo_sentences() -> dict[str, list[str]]:
    sentences: dict[str, list[str]] = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
    return sentences


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


LONG = ["ness" * 80, "edly" * 80, "a" + "'s" * 80, "W" * 400, "9" * 5000, "$" + "9" * 4000, "ß" * 51]


def test_a_word_too_long_for_espeak_is_not_pronounced() -> None:
    """espeak-ng ends the process that gives it one, so this asks in another."""
    program = (
        "import sys; from sift_ray.align.lexicon import Lexicon\n"
        "for language in 'en', 'de', 'fr', 'it', 'es':\n"
        "    words = Lexicon(language).lookup(sys.argv[1])\n"
        "    print(''.join('+' if word.pronunciations else '-' for word in words))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, " ".join([*LONG, "gut", "antidisestablishmentarianism"])],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.split() == ["-" * len(LONG) + "++"] * 5


@pytest.mark.parametrize(
    "text",
    [
        "the house of the king " * 300,
        "9876543210 " * 300,
        " ".join(chr(97 + n * 7 % 26) * (n % 90) for n in range(1, 200)),
        "hello" + "'s" * 3000,
        "-".join("1" * 3000),
        "-".join("1" * 45) + " ",
    ],
)
def test_a_long_text_takes_no_longer_than_its_words(text: str) -> None:
    lexicon = with_dictionary("en")
    begin = time.process_time()
    assert [entry.word for entry in lexicon.lookup(text)] == lexicon.words(text)
    assert time.process_time() - begin < 5.0


def test_a_long_sentence_is_read_in_few_pieces() -> None:
    words = Lexicon("fr").lookup("ils voient les amis et nous avons les enfants " * 20)
    liaisons = [word.pronunciations[0] == ("l", "e", "z") for word in words if word.word == "les"]
    assert len(liaisons) == 40
    assert sum(liaisons) >= 38  # where two pieces meet there is none


@given(
    st.lists(st.lists(st.sampled_from("ptkaeiou"), max_size=4).map(tuple), min_size=1, max_size=6),
    st.lists(st.sampled_from("ptkaeiou"), max_size=20),
)
def test_cutting_a_sentence_keeps_all_its_phones_in_order(alone: list[tuple[str, ...]], read: list[str]) -> None:
    alone = [*alone, ("a",)]
    words = in_context(alone, [tuple(read)])
    assert len(words) == len(alone)
    assert [phone for word in words for phone in word] == read


ARPA = """
HELLO  HH AH0 L OW1
HELLO(2)  HH EH0 L OW1
A  AH0
A.  EY1
I  AY1
U  Y UW1
B  B IY1
M  EH1 M
S  EH1 S
US  AH1 S
FIVE  F AY1 V
DOLLARS  D AA1 L ER0 Z
TWENTY  T W EH1 N T IY0
FIRST  F ER1 S T
DOCTOR  D AA1 K T ER0
DOG  D AO1 G
"""


@pytest.fixture
def arpa(tmp_path: Path) -> Lexicon:
    path = tmp_path / "cmu.dict"
    path.write_text(ARPA, encoding="utf-8")
    return Lexicon("en", path)


def said(entry: LexicalWord) -> list[str]:
    return [" ".join(phones) for phones in entry.pronunciations]


def test_a_given_dictionary_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_text("hello 0.9 h ʌ l oʊ\nhello(2) j oʊ\n; note\nsilent sil\n", encoding="utf-8")
    lexicon = Lexicon("en", path)
    assert lexicon.has_dictionary
    assert not Lexicon("en").has_dictionary
    assert lexicon.pronounce(["Hello", "world"])[0] == ["h", "ʌ", "l", "oʊ"]
    known, unknown = lexicon.lookup("Hello world")
    assert known == LexicalWord("Hello", (("h", "ʌ", "l", "oʊ"), ("j", "oʊ")), from_dictionary=True)
    assert unknown == LexicalWord("world", (("w", "ɜː", "l", "d"),), from_dictionary=False)


def test_numbers_and_initials_are_looked_up_as_they_are_read(arpa: Lexicon) -> None:
    entries = arpa.lookup("Dr. Dog paid $5 on the 21st in the U.S., IBM; A dog's.")
    assert [e.word for e in entries if not e.from_dictionary] == ["paid", "on", "the", "in", "the"]
    forms = {e.word: said(e) for e in entries}
    assert forms["Dr."] == ["D AA1 K T ER0"]
    assert forms["$5"] == ["F AY1 V D AA1 L ER0 Z", "F AY1 V"]
    assert forms["21st"] == ["T W EH1 N T IY0 F ER1 S T"]
    assert forms["U.S."] == ["Y UW1 EH1 S"]
    assert forms["IBM"] == ["AY1 B IY1 EH1 M"]
    assert forms["A"] == ["AH0", "EY1"]
    assert forms["dog's"] == ["D AO1 G Z"]
    assert said(arpa.lookup("in the US of")[2]) == ["Y UW1 EH1 S", "AH1 S"]


def test_a_dictionary_without_the_likeliest_reading_is_not_asked_for_the_others_alone(tmp_path: Path) -> None:
    path = tmp_path / "small.txt"
    path.write_text("one O\nzero Z\nthree T\n", encoding="utf-8")
    hundred, three = Lexicon("en", path).lookup("103 3")
    assert not hundred.from_dictionary
    assert "".join(hundred.pronunciations[0]) == "wʌnhʌndɹɪdθɹiː"
    assert hundred.pronunciations[-1] == ("O", "Z", "T")
    assert three == LexicalWord("3", (("T",),), from_dictionary=True)
    path.write_text("".join(f"{w} {w}\n" for w in ("mille", "nove", "cento", "ottantaquattro")), encoding="utf-8")
    (year,) = Lexicon("it", path).lookup("1984")
    assert year.pronunciations[-1] == ("mille", "nove", "cento", "ottantaquattro")
    assert not year.from_dictionary  # centottanta is likelier


def test_a_number_may_be_an_entry_itself(tmp_path: Path) -> None:
    path = tmp_path / "small.txt"
    path.write_text("100 h\ndr. d\n", encoding="utf-8")
    assert [(said(e), e.from_dictionary) for e in Lexicon("en", path).lookup("Dr. 100")] == [
        (["d"], True),
        (["h"], True),
    ]


def test_capitals_throughout_spell_nothing(arpa: Lexicon) -> None:
    spelt = [e.word for e in arpa.lookup("TELL US A DOG SAID IT") if said(e)[:1] == ["Y UW1 EH1 S"]]
    assert not spelt
    shouted = Lexicon("en").lookup("THE CAT SAT ON IT")
    assert shouted[4].pronunciations == (("ɪ", "t"),)
    assert [e.word for e in shouted] == ["THE", "CAT", "SAT", "ON", "IT"]
    assert said(arpa.lookup("US")[0]) == ["AH1 S", "Y UW1 EH1 S"]
    letters, us = arpa.lookup("BMS US")
    assert said(letters)[0] == "B IY1 EH1 M EH1 S"
    assert said(us)[0] == "AH1 S"
    seen = Lexicon("en").lookup("I SAW IT ON THE BBC")
    assert "".join(seen[5].pronunciations[0]) == "biːbiːsiː"
    assert "".join(seen[2].pronunciations[0]) == "ɪɾ"  # the word, before a vowel


def test_words_out_of_the_dictionary_are_said_as_in_their_sentence(tmp_path: Path) -> None:
    path = tmp_path / "fr.txt"
    path.write_text("amis\ta m i\n", encoding="utf-8")
    les, amis = Lexicon("fr", path).lookup("les amis")
    assert les.pronunciations[0] == ("l", "e", "z")
    assert amis == LexicalWord("amis", (("a", "m", "i"),), from_dictionary=True)


NUMBERS = {
    "en": ["7", "16", "21", "99", "100", "305", "1,000", "2,017", "12,345", "3.5", "50%"],
    "de": ["7", "16", "99", "200", "305", "2.000", "12.345", "3,5", "50%", "5€"],
    "fr": ["7", "16", "71", "81", "84", "97", "100", "305", "1.000", "3,5", "50%"],
    "it": ["7", "16", "21", "99", "100", "305", "2.000", "12.345", "3,5"],
    "es": ["7", "16", "21", "99", "100", "305", "1.000", "2.017", "12.345", "3,5", "50%"],
}


@pytest.mark.parametrize(("language", "number"), [(lang, n) for lang, numbers in NUMBERS.items() for n in numbers])
def test_numbers_sound_as_espeak_reads_their_digits(language: str, number: str) -> None:
    """espeak reads digits by rules of its own; vowel quality and length at the seams aside, they must agree."""

    def coarse(phones: Iterable[str]) -> str:
        plain = unicodedata.normalize("NFD", "".join(phones)).translate(str.maketrans("ɛɔʊɪβðɣjwɾəʌæ", "eouibdgiurəəə"))
        return re.sub(r"(.)\1+", r"\1", re.sub(r"[ː\u0303\u032aəɐ]", "", plain))

    ours = [coarse(phones) for phones in Lexicon(language).lookup(number)[0].pronunciations]
    theirs = espeak(text_rules(language).voice).groups([number])[0]
    assert coarse(phone for group in theirs for phone in group) in ours


@pytest.mark.parametrize(
    ("language", "text", "phones"),
    [
        ("en", "Dr. Lee", "dɑːktɚ"),
        ("en", "a.m.", "eɪɛm"),
        ("en", "$5", "faɪvdɑːlɚz"),
        ("de", "IBM", "iːbeːɛm"),
        ("de", "usw.", "ʊntzoːvaɪtɜ"),
        ("de", "2. Mai", "tsvaɪtə"),
        ("fr", "M. Dupont", "məsjø"),
        ("fr", "d'aujourd'hui", "doʒuʁdyi"),
        ("fr", "l'ONU", "loɛny"),
        ("it", "Sig.ra", "siɲora"),
        ("it", "1º", "primo"),
        ("es", "EE. UU.", "estaðos"),
        ("es", "DNI", "deɛnei"),
    ],
)
def test_what_espeak_would_misread_is_spelt_out_for_it(language: str, text: str, phones: str) -> None:
    assert phones in ["".join(form) for form in Lexicon(language).lookup(text)[0].pronunciations]


def test_a_number_parted_by_a_space_keeps_two_words() -> None:
    thousands = Lexicon("fr").lookup("12 500 euros")
    assert ["".join(e.pronunciations[0]) for e in thousands] == ["duzmil", "sɛ̃ksɑ̃z", "øʁo"]
    assert [e.word for e in thousands] == ["12", "500", "euros"]


def test_every_transcript_at_hand_can_be_pronounced() -> None:
    texts = {language: list(sentences) for language, sentences in demo_sentences().items()}
    for recording in recordings():
        texts[recording.language].append(recording.transcript)
    for language, transcripts in texts.items():
        silent = [e.word for text in Lexicon(language).lookup_many(transcripts) for e in text if not e.pronunciations]
        assert not silent, f"{language}: {silent}"


@settings(max_examples=12, deadline=None)
@given(st.text("ab1 9'-.,5$%sn", min_size=500, max_size=2000), st.sampled_from(LANGUAGES))
def test_long_texts_are_done_with_quickly(text: str, language: str) -> None:
    lexicon = with_dictionary(language)
    begin = time.process_time()
    assert [entry.word for entry in lexicon.lookup(text)] == lexicon.words(text)
    assert time.process_time() - begin < 5.0


@settings(max_examples=40, deadline=None)
@given(st.text("aàeéis'-.,5% BUOœß\u0301", max_size=40), st.sampled_from(LANGUAGES))
def test_with_a_dictionary_too_each_word_has_its_place(text: str, language: str) -> None:
    lexicon = with_dictionary(language)
    entries = lexicon.lookup(text)
    assert [entry.word for entry in entries] == lexicon.words(text)
    assert entries == lexicon.lookup(unicodedata.normalize("NFD", text))
    assert all(len(set(entry.pronunciations)) == len(entry.pronunciations) for entry in entries)


@cache
def with_dictionary(language: str) -> Lexicon:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.txt")
        path.write_text("a a\né e\nbus b u s\nl' l\neau o\nfive f ai v\nu u\nb b e\n", encoding="utf-8")
        return Lexicon(language, path)


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(ValueError, match="'xx'"):
        Lexicon("xx")


def test_twins_of_a_phone_are_one_to_the_aligner() -> None:
    lexicon = Lexicon("es")
    assert lexicon.folded(tuple(lexicon.pronounce(["M"])[0])) == ("e", "m", "e")
    assert Lexicon("en").folded(("ɛ", "m")) == ("ɛ", "m")


def test_initials_that_are_an_entry_are_of_the_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_text("usb y ɛ s b iː\nus ʌ s\n", encoding="utf-8")
    lexicon = Lexicon("en", path)
    _, usb, *_, us = lexicon.lookup("the USB stick in the US")
    assert usb.from_dictionary
    assert usb.pronunciations[0] == ("y", "ɛ", "s", "b", "iː")
    assert not us.from_dictionary  # the country, not the pronoun
