"""Questions that nobody can answer who only hears the audio: data, rule, prompts, and the labelled sets."""

import functools
import json
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sift_ray.instruct import prompts
from sift_ray.instruct import unanswerable as module
from sift_ray.instruct.items import Dice, sentence
from sift_ray.instruct.requests import ACOUSTIC, Request
from sift_ray.instruct.template_engine import items_of, write_pairs
from sift_ray.instruct.unanswerable import (
    LEAST_ANSWERS,
    LEAST_QUESTIONS,
    TOPICS,
    askable_topics,
    topic_names,
    unanswerable,
    unanswerable_hash,
)
from sift_ray.instruct.verify import Duplicates, verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import FACT, LANGUAGES

LABELLED = Path(__file__).parent / "labelled_unanswerable"
OF_EACH_KIND = 40
TRUE_AT_LEAST, FALSE_AT_MOST = 0.85, 0.01
HARMLESS = {"en": "one two", "de": "so oder so", "fr": "comme ceci", "it": "così", "es": "así"}


def judge(language, question, answer, unknown=TOPICS, facts=()):
    return verify(ACOUSTIC, language, question, answer, facts, unknown=unknown)


def request(language="en", unknown=("name", "height"), seed=3, pairs=2):
    facts = (Fact("average_pitch", "very low pitch"),)
    return Request(
        5, ACOUSTIC, language, "train", "x", ("u",), ("a",), "vllm", facts, (), pairs, seed, unknown=tuple(unknown)
    )


def labelled(language):
    data = yaml.safe_load((LABELLED / f"{language}.yaml").read_text(encoding="utf-8"))
    assert data["language"] == language
    return data


# --- the data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_all_topics_and_phrasings(language):
    data = unanswerable(language)
    assert data.language == language
    assert set(data.topics) == set(TOPICS)
    assert len(set(data.answers)) >= LEAST_ANSWERS
    assert all(len(set(topic.questions)) >= LEAST_QUESTIONS for topic in data.topics.values())
    assert len(set(topic_names(language, TOPICS))) == len(TOPICS)
    assert len(data.expand(data.cannot_tell)) >= 20
    assert 20 <= len(TOPICS) <= 25


def test_hashes_tell_languages_apart():
    assert len({unanswerable_hash(language) for language in LANGUAGES}) == len(LANGUAGES)
    for load in (unanswerable, unanswerable_hash):
        with pytest.raises(ValueError, match="'nl'"):
            load("nl")


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("topics", "name", "questions"), ["Who?"], r"topics\.name\.questions.*\n.*at least 4"),
        (("topics", "height", "told_by"), "two words", r"topics\.height\.told_by.*\n.*two words"),
        (("topics", "height", "asks"), ["how tall ("], r"topics\.height\.asks: .*never closed"),
        (("topics", "height", "asks"), ["how tall {nobody}"], r"topics\.height\.asks: .*no macro 'nobody'"),
        (("topics", "height", "asks"), ["how{who}"], r"topics\.height\.asks: .*a word of its own"),
        (("topics", "height", "more"), "x", r"topics\.height\.more"),
        (("topics", "voice"), {}, r"topics\.voice"),
        (("answers",), ["That can't be told."], "answers.*\n.*at least 8"),
        (("answers",), ["{name}"] * 8, "unknown placeholder name"),
        (("macros", "who"), "{whose}", r"macros\.who: must hold no macro"),
    ],
)
def test_an_error_names_file_and_key(path, value, named, monkeypatch):
    data = yaml.safe_load(module._source("en"))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    monkeypatch.setattr(module, "_source", lambda language: yaml.safe_dump(data))
    with pytest.raises(ValueError, match=rf"unanswerable/en\.yaml: (.|\n)*{named}"):
        unanswerable.__wrapped__("en")


