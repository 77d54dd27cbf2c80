import json

import pytest
from pydantic import ValidationError

from sift_ray.instruct.items import Dice
from sift_ray.instruct.parse import parse_pairs
from sift_ray.instruct.requests import (
    ACOUSTIC,
    COMPARISON,
    CONTENT,
    CONTROLLABLE,
    OPEN_ENDED,
    SPOKEN_KEYS,
    WORD_ALIGN,
    Request,
)
from sift_ray.instruct.template_engine import items_of, write_pairs
from sift_ray.instruct.templates import LEAST, Templates, templates
from sift_ray.instruct.verify import Duplicates, verify
from sift_ray.metadata.categories import ATTRIBUTES, WORD_ATTRIBUTES
from sift_ray.metadata.record import Fact
from sift_ray.schema import AGES, GENDERS, LANGUAGES, TASKS

TRANSCRIPTS = {
    "en": "good morning to everyone who is here",
    "de": "guten Morgen an alle die heute hier sind",
    "fr": "bonjour à tous les amis qui sont venus",
    "it": "buongiorno a tutti gli amici che sono venuti",
    "es": "buenos días a todos los que han venido",
}


def values(language):
    return {
        **{key: attribute.labels for key, attribute in ATTRIBUTES.items()},
        "gender": GENDERS,
        "age_category": AGES,
        "accent": ("Scottish", "Bayern"),
        "language": (language,),
        "transcript": (TRANSCRIPTS[language],),
    }


def request(language, task, facts, focus=(), pairs=1, seed=1):
    return Request(5, task, language, "train", "x", ("u",), ("a",), "template", tuple(facts), tuple(focus), pairs, seed)


def check_every_phrasing(asked):
    """Verify each question with some answer and each answer with some question; return how many."""
    count = 0
    for item in items_of(asked, Dice(asked.seed)):
        for index in range(max(len(item.questions), len(item.answers))):
            question = item.questions[index % len(item.questions)]
            answer = item.answers[index % len(item.answers)]
            verdict = verify(asked.task, asked.language, question, answer, asked.facts, asked.focus, Duplicates())
            assert verdict.accepted, (verdict.reason, verdict.detail, question, answer)
            assert verdict.evidence
            count += 1
    return count


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_category_is_said_truly(language):
    known = values(language)
    for key in ATTRIBUTES:
        for value in known[key]:
            assert check_every_phrasing(request(language, ACOUSTIC, [Fact(key, value)], [key])) >= LEAST
    for key in ("gender", "age_category", "accent", "language", "transcript"):
        for value in known[key]:
            assert check_every_phrasing(request(language, CONTENT, [Fact(key, value)])) >= LEAST
    assert check_every_phrasing(request(language, ACOUSTIC, [Fact("language", language)])) >= LEAST


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_comparison_is_true(language):
    known = values(language)
    for key in (*ATTRIBUTES, "gender", "age_category", "accent"):
        for index, value in enumerate(known[key]):
            for other in (value, known[key][index - 1]):
                facts = [Fact(key, value), Fact(key, other, 1)]
                assert check_every_phrasing(request(language, COMPARISON, facts)) >= LEAST


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_descriptions_and_prompts_are_true(language):
    known = values(language)
    for seed in range(40):
        dice = Dice(language, seed)
        facts = [Fact(key, dice.pick(known[key])) for key in known]
        some = [fact for fact in facts if dice.below(2)] or facts
        check_every_phrasing(request(language, OPEN_ENDED, some, pairs=2, seed=seed))
        voice = [f for f in facts if f.key in SPOKEN_KEYS[CONTROLLABLE]]
        given = [fact for fact in voice if dice.below(3) == 0] or voice[:1]
        focus = [fact.key for fact in given]
        assert check_every_phrasing(request(language, CONTROLLABLE, [*given, facts[-1]], focus, seed=seed)) >= LEAST
        check_every_phrasing(request(language, WORD_ALIGN, words(language, dice), pairs=5, seed=seed))


def words(language, dice):
    spoken = TRANSCRIPTS[language].split()
    if dice.below(3) == 0:
        spoken = [*spoken, spoken[1]]
    facts = [Fact("transcript", " ".join(spoken))]
    for position, word in enumerate(spoken, 1):
        facts.append(Fact("word", word, 0, position))
        for key in WORD_ATTRIBUTES:
            if dice.below(5):
                facts.append(Fact(key, dice.pick(ATTRIBUTES[key].labels), 0, position))
    return facts


