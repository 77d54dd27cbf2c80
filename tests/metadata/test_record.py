"""Facts of annotation rows, and the record that a prompt shows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from sift_ray.config import BinConfig
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.categories import ATTRIBUTES, KEYS, TIME_KEYS, WORD_ATTRIBUTES, WORD_KEY, labels_of
from sift_ray.metadata.phrases import phrases
from sift_ray.metadata.record import Fact, facts_of, record, render
from sift_ray.schema import ANNOTATIONS, LANGUAGES, conform

ROWS = 40
OF_AN_UTTERANCE = [key for key in KEYS if key not in (WORD_KEY, *TIME_KEYS)]


def annotations() -> pa.Table:
    rng = np.random.default_rng(0)
    gender = ["female", "male", None, "male"] * (ROWS // 4)
    word = {"word": "hello", "position": 1, "pitch_mean_hz": 180.0, "pitch_std_hz": 20.0, "intensity_db": 60.0}
    other = {"word": "world", "position": 2, "pitch_mean_hz": None, "pitch_std_hz": None, "intensity_db": 61.0}
    data = {
        "unit_id": range(ROWS),
        "utterance_id": [f"u{i}" for i in range(ROWS)],
        "corpus": ["c"] * ROWS,
        "data_source": ["c_en"] * ROWS,
        "language": ["en"] * ROWS,
        "split": ["train"] * ROWS,
        "status": ["ok"] * ROWS,
        "gender": gender,
        "age": ["twenties", None, "unheard of", "teens"] * (ROWS // 4),
        "accent": ["Scottish, from Leith", None, "I moved around a lot when I was a child", "US"] * (ROWS // 4),
        "transcript": ["hello world", None, "", "hello world"] * (ROWS // 4),
        "phonemes": ["h ə l oʊ", None, None, None] * (ROWS // 4),
        "pitch_median_hz": rng.normal(160, 30, ROWS),
        "pitch_std_hz": rng.normal(30, 5, ROWS),
        "intensity_db": rng.normal(60, 5, ROWS),
        "speaking_rate_pps": [None, *rng.normal(12, 2, ROWS - 1)],
        "snr_db": rng.normal(30, 8, ROWS),
        "words": [[word, other], None, [], [word]] * (ROWS // 4),
    }
    columns = {name: pa.array(list(values), type=ANNOTATIONS.field(name).type) for name, values in data.items()}
    return conform(pa.table(columns), ANNOTATIONS)


@pytest.fixture(scope="module")
def facts():
    made = annotations()
    return facts_of(made, build_rulers(lambda: [made], BinConfig(min_count=5)))


def test_null_is_absent(facts):
    assert "speaking_rate" not in {f.key for f in facts[0]}
    assert "speaking_rate" in {f.key for f in facts[1]}
    assert not {"reverberation", "distortion_level", "speech_quality"} & {f.key for row in facts for f in row}
    # no gender: no pitch, neither of the utterance nor of its words
    assert not {"average_pitch", "pitch_variation", "gender", "transcript"} & {f.key for f in facts[2]}
    assert {"noise_level", "average_intensity", "language"} <= {f.key for f in facts[2]}


def test_content_is_normalised(facts):
    values = [{f.key: f.value for f in row if f.position == 0} for row in facts[:4]]
    assert [v.get("accent") for v in values] == ["Scottish", None, None, "American"]
    assert [v.get("age_category") for v in values] == ["twenties", None, None, "teens"]
    assert [v.get("gender") for v in values] == ["female", "male", None, "male"]


def test_words_have_their_categories(facts):
    words = [f for f in facts[0] if f.position]
    assert [f.value for f in words if f.key == "word"] == ["hello", "world"]
    assert {f.key for f in words if f.position == 1} == {"word", *WORD_ATTRIBUTES}
    assert {f.key for f in words if f.position == 2} == {"word", "average_intensity"}
    assert not [f for f in facts[1] + facts[2] if f.position]
    # one ruler for both: 180 Hz is not the same for a woman as for a man
    assert all(f.value in labels_of(f.key) for f in words if f.key != "word")


def test_the_record_of_all_that_can_be_known_has_the_references_keys():
    full = [Fact(key, labels_of(key)[-1] if labels_of(key) else "x") for key in OF_AN_UTTERANCE]
    for position, word in ((2, "world"), (1, "hello")):
        full += [Fact(key, labels_of(key)[0], 0, position) for key in reversed(WORD_ATTRIBUTES)]
        full.append(Fact("word", word, 0, position))
    made = record(reversed(full), "en")
    # as arXiv 2504.09081 prints them: acoustic level, content level, words; `language` is of language identification
    assert list(made) == [
        "average_pitch",
        "pitch_variation",
        "speaking_rate",
        "average_intensity",
        "noise_level",
        "reverberation",
        "distortion_level",
        "speech_quality",
        "phonemes",
        "age_category",
        "accent",
        "gender",
        "transcript",
        "language",
        "words",
    ]
    assert [list(word) for word in made["words"]] == [
        ["word", "position", "average_pitch", "pitch_variation", "average_intensity"]
    ] * 2
    assert made["words"][0] == {
        "word": "hello",
        "position": 1,
        "average_pitch": "very low pitch",
        "pitch_variation": "very monotone",
        "average_intensity": "softly",
    }
    assert (made["speech_quality"], made["age_category"], made["transcript"]) == (
        "wonderful speech quality",
        "nineties",
        "x",
    )


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_the_records_keys_are_localised_and_apart(language):
    full = [Fact(key, labels_of(key)[0] if labels_of(key) else "x") for key in OF_AN_UTTERANCE]
    full += [Fact("word", "x", 0, 1), *(Fact(key, labels_of(key)[0], 0, 1) for key in WORD_ATTRIBUTES)]
    english, made = record(full, "en"), record(full, language)
    assert len(made) == len(english)
    assert set(made) & set(english) <= {"accent"}  # (which is the same in French)
    (word,) = list(made.values())[-1]
    assert len(word) == len(english["words"][0])
    assert list(word)[2:] == [phrases(language).record_key(key) for key in WORD_ATTRIBUTES]


def test_record_has_the_references_keys_in_order(facts):
    made = record(reversed(facts[0]), "en")
    keys = (*ATTRIBUTES, "phonemes", "age_category", "accent", "gender", "transcript", "language")
    assert [key for key in made if key != "words"] == [key for key in keys if key in made]
    assert made["gender"] == "female"
    assert made["words"][0]["word"] == "hello"
    assert [word["position"] for word in made["words"]] == [1, 2]


def test_times_of_words_stand_before_their_categories():
    values = {"end_s": "0.55", "average_pitch": "moderate pitch", "start_s": "0.10", "word": "hello"}
    made = record([Fact(key, value, 0, 1) for key, value in values.items()], "en")
    assert list(made["words"][0].values()) == ["hello", 1, "0.10", "0.55", "moderate pitch"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_records_in_every_language(language):
    every = [Fact(key, labels_of(key)[0] if labels_of(key) else "x") for key in OF_AN_UTTERANCE]
    text = render(every, language)
    assert text == render(list(reversed(every)), language)
    assert len(json.loads(text)) == len(every)
    assert "\n" not in text
    if language != "en":
        assert "very low pitch" not in text


def test_two_audios_make_two_records():
    both = json.loads(render([Fact("gender", "male"), Fact("gender", "female", 1)], "fr"))
    assert both == [{"genre": "masculin"}, {"genre": "féminin"}]


def test_a_fact_as_a_row_has_its_ordinal():
    assert Fact("average_pitch", "quite low pitch", 1, 3).to_row() == {
        "key": "average_pitch",
        "value": "quite low pitch",
        "ordinal": 1,
        "audio": 1,
        "position": 3,
    }
    assert Fact("age_category", "thirties").to_row()["ordinal"] == 2
    assert all(Fact(key, "x").to_row()["ordinal"] is None for key in ("transcript", "accent", "word", "gender"))
    for fact in (Fact("noise_level", "noisy"), Fact("word", "hello", 0, 4)):
        assert Fact.from_row(fact.to_row()) == fact
    with pytest.raises(ValueError, match="no label 'loud'"):
        Fact("average_intensity", "loud").to_row()


def test_a_transcript_that_is_not_what_is_heard_is_not_known(facts):
    made = annotations()
    reasons = ["low_confidence", "no_path", "no_model", None] * (ROWS // 4)
    place = made.schema.get_field_index("alignment_reason")
    doubted = made.set_column(place, made.schema.field(place), pa.array(reasons))
    read = facts_of(doubted, build_rulers(lambda: [made], BinConfig(min_count=5)))
    said = {"transcript", "phonemes"}
    assert said <= {f.key for f in facts[0]}
    assert not said & {f.key for f in read[0]}
    assert [f for f in facts[0] if f.key not in said] == read[0]
    assert read[3] == facts[3]
    assert "transcript" in {f.key for f in read[3]}
