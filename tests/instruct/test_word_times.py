"""Questions about when words are spoken: what is asked, which numbers pass, and that other tasks give none."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator

import pytest

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.instruct.grammar import pair_schema
from sift_ray.instruct.items import Dice
from sift_ray.instruct.prompts import render_prompt, shown_facts
from sift_ray.instruct.requests import Request
from sift_ray.instruct.templates import LEAST
from sift_ray.instruct.verify import Verdict, verify
from sift_ray.instruct.verify.times import LEAST_PAUSE_S, TOLERANCE_S
from sift_ray.instruct.word_times import LEAST_PAUSE, word_time_items
from sift_ray.metadata.categories import TIME_KEYS
from sift_ray.metadata.phrases import phrases
from sift_ray.metadata.record import Fact, record
from sift_ray.schema import LANGUAGES
from tests.instruct.test_labelled_verdicts import CHANGED_REJECTED, SHUFFLED_REJECTED, template_answers
from tests.instruct.test_verify_rules import changeable, otherwise, timed

ANSWERS = 400  # in each language
REPEATED = {
    "en": "good morning to everyone who is here to",
    "de": "guten Morgen an alle die heute hier alle sind",
    "fr": "bonjour à tous les amis qui sont tous venus",
    "it": "buongiorno a tutti gli amici che sono tutti venuti",
    "es": "buenos días a todos los que han todos venido",
}


def spoken(words: str, *times: tuple[float | None, float | None]) -> list[Fact]:
    """The facts of words with their starts and ends, None where unknown."""
    facts = [Fact("transcript", words)]
    for position, (word, ends) in enumerate(zip(words.split(), times, strict=True), 1):
        facts.append(Fact("word", word, 0, position))
        known = zip(TIME_KEYS, ends, strict=True)
        facts += [Fact(key, f"{time:.2f}", 0, position) for key, time in known if time is not None]
    return facts


MORNING = spoken("good morning to everyone", (0.12, 0.40), (0.40, 0.90), (1.24, 1.40), (1.40, 2.05))
AGAIN = spoken("so it is so", (0.10, 0.40), (0.40, 0.60), (0.60, None), (1.20, 1.60))


def asked(facts: list[Fact], language: str, focus: tuple[str, ...] = (), seed: int = 1, pairs: int = 10) -> Request:
    parts = (5, WORD_TIMES, language, "train", "x", ("u",), ("a",), "template")
    return Request(*parts, tuple(facts), focus, pairs, seed)


def judged(question: str, answer: str, facts: list[Fact] = MORNING, language: str = "en") -> Verdict:
    return verify(WORD_TIMES, language, question, answer, facts)


def utterances(language: str) -> Iterator[list[Fact]]:
    """Words of random times, some spoken twice, some times unknown."""
    for seed in range(12):
        dice = random.Random(f"{language} {seed}")
        words = REPEATED[language].split()
        clock, times = dice.random(), []
        for _ in words:
            end = clock + dice.uniform(0.05, 0.8)
            times.append(tuple(time if dice.random() < 0.9 else None for time in (clock, end)))
            clock = end + dice.choice([0.0, dice.uniform(0.0, 0.7)])
        yield spoken(" ".join(words), *times)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("focus", [(), ("start_s",), ("end_s",)])
def test_all_that_is_asked_and_answered_is_true(language: str, focus: tuple[str, ...]) -> None:
    for seed, facts in enumerate(utterances(language)):
        items = word_time_items(asked(facts, language, focus, seed), Dice(seed))
        assert items
        for item in items:
            assert min(len(item.questions), len(item.answers)) >= LEAST
            for index in range(max(len(item.questions), len(item.answers))):
                question = item.questions[index % len(item.questions)]
                answer = item.answers[index % len(item.answers)]
                verdict = verify(WORD_TIMES, language, question, answer, facts, focus)
                assert verdict.accepted, (verdict, question, answer)
                assert {fact.key for fact in verdict.evidence} & set(TIME_KEYS)
                assert "word" in {fact.key for fact in verdict.evidence}


@pytest.mark.parametrize("language", LANGUAGES)
def test_repeated_words_are_spoken_of_by_their_place(language: str) -> None:
    words = REPEATED[language].split()
    twice = next(word for word in words if words.count(word) == 2)
    for seed, facts in enumerate(utterances(language)):
        for item in word_time_items(asked(facts, language, seed=seed), Dice(seed)):
            for text in (*item.questions, *item.answers):
                quoted = re.findall(r"[\"„«]\s?(\w+)\s?[\"“»]", text)
                assert twice not in quoted, text


def test_pauses_are_asked_about_only_where_there_clearly_is_one() -> None:
    assert LEAST_PAUSE / 100 > LEAST_PAUSE_S >= 2 * TOLERANCE_S
    facts = spoken("a b c", (0.0, 0.5), (0.60, 0.9), (1.30, 1.7))
    texts = [
        q for seed in range(60) for i in word_time_items(asked(facts, "en", seed=seed), Dice(seed)) for q in i.questions
    ]
    assert any('between "b" and "c"' in text for text in texts)
    assert not any('between "a" and "b"' in text for text in texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_are_refused_once_a_time_changes_and_under_other_times(language: str) -> None:
    dice = random.Random(f"{language} times")
    pairs = list(template_answers(WORD_TIMES, language, ANSWERS))
    changed = shuffled = tried = 0
    for pair in pairs:
        fact = dice.choice(changeable(pair.evidence))
        value = otherwise(dice, fact, list(pair.facts))
        changed += pair.survives(tuple(f._replace(value=value) if f == fact else f for f in pair.facts))
        other = timed(dice, language)
        if not may_be_true(pair.evidence, other):
            tried += 1
            shuffled += pair.survives(tuple(other))
    assert changed <= (1 - CHANGED_REJECTED) * len(pairs)
    assert tried >= ANSWERS / 4
    assert shuffled <= (1 - SHUFFLED_REJECTED) * tried


def may_be_true(evidence: tuple[Fact, ...], facts: list[Fact]) -> bool:
    """Say whether a word has a like time or a like length there, or is spoken at a time of the answer's word."""
    mine = [float(fact.value) for fact in evidence if fact.key in TIME_KEYS]
    theirs = [float(fact.value) for fact in facts if fact.key in TIME_KEYS and fact.position in positions(evidence)]
    lengths = [abs(a - b) for a in theirs for b in theirs if a != b]
    near = any(abs(a - b) <= TOLERANCE_S + 0.01 for a in mine for b in theirs)
    as_long = len(mine) == 2 and any(abs(abs(mine[0] - mine[1]) - length) <= TOLERANCE_S + 0.01 for length in lengths)
    overlap = len(mine) == 2 and bool(theirs) and min(theirs) <= max(mine) and min(mine) <= max(theirs)
    return near or as_long or overlap


