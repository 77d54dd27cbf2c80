from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from sift_ray.align.dictionary import MOST_FORMS, Dictionary, read_dictionary
from sift_ray.align.protocol import AlignError
from sift_ray.align.text import text_rules


def read(tmp_path: Path, text: str) -> dict[str, list[str]]:
    path = tmp_path / "words.dict"
    path.write_bytes(text.encode("utf-8"))
    return {word: [" ".join(phones) for phones in forms] for word, forms in read_dictionary(path).items()}


def test_cmu_lines(tmp_path: Path) -> None:
    text = ";;; remark\n'TIS  T IH1 Z\nHELLO  HH AH0 L OW1\nHELLO(2)  HH EH0 L OW1\n"
    text += "aalborg AO1 L B AO0 R G # place, danish\n"
    assert read(tmp_path, text) == {
        "'tis": ["T IH1 Z"],
        "hello": ["HH AH0 L OW1", "HH EH0 L OW1"],
        "aalborg": ["AO1 L B AO0 R G"],
    }


@pytest.mark.parametrize(
    "line",
    [
        "hello\th ə l oʊ",
        "hello h ə l oʊ",
        "hello\t0.99\th ə l oʊ",
        "hello\t1\th ə l oʊ",
        "hello 0.99 h ə l oʊ",
        "hello 1 0.2 1 1e-05 h ə l oʊ",
        "hello\t0.99\t0.2\t1.0\t0.85\th ə l oʊ",
        "hello\t1e-05\t0\t1\t1\th ə l oʊ",
        "\ufeffhello\th ə l oʊ\r\n\r\n",
        "HELLO  h ə l oʊ",
    ],
)
def test_mfa_lines_with_and_without_probabilities(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, line) == {"hello": ["h ə l oʊ"]}


def test_phones_that_are_digits_are_no_probabilities(tmp_path: Path) -> None:
    assert read(tmp_path, "eux 2\npeu p 2\nun 9 n\n") == {"eux": ["2"], "peu": ["p 2"], "un": ["9 n"]}
    assert read(tmp_path, "eux\t0.5\t2\neux\t1\t2 z\npeu\tp 2\n") == {"eux": ["2 z", "2"], "peu": ["p 2"]}


def test_forms_come_likeliest_first_without_the_hardly_ever_said(tmp_path: Path) -> None:
    lines = ["the\t0.3\tð i", "the\t0.9\tð ə", "the\t0.001\tð iː", "the\t0.3\tð ɪ"]
    assert read(tmp_path, "\n".join(lines)) == {"the": ["ð ə", "ð i", "ð ɪ"]}
    assert read(tmp_path, "the\t0.3\tð i\nthe\tð ə\n") == {"the": ["ð i", "ð ə"]}
    many = "\n".join(f"a x{n}" for n in range(20))
    assert len(read(tmp_path, many)["a"]) == MOST_FORMS


def test_marks_of_noise_are_no_words(tmp_path: Path) -> None:
    text = "<unk>\tspn\n[laughter]\ta\n{ns}\tb\nsil\tc\n!SIL  SIL\ncough\tspn\nsay\ts e\n"
    assert read(tmp_path, text) == {"say": ["s e"]}


def test_words_are_found_in_nfc_with_one_apostrophe(tmp_path: Path) -> None:
    text = unicodedata.normalize("NFD", "Été\te t e\nl’\tl\n")
    assert read(tmp_path, text) == {"été": ["e t e"], "l'": ["l"]}


def test_an_unusable_dictionary_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AlignError, match=r"none\.txt"):
        read_dictionary(tmp_path / "none.txt")
    for text, message in (
        ("\n", r"words\.dict: no dictionary entry"),
        ("a a\nlonely\n", r"words\.dict, line 2: 'lonely' has no phones"),
        ("a a\n\nlonely\t# remark\n", r"line 3: 'lonely' has no phones"),
        ("a a\nhello\t0.5\n", r"line 2: 'hello' has no phones"),
        ("hello\t0.5\t1e-05\n", r"line 1: 'hello' has no phones"),
    ):
        with pytest.raises(AlignError, match=message):
            read(tmp_path, text)
    (tmp_path / "latin.dict").write_bytes("é e".encode("latin-1"))
    with pytest.raises(AlignError, match=r"latin\.dict: the dictionary can't be read"):
        read_dictionary(tmp_path / "latin.dict")