def test_a_missing_topic_is_named(monkeypatch):
    data = yaml.safe_load(module._source("fr"))
    del data["topics"]["name"]
    monkeypatch.setattr(module, "_source", lambda language: yaml.safe_dump(data))
    with pytest.raises(ValueError, match=r"unanswerable/fr\.yaml: (.|\n)*missing or unknown: name;"):
        unanswerable.__wrapped__("fr")


# --- which topics are asked -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_words_nothing_is_asked(language):
    assert askable_topics(language, None) == askable_topics(language, "") == askable_topics(language, "...") == ()


@pytest.mark.parametrize("language", LANGUAGES)
def test_topics_come_in_one_order(language):
    topics = askable_topics(language, HARMLESS[language])
    assert len(topics) >= 15
    assert [topic for topic in TOPICS if topic in topics] == list(topics)
    assert topics == askable_topics(language, HARMLESS[language].upper())


@pytest.mark.parametrize(
    ("language", "transcript", "told"),
    [
        ("en", "my name is John", {"name"}),
        ("en", "I'm Anna and I live in Leeds with my two brothers", {"name", "residence", "siblings"}),
        ("en", "He WEIGHED eighty pounds", {"weight", "income"}),
        ("de", "ich heiße Johann und bin Lehrer", {"name", "profession", "education"}),
        ("de", "mein Mann und ich wohnen in Köln", {"marital_status", "residence"}),
        ("fr", "je m'appelle Jeanne et j'ai deux frères", {"name", "siblings"}),
        ("fr", "aujourd'hui je porte une robe bleue", {"recording_date", "clothing", "eye_colour"}),
        ("it", "mi chiamo Paolo e lavoro in banca", {"name", "profession", "income"}),
        ("it", "stasera mangiamo la pizza", {"favourite_food"}),
        ("es", "me llamo Pedro y vivo en Sevilla", {"name", "residence"}),
        ("es", "mi esposa es católica", {"marital_status", "religion"}),
    ],
)
def test_what_the_words_may_tell_is_not_asked(language, transcript, told):
    assert not told & set(askable_topics(language, transcript))


TELLING = [
    (lang, slug, stem) for lang in LANGUAGES for slug in TOPICS for stem in unanswerable(lang).topics[slug].told_by
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TELLING), st.lists(st.text(max_size=8), max_size=6), st.data())
def test_no_topic_is_asked_whose_word_is_in_the_transcript(telling, others, data):
    language, slug, stem = telling
    ending = data.draw(st.text("abcdefghijklmnopqrstuvwxyz", max_size=5)) if stem.endswith("*") else ""
    word = stem.removesuffix("*") + ending
    word = data.draw(st.sampled_from([word, word.upper() if "ß" not in word else word, word.title(), f"«{word}»,"]))
    transcript = " ".join([*others, word, *others])
    assert slug not in askable_topics(language, transcript)


# --- templates and prompts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_question_goes_with_every_answer(language):
    data = unanswerable(language)
    for slug, name in zip(TOPICS, topic_names(language, TOPICS), strict=True):
        for question in data.topics[slug].questions:
            for answer in data.answers:
                said = sentence(answer.format(topic=name))
                verdict = judge(language, question, said, (slug,))
                assert verdict.accepted, (verdict.reason, verdict.detail, question, said)
                assert verdict.unknown == (slug,)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_is_about_its_own_topic_alone(language):
    data = unanswerable(language)
    for slug in TOPICS:
        others = tuple(topic for topic in TOPICS if topic != slug)
        for question in data.topics[slug].questions:
            assert judge(language, question, data.answers[0]).unknown == (slug,), question
            assert judge(language, question, data.answers[0], others).reason == "off_topic", question


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_engine_writes_what_is_accepted(language):
    for seed in range(20):
        asked = request(language, TOPICS[seed % 5 : seed % 5 + 10], seed, pairs=10)
        duplicates = Duplicates()
        lines = write_pairs(asked).splitlines()
        assert len(lines) == 10
        told = []
        for line in lines:
            pair = json.loads(line)
            verdict = verify(ACOUSTIC, language, pair["q"], pair["a"], asked.facts, (), duplicates, asked.unknown)
            assert verdict.accepted, (verdict.reason, verdict.detail, pair)
            told += verdict.unknown
        assert sorted(told) == sorted(asked.unknown)
        assert write_pairs(asked) == "\n".join(lines)


