from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.align.number_words import numbers
from sift_ray.align.spoken import readings
from sift_ray.align.text import letters_in_script, text_rules, written_words
from sift_ray.schema import LANGUAGES

CASES = {
    "en": [
        ("Don’t stop, it's 21.5% at 10:30!", ["Don't", "stop", "it's", "21.5%", "at", "10:30"]),
        ("‘quoted’ well-known U.S. dogs'", ["quoted", "well-known", "U.S.", "dogs"]),
        ("and/or hello,world… yes—no 😀", ["and", "or", "hello", "world", "yes", "no"]),
        ("'Twas $5 & 3,000 cats", ["'Twas", "$5", "&", "3,000", "cats"]),
        ("End. Start", ["End", "Start"]),
        ("Dr. No said no. No. 5 etc.", ["Dr.", "No", "said", "no", "No.", "5", "etc."]),
        ("(“St. Ives, 9:05 p.m.”)", ["St.", "Ives", "9:05", "p.m."]),
    ],
    "fr": [
        ("Il en reste sept. Le 3 sept. l'U.E.", ["Il", "en", "reste", "sept", "Le", "3", "sept.", "l'U.E."]),
        ("«L’eau d'abord, qu' il a-t-il 50 % ?", ["L'eau", "d'abord", "qu'", "il", "a-t-il", "50", "%"]),
        ("M. et Mme X., p. ex. n° 5", ["M.", "et", "Mme", "X", "p.", "ex.", "n°", "5"]),
    ],
    "it": [
        ("Dell’arte: un po' perché c'è", ["Dell'arte", "un", "po'", "perché", "c'è"]),
        ("La Sig.ra Verdi.", ["La", "Sig.ra", "Verdi"]),
    ],
    "de": [
        ("Ich heiße Jan. Donau\u00addampf", ["Ich", "heiße", "Jan", "Donaudampf"]),
        ("Geht's z.B. gut? Straße 21", ["Geht's", "z.B.", "gut", "Straße", "21"]),
        ("Am 2. Mai, z. B. um 2.", ["Am", "2.", "Mai", "z.", "B.", "um", "2"]),
    ],
    "es": [
        ("¿Qué? ¡Vergüenza!", ["Qué", "Vergüenza"]),
        ("Con D. Juan, vitamina D.", ["Con", "D.", "Juan", "vitamina", "D"]),
        ("EE. UU. y EE.UU. El Sr. Ruiz.", ["EE.", "UU.", "y", "EE.UU.", "El", "Sr.", "Ruiz"]),
    ],
}


@pytest.mark.parametrize(
    ("language", "text", "words"), [(lang, text, words) for lang, cases in CASES.items() for text, words in cases]
)
def test_words_are_those_a_reader_counts(language: str, text: str, words: list[str]) -> None:
    assert written_words(text, text_rules(language)) == words
    assert written_words(unicodedata.normalize("NFD", text), text_rules(language)) == words


SNIPPETS = [
    "Dr.",
    "z.",
    "B.",
    "2.",
    "Mai",
    "am",
    "p.",
    "ex.",
    "5",
    "000",
    "EE.",
    "UU.",
    "U.S.",
    "No.",
    "n'",
    "'n'",
    "l'",
]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(max_size=40), st.lists(st.sampled_from([*SNIPPETS, ",", "—", '"']), max_size=8).map(" ".join)),
    st.sampled_from(LANGUAGES),
)
def test_words_parted_by_spaces_are_the_same_words(text: str, language: str) -> None:
    words = written_words(text, text_rules(language))
    assert written_words(" ".join(words), text_rules(language)) == words
    assert len(readings(words, language)) == len(words)


def test_a_word_is_read_by_its_neighbours() -> None:
    assert readings(["z.", "B."], "de") == [("zum",), ("Beispiel",)]
    assert readings(["am", "2.", "Mai"], "de")[1][:2] == ("zweite", "zweiten")
    assert readings(["No.", "5"], "en")[0] == ("number",)
    assert readings(["dix", "000"], "fr")[1][0].startswith("zéro")


@pytest.mark.parametrize(
    ("language", "text", "read"),
    [
        ("en", "She has MS.", "She has M|S"),
        ("en", "in Jan. 2005", "in january two|thousand|five"),
        ("en", "It cost $2.5 million.", "It cost two|point|five million|dollars"),
        ("en", "at 120 km/h for 5 km", "at one|hundred|twenty kilometers per|hour for five kilometers"),
        ("en", "1 kg of 30 °C", "one kilogram of thirty degrees|celsius"),
        ("en", "10 am", "ten A|M"),
        ("en", "Louis XIV and World War II", "Louis fourteen and World War two"),
        ("en", "NO WAY", "no way"),
        ("en", "TV", "T|V"),
        ("de", "Zähle von 1 bis 10.", "Zähle von eins bis zehn"),
        ("de", "am 2. Mai", "am zweite Mai"),
        ("de", "Um 14.30 Uhr", "Um vierzehn Uhr|dreißig"),
        ("de", "um 8:00 Uhr", "um acht Uhr"),
        ("de", "das sind 2,5 Millionen", "das sind zwei|Komma|fünf Millionen"),
        ("fr", "la BD.", "la B|D"),
        ("fr", "Le XIXe siècle, Louis XIV", "Le dix-neuvième siècle Louis quatorze"),
        ("fr", "3 000", "trois mille"),
        ("fr", "1 000 000 habitants", "un million de habitants"),
        ("fr", "1 500 000 €", "un|million cinq|cent mille euros"),
        ("fr", "12 345 678", "douze|millions trois|cent|quarante-cinq|mille six|cent|soixante-dix-huit"),
        ("fr", "2 000 500", "deux millions cinq|cents"),
        ("fr", "il a 5 km à 80 km/h", "il a cinq kilomètres à quatre-vingts kilomètres à|l'heure"),
        ("it", "alle 14.30", "alle quattordici|e|trenta"),
        ("it", "Il XX secolo", "Il ventesimo secolo"),
        ("es", "1 000 000 personas", "un millón de personas"),
        ("es", "a las 14.30", "a las catorce|y|treinta"),
        ("es", "$2.5 millones", "dos|punto|cinco millones|de|dólares"),
        ("es", "D. Juan, siglo XX", "don Juan siglo veinte"),
    ],
)
def test_the_first_reading_is_the_likeliest(language: str, text: str, read: str) -> None:
    words = written_words(text, text_rules(language))
    first = [said[0] if said else word for word, said in zip(words, readings(words, language), strict=True)]
    assert first == [word.replace("|", " ") for word in read.split()]