def positions(evidence: tuple[Fact, ...]) -> set[int]:
    return {fact.position for fact in evidence}


@pytest.mark.parametrize(
    "said",
    [
        *("0.40 seconds", "0.4 seconds", "0,40 seconds", "about 0.4 seconds", "0.40s", "400 ms", "400 milliseconds"),
        *("second 0.40", "0.45 seconds", "0.35 seconds", "0.42 seconds into the recording"),
    ],
)
def test_numbers_that_are_near_enough_pass_in_any_form(said: str) -> None:
    verdict = judged('When does "morning" start?', f"It starts at {said}.")
    assert verdict.accepted, verdict
    assert verdict.evidence == (Fact("word", "morning", 0, 2), Fact("start_s", "0.40", 0, 2))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("0.46 seconds", "false_claim"),
        ("0.34 seconds", "false_claim"),
        ("0.3 seconds", "false_claim"),
        ("40 ms", "false_claim"),
        ("0 seconds", "false_claim"),
        ("0.40", "number_form"),
        ("0.400 seconds", "number_form"),
        ("0.40 minutes", "ungrounded"),
        ("0.40%", "number_form"),
        ("0:40 seconds", "number_form"),
        ("-0.40 seconds", "number_form"),
        ("~0.40 seconds", "number_form"),
        ("400.5 ms", "number_form"),
        ("0.40 or 0.90 seconds", "number_form"),
        ("nearly half a second", "unknown_claim"),
    ],
)
def test_other_numbers_do_not(said: str, reason: str) -> None:
    assert judged('When does "morning" start?', f"It starts at {said}.").reason == reason


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ('When does "good" end?', 'It ends at 0.40 seconds, and "morning" starts at 0.40 seconds.', None),
        ('When does "good" end?', '"morning" starts at 0.40 seconds.', "off_topic"),
        ('When does "morning" start?', "It starts at 0.40 seconds and lasts 0.50 seconds.", None),
        ('When does "morning" start?', "It starts at 0.40 seconds and is 0.40 seconds long.", "false_claim"),
        ('When does "morning" start?', "It starts and ends at 0.40 seconds.", "ambiguous_claim"),
        ('When does "morning" start?', "It lasts 0.50 seconds.", "off_topic"),
        ('When does "morning" start?', "It is spoken at 0.70 seconds.", "false_claim"),
        ('When is "morning" spoken?', "It is spoken at 0.70 seconds.", None),
        ('When is "morning" spoken?', "It is spoken at 0.95 seconds.", "false_claim"),
        ('When is "morning" spoken?', "It is spoken from 0.40 to 0.90 seconds.", None),
        ('When is "morning" spoken?', "It is spoken from 0.90 to 0.40 seconds.", "false_claim"),
        ('When is "morning" spoken?', "It is spoken before 0.95 seconds.", "ambiguous_claim"),
        ('How long is "morning"?', "It is 0.50 seconds long.", None),
        ('How long is "morning"?', "It lasts at 0.50 seconds.", "ambiguous_claim"),
        ('When does "morning" start?', "It starts 0.28 seconds after \"good\".", "ambiguous_claim"),
        ('When do "good" and "to" start?', '"good" starts at 0.12 seconds and "to" at 1.24 seconds.', None),
        ('When do "good" and "to" start?', '"good" starts at 0.12 seconds.', "off_topic"),
        ('When do "good" and "to" start?', '"good" starts at 0.12 seconds and "to" at 0.40 seconds.', "false_claim"),
        ('How long is the pause between "morning" and "to"?', "It is 0.34 seconds long.", None),
        ('How long is the pause between "good" and "to"?', "The pause lasts 0.84 seconds.", "false_claim"),
        ('How long is the pause between "good" and "morning"?', "The pause lasts 0.02 seconds.", "false_claim"),
        ('Is "good" spoken before or after "to"?', '"good" is spoken before "to".', None),
        ('Is "good" spoken before or after "to"?', '"good" is spoken after "to".', "false_claim"),
        ('Does "to" start at 1.24 seconds?', "Yes, it starts at 1.24 seconds.", None),
        ('Does "to" start at 1.24 seconds?', "Yes.", "unverifiable"),
        ('Does "to" start at 1.40 seconds?', "It starts at 1.24 seconds.", "false_claim"),
        ('When does "to" start?', "Yes, it starts at 1.24 seconds.", "off_topic"),
        ("Which word starts at 1.24 seconds?", 'It is "to".', None),
        ("Which word starts at 1.24 seconds?", 'It is "everyone".', "false_claim"),
        ("Which word starts at 1.24 seconds?", 'It is "to" or "everyone".', "ambiguous_claim"),
        ("Which word is spoken at 1.10 seconds?", 'At 1.10 seconds the speaker says "to".', "false_claim"),
        ("Which word is spoken at 0.40 seconds?", 'It is "night".', "quote_not_in_transcript"),
        ('When does the third word, "to", start?', "It starts at 1.24 seconds.", None),
        ('When does the second word, "to", start?', "It starts at 1.24 seconds.", "false_claim"),
        ('When does the ninth word start?', "It starts at 1.24 seconds.", "false_claim"),
        ("When does the second to last word start?", "The second to last word starts at 1.40 seconds.", "number_form"),
        ('How long does "to" last?', "It lasts two seconds.", "number_form"),
        ('When does the third word from the end start?', "It starts at 1.24 seconds.", "off_topic"),
        ('When does "to" start?', "It starts loudly at 1.24 seconds.", "unknown_claim"),
        ('When does "to" start?', "It does not start at 1.30 seconds.", "negation"),
        ('When does "to" start?', "Perhaps it starts at 1.24 seconds.", "hedge"),
        ('When does "to" start?', "According to the metadata it starts at 1.24 seconds.", "leak"),
        ('When does "to" start?', "London starts at 1.24 seconds.", "ungrounded"),
        ('When does "to" start?', "Es beginnt bei 1,24 Sekunden.", "ungrounded"),
        ('When does "to" start?', "It starts at 1.24 seconds and.", "broken_off"),
        ('"to" starts at 1.24 seconds.', "It starts at 1.24 seconds.", "not_a_question"),
        ("How high is the voice?", "It starts at 1.24 seconds.", "unknown_claim"),
    ],
)  # fmt: skip
def test_each_number_is_held_to_what_it_is_said_of(question: str, answer: str, reason: str | None) -> None:
    verdict = judged(question, answer)
    assert (verdict.accepted, verdict.reason) == (reason is None, reason), verdict


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ('When does "so" start?', "It starts at 0.10 seconds.", "false_claim"),
        ("When does the first word start?", 'The first word, "so", starts at 0.10 seconds.', None),
        ("When does the last word start?", 'The last word, "so", starts at 0.10 seconds.', "false_claim"),
        ("Which word is spoken at 1.40 seconds?", 'The word "so" is spoken at 1.40 seconds.', None),
        ("Which word is spoken at 0.90 seconds?", 'The word "so" is spoken at 0.90 seconds.', "false_claim"),
        ('When does "is" end?', "It ends at 1.20 seconds.", "unknown_claim"),
        ('How long is the pause between "is" and "so"?', "The pause lasts 0.30 seconds.", "unknown_claim"),
    ],
)
def test_repeated_words_and_unknown_times(question: str, answer: str, reason: str | None) -> None:
    verdict = judged(question, answer, AGAIN)
    assert (verdict.accepted, verdict.reason) == (reason is None, reason), verdict