def test_the_dice_choose_the_order_of_topics():
    orders = {tuple(item.questions for item in items_of(request(unknown=TOPICS), Dice(seed))) for seed in range(9)}
    assert len(orders) == 9
    assert all(len(order) == len(TOPICS) for order in orders)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", ["one", "many"])
def test_the_examples_of_the_prompts_are_accepted(language, form):
    topics = prompts._json_block("unanswerable", language, f"{form}_topics")
    pairs = json.loads(prompts._block("unanswerable", language, form))
    told = []
    for pair in [pairs] if isinstance(pairs, dict) else pairs:
        verdict = judge(language, pair["q"], pair["a"], topics)
        assert verdict.accepted, (verdict.reason, verdict.detail, pair)
        told += verdict.unknown
    assert told == topics


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("pairs", [1, 2])
def test_a_prompt_names_the_topics_and_shows_no_facts(language, pairs):
    messages = prompts.render_prompt(request(language, pairs=pairs), ["unverifiable"])
    assert [m.role for m in messages] == ["system", "user", "assistant", "user"]
    for name in topic_names(language, ("name", "height")):
        assert name in messages[-1].content
    text = "".join(m.content for m in messages)
    assert "pitch" not in text
    assert "{{" not in text


# --- the rule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_true_answers_are_accepted(language):
    rows = labelled(language)["true"]
    refused = []
    for question, answer, *topics in rows:
        verdict = judge(language, question, answer, topics)
        if not verdict.accepted:
            refused.append((question, answer, verdict.reason, verdict.detail))
        else:
            assert set(verdict.unknown) == set(topics), (question, verdict.unknown)
    assert len(rows) - len(refused) >= TRUE_AT_LEAST * len(rows), refused


@pytest.mark.parametrize("language", LANGUAGES)
def test_false_answers_are_refused(language):
    rows = labelled(language)["false"]
    accepted = [
        (question, answer) for question, answer, *topics in rows if judge(language, question, answer, topics).accepted
    ]
    assert len(accepted) <= FALSE_AT_MOST * len(rows), accepted


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_labelled_sets_are_whole(language):
    data = labelled(language)
    for kind in ("true", "false"):
        assert len(data[kind]) == OF_EACH_KIND
        assert all(len(row) >= 3 and set(row[2:]) <= set(TOPICS) for row in data[kind])
    pairs = [tuple(row[:2]) for kind in ("true", "false") for row in data[kind]]
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_not_asked_as_unknown_may_not_be_said_so(language):
    data = unanswerable(language)
    facts = (Fact("average_pitch", "very low pitch"), Fact("transcript", HARMLESS[language]))
    for slug, name in zip(TOPICS, topic_names(language, TOPICS), strict=True):
        for question, answer in zip(data.topics[slug].questions, data.answers, strict=False):
            for task in (ACOUSTIC, "closed_ended_content_level", "open_ended"):
                assert not verify(task, language, question, sentence(answer.format(topic=name)), facts).accepted


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("How tall the speaker is.", "That can't be told from the recording.", "not_a_question"),
        ("Wie heißt die Person?", "That can't be told from the recording.", "language"),
        ("What is the speaker's name?", "Das lässt sich aus der Aufnahme nicht erkennen.", "language"),
        ("What is the speaker's name?", "The metadata does not reveal the name.", "leak"),
        ("What is the speaker's name?", "That can't be told " * 40, "length"),
        ("What is the speaker's name?", "", "length"),
        ("Name?", "That can't be told from the recording.", "length"),
        ("How tall is the speaker?", "The speaker's weight can't be told from the recording.", "off_topic"),
        ("How tall is the speaker?", "The speaker's name can't be told from the recording.", "off_topic"),
        ("How high is the voice?", "That can't be told from the recording.", "unknown_claim"),
        ("What is the speaker's shoe size?", "That can't be told from the recording.", "off_topic"),
        ("What is the speaker's name?", "It can't be told, perhaps it is common.", "hedge"),
        ("What is the speaker's name?", 'The name is "John", but that can\'t be told.', "quote_not_in_transcript"),
        ("How tall is the speaker?", "That can't be told, but 180 is usual.", "number_not_in_transcript"),
        ("How tall is the speaker?", "This woman's height can't be told.", "unknown_claim"),
        ("How tall is this deep-voiced woman?", "That can't be told from the recording.", "unknown_claim"),
        ("What is the speaker's name?", "The speaker has a name.", "unverifiable"),
        ("What is the speaker's name?", "The recording tells us the speaker's name.", "unverifiable"),
        ("What is the speaker's name?", "That can't be told. The name is John.", "unverifiable"),
        ("What is the speaker's name?", "John cannot be identified.", "unknown_claim"),
        ("What is the speaker's name?", "[That] can't be told.", "markup"),
        ("What is the speaker's name?", "Can't that be told from the recording?", "unverifiable"),
        ("What are the speaker's name and height?", "The speaker's name can't be told.", "unverifiable"),
        ("Is the speaker tall?", "No, that can't be told.", "unknown_claim"),
        ("Is the speaker tall?", "It can't be told, the speaker is tall.", "unknown_claim"),
    ],
)
def test_refusals_have_their_reasons(question, answer, reason):
    verdict = judge("en", question, answer, ("name", "height"))
    assert (verdict.accepted, verdict.reason) == (False, reason), verdict.detail
    assert verdict.unknown == ()


