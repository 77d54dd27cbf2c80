"""Which ruler judges whom, one label for every value in range, and unknown staying unknown."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.features.pitch import pitch_statistics
from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.features.praat_engine import PraatEngine
from sift_ray.metadata.bins import count
from sift_ray.metadata.bins_file import read_bins, write_bins
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import ALL, EVERYONE, Group, Ruler, Rulers
from sift_ray.schema import GENDERS

from ..human_speech import recordings
from .test_bins import build, of_rows, rate, row, table


def ruler_of(edges, corpus=ALL, language=None, gender=None, count=100, attribute="speaking_rate"):
    histogram = (edges[0], edges[-1], (count,))
    numbers = (count, count, edges[0], edges[-1], 0.0, 1.0)
    return Ruler(attribute, corpus, language, gender, *numbers, tuple(map(float, edges)), histogram)


def rulers_of(*rulers, min_count=20):
    return Rulers(rulers, method="equal_width", min_count=min_count)


@settings(max_examples=80, deadline=None)
@given(st.lists(rate, min_size=1, max_size=80), st.sampled_from(["equal_width", "quantile"]))
def test_labels_are_in_the_order_of_values(values, method):
    rulers = build(table(speaking_rate=values), method=method)
    asked = sorted({*values, 1.0, 40.0})
    rows = len(asked)
    ordinals = rulers.ordinals("speaking_rate", asked, ["a"] * rows, ["male"] * rows, ["en"] * rows)
    assert ordinals.dtype == np.int8
    assert (ordinals >= 0).all()
    assert (ordinals < 7).all()
    assert (np.diff(ordinals) >= 0).all()


def intervals_that_hold(value, edges):
    """The categories that claim a value: above their lower edge up to their upper one; the outer two have no end."""
    bounds = [-np.inf, *edges[1:-1], np.inf]
    return [place for place in range(len(edges) - 1) if bounds[place] < value <= bounds[place + 1]]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(rate, min_size=8, max_size=8).map(sorted), min_size=3, max_size=3),
    st.lists(st.tuples(rate, st.sampled_from("ab?"), st.sampled_from(["en", "de", "xx"])), min_size=1, max_size=40),
    st.booleans(),
)
def test_every_value_in_range_gets_exactly_one_label(edges, asked, on_edges):
    rulers = rulers_of(
        ruler_of(edges[0]), ruler_of(edges[1], corpus="a", language="en"), ruler_of(edges[2], corpus="b")
    )
    if on_edges:
        asked = [(edges[i % 3][i % 8], *where) for i, (_, *where) in enumerate(asked)]
    values, corpora, languages = (list(column) for column in zip(*asked, strict=True))
    ordinals = rulers.ordinals("speaking_rate", values, corpora, [None] * len(asked), languages)
    for value, corpus, language, ordinal in zip(values, corpora, languages, ordinals.tolist(), strict=True):
        judge = edges[1] if (corpus, language) == ("a", "en") else edges[2] if corpus == "b" else edges[0]
        assert intervals_that_hold(value, judge) == [ordinal]


def test_a_value_on_an_edge_takes_the_lower_bin():
    rulers = rulers_of(ruler_of(range(1, 9)))
    ordinals = rulers.ordinals("speaking_rate", np.arange(1.0, 9.0), ["a"] * 8, [None] * 8, ["en"] * 8)
    assert ordinals.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]


COLUMNS = {
    "lists": lambda values, kind: values,
    "arrays": pa.array,
    "slices": lambda values, kind: pa.array([values[0], *values, values[0]], kind)[1:-1],
    "chunked": lambda values, kind: pa.chunked_array([pa.array(values[:2], kind), pa.array(values[2:], kind)]),
    "dictionaries": lambda values, kind: (
        pa.chunked_array([pa.array(values[:2], kind), pa.array(values[2:], kind)]).dictionary_encode()
        if kind == pa.string()
        else pa.array(values, kind)
    ),
    "dictionaries of their own": lambda values, kind: (
        pa.chunked_array([pa.array(part, kind).dictionary_encode() for part in (values[:2], values[2:])])
        if kind == pa.string()
        else pa.chunked_array([pa.array(values, kind)])
    ),
}


@pytest.mark.parametrize("made", COLUMNS.values(), ids=COLUMNS)
def test_columns_may_come_in_any_form(made):
    rulers = rulers_of(
        ruler_of(range(100, 108), corpus="a", language="en", gender="male", attribute="average_pitch"),
        ruler_of(range(200, 208), corpus="b", gender="female", attribute="average_pitch"),
        ruler_of(range(300, 308), language="de", gender="female", attribute="average_pitch"),
        ruler_of(range(400, 408), gender="male", attribute="average_pitch"),
    )
    values = [101.5, 201.5, None, 303.5, 404.5, 404.5, 206.5]
    corpora = ["a", "b", "b", "c", "c", "a", "b"]
    genders = ["male", "female", "female", "female", "male", None, "female"]
    languages = ["en", "en", "en", "de", "fr", "en", "de"]
    ordinals = rulers.ordinals(
        "average_pitch", made(values, pa.float32()), *(made(c, pa.string()) for c in (corpora, genders, languages))
    )
    assert ordinals.tolist() == [1, 1, -1, 3, 4, -1, 6]


def test_genders_have_rulers_of_their_own_and_unknown_gender_none():
    rng = np.random.default_rng(5)
    pitch = np.concatenate([rng.normal(210, 20, 200), rng.normal(115, 15, 200), rng.normal(400, 5, 100)])
    gender = ["female"] * 200 + ["male"] * 200 + [None] * 100
    rulers = build(table(average_pitch=pitch, gender=gender))
    women, men = (rulers.ruler("average_pitch", "a", gender, "en") for gender in GENDERS)
    assert women.low > men.mean
    assert women.high < 350
    assert women.count == men.count == 200
    ordinals = rulers.ordinals("average_pitch", [150] * 4, ["a"] * 4, ["female", "male", None, "other"], ["en"] * 4)
    assert ordinals.tolist() == [0, 6, -1, -1]
    assert rulers.labels("average_pitch", [150, None], ["a"] * 2, ["male"] * 2, ["en"] * 2) == ["very high pitch", None]
    assert rulers.unknown["average_pitch"] == {"unknown_gender": 100}
    assert {group.gender for group in rulers.rulers} == set(GENDERS)


def test_a_ruler_of_all_speakers_judges_those_of_unknown_gender_alone():
    rng = np.random.default_rng(5)
    pitch = np.concatenate([rng.normal(210, 20, 200), rng.normal(115, 15, 200), rng.normal(160, 30, 100)])
    gender = ["female"] * 200 + ["male"] * 200 + [None] * 99 + ["other"]
    shown = table(average_pitch=pitch, noise_level=pitch / 10, gender=gender)
    refusing, judging = build(shown), build(shown, unknown_gender="all_speakers")
    for known in GENDERS:
        assert judging.ruler("average_pitch", "a", known, "en") == refusing.ruler("average_pitch", "a", known, "en")
    everyone = judging.ruler("average_pitch", "a", None, "en")
    assert (everyone.gender, everyone.count) == (EVERYONE, 500)
    assert judging.ruler("average_pitch", "a", "other", "en") == everyone
    assert judging.ruler("average_pitch", "elsewhere", None, "en").corpus == ALL
    mean = np.mean(pitch.astype(np.float32).astype(float))
    assert everyone.mean == pytest.approx(mean, abs=1e-6)
    ordinals = [r.ordinals("average_pitch", pitch, ["a"] * 500, gender, ["en"] * 500) for r in (refusing, judging)]
    assert np.array_equal(ordinals[0][:400], ordinals[1][:400])
    assert (ordinals[0][400:] == -1).all()
    assert ordinals[1][400:].tolist() == [sum(v > e for e in everyone.edges[1:-1]) for v in pitch[400:]]
    assert sum(judging.judged(everyone)) == 100
    assert judging.unknown["average_pitch"] == {}
    # few men are judged among men, not among everyone
    few = build(table(average_pitch=pitch[:205], gender=gender[:205]), unknown_gender="all_speakers")
    assert few.ruler("average_pitch", "a", "male", "en").gender == "male"
    # what is not split by gender has no such ruler
    assert {g.gender for g in judging.rulers if g.attribute == "noise_level"} == {None}
    assert judging.without_everyone().rulers == refusing.rulers


def test_a_corpus_has_a_ruler_for_each_language_where_the_config_asks():
    shown = [
        table(speaking_rate=np.linspace(5, 10, 50), noise_level=np.linspace(0, 9, 50), language="en"),
        table(speaking_rate=np.linspace(20, 30, 50), noise_level=np.linspace(50, 60, 50), language="de"),
        table(speaking_rate=np.linspace(35, 40, 50), noise_level=np.linspace(10, 20, 50), corpus="b", language="en"),
    ]
    rulers = build(*shown, by_language=["speaking_rate"])
    spans = {
        (g.corpus, g.language): (r.count, r.low, r.high) for g, r in rulers.rulers.items() if g[0] == "speaking_rate"
    }
    assert spans == {
        ("a", "en"): (50, 5.0, 10.0),
        ("a", "de"): (50, 20.0, 30.0),
        ("a", None): (100, 5.0, 30.0),
        ("b", "en"): (50, 35.0, 40.0),
        ("b", None): (50, 35.0, 40.0),
        (ALL, "en"): (100, 5.0, 40.0),
        (ALL, "de"): (50, 20.0, 30.0),
        (ALL, None): (150, 5.0, 40.0),
    }
    assert {(g.corpus, g.language) for g in rulers.rulers if g[0] == "noise_level"} == {
        ("a", None),
        ("b", None),
        (ALL, None),
    }
    fast = rulers.ordinals("speaking_rate", [20.0] * 4, list("aaba"), [None] * 4, ["en", "de", "en", None])
    assert fast.tolist() == [6, 0, 0, 4]
    noisy = rulers.ordinals("noise_level", [30.0, 30.0], ["a", "a"], [None] * 2, ["en", "de"])
    assert noisy.tolist() == [3, 3]
    # (its statistics are those of the values of the group, whoever else is there)
    alone = build(shown[1], by_language=["speaking_rate"])
    assert alone.ruler("speaking_rate", "a", None, "de") == rulers.ruler("speaking_rate", "a", None, "de")


def test_small_groups_are_judged_by_the_corpus_then_by_the_language_then_by_all():
    edges = range(1, 9)
    sizes = {("a", "en"): 5, ("a", None): 30, ("b", "en"): 3, ("b", None): 4, (ALL, "en"): 60, (ALL, "de"): 7}
    made = [ruler_of(edges, corpus, language, count=n) for (corpus, language), n in sizes.items()]
    rulers = rulers_of(*made, ruler_of(edges, count=8))

    def judge(corpus, language):
        found = rulers.ruler("speaking_rate", corpus, None, language)
        return found.corpus, found.language

    assert judge("a", "en") == ("a", None)
    assert judge("b", "en") == (ALL, "en")
    assert judge("b", "de") == (ALL, None)  # few too, and there is nothing wider
    assert judge("b", None) == (ALL, None)
    assert judge("never seen", "en") == (ALL, "en")
    assert judge("never seen", "it") == (ALL, None)
    assert judge("a", "it") == ("a", None)
    told = {(r["corpus"], r["language"]): r["judged_by"] for r in json.loads(write_bins(rulers))["rulers"]}
    assert told["a", "en"] == {"corpus": "a", "language": None, "gender": None, "count": 30}
    assert told["b", "en"]["count"] == 60
    assert told[ALL, "de"] == told[ALL, None] == {"corpus": ALL, "language": None, "gender": None, "count": 8}
    for ruler in rulers.rulers.values():
        by = told[ruler.corpus, ruler.language]
        assert (rulers.judge_of(ruler).corpus, rulers.judge_of(ruler).language) == (by["corpus"], by["language"])


def test_unknown_stays_unknown():
    rulers = build(table(noise_level=np.linspace(0, 60, 50)))
    values = [None, float("nan"), float("inf"), -21.0, 101.0, 30.0]
    assert rulers.ordinals("noise_level", values, ["a"] * 6, [None] * 6, ["en"] * 6).tolist() == [-1] * 5 + [3]
    assert rulers.ordinals("reverberation", [10.0], ["a"], [None], ["en"]).tolist() == [-1]
    assert rulers.ordinals("noise_level", [], [], [], []).tolist() == []


def test_nulls_are_counted_by_reason():
    nan = float("nan")
    rulers = build(
        table(
            average_pitch=[None, None, None, nan, 700.0, 200.0, 210.0, None, float("inf")],
            noise_level=[None, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0],
            gender=["female"] * 5 + [None] + ["female"] * 3,
            null_reasons=[
                ["pitch_median_hz:unvoiced", "pitch_median_hz:too_short", "snr_db:too_short"],
                ["pitch_std_hz:unvoiced", "pitch_median_hz:out_of_range", "snr_db:disregarded as there is a number"],
                [],
                None,
                None,
                None,
                None,
                None,
                None,
            ],
        )
    )
    assert rulers.unknown["average_pitch"] == {
        "not_a_number": 1,
        "not_measured": 2,
        "out_of_range": 3,
        "unknown_gender": 1,
        "unvoiced": 1,
    }
    assert rulers.unknown["noise_level"] == {"too_short": 1}
    assert rulers.unknown["pitch_variation"] == {"not_measured": 8, "unvoiced": 1}
    assert list(rulers.unknown) == list(ATTRIBUTES)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(row, min_size=1, max_size=60),
    st.sampled_from(["refuse", "all_speakers"]),
    st.sampled_from([(), ("noise_level", "average_pitch")]),
)
def test_every_row_is_counted_once_as_a_category_or_as_a_reason(rows, unknown_gender, by_language):
    shown = of_rows(rows)
    rulers = build(shown, min_count=4, unknown_gender=unknown_gender, by_language=by_language)
    where = [shown[name] for name in ("corpus", "gender", "language")]
    for key, attribute in ATTRIBUTES.items():
        labels = range(len(attribute.labels))
        ordinals = rulers.ordinals(key, shown[attribute.column], *where)
        mine = [counts for group, counts in rulers.counts.items() if group.attribute == key]
        given_out = [sum(counts[label] for counts in mine) for label in labels]
        assert given_out == [int((ordinals == label).sum()) for label in labels]
        assert sum(rulers.unknown[key].values()) == int((ordinals == -1).sum())
        # and every one that has a category was judged by one ruler
        judged = [rulers.judged(ruler) for ruler in rulers.rulers.values() if ruler.attribute == key]
        assert [sum(counts[label] for counts in judged) for label in labels] == given_out


@settings(max_examples=60, deadline=None)
@given(
    st.lists(row, min_size=1, max_size=40),
    st.lists(row, min_size=1, max_size=40),
    st.sampled_from(["equal_width", "quantile"]),
    st.sampled_from(["refuse", "all_speakers"]),
)
def test_mapping_with_frozen_bins_is_idempotent(mine, others, method, unknown_gender):
    config = {"method": method, "min_count": 4, "unknown_gender": unknown_gender, "by_language": ["noise_level"]}
    rulers = build(of_rows(mine), **config)
    text = write_bins(rulers)
    frozen = read_bins(text)
    assert write_bins(frozen) == text
    # other data judged by them leaves them as they are, and a second time says the same
    once = count([of_rows(others)], frozen).put_into(frozen)
    again = read_bins(write_bins(once))
    assert again.rulers == rulers.rulers
    assert write_bins(count([of_rows(others)], again).put_into(again)) == write_bins(once)
    shown = of_rows(others)
    where = [shown[name] for name in ("corpus", "gender", "language")]
    for key, attribute in ATTRIBUTES.items():
        values = shown[attribute.column]
        assert np.array_equal(rulers.ordinals(key, values, *where), again.ordinals(key, values, *where))
    # and the data that made them finds its own counts again
    assert write_bins(count([of_rows(mine)], again).put_into(again)) == text


def test_what_each_group_holds_is_in_the_file():
    shown = [
        table(average_pitch=np.linspace(180, 250, 50), corpus="big"),
        table(average_pitch=[150.0, 200.0], corpus="small"),
    ]
    document = json.loads(write_bins(build(*shown)))
    groups = {(g["attribute"], g["corpus"], g["language"], g["gender"]): g for g in document["groups"]}
    assert set(groups) == {("average_pitch", c, None, "female") for c in ("big", "small")}
    small = groups["average_pitch", "small", None, "female"]
    assert small["judged_by"] == {"corpus": ALL, "language": None, "gender": "female", "count": 52}
    assert small["categories"]["very low pitch"] == 1
    assert sum(small["categories"].values()) == 2
    assert list(small["categories"]) == list(ATTRIBUTES["average_pitch"].labels)
    assert sum(groups["average_pitch", "big", None, "female"]["categories"].values()) == 50
    assert Group(*next(iter(groups))) in build(*shown).counts


def test_human_men_and_women_are_judged_by_rulers_of_their_own():
    taken = dict.fromkeys(("en", "es", "fr", "it"), 0)
    shown = []
    for recording in recordings(40):  # (the man speaks Italian, a woman each of the other languages)
        taken[recording.language] += 1
        if recording.gender == "male" or taken[recording.language] <= 14:
            shown.append(recording)
    genders = [recording.gender for recording in shown]
    assert (genders.count("male"), genders.count("female")) == (40, 42)
    engine = PraatEngine(PitchParameters(), room=False)
    signals = engine.measure([recording.samples - recording.samples.mean() for recording in shown])
    pitch = [pitch_statistics(signal.f0_hz).median_hz for signal in signals]
    languages = [recording.language for recording in shown]
    rulers = build(table(corpus="prompts", average_pitch=pitch, gender=genders, language=languages))
    assert rulers.unknown["average_pitch"] == {}
    women, men = (rulers.ruler("average_pitch", "prompts", gender, "it") for gender in GENDERS)
    assert (women.gender, women.count, men.gender, men.count) == ("female", 42, "male", 40)
    assert men.mean == pytest.approx(np.mean(pitch[genders.index("male") :][:40]), abs=1e-3)
    # every category of the women begins above the same of the man
    assert min(np.subtract(women.edges, men.edges)) > 5.0

    def told(hz):
        return rulers.labels("average_pitch", [hz] * 3, ["prompts"] * 3, ["male", "female", None], [None] * 3)

    # his voice is high for a man's, and yet what is common for him is very low for a woman
    assert told(men.mean) == ["moderate pitch", "very low pitch", None]
    assert told(women.mean) == ["quite high pitch", "moderate pitch", None]