def test_a_focus_must_be_spoken_of() -> None:
    facts = tuple(MORNING)
    question, answer = 'When does "to" start?', "It starts at 1.24 seconds."
    assert verify(WORD_TIMES, "en", question, answer, facts, ("start_s",)).accepted
    assert verify(WORD_TIMES, "en", question, answer, facts, ("end_s",)).reason == "off_focus"


TIMES_ELSEWHERE = {
    "en": (
        ("How is the first word spoken?", "The first word is spoken softly[ at 1.24 seconds]."),
        ("What is said?", 'The speaker says "{words}"[ from 0.12 to 1.60 seconds].'),
        ("Describe the voice.", "The speaker speaks softly[ for 1.6 seconds]."),
    ),
    "de": (
        ("Wie wird das erste Wort gesprochen?", "Das erste Wort wird[ bei 1,24 Sekunden] leise gesprochen."),
        ("Was wird gesagt?", 'Die Person sagt "{words}"[ von 0,12 bis 1,60 Sekunden].'),
        ("Beschreibe die Stimme.", "Die Person spricht[ 1,6 Sekunden lang] leise."),
    ),
    "fr": (
        ("Comment le premier mot est-il prononcé ?", "Le premier mot est prononcé doucement[ à 1,24 seconde]."),
        ("Que dit la personne ?", "La personne dit « {words} »[ de 0,12 à 1,60 seconde]."),
        ("Décris la voix.", "La personne parle doucement[ pendant 1,6 seconde]."),
    ),
    "it": (
        ("Come viene pronunciata la prima parola?", "La prima parola viene pronunciata piano[ a 1,24 secondi]."),
        ("Che cosa dice la persona?", "La persona dice «{words}»[ da 0,12 a 1,60 secondi]."),
        ("Descrivi la voce.", "La persona parla piano[ per 1,6 secondi]."),
    ),
    "es": (
        (
            "¿Cómo se pronuncia la primera palabra?",
            "La primera palabra se pronuncia en voz baja[ a los 1,24 segundos].",
        ),
        ("¿Qué dice la persona?", "La persona dice «{words}»[ de 0,12 a 1,60 segundos]."),
        ("Describe la voz.", "La persona habla en voz baja[ durante 1,6 segundos]."),
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_tasks_give_no_times_in_numbers(language: str) -> None:
    words = REPEATED[language]
    voice = [Fact("average_intensity", "softly"), Fact("transcript", words)]
    spelled = [Fact("average_intensity", "softly", 0, place) for place in range(1, 10)]
    by_word = [*spoken(words, *[(0.12, 1.6)] * len(words.split())), *spelled[: len(words.split())]]
    tasks = ("closed_ended_word_align", "closed_ended_content_level", "open_ended")
    for task, (question, answer) in zip(tasks, TIMES_ELSEWHERE[language], strict=True):
        facts = by_word if task == "closed_ended_word_align" else voice
        told = answer.format(words=words)
        refused = verify(task, language, question, re.sub(r"[][]", "", told), facts)
        assert refused.reason in ("number_not_in_transcript", "unknown_claim"), refused  # (the latter for "seconds")
        plain = re.sub(r"\[.*\]", "", told)
        assert verify(task, language, question, plain, facts).accepted, plain


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_record_and_the_prompt_show_times(language: str) -> None:
    wording = phrases(language)
    (word,) = record(spoken("hallo", (0.1, 0.55)), language)[wording.data.words_key]
    assert word == {
        wording.record_key("word"): "hallo",
        wording.data.position_key: 1,
        wording.record_key("start_s"): "0.10",
        wording.record_key("end_s"): "0.55",
    }
    request = asked(MORNING, language, ("start_s",))
    assert {fact.key for fact in shown_facts(request)} == {"word", "start_s"}
    last = render_prompt(request)[-1].content
    assert "1.24" in last
    assert "2.05" not in last
    assert wording.key_name("start_s") in last


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_grammar_holds_the_value_and_what_it_makes_can_pass(language: str) -> None:
    valued = 0
    for seed in range(20):
        facts = timed(random.Random(seed), language)
        request = asked(facts, language, seed=seed, pairs=1)
        item = next((i for i in word_time_items(request, Dice(request.seed, "grammar")) if i.slots), None)
        made = pair_schema(request, "value")["properties"]
        if item is None:
            assert made == pair_schema(request, "json")["properties"]
            continue
        valued += 1
        for question in item.questions:
            assert re.fullmatch(made["q"]["pattern"], json.dumps(question, ensure_ascii=False)[1:-1])
        said = f"{item.slots[0][0]} {item.slots[1][0]}."
        assert re.search(r"\d[.,]\d\d \w+\.$", said)
        assert re.fullmatch(made["a"]["pattern"], json.dumps(said, ensure_ascii=False)[1:-1])
        assert verify(WORD_TIMES, language, item.questions[0], said, facts).accepted, said
    assert valued >= 15