def test_a_seed_repeats_and_another_differs():
    facts = [Fact(key, a.labels[1]) for key, a in ATTRIBUTES.items()]
    first = write_pairs(request("en", ACOUSTIC, facts, pairs=8))
    assert first == write_pairs(request("en", ACOUSTIC, facts, pairs=8))
    assert first != write_pairs(request("en", ACOUSTIC, facts, pairs=8, seed=2))
    assert first != write_pairs(request("en", ACOUSTIC, facts, pairs=8), attempt=1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_asks_for_many_give_distinct_pairs(language):
    facts = [Fact(key, a.labels[2]) for key, a in ATTRIBUTES.items()]
    read = parse_pairs(write_pairs(request(language, ACOUSTIC, facts, pairs=10)))
    assert len(read.pairs) == 10
    assert len({q for q, _ in read.pairs}) == 10
    assert len({a for _, a in read.pairs}) == 10
    seen = Duplicates()
    assert all(verify(ACOUSTIC, language, q, a, facts, (), seen).accepted for q, a in read.pairs[:8])


def test_nothing_known_gives_nothing():
    for task in TASKS:
        text = write_pairs(request("en", task, [Fact("transcript", 'he said "“so”"')]))
        assert task == OPEN_ENDED or text == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_focus_on_words_always_finds_one(language):
    for seed in range(30):
        facts = words(language, Dice(language, seed))
        asked = request(language, WORD_ALIGN, facts, ["average_pitch"], seed=seed)
        assert check_every_phrasing(asked) >= LEAST
        assert write_pairs(asked)


def test_focus_is_kept():
    facts = [Fact(key, a.labels[0]) for key, a in ATTRIBUTES.items()]
    text = write_pairs(request("en", ACOUSTIC, facts, ["speaking_rate"], pairs=3))
    assert all("very slowly" in json.loads(line)["a"] for line in text.splitlines())


@pytest.mark.parametrize("language", LANGUAGES)
def test_advice_is_given_where_asked_for_and_nowhere_else(language):
    facts = [Fact("pitch_variation", "very expressive"), Fact("gender", "female")]
    texts = templates(language).open_ended
    asking = {question.removeprefix("advice | ") for question in texts.questions if question.startswith("advice | ")}
    seen = set()
    for seed in range(20):
        for line in write_pairs(request(language, OPEN_ENDED, facts, pairs=3, seed=seed)).splitlines():
            pair = json.loads(line)
            advised = any(pair["a"].endswith(advice) for advice in texts.advice)
            assert advised == (pair["q"] in asking)
            seen.add(advised)
    assert seen == {True, False}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_quoted_transcript_leaves_its_full_stop(language):
    fact = Fact("transcript", f"{TRANSCRIPTS[language]}.")
    for task in (CONTENT, OPEN_ENDED):
        asked = request(language, task, [fact])
        assert check_every_phrasing(asked)
        for item in items_of(asked, Dice(1)):
            assert not any(f".{right}" in answer for answer in item.answers for _, right in templates(language).quotes)


def test_italian_articles_are_elided():
    spoken = ["uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove"]
    facts = [Fact("word", word, 0, place) for place, word in enumerate(spoken, 1)]
    facts.append(Fact("average_pitch", "moderate pitch", 0, 8))
    written = "".join(write_pairs(request("it", WORD_ALIGN, facts, seed=seed)) for seed in range(20))
    assert "ottava parola" in written
    assert "a ottava parola" not in written


def test_a_bad_placeholder_is_named():
    data = templates("en").model_dump(mode="json")
    data["comparison"]["questions"][0] = "How is {nonsense}?"
    with pytest.raises(ValidationError, match="unknown placeholder nonsense"):
        Templates.model_validate(data)


def test_too_few_phrasings_are_refused():
    data = templates("en").model_dump(mode="json")
    data["content"]["gender"]["answers"] = ["The speaker is {x}."] * 4
    with pytest.raises(ValidationError, match="at least 4 different phrasings"):
        Templates.model_validate(data)