def test_two_topics_in_one_question():
    verdict = judge("en", "What are the speaker's name and height?", "That can't be told.", ("height", "hobby", "name"))
    assert verdict.unknown == ("height", "name")


def test_no_answers_a_question_whether_it_can_be_told():
    assert judge("en", "Can you tell how tall the speaker is?", "No, that can't be told.", ("height",)).accepted
    assert not judge("en", "Is the speaker tall?", "No, that can't be told.", ("height",)).accepted


def test_a_pair_is_not_accepted_twice():
    duplicates = Duplicates()
    pair = ("How tall is the speaker?", "That can't be told from the recording.")
    reasons = [verify(ACOUSTIC, "en", *pair, (), (), duplicates, ("height",)).reason for _ in range(2)]
    assert reasons == [None, "duplicate"]


def test_evidence_is_the_topic_without_a_value():
    facts = (Fact("average_pitch", "very low pitch"),)
    verdict = judge("en", "How tall is the speaker?", "That can't be told from the recording.", ("height",), facts)
    rows = verdict.evidence_rows()
    assert rows == [{"key": "height", "value": None, "ordinal": None, "audio": 0, "position": 0}]
    assert pa.array([rows], type=pa.list_(FACT)).to_pylist() == [rows]


@functools.cache
def said_somewhere(language):
    data = unanswerable(language)
    patterns = [
        *data.cannot_tell,
        *data.beside,
        *data.macros.values(),
        *(p for t in data.topics.values() for p in t.asks),
    ]
    return " ".join(data.expand(patterns)).lower()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(LANGUAGES),
    st.sampled_from(TOPICS),
    st.text("abcdefghijklmnopqrstuvwxyzäöüéèàñ", min_size=3, max_size=10),
    st.integers(0, 200),
)
def test_a_word_that_no_pattern_holds_refuses_the_answer(language, slug, word, place):
    data = unanswerable(language)
    answer = data.answers[place % len(data.answers)].format(topic=data.topics[slug].name)
    assume(word not in said_somewhere(language) and word not in answer.lower())
    words = answer.split()
    words.insert(place % (len(words) + 1), word)
    assert not judge(language, data.topics[slug].questions[0], " ".join(words), (slug,)).accepted
