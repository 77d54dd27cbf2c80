"""What the dictionaries make readable: the verifier reads the right category from an answer, or none."""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml

from sift_ray.instruct.verify import verify
from sift_ray.metadata.categories import ATTRIBUTES, KEYS, labels_of
from sift_ray.metadata.phrases import Forms, phrases
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES

DATA = Path(__file__).parent / "readings.yaml"
ACOUSTIC, CONTENT, WORD_ALIGN = "closed_ended_acoustic_level", "closed_ended_content_level", "closed_ended_word_align"
READ_KEYS = (*ATTRIBUTES, "gender", "age_category")
PAIRS = [(language, key) for language in LANGUAGES for key in READ_KEYS]
SPOKEN = ("speaking_rate", "average_intensity", "pitch_variation")  # what a verb and its adverb say
WOMAN = Fact("gender", "female")  # (of whom the sentences tell, gender apart)


@functools.cache
def readings() -> dict[str, Any]:
    return yaml.safe_load(DATA.read_text(encoding="utf-8"))


def read_as(language: str, key: str, answer: str) -> list[str]:
    """Return the categories under which the verifier lets `answer` through; the right one and no other is wanted."""
    task = ACOUSTIC if key in ATTRIBUTES else CONTENT
    question = readings()[language]["read"][key]["ask"]
    found = []
    for label in labels_of(key):
        facts = [Fact(key, label), *([] if key == "gender" else [WOMAN])]
        verdict = verify(task, language, question, answer, facts)
        if verdict.accepted:
            assert facts[0] in verdict.evidence, (answer, verdict)
            found.append(label)
    return found


@pytest.mark.parametrize(("language", "key"), PAIRS)
def test_answers_are_read_as_what_they_say(language, key):
    wrong = {
        answer: found
        for label in labels_of(key)
        for answer in readings()[language]["read"][key][label]
        if (found := read_as(language, key, answer)) != [label]
    }
    assert not wrong


@pytest.mark.parametrize(("language", "key"), PAIRS)
def test_what_says_no_category_is_read_as_none(language, key):
    wrong = {
        answer: found for answer in readings()[language]["unread"][key] if (found := read_as(language, key, answer))
    }
    assert not wrong


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_says_no_category_says_none_of_another_attribute(language):
    data = readings()[language]
    for asked, answers in data["unread"].items():
        if asked not in ATTRIBUTES:
            continue
        for answer in answers:
            for key in ATTRIBUTES:
                for label in labels_of(key):
                    verdict = verify(ACOUSTIC, language, data["read"][asked]["ask"], answer, [Fact(key, label), WOMAN])
                    assert not verdict.accepted, (answer, key, label)


@pytest.mark.parametrize(("language", "key"), [p for p in PAIRS if p[1] in ATTRIBUTES])
def test_every_category_reads_as_noun_phrase_predicate_and_adverb(language, key):
    frames = readings()[language]["frames"][key]
    assert set(frames) == {"noun", "predicate", *(["verb"] if key in SPOKEN else [])}
    for frame, *wordings in frames.values():
        for label, wording in zip(labels_of(key), wordings, strict=True):
            answer = frame.format(wording)
            assert read_as(language, key, answer) == [label], answer


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_enough_sentences(language):
    data = readings()[language]
    sentences: list[str] = []
    for key in READ_KEYS:
        mine = data["read"][key]
        assert set(mine) == {"ask", *labels_of(key)}
        assert all(mine[label] for label in labels_of(key))
        own = [answer for label in labels_of(key) for answer in mine[label]]
        assert len(own) >= 12
        sentences += own + data["unread"][key]
    assert len(sentences) == len(set(sentences))
    assert sum(len(answers) for answers in data["unread"].values()) >= 30


LOUD = {
    "en": ("How loud is the {} word?", "The {} word is spoken loudly.", ("3rd", "last")),
    "de": ("Wie laut ist das {} Wort?", "Das {} Wort wird laut gesprochen.", ("letzte",)),
    "fr": ("À quel volume est le {} mot ?", "Le {} mot est prononcé à volume élevé.", ("3e", "3ème", "dernier")),
    "it": ("A che volume è la {} parola?", "La {} parola è pronunciata a volume alto.", ("3ª", "ultima")),
    "es": ("¿A qué volumen está la {} palabra?", "La {} palabra se pronuncia a volumen alto.", ("3ª", "última")),
}
COUNTED = 20


