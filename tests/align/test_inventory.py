from __future__ import annotations

import string

import pytest
import yaml

from sift_ray.align import inventory as module
from sift_ray.align.inventory import Inventory


def _listed(phones: str) -> list[str]:
    return phones.split()


VOWELS = _listed("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW")
CONSONANTS = _listed("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH")
ARPA = [*CONSONANTS, *VOWELS]
ARPA_STRESSED = [*CONSONANTS, *(vowel + digit for vowel in VOWELS for digit in "012")]
ENGLISH_MFA = _listed(
    "aj aw b c cʰ d dʒ d̪ ej f h i iː j k kʰ l m m̩ n n̩ ow p pʰ s t tʃ tʰ tʲ v w z æ ç ð ŋ ɐ ɑ ɑː ɒ ɒː ɔj ə ɚ ɛ ɝ ɟ "
    "ɡ ɪ ɫ ɫ̩ ɲ ɹ ɾ ɾ̃ ʃ ʉ ʉː ʊ ʎ ʒ ʔ θ"
)
GERMAN_MFA = _listed(
    "a aj aw aː b c d dʒ eː f h iː j k kʰ l m n oː p pf pʰ s t ts tʃ tʰ uː v x yː z ç øː ŋ œ ɐ ɔ ɔʏ ə ɛ ɟ ɡ ɪ ɲ ʁ ʃ ʊ ʏ"
)


def test_a_phone_that_was_not_taught_is_stood_in_for_by_a_near_one() -> None:
    inventory = Inventory(["a", "i", "t", "s", "n", "m"])
    assert inventory.translate(("d", "iː", "z", "ɛ")) == ("t", "i", "s", "a")
    assert inventory.translate(("d", "?")) is None
    assert inventory.translate(()) is None
    assert Inventory.of_counts({"a": 9, "t": 4, "ʒ": 1}).phones == ("a", "t")
    assert Inventory.of_counts({"a": 1, "ʒ": 1}).phones == ("a", "ʒ")


@pytest.mark.parametrize("phones", [ARPA, ARPA_STRESSED, ENGLISH_MFA, GERMAN_MFA])
def test_a_models_own_phones_stand_for_themselves(phones: list[str]) -> None:
    assert all(Inventory(phones).spell(phone) == (phone,) for phone in phones)


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        ("k æ t", "K AE1 T"),
        ("ð ə", "DH AH0"),
        ("b ʌ ɾ ɚ", "B AH1 T ER0"),
        ("b ʌ ʔ n̩", "B AH1 T N"),
        ("l ɪ ɾ əl", "L IH1 T AH0 L"),
        ("tʃ ɜː tʃ", "CH ER1 CH"),
        ("dʒ ɔɪ", "JH OY1"),
        ("h ɛɹ", "HH EH1 R"),
        ("f ɔːɹ k ɑːɹ", "F AO1 R K AA1 R"),
        ("h æ p i", "HH AE1 P IY0"),
        ("s iː", "S IY1"),
        ("m ɛ ʒ ɚ", "M EH1 ZH ER0"),
        ("f aɪɚ ɹ", "F AY1 ER0 R"),
        ("ɹ oʊ z ᵻ z", "R OW1 Z IH0 Z"),
    ],
)
def test_ipa_is_told_in_arpabet_with_and_without_stress(heard: str, told: str) -> None:
    phones = tuple(heard.split())
    assert Inventory(ARPA_STRESSED).translate(phones) == tuple(told.split())
    assert Inventory(ARPA).translate(phones) == tuple(phone.rstrip(string.digits) for phone in told.split())


def test_arpabet_is_told_in_ipa() -> None:
    assert Inventory(ENGLISH_MFA).translate(("K", "AW1", "SH", "AH0")) == ("k", "aw", "ʃ", "ə")


@pytest.mark.parametrize(
    ("phones", "told"),
    [
        (
            ENGLISH_MFA,
            {
                "aɪ": "aj", "aʊ": "aw", "eɪ": "ej", "oʊ": "ow", "ɔɪ": "ɔj", "ɜː": "ɝ", "ʌ": "ɐ", "uː": "ʉː",
                "ɑːɹ": "ɑː ɹ", "əl": "ə l", "r": "ɾ", "ʊɹ": "ʊ ɹ", "t̪": "t",
            },
        ),
        (
            GERMAN_MFA,
            {"ɔø": "ɔʏ", "r": "ʁ", "ɾ": "ʁ", "ɜ": "ɐ", "ɑː": "aː", "ɛː": "ɛ", "tʰ": "tʰ", "ʎ": "j", "y": "yː"},
        ),
        (["t̪", "d̪", "n", "e", "o", "a", "i", "u"], {"t": "t̪", "d": "d̪", "ɛ": "e", "aɪ": "a i", "aʊ": "a u"}),
        (["t", "s", "ʃ", "a"], {"ts": "t s", "tʃ": "t ʃ"}),
        (["ɛ̃", "œ", "ʁ", "ʒ"], {"œ̃": "ɛ̃", "ɹ": "ʁ"}),
    ],
)  # fmt: skip
def test_a_phone_is_told_in_the_models_own_way_of_writing_it(phones: list[str], told: dict[str, str]) -> None:
    inventory = Inventory(phones)
    assert {phone: inventory.stand_in(phone) for phone in told} == told


def test_no_vowel_stands_for_a_consonant() -> None:
    assert Inventory(["p", "t"]).stand_in("a") is None
    assert Inventory(["a", "i"]).stand_in("p") is None
    assert Inventory(["p", "a"]).stand_in("pa") == "p a"


def test_phones_in_no_known_alphabet_stand_for_nothing() -> None:
    inventory = Inventory(["p01", "p02", "@", "E"])
    assert inventory.stand_in("p") is None
    assert inventory.translate(("p01", "@")) == ("p01", "@")


def test_the_table_of_arpabet_has_all_39_phones_and_known_ipa() -> None:
    table = yaml.safe_load(module.resources.files("sift_ray.align").joinpath("arpa.yaml").read_text(encoding="utf-8"))
    assert {symbol.rstrip(string.digits) for symbol in table} == set(ARPA)
    assert len(ARPA) == 39
    assert all(Inventory(phones.split()).stand_in(symbol) for symbol, phones in table.items())
