"""Rules about what is said and by whom, about orders and comparisons, and about words that nothing vouches for."""

from __future__ import annotations

import pytest

from sift_ray.instruct.verify import verify
from sift_ray.instruct.verify.lexicon import lexicon
from sift_ray.instruct.verify.text import read, words
from sift_ray.metadata.phrases import phrases
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES, TASKS

ACOUSTIC, CONTENT, WORD_ALIGN, _, COMPARISON, OPEN = TASKS[:6]
SAID = Fact("transcript", "the neighbour never sold the 12 old horses to my brother")
VOICE = [Fact("speaking_rate", "quite slowly"), Fact("noise_level", "clean"), Fact("gender", "female"), SAID]
PAIR = [
    Fact("gender", "male"),
    Fact("speaking_rate", "very fast"),
    Fact("age_category", "twenties"),
    Fact("noise_level", "clean"),
    Fact("transcript", "snow fell on the roof"),
    Fact("gender", "female", 1),
    Fact("speaking_rate", "quite slowly", 1),
    Fact("age_category", "sixties", 1),
    Fact("noise_level", "noisy", 1),
    Fact("transcript", "the bread is warm", 1),
]
WORDS = [
    fact
    for place, (word, pitch, volume) in enumerate(
        (
            ("good", "very high pitch", "loudly"),
            ("morning", "quite low pitch", "softly"),
            ("old", "moderate pitch", "moderate volume"),
            ("friend", "very low pitch", "softly"),
        ),
        1,
    )
    for fact in (
        Fact("word", word, 0, place),
        Fact("average_pitch", pitch, 0, place),
        Fact("average_intensity", volume, 0, place),
    )
]


def reason(task, question, answer, facts, language="en"):
    return verify(task, language, question, answer, facts).reason


@pytest.mark.parametrize(
    ("task", "question", "answer", "wanted"),
    [
        (CONTENT, "What did the neighbour do?", "The neighbour sold the horses.", "negation"),
        (CONTENT, "How many horses are mentioned?", "12 horses are mentioned.", None),
        (CONTENT, "How many horses are mentioned?", "12 brothers are mentioned.", "unverifiable"),
        (CONTENT, "What happens to the horses?", "The speaker is a woman.", "off_topic"),
        (OPEN, "Describe the recording.", "A woman speaks quite slowly on a beach.", "ungrounded"),
        (OPEN, "Describe the recording.", "Laura, a woman, speaks quite slowly.", "ungrounded"),
        (OPEN, "Describe the recording.", "A woman speaks quite slowly, together with people.", "ungrounded"),
        (OPEN, "Describe the recording.", "A woman speaks quite slowly because of the horses.", "causal"),
        (OPEN, "Describe the recording.", "In the data a woman is listed.", "leak"),
        (ACOUSTIC, "Is she on a beach?", "Yes, she speaks quite slowly on a beach.", "ungrounded"),
        (ACOUSTIC, "Why is the recording clean?", "The recording is clean.", "off_topic"),
        (ACOUSTIC, "Is the recording noisy?", "No, the recording is clean.", None),
        (ACOUSTIC, "Is the recording noisy?", "Yes, the recording is clean.", "false_claim"),
    ],
)
def test_what_is_told_of_one_audio(task, question, answer, wanted):
    assert reason(task, question, answer, VOICE) == wanted


@pytest.mark.parametrize(
    ("question", "answer", "wanted"),
    [
        ("Who mentions snow?", 'The first speaker mentions it: "snow fell on the roof".', None),
        ("Who mentions snow?", 'The woman mentions it: "snow fell on the roof".', "false_claim"),
        ("What does the second person say?", 'The second person says "the bread is warm".', None),
        ("What does the second person say?", "The second person talks about snow.", "false_claim"),
        ("What is said?", 'The first says "the bread is warm", the second "snow fell on the roof".', "false_claim"),
        ("Who is faster?", "The man.", None),
        ("Who is faster?", "The woman.", "false_claim"),
        ("Who is older?", "The woman is older than the man.", None),
        ("Who is older?", "The man is older than the woman.", "false_claim"),
        ("Compare the speed.", "The man speaks very fast, the woman quite slowly.", None),
        ("Compare the speed.", "The woman speaks very fast, the man quite slowly.", "false_claim"),
        ("Which recording is noisy?", "The second recording.", None),
        ("Which recording is noisy?", "The first recording.", "false_claim"),
        ("Is the first faster than the second?", "Yes, the first is faster.", None),
        ("Is the second faster than the first?", "Yes, the second is faster.", "false_claim"),
    ],
)
def test_what_is_told_of_two_audios(question, answer, wanted):
    assert reason(COMPARISON, question, answer, PAIR) == wanted


