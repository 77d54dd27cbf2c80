"""Rulers: Data-Speech's edges, the same in any order, and unknown staying unknown."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sift_ray.config import BinConfig
from sift_ray.metadata.bins import build_rulers, count, finish, keep_inliers, measure
from sift_ray.metadata.bins_file import write_bins
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.moments import Inliers, Moments
from sift_ray.metadata.tally import Tally
from sift_ray.schema import GENDERS, MEASURES


def table(corpus="a", gender="female", language="en", null_reasons=None, **columns):
    """One row a value of the longest column; columns by attribute key, absent ones null."""
    rows = max(len(v) for v in columns.values())
    data = {
        a.column: pa.array(list(columns.get(a.key, [])) + [None] * (rows - len(columns.get(a.key, []))), pa.float32())
        for a in ATTRIBUTES.values()
    }
    many = lambda value: value if isinstance(value, list) else [value] * rows  # noqa: E731
    strings = {"corpus": corpus, "gender": gender, "language": language}
    data |= {name: pa.array(many(value), pa.string()) for name, value in strings.items()}
    return pa.table({**data, "null_reasons": pa.array(null_reasons or [None] * rows, pa.list_(pa.string()))})


def build(*tables, **config):
    return build_rulers(lambda: iter(tables), BinConfig(**config))


def data_speech_edges(values, bins, k):
    """The published procedure, recomputed."""
    values = np.asarray(values, np.float32).astype(np.float64)
    kept = values[np.abs(values - np.mean(values)) < k * np.std(values)]
    return np.histogram(kept, bins=bins)[1]


@pytest.mark.parametrize("key", list(ATTRIBUTES))
@pytest.mark.parametrize("k", [1.5, 2.0, 4.0])
def test_edges_are_data_speechs(key, k):
    measure = MEASURES[ATTRIBUTES[key].column]
    rng = np.random.default_rng(7)
    middle, width = (measure.low + measure.high) / 2, (measure.high - measure.low) / 12
    values = np.clip(rng.normal(middle, width, 5000), measure.low, measure.high)
    rulers = build(table(**{key: values}), outlier_std={key: k})
    ruler = rulers.ruler(key, "a", "female", "en")
    expected = data_speech_edges(values, len(ATTRIBUTES[key].labels), k)
    assert np.array_equal(ruler.edges, expected)
    assert ruler.count == 5000
    assert ruler.kept < 5000
    assert ruler.mean == pytest.approx(np.float32(values).astype(float).mean(), abs=1e-6)
    assert ruler.std == pytest.approx(np.float32(values).astype(float).std(), abs=1e-5)


@pytest.mark.parametrize(
    ("key", "middle", "width"),
    [
        ("pitch_variation", 1e-3, 2e-4),  # far smaller than any cell of the histogram
        ("pitch_variation", 199.0, 0.3),
        ("average_pitch", 599.9, 0.05),
        ("noise_level", 0.0, 1e-3),
        ("noise_level", -19.0, 0.5),
        ("distortion_level", -49.9, 1e-2),
    ],
)
def test_edges_are_data_speechs_of_many_tiny_or_large_values(key, middle, width):
    measure = MEASURES[ATTRIBUTES[key].column]
    values = np.random.default_rng(11).normal(middle, width, 300_000).clip(measure.low, measure.high)
    values = values.astype(np.float32)
    ruler = build(table(**{key: values}), outlier_std={key: 2.0}).ruler(key, "a", "female", "en")
    assert np.array_equal(ruler.edges, data_speech_edges(values, len(ATTRIBUTES[key].labels), 2.0))
    assert 0.9 * len(values) < ruler.kept < 0.99 * len(values)
    wide = values.astype(np.float64)
    assert ruler.mean == pytest.approx(np.mean(wide), rel=1e-9, abs=1e-12)
    assert ruler.std == pytest.approx(np.std(wide), rel=1e-6)


rate = st.floats(1.0, 40.0, width=32)
level = st.one_of(st.floats(-20.0, 100.0, width=32), st.sampled_from([-0.0, 0.0, float("nan"), -30.0, None]))
row = st.tuples(
    level,
    st.floats(50.0, 600.0, width=32) | st.none(),
    st.sampled_from("ab"),
    st.sampled_from(["en", "de"]),
    st.sampled_from([*GENDERS, None]),
)


def of_rows(rows):
    noise, pitch, corpus, language, gender = (list(column) for column in zip(*rows, strict=True))
    reasons = [None if p is not None else ["pitch_median_hz:unvoiced", "c50_db:too_short"] for p in pitch]
    return table(
        noise_level=noise,
        average_pitch=pitch,
        corpus=corpus,
        language=language,
        gender=gender,
        null_reasons=reasons,
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(row, min_size=3, max_size=60),
    st.randoms(use_true_random=False),
    st.sampled_from(["equal_width", "quantile"]),
    st.sampled_from(["refuse", "all_speakers"]),
    st.sampled_from([(), ("noise_level", "average_pitch")]),
)
def test_order_and_shards_change_nothing(rows, random, method, unknown_gender, by_language):
    config = BinConfig(method=method, min_count=4, unknown_gender=unknown_gender, by_language=by_language)
    whole = write_bins(build_rulers(lambda: [of_rows(rows)], config))
    random.shuffle(rows)
    cut = random.randrange(1, len(rows))
    parts = [of_rows(rows[:cut]), of_rows(rows[cut:])]
    assert write_bins(build_rulers(lambda: parts, config)) == whole
    # and merged from workers that each saw one shard, whose sums travelled
    moments, inliers, tally = Moments(), Inliers(), Tally()
    for part in parts:
        moments.merge(pickle.loads(pickle.dumps(measure([part], config))))
    for part in reversed(parts):
        if method == "equal_width":
            inliers.merge(pickle.loads(pickle.dumps(keep_inliers([part], config, moments.near_mean(config)))))
    rulers = finish(moments, inliers, config)
    for part in parts:
        tally.merge(pickle.loads(pickle.dumps(count([part], rulers))))
    assert write_bins(tally.put_into(rulers)) == whole


@settings(max_examples=80, deadline=None)
@given(st.lists(rate, min_size=1, max_size=80), st.sampled_from(["equal_width", "quantile"]))
def test_edges_are_in_order(values, method):
    edges = build(table(speaking_rate=values), method=method).ruler("speaking_rate", "a", None, "en").edges
    assert all(a <= b for a, b in itertools.pairwise(edges))


def test_a_histogram_counts_every_value():
    values = np.random.default_rng(1).gamma(4, 2, 500).clip(1, 40)
    ruler = build(table(speaking_rate=values)).ruler("speaking_rate", "a", None, "en")
    low, high, counts = ruler.histogram
    assert low <= ruler.low <= ruler.high <= high
    assert len(counts) <= 64
    expected, _ = np.histogram(values.astype(np.float32), bins=np.linspace(low, high, len(counts) + 1))
    assert np.abs(expected - counts).sum() <= 2  # (a value on the border of two cells)
    assert sum(counts) == 500


def test_quantiles_fill_bins_alike():
    values = np.random.default_rng(3).gamma(4, 2, 7000).clip(1, 40)
    rulers = build(table(speaking_rate=values), method="quantile")
    ordinals = rulers.ordinals("speaking_rate", values, ["a"] * 7000, [None] * 7000, ["en"] * 7000)
    assert np.bincount(ordinals, minlength=7) == pytest.approx(np.full(7, 1000), abs=40)


def test_nan_and_out_of_range_do_not_count():
    rulers = build(table(noise_level=[float("nan"), None, 500.0, *np.linspace(0, 60, 30)]))
    ruler = rulers.ruler("noise_level", "a", None, "en")
    assert (ruler.count, ruler.kept, ruler.low, ruler.high) == (30, 30, 0.0, 60.0)


@pytest.mark.parametrize("method", ["equal_width", "quantile"])
def test_nothing_but_nan_makes_no_ruler(method):
    rulers = build(table(noise_level=[float("nan")] * 5), method=method)
    assert rulers.rulers == {}
    assert rulers.counts == {}
    assert rulers.unknown["noise_level"] == {"not_a_number": 5}
    assert rulers.ordinals("noise_level", [5.0], ["a"], [None], ["en"]).tolist() == [-1]


def test_no_rows_make_no_ruler():
    rulers = build(table(noise_level=[1.0])[:0])
    assert (rulers.rulers, rulers.counts) == ({}, {})


@pytest.mark.parametrize("values", [[5.0] * 30, [5.0], [3.0, 4.0, 5.0], [5.0] * 20 + [6.0], [0.1 + 5] * 7])
@pytest.mark.parametrize("method", ["equal_width", "quantile"])
def test_odd_distributions(values, method):
    rulers = build(table(speaking_rate=values), method=method, min_count=2)
    rows = len(values)
    ordinals = rulers.ordinals("speaking_rate", values, ["a"] * rows, [None] * rows, ["en"] * rows)
    assert (ordinals >= 0).all()
    assert len(set(ordinals[np.array(values) == values[0]])) == 1
    ruler = rulers.ruler("speaking_rate", "a", None, "en")
    if len(set(values)) == 1:
        assert ruler.std == 0.0
        if method == "equal_width":  # as np.histogram has it
            assert np.array_equal(ruler.edges, np.histogram_bin_edges(np.float32(values).astype(float), 7))
    elif method == "equal_width" and len(values) == 3:
        assert np.allclose(ruler.edges, np.linspace(3, 5, 8))


def test_ties_take_one_category_and_leave_the_order():
    values = [5.0] * 500 + [6.0] * 3 + [7.0] * 500
    rulers = build(table(speaking_rate=values), method="quantile")
    ordinals = rulers.ordinals("speaking_rate", values, ["a"] * 1003, [None] * 1003, ["en"] * 1003)
    ranks = [set(ordinals[np.array(values) == value].tolist()) for value in (5.0, 6.0, 7.0)]
    # three of the six inner edges lie at 5 and three at 7: what is at an edge takes the category below it
    assert ranks == [{0}, {3}, {3}]


@pytest.mark.parametrize("k", [float("nan"), float("inf"), 0.0, -1.0])
def test_k_is_a_positive_number(k):
    with pytest.raises(ValidationError, match="k must be positive and finite"):
        BinConfig(outlier_std={"speaking_rate": k})
