import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.instruct.parse import MAX_PAIRS, parse_pairs

PAIR = ("How fast is it?", "It is very fast.")
OBJECT = json.dumps({"q": PAIR[0], "a": PAIR[1]})


@pytest.mark.parametrize(
    "text",
    [
        OBJECT,
        f"[{OBJECT}]",
        f"```json\n{OBJECT}\n```",
        f"Sure! Here you are:\n{OBJECT}\nI hope this helps {{really}}.",
        json.dumps({"pairs": [{"question": PAIR[0], "answer": PAIR[1], "n": 3}]}),
        "{'q': 'How fast is it?', 'a': 'It is very fast.',}",
        '{"Q" : "How fast\nis it?", "A": "It is\tvery  fast."}',
    ],
)
def test_reads_what_models_write(text):
    assert parse_pairs(text).pairs == [PAIR]


def test_apostrophes_and_quotes_within_single_quotes():
    read = parse_pairs("""{'q': 'What's said?', 'a': 'He says "l\\'audio" twice.'}""")
    assert read.pairs == [("What's said?", 'He says "l\'audio" twice.')]


def test_bad_escapes_are_repaired():
    assert parse_pairs(r'{"q": "It\'s\_q?", "a": "\u00e9t\xe9 \/"}').pairs == [("It's_q?", "étxe9 /")]


def test_a_cut_off_tail_keeps_complete_pairs():
    read = parse_pairs(f'[{OBJECT}, {{"q": "And how lo')
    assert read.pairs == [PAIR]
    assert read.problems == ["cut_off"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no_pairs"),
        ("The speaker is a woman.", "no_pairs"),
        ("a" * 10_000, "no_pairs"),
        ('{"q": "x?"}', "missing_key"),
        ('{"q": 3, "a": "x"}', "not_text"),
        ('{"q": "x?", "a": "  "}', "empty_text"),
        ('{"q": "x?", "a": "a\\u0000b"}', "control_characters"),
        ('{"q": "x?", "a": "a\\u202eb"}', "control_characters"),
        ('{"q": "x?", "a": "slo\\u0338w"}', "control_characters"),
        ('{"q": "x?", "a": "o\\u0300\\u0301\\u0302\\u0303"}', "control_characters"),
        ('{"q": "x?", "a": "a &lt; b"}', "markup"),
        ('{"q": "x?", "a": "<b>a</b>"}', "markup"),
        ('{"q": "x?", "a": "C:\\\\a"}', "markup"),
        ('{"q": "x?", "a": "\\ud83d"}', "control_characters"),
        ('{"q": "x?", "a": "' + "a" * 9_000 + '"}', "too_long"),
        ('{"q": "x?", "a": ' + '"' + "a" * 10_000, "cut_off"),
        ('{"q" "x?"}', "malformed"),
    ],
)
def test_names_what_it_cannot_read(text, problem):
    read = parse_pairs(text)
    assert read.pairs == []
    assert read.problems[0] == problem


@pytest.mark.parametrize("bomb", ["{" * 200_000, "[" * 200_000, '{"a":' * 50_000, '{"q":"' * 50_000, "{'" * 90_000])
def test_a_bomb_is_harmless(bomb):
    start = time.perf_counter()
    assert parse_pairs(bomb).pairs == []
    assert time.perf_counter() - start < 5


def test_too_many_pairs_are_bounded():
    read = parse_pairs("\n".join([OBJECT] * (MAX_PAIRS + 5)))
    assert len(read.pairs) == MAX_PAIRS
    assert read.problems == ["too_many"]


def test_without_answers_only_the_prompt_is_read():
    assert parse_pairs('{"prompt": "Speak softly."}', answers=False).pairs == [("Speak softly.", "")]
    assert parse_pairs('{"q": "Speak softly.", "a": "words"}', answers=False).pairs == [("Speak softly.", "")]


_texts = st.text(
    st.characters(categories=["L", "N", "P"], exclude_characters="*#\\&\u115f\u1160\u3164\uffa0"),
    min_size=1,
    max_size=40,
)


def test_phonemes_are_read():
    answer = "/ɡʁɑ̃ t͡ʃɜ˞ˈmæ̃n̩ː/ 5° «é» – ¿qué? 3,50 €"
    assert parse_pairs(json.dumps({"q": "x?", "a": answer})).pairs == [("x?", answer)]


@given(st.lists(st.tuples(_texts, _texts), max_size=5), st.booleans())
def test_json_comes_back_as_it_went_in(pairs, ascii_only):
    import unicodedata

    text = json.dumps([{"q": q, "a": a} for q, a in pairs], ensure_ascii=ascii_only)
    wanted = [tuple(" ".join(unicodedata.normalize("NFC", part).split()) for part in pair) for pair in pairs]
    assert parse_pairs(text).pairs == wanted


@given(st.text(max_size=300))
def test_never_fails(text):
    read = parse_pairs(text)
    assert read.pairs or read.problems