def test_further_readings_stand_behind_the_first() -> None:
    assert readings(["5", "km"], "en")[1] == ("kilometers", "K M", "km")
    assert "am" in readings(["5", "am"], "en")[1]
    assert readings(["XIV"], "fr")[0][:3] == ("quatorze", "quatorzième", "X I V")
    assert readings(["bis", "10."], "de")[1][:2] == ("zehn", "zehnte")
    assert "zwei" in readings(["am", "2.", "Mai"], "de")[1]
    assert readings(["mein", "Prof."], "de")[1] == ("Prof", "Professor")
    assert readings(["usw", "etc."], "de")[1] == ("et cetera", "etc")
    assert readings(["in", "BD", "est"], "fr")[1][0] == "B D"
    assert readings(["un", "Ve", "Va"], "es") == [(), (), ()]


@pytest.mark.parametrize("word", ["9" * 5000, "$" + "9" * 4000, "9" * 4400 + ".", "-".join("1" * 3000), "'s" * 3000])
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_too_long_for_a_word_is_not_read(language: str, word: str) -> None:
    assert readings([word, "1"], language)[0] == ()


@pytest.mark.parametrize(
    ("language", "word", "read"),
    [
        ("en", "1984", "nineteen eighty four"),
        ("en", "2005", "two thousand five"),
        ("en", "1990s", "nineteen nineties"),
        ("en", "$5.50", "five dollars fifty"),
        ("en", "10:05", "ten oh five"),
        ("en", "10:30am", "ten thirty A M"),
        ("en", "10:00pm", "ten P M"),
        ("en", "$2.5", "two point five dollars"),
        ("en", "CDs", "C D's"),
        ("fr", "2,5€", "deux virgule cinq euros"),
        ("fr", "1h", "une heure"),
        ("fr", "l'U.E.", "l'U E"),
        ("fr", "L'ONU", "l'O N U"),
        ("es", "$2.5", "dos punto cinco dólares"),
        ("it", "$2.5", "due punto cinque dollari"),
        ("it", "€2.50", "due euro e cinquanta"),
        ("it", "1984", "mille nove cento ottantaquattro"),
        ("en", "3-5", "three to five"),
        ("en", "555-1234", "five five five one two three four"),
        ("en", "007", "zero zero seven"),
        ("en", "MP3", "M P three"),
        ("en", "AT&T", "A T and T"),
        ("en", "3,5", "three comma five"),
        ("en", "9" * 20, " ".join(["nine"] * 20)),
        ("de", "21", "ein und zwanzig"),
        ("de", "1999", "neunzehn hundert neun und neunzig"),
        ("de", "80er", "achtziger"),
        ("de", "10:30", "zehn Uhr dreißig"),
        ("de", "1.001.000", "eine Million ein tausend"),
        ("fr", "1re", "première"),
        ("fr", "10h30", "dix heures trente"),
        ("fr", "280", "deux cent quatre-vingts"),
        ("fr", "80.000", "quatre-vingt mille"),
        ("fr", "n°12", "numéro douze"),
        ("it", "L'8", "L'otto"),
        ("fr", "93e", "quatre-vingt-treizième"),
        ("it", "2ª", "seconda"),
        ("it", "23º", "ventitreesimo"),
        ("it", "180", "centottanta"),
        ("es", "21.000", "veintiún mil"),
        ("es", "100", "cien"),
        ("es", "101€", "ciento un euros"),
        ("es", "1,5%", "uno coma cinco por ciento"),
    ],
)
def test_numbers_and_signs_are_read_out(language: str, word: str, read: str) -> None:
    assert read in readings([word], language)[0]


def test_a_plain_word_is_read_as_written() -> None:
    assert readings(["l'eau", "well-known", "don't", "Straße", "日本", "I", "IV."], "en")[:6] == [()] * 6


@given(st.integers(0, 10**12 - 1), st.sampled_from(LANGUAGES))
def test_no_two_numbers_sound_alike(number: int, language: str) -> None:
    words = numbers(language).words(number)
    assert words
    assert words != numbers(language).words((number + 1) % 10**12)
    assert readings([str(number)], language)[0]


def test_letters_are_counted_by_script() -> None:
    assert letters_in_script("abc 日本 5") == (3, 5)