def words_where(loud: set[int]) -> list[Fact]:
    """Return the facts of `COUNTED` words, loud at the positions `loud` and soft elsewhere."""
    places = range(1, COUNTED + 1)
    said = [Fact("word", f"za{chr(96 + n)}", 0, n) for n in places]
    return said + [Fact("average_intensity", "loudly" if n in loud else "softly", 0, n) for n in places]


@pytest.mark.parametrize("language", LANGUAGES)
def test_ordinals_are_read_back(language):
    ask, answer, others = LOUD[language]
    asked = [(phrases(language).ordinal(n), n) for n in range(1, COUNTED + 1)]
    asked += [(word, COUNTED if word == others[-1] else 3) for word in others]
    for word, n in asked:
        pair = ask.format(word), answer.format(word)
        here, elsewhere = words_where({n}), words_where(set(range(1, COUNTED + 1)) - {n})
        assert verify(WORD_ALIGN, language, *pair, here).accepted, pair
        assert verify(WORD_ALIGN, language, *pair, elsewhere).reason == "false_claim", pair


def test_english_ordinals_beyond_the_words_take_their_endings():
    made = [phrases("en").ordinal(n) for n in (21, 22, 23, 24, 101, 111, 112, 113, 122)]
    assert made == ["21st", "22nd", "23rd", "24th", "101st", "111th", "112th", "113th", "122nd"]


NOUNS = {  # German nouns of the canonical phrases
    "Tonhöhe", "Tonhöhenvariation", "Intonation", "Sprechgeschwindigkeit", "Tempo", "Lautstärke", "Rauschpegel",
    "Rauschen", "Klarheit", "Nachhall", "Verzerrungsgrad", "Verzerrung", "Sprachqualität", "Phoneme", "Altersgruppe",
    "Teenageralter", "Jahren", "Akzent", "Geschlecht", "Frau", "Mann", "Transkript", "Sprache", "Wort",
    "Anfangszeit", "Endzeit",
    "Englisch", "Deutsch", "Französisch", "Italienisch", "Spanisch",
}  # fmt: skip
ENGLISH_NAMES = {"English", "German", "French", "Italian", "Spanish"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_canonical_phrases_are_written_as_within_a_sentence(language):
    wording = phrases(language)
    written = [wording.key_name(key) for key in KEYS]
    written += [made(key, label) for key in KEYS for label in labels_of(key) for made in (wording.phrase, wording.noun)]
    written += [wording.ordinal(n) for n in range(1, 25)]
    capital = NOUNS if language == "de" else ENGLISH_NAMES if language == "en" else set()
    for phrase in written:
        assert unicodedata.is_normalized("NFC", phrase)
        assert phrase == " ".join(phrase.split())
        for word in phrase.replace(",", "").split():
            assert word in capital or word == word.lower(), phrase
    known = {word.lower() for word in capital}
    assert not {w for phrase in written for w in phrase.split() if w not in capital and w.lower() in known}


@pytest.mark.parametrize("language", LANGUAGES)
def test_forms_are_written_as_they_are_looked_up(language):
    wording = phrases(language)
    for key, entry in wording.data.keys.items():
        parts: list[Forms] = [*entry.labels.values(), *entry.poles.values()]
        patterns = [p for part in parts for p in (*part.forms, *part.short)]
        patterns += [*entry.mentions, *entry.hints, *entry.watch, *entry.up, *entry.down, *entry.most, *entry.least]
        for pattern in patterns:
            assert pattern == pattern.lower() == unicodedata.normalize("NFC", pattern), (key, pattern)
            assert "  " not in pattern


TOLD_OF = {
    "en": ("She is in her twenties.", "He is in his twenties.", "The speaker is in her twenties."),
    "fr": ("C'est une quadragénaire.", "C'est un quadragénaire.", "C'est une adolescente."),
    "it": ("È una ventenne.", "È un ventenne.", "È un'adolescente."),
    "es": ("Es una veinteañera.", "Es un veinteañero.", "Es una adolescente."),
    "de": ("Die Person ist eine Jugendliche.", "Die Person ist ein Jugendlicher.", "Man hört eine Jugendliche."),
}
AGES = {"fr": "forties", "de": "teens"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_age_told_of_a_woman_is_not_read_of_a_man(language):
    woman, man, another = TOLD_OF[language]
    ask = readings()[language]["read"]["age_category"]["ask"]
    ages = [AGES.get(language, "twenties")] * 2 + ["twenties" if language == "en" else "teens"]
    for answer, gender, age in zip((woman, man, another), ("female", "male", "female"), ages, strict=True):
        for fact in ("female", "male"):
            facts = [Fact("age_category", age), Fact("gender", fact)]
            assert verify(CONTENT, language, ask, answer, facts).accepted is (fact == gender), (answer, fact)
