"""Rulers: Data-Speech's edges, the same in any order, and unknown staying unknown."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.config import BinConfig
from sift_ray.metadata.bins import Inliers, Moments, build_rulers, finish
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import ALL, BinsError, Rulers
from sift_ray.schema import MEASURES


def table(corpus="a", gender="female", **columns):
    """One row a value of the longest column; columns by attribute key, absent ones null."""
    rows = max(len(v) for v in columns.values())
    data = {
        a.column: pa.array(list(columns.get(a.key, [])) + [None] * (rows - len(columns.get(a.key, []))), pa.float32())
        for a in ATTRIBUTES.values()
    }
    many = lambda value: value if isinstance(value, list) else [value] * rows  # noqa: E731
    return pa.table(
        {"corpus": pa.array(many(corpus), pa.string()), "gender": pa.array(many(gender), pa.string()), **data}
    )


def build(*tables, **config):
    return build_rulers(lambda: iter(tables), BinConfig(**config))


def data_speech_edges(values, bins, k):
    """The published procedure, recomputed."""
    values = np.asarray(values, np.float32).astype(np.float64)
    kept = values[np.abs(values - values.mean()) < k * values.std()]
    return np.histogram(kept, bins=bins)[1]


@pytest.mark.parametrize("key", list(ATTRIBUTES))
@pytest.mark.parametrize("k", [1.5, 2.0, 4.0])
def test_edges_are_data_speechs(key, k):
    measure = MEASURES[ATTRIBUTES[key].column]
    rng = np.random.default_rng(7)
    middle, width = (measure.low + measure.high) / 2, (measure.high - measure.low) / 12
    values = np.clip(rng.normal(middle, width, 5000), measure.low, measure.high)
    rulers = build(table(**{key: values}), outlier_std={key: k})
    ruler = rulers.ruler(key, "a", "female")
    expected = data_speech_edges(values, len(ATTRIBUTES[key].labels), k)
    assert np.array_equal(ruler.edges, expected)
    assert ruler.count == 5000
    assert ruler.kept < 5000
    assert ruler.mean == pytest.approx(np.float32(values).astype(float).mean(), abs=1e-6)
    assert ruler.std == pytest.approx(np.float32(values).astype(float).std(), abs=1e-5)


rate = st.floats(1.0, 40.0, width=32)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(rate, min_size=3, max_size=60),
    st.randoms(use_true_random=False),
    st.sampled_from(["equal_width", "quantile"]),
)
def test_order_and_shards_change_nothing(values, random, method):
    corpora = [random.choice("ab") for _ in values]
    rows = list(zip(values, corpora, strict=True))
    whole = build(table(speaking_rate=values, corpus=corpora), method=method)
    random.shuffle(rows)
    cut = random.randrange(1, len(rows))
    parts = [table(speaking_rate=[v for v, _ in p], corpus=[c for _, c in p]) for p in (rows[:cut], rows[cut:])]
    assert build(*parts, method=method).to_json() == whole.to_json()
    # and merged from workers that each saw one shard
    config = BinConfig(method=method)
    moments = Moments()
    for part in parts:
        mine = Moments()
        mine.add(part)
        moments.merge(mine)
    inliers = Inliers(moments.within(config))
    for part in reversed(parts):
        if method == "equal_width":
            mine = Inliers(moments.within(config))
            mine.add(part)
            inliers.merge(mine)
    assert finish(moments, inliers, config).to_json() == whole.to_json()


@settings(max_examples=80, deadline=None)
@given(st.lists(rate, min_size=1, max_size=80), st.sampled_from(["equal_width", "quantile"]))
def test_labels_are_in_the_order_of_values(values, method):
    rulers = build(table(speaking_rate=values), method=method)
    ruler = rulers.ruler("speaking_rate", "a", None)
    assert all(a <= b for a, b in zip(ruler.edges, ruler.edges[1:], strict=False))
    asked = sorted({*values, 1.0, 40.0})
    ordinals = rulers.ordinals("speaking_rate", asked, ["a"] * len(asked), ["male"] * len(asked))
    assert ordinals.dtype == np.int8
    assert (ordinals >= 0).all()
    assert (ordinals < 7).all()
    assert (np.diff(ordinals) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(rate, min_size=1, max_size=40))
def test_json_round_trip(values):
    rulers = build(table(speaking_rate=values))
    again = Rulers.from_json(rulers.to_json())
    assert again.to_json() == rulers.to_json()
    ones = ["a"] * len(values)
    assert np.array_equal(
        again.ordinals("speaking_rate", values, ones, ones), rulers.ordinals("speaking_rate", values, ones, ones)
    )
    ruler = rulers.ruler("speaking_rate", "a", None)
    assert sum(ruler.histogram[2]) == len(values)
    assert len(ruler.histogram[2]) <= 64


def test_quantiles_fill_bins_alike():
    values = np.random.default_rng(3).gamma(4, 2, 7000).clip(1, 40)
    rulers = build(table(speaking_rate=values), method="quantile")
    ordinals = rulers.ordinals("speaking_rate", values, ["a"] * 7000, [None] * 7000)
    assert np.bincount(ordinals, minlength=7) == pytest.approx(np.full(7, 1000), abs=40)


def test_genders_have_rulers_of_their_own_and_unknown_gender_none():
    rng = np.random.default_rng(5)
    pitch = np.concatenate([rng.normal(210, 20, 200), rng.normal(115, 15, 200)])
    gender = ["female"] * 200 + ["male"] * 200
    rulers = build(table(average_pitch=pitch, gender=gender))
    assert rulers.ruler("average_pitch", "a", "female").low > rulers.ruler("average_pitch", "a", "male").mean
    ordinals = rulers.ordinals("average_pitch", [150, 150, 150], ["a"] * 3, ["female", "male", None])
    assert ordinals.tolist() == [0, 6, -1]
    assert rulers.labels("average_pitch", [150, None], ["a"] * 2, ["male"] * 2) == ["very high pitch", None]


def test_unknown_stays_unknown():
    rulers = build(table(noise_level=np.linspace(0, 60, 50)))
    values = [None, float("nan"), float("inf"), -21.0, 101.0, 30.0]
    assert rulers.ordinals("noise_level", values, ["a"] * 6, [None] * 6).tolist() == [-1] * 5 + [3]
    assert rulers.ordinals("reverberation", [10.0], ["a"], [None]).tolist() == [-1]
    assert rulers.ordinals("noise_level", [], [], []).tolist() == []


def test_nan_and_out_of_range_do_not_count():
    rulers = build(table(noise_level=[float("nan"), None, 500.0, *np.linspace(0, 60, 30)]))
    assert rulers.ruler("noise_level", "a", None).count == 30
    assert build(table(noise_level=[float("nan")] * 5)).rulers == {}


def test_small_groups_are_judged_by_all():
    big = table(noise_level=np.linspace(0, 60, 50), corpus="big")
    small = table(noise_level=[10.0, 11.0, 12.0], corpus="small")
    rulers = build(big, small, min_count=20)
    assert rulers.ruler("noise_level", "small", None).corpus == ALL
    assert rulers.ruler("noise_level", "never seen", None).corpus == ALL
    assert rulers.ruler("noise_level", "big", None).corpus == "big"
    judged = {(r["corpus"], r["judged_by"]) for r in json.loads(rulers.to_json())["rulers"]}
    assert judged == {("big", "big"), ("small", ALL), (ALL, ALL)}


@pytest.mark.parametrize("values", [[5.0] * 30, [5.0], [3.0, 4.0, 5.0], [5.0] * 20 + [6.0]])
def test_odd_distributions(values):
    for method in ("equal_width", "quantile"):
        rulers = build(table(speaking_rate=values), method=method, min_count=2)
        ordinals = rulers.ordinals("speaking_rate", values, ["a"] * len(values), [None] * len(values))
        assert (ordinals >= 0).all()
        assert len(set(ordinals[np.array(values) == 5.0])) == 1


def test_a_value_on_an_edge_takes_the_lower_bin():
    ruler = build(table(speaking_rate=np.linspace(1, 36, 36)), outlier_std={"speaking_rate": 9}).ruler(
        "speaking_rate", "a", None
    )
    edges = np.array(ruler.edges)
    assert ruler.ordinals(edges).tolist() == [0, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=9), "format 9"),
        (lambda d: d["rulers"][0].update(labels=["x"]), "build the bins again"),
        (lambda d: d["rulers"][0]["edges"].reverse(), "in order"),
        (lambda d: d.pop("rulers"), "KeyError"),
    ],
)
def test_unusable_bins_are_refused(change, message):
    document = json.loads(build(table(speaking_rate=[3.0, 4.0, 5.0])).to_json())
    change(document)
    with pytest.raises(BinsError, match=message):
        Rulers.from_json(json.dumps(document), "x/bins.json")