def found(language: str, entries: dict[str, str], text: str) -> list[str]:
    forms = {word: tuple(tuple(form.split()) for form in said.split("|")) for word, said in entries.items()}
    return [" ".join(phones) for phones in Dictionary(forms, text_rules(language)).find(text)]


@pytest.mark.parametrize(
    ("language", "entries", "text", "forms"),
    [
        ("fr", {"l'": "l", "eau": "o"}, "L'eau", ["l o"]),
        ("fr", {"le": "l ə", "eau": "o"}, "l'eau", ["l o"]),
        ("fr", {"d'": "d", "l'": "l", "air": "E R"}, "d'l'air", ["d l E R"]),
        ("fr", {"aujourd'hui": "o Z", "de": "d ə"}, "d'aujourd'hui", ["d o Z"]),
        ("fr", {"œuvre": "9 v R"}, "oeuvre", ["9 v R"]),
        ("fr", {"coeur": "k 9 R"}, "cœur", ["k 9 R"]),
        ("fr", {"école": "e k O l"}, "ECOLE", ["e k O l"]),
        ("fr", {"rendez": "R a d e", "vous": "v u"}, "rendez-vous", ["R a d e v u"]),
        ("it", {"dello": "d e l l o", "arte": "a r t e"}, "dell'arte", ["d e l l a r t e"]),
        ("it", {"po'": "p O"}, "po'", ["p O"]),
        ("it", {"dello": "d e l l o"}, "dell'arte", []),
        ("es", {"corazón": "k o"}, "Corazon", ["k o"]),
        ("es", {"ano": "a n o", "año": "a J o"}, "ano", ["a n o"]),
        ("de", {"straße": "S t"}, "STRASSE", ["S t"]),
        ("de", {"strasse": "S t"}, "Straße", ["S t"]),
        ("de", {"grüße": "g R y"}, "Gruesse", ["g R y"]),
        ("de", {"geht": "g e t", "es": "E s"}, "geht's", ["g e t s"]),
        ("en", {"dog": "D AO1 G", "x": "Z"}, "dog's", ["D AO1 G Z"]),
        ("en", {"cat": "K AE1 T", "x": "S"}, "cat's", ["K AE1 T S"]),
        ("en", {"bus": "B AH1 S", "x": "IH0 Z"}, "bus's", ["B AH1 S IH0 Z"]),
        ("en", {"bus": "b ʌ s", "x": "ɪ z"}, "bus's", ["b ʌ s ɪ z"]),
        ("en", {"they": "ð eɪ", "x": "ə l"}, "they'll", ["ð eɪ ə l"]),
        ("en", {"they'll": "x"}, "they'll", ["x"]),
        ("en", {"'em": "ə m", "dogs": "d z"}, "'em", ["ə m"]),
        ("en", {"dogs": "d z"}, "dogs'", ["d z"]),
        ("en", {"well": "w", "known": "n"}, "well-known", ["w n"]),
        ("en", {"well": "w"}, "well-known", []),
        ("en", {"well": "w|v", "known": "n|m"}, "well known", ["w n", "w m", "v n", "v m"]),
        ("en", {"a": "ə", "a.": "eɪ", "b": "b iː"}, "A B", ["eɪ b iː"]),
        ("en", {"a": "ə"}, "a", ["ə"]),
    ],
)
def test_words_are_found_in_their_parts_and_other_spellings(
    language: str, entries: dict[str, str], text: str, forms: list[str]
) -> None:
    assert found(language, entries, text) == forms


def test_a_word_of_countless_parts_is_given_up() -> None:
    dictionary = Dictionary({"s'": (("s",),), "hallo": (("h",),)}, text_rules("de"))
    assert dictionary.find("hallo's's") == (("h", "s", "s"),)
    assert dictionary.find("hello" + "'s" * 3000) == ()
    assert dictionary.find("s'" * 30 + "s") == ()


def test_a_guess_fills_in_for_a_part() -> None:
    dictionary = Dictionary({"well": (("w",),)}, text_rules("en"))
    asked = []

    def guess(word: str) -> tuple[tuple[str, ...], ...]:
        asked.append(word)
        return (("?",),)

    assert dictionary.find("well-known", guess) == (("w", "?"),)
    assert asked == ["known"]
    assert dictionary.find("well-known") == ()
