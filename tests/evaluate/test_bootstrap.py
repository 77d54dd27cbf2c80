"""Intervals by the bootstrap over utterances, and the kappa that they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from sift_ray.evaluate.bootstrap import (
    RESAMPLES,
    clusters,
    kappa_interval,
    mean_interval,
    numbered,
    quadratic_kappa,
    resampled_sums,
)

SEEDS = st.integers(0, 2**32 - 1)
UNITS = st.integers(0, 12)


@st.composite
def ratings(draw: st.DrawFn) -> tuple[int, list[int], list[int], list[int]]:
    """Draw a number of categories, two ratings of samples, and whose they are."""
    categories = draw(st.integers(2, 7))
    rows = draw(st.lists(st.tuples(*(st.integers(0, categories - 1),) * 2, UNITS), min_size=1, max_size=60))
    asked, found, units = zip(*rows, strict=True)
    return categories, list(asked), list(found), list(units)


@given(ratings())
def test_kappa_is_that_of_scikit_learn(given_: tuple[int, list[int], list[int], list[int]]) -> None:
    categories, asked, found, _ = given_
    assume(len({*asked, *found}) > 1)
    table = confusion_matrix(asked, found, labels=range(categories)).astype(float)
    theirs = cohen_kappa_score(asked, found, weights="quadratic", labels=range(categories))
    assert quadratic_kappa(table) == pytest.approx(theirs, abs=1e-12)


def test_kappa_of_one_category_is_undefined() -> None:
    table = np.zeros((3, 3))
    table[1, 1] = 9
    assert np.isnan(quadratic_kappa(table))
    assert kappa_interval([1] * 9, [1] * 9, 3, range(9), 0) is None


@given(st.lists(st.tuples(st.floats(0, 10), UNITS), min_size=1, max_size=60), SEEDS)
@settings(max_examples=50)
def test_an_interval_of_a_mean_repeats_is_in_order_and_within_the_utterances_means(
    rows: list[tuple[float, int]], seed: int
) -> None:
    values, units = (list(column) for column in zip(*rows, strict=True))
    found = mean_interval(values, units, seed)
    if len(set(units)) < 2:
        assert found is None
        return
    assert found is not None
    assert found == mean_interval(values, units, seed)
    means = [np.mean([v for v, u in rows if u == unit]) for unit in set(units)]
    assert min(means) - 1e-9 <= found.low <= found.high <= max(means) + 1e-9


@given(ratings(), SEEDS)
@settings(max_examples=50)
def test_an_interval_of_kappa_is_in_order_and_in_range(
    given_: tuple[int, list[int], list[int], list[int]], seed: int
) -> None:
    categories, asked, found, units = given_
    made = kappa_interval(asked, found, categories, units, seed)
    if made is not None:
        assert -1 - 1e-9 <= made.low <= made.high <= 1 + 1e-9
        assert len(set(units)) > 1


@given(st.integers(2, 40), SEEDS)
@settings(max_examples=25)
def test_every_resample_has_as_many_rows_as_there_are(rows: int, seed: int) -> None:
    sums = np.stack([np.ones(rows), np.eye(rows)[0]], axis=1)
    drawn = resampled_sums(sums, seed)
    assert drawn.shape == (RESAMPLES, 2)
    assert (drawn[:, 0] == rows).all()
    # the first row is drawn once on average
    assert drawn[:, 1].mean() == pytest.approx(1, abs=0.2)


def test_pieces_of_the_work_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(0).random((50, 3))
    whole = resampled_sums(sums, 7)
    monkeypatch.setattr("sift_ray.evaluate.bootstrap._AT_ONCE", 50 * 7)
    assert np.allclose(resampled_sums(sums, 7), whole, rtol=1e-12)


def test_samples_of_one_utterance_go_together() -> None:
    values = np.random.default_rng(3).random(40)
    apart = mean_interval(values, range(40), 0)
    # ten times the same samples of the same utterances say no more than once
    assert mean_interval(np.tile(values, 10), [*range(40)] * 10, 0) == pytest.approx(apart)
    together = mean_interval(np.tile(values, 10), range(400), 0)
    assert apart is not None
    assert together is not None
    assert together.high - together.low < 0.5 * (apart.high - apart.low)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(11)
    covered = 0
    for trial in range(200):
        found = mean_interval(random.random(60) < 0.7, range(60), trial)
        assert found is not None
        covered += found.low <= 0.7 <= found.high
    assert 0.88 < covered / 200 <= 0.99


def test_utterances_are_numbered_as_they_come() -> None:
    of, count = numbered(["b", "a", "b", ("a",)])
    assert (of.tolist(), count) == ([0, 1, 0, 2], 3)


def test_utterances_that_are_compared_are_drawn_together() -> None:
    apart = [(f"x{n}",) for n in range(200)]  # (of these 214 utterances 7 may be tied)
    made = clusters([("a", "b"), ("c",), ("b", "d"), ("e", "f"), ("d",), ("f", "e"), *apart])
    assert made[0] == made[2] == made[4]
    assert made[3] == made[5]
    assert len({made[0], made[1], made[3], *made[6:]}) == 3 + len(apart)


@pytest.mark.parametrize("count", [2, 3, 40, 1000])
def test_a_chain_through_all_utterances_is_cut_into_pieces(count: int) -> None:
    places = np.random.default_rng(0).permutation(count).tolist()
    made = clusters([(place, (place + 1) % count) for place in places])
    of = dict(zip(places, made, strict=True))
    sizes = np.unique([of[place] for place in range(count)], return_counts=True)[1]
    most = max(2, int(count**0.5) // 2)
    # (a piece of so many utterances has one comparison more, if that with its neighbour goes with it)
    assert sizes.max() <= most + 1
    assert len(sizes) >= count / (most + 1)


def test_an_interval_of_comparisons_in_a_chain_covers_the_truth_more_often_than_one_of_each_by_itself() -> None:
    covered = {"tied": 0, "apart": 0}
    pairs = [(place, (place + 1) % 200) for place in range(200)]
    units = {"tied": clusters(pairs), "apart": list(range(200))}
    for trial in range(200):
        voices = np.random.default_rng(trial).normal(size=200)
        for name, unit in units.items():
            found = mean_interval([voices[a] + voices[b] for a, b in pairs], unit, trial)
            assert found is not None
            covered[name] += found.low <= 0 <= found.high
    assert covered["apart"] < 170
    assert 176 <= covered["tied"] <= 198
