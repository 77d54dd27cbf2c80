"""Short sentences are told apart among the five languages."""

from __future__ import annotations

import pytest

from sift_ray.instruct.verify.language import is_language
from sift_ray.instruct.verify.lexicon import lexicon
from sift_ray.instruct.verify.text import read
from sift_ray.metadata.categories import ATTRIBUTES, VALUES
from sift_ray.metadata.phrases import phrases
from sift_ray.schema import LANGUAGES

SENTENCES = {
    "en": [
        "The voice sounds female.",
        "Female.",
        "She speaks very fast.",
        "It is a man.",
        "How loud is the speaker?",
        "The recording is clean.",
        "A moderate pitch.",
        "Yes, the person speaks softly.",
    ],
    "de": [
        "Die Stimme klingt weiblich.",
        "Weiblich.",
        "Sie spricht sehr schnell.",
        "Es ist ein Mann.",
        "Wie laut ist die Person?",
        "Die Aufnahme ist sauber.",
        "Ziemlich monoton.",
        "Ja, die Person spricht leise.",
    ],
    "fr": [
        "La voix semble féminine.",
        "C'est un homme.",
        "Elle parle très vite.",
        "L'enregistrement est propre.",
        "À quel volume parle-t-elle ?",
        "Très monotone.",
        "Oui, la personne parle doucement.",
    ],
    "it": [
        "La voce sembra femminile.",
        "È un uomo.",
        "Parla molto velocemente.",
        "La registrazione è pulita.",
        "A che volume parla?",
        "Molto monotona.",
        "Sì, la persona parla piano.",
    ],
    "es": [
        "La voz suena femenina.",
        "Es un hombre.",
        "Habla muy rápido.",
        "La grabación es limpia.",
        "¿A qué volumen habla?",
        "Muy monótona.",
        "Sí, la persona habla en voz baja.",
    ],
}
CASES = [(language, sentence) for language, sentences in SENTENCES.items() for sentence in sentences]


@pytest.mark.parametrize(("language", "sentence"), CASES)
def test_a_short_sentence_is_its_own_language_and_no_other(language, sentence):
    text = read(sentence, language)
    assert is_language(text, language)
    for other in LANGUAGES:
        if other != language:
            assert not is_language(read(sentence, other), other), other


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_phrase_alone_passes_as_its_language(language):
    wording = phrases(language)
    for key in (*ATTRIBUTES, *VALUES):
        for label in wording.data.keys[key].labels:
            assert is_language(read(wording.phrase(key, label), language), language), (key, label)


def test_one_foreign_sentence_among_others_is_found():
    mixed = "Die Stimme klingt sehr tief. The person speaks very fast and softly. Die Aufnahme ist sauber."
    assert not is_language(read(mixed, "de"), "de")
    assert not is_language(read(mixed, "en"), "en")


def test_quotations_may_be_in_any_language():
    text = read('The speaker says "ich weiß nicht, was soll es bedeuten, dass ich so traurig bin".', "en")
    assert is_language(text, "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_languages_are_not_taken_for_it(language):
    for sentence in (
        "Głos jest bardzo niski i szybki.",
        "Rösten är mycket låg och snabb.",
        "Ses çok hızlı ve yüksek geliyor.",
        "Голос очень низкий.",
        "这个声音很高",
    ):
        text = read(sentence, language, lexicon(language).boundaries)
        assert not text.tokens or not is_language(text, language), sentence