@pytest.mark.parametrize(
    ("question", "answer", "true"),
    [
        ('How does the pitch change from "good" to "friend"?', "It falls from very high to very low.", True),
        ('How does the pitch change from "friend" to "good"?', "It rises from very high to very low.", False),
        ("How does the pitch move?", 'It falls from very high on "good" to very low on "friend".', True),
        ("How does the pitch move?", 'It falls from very low on "good" to very high on "friend".', False),
        ('Is "good" louder than "old"?', 'Yes, "good" is louder than "old".', True),
        ('Is "old" louder than "good"?', 'Yes, "old" is louder than "good".', False),
        ('Are "morning" and "friend" equally loud?', "Yes, both are spoken softly.", True),
        ('Are "morning" and "good" equally loud?', "Yes, they are equally loud.", False),
        ('What follows "good"?', '"good" is followed by "morning".', True),
        ('What follows "good"?', '"good" is preceded by "morning".', False),
        ("Which word is the loudest?", '"good" is the loudest.', True),
        ("Which word is the loudest?", '"old" is the loudest.', False),
    ],
)
def test_what_is_told_of_words(question, answer, true):
    assert verify(WORD_ALIGN, "en", question, answer, WORDS).accepted == true


@pytest.mark.parametrize(
    ("language", "question", "answer", "wrong"),
    [
        ("de", 'Welches Wort folgt auf "old"?', 'Auf "old" folgt "friend".', 'Auf "old" folgt "morning".'),
        ("it", 'Quale parola segue "old"?', 'A "old" segue "friend".', 'A "old" segue "morning".'),
        ("es", '¿Qué palabra sigue a "old"?', 'A "old" le sigue "friend".', 'A "old" le sigue "morning".'),
    ],
)
def test_a_preposition_turns_the_order(language, question, answer, wrong):
    assert reason(WORD_ALIGN, question, answer, WORDS, language) is None
    assert reason(WORD_ALIGN, question, wrong, WORDS, language) == "false_claim"


@pytest.mark.parametrize(("language", "text"), [("de", "Das 3. Wort ist laut."), ("es", "La 3.ª palabra es fuerte.")])
def test_a_full_stop_of_an_ordinal_ends_no_sentence(language, text):
    assert {token.sentence for token in read(text, language).tokens} == {0}
    assert "3" in words(text, language)[1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("place", [3, 21, 33, 60])
def test_ordinals_are_read_back(language, place):
    noun = {"en": "word", "de": "Wort", "fr": "mot", "it": "parola", "es": "palabra"}[language]
    hits = lexicon(language).scan(read(f"{phrases(language).ordinal(place)} {noun}", language), frozenset())
    assert [m.label for hit in hits for m in hit.meanings if m.kind == "ordinal"] == [str(place)]


TOLD_BY_SMALL_MODELS = [
    ("en", "What does the record state?", "The first speaker is a woman, while the second speaker is a man.", "leak"),
    ("es", "¿Tu último intento fue rechazado?", "La primera voz es de una mujer, y la segunda, de un hombre.", "leak"),
    ("en", "Who is speaking?", "The first speaker talks to a woman, while the second talks to a man.", "unknown_claim"),
    ("de", "Wer spricht?", "Die erste Person spricht mit einer Frau, die zweite mit einem Mann.", "unknown_claim"),
    ("fr", "Qui parle ?", "La première personne parle à une femme, et la deuxième à un homme.", "unknown_claim"),
    ("it", "Chi parla?", "La prima persona parla con una donna, la seconda con un uomo.", "unknown_claim"),
    ("es", "¿Quién habla?", "La primera persona habla con una mujer, y la segunda con un hombre.", "unknown_claim"),
]


@pytest.mark.parametrize(("language", "question", "answer", "reason"), TOLD_BY_SMALL_MODELS)
def test_talk_of_the_task_and_to_others_is_refused(language, question, answer, reason):
    facts = (Fact("gender", "female", 0), Fact("gender", "male", 1))
    assert verify(COMPARISON, language, question, answer, facts).reason == reason
