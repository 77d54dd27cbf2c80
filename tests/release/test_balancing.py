from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sift_ray.release.balancing import balanced

LABELS = ("a: 1", "a: 2", "a: 3", "b: 1", "b: 2", "c")
SAMPLES = st.lists(st.lists(st.sampled_from(LABELS), max_size=4), max_size=60)


def counts(samples: list[list[str]], places: list[int]) -> Counter[str]:
    return Counter(label for place in places for label in set(samples[place]))


@given(SAMPLES, st.integers(0, 70))
def test_as_many_as_are_wanted_each_once(samples: list[list[str]], total: int) -> None:
    places = balanced(samples, total)
    assert len(places) == min(total, len(samples))
    assert places == sorted(set(places))
    assert set(places) <= set(range(len(samples)))


@given(SAMPLES, st.integers(0, 70))
def test_of_samples_that_are_alike_the_first_are_taken(samples: list[list[str]], total: int) -> None:
    places = set(balanced(samples, total))
    for place in range(len(samples)):
        before = [p for p in range(place) if set(samples[p]) == set(samples[place])]
        assert place not in places or places.issuperset(before)


def test_values_are_even_where_they_can_be() -> None:
    samples = [["a: 1"]] * 90 + [["a: 2"]] * 9 + [["b: 1"]] * 30
    assert counts(samples, balanced(samples, 24)) == {"a: 1": 6, "a: 2": 6, "b: 1": 12}
    # what there is too little of, the others get
    assert counts(samples, balanced(samples, 60)) == {"a: 1": 21, "a: 2": 9, "b: 1": 30}


def test_a_label_that_only_comes_with_a_rare_one_does_not_lead() -> None:
    samples = [["pitch: mid", "sex: f"]] * 50 + [["pitch: mid", "sex: m"]] * 50 + [["pitch: low", "sex: m"]] * 50
    taken = counts(samples, balanced(samples, 60))
    assert taken == {"pitch: mid": 30, "pitch: low": 30, "sex: f": 30, "sex: m": 30}


def test_samples_of_few_facts_are_not_preferred() -> None:
    samples = [["a: 1"], ["a: 2"]] * 50 + [["a: 1", "b: 1"], ["a: 2", "b: 2"]] * 50
    taken = [len(samples[place]) for place in balanced(samples, 60)]
    assert taken.count(2) >= 30


def test_of_many_some_are_taken_at_once_and_still_evenly() -> None:
    samples = [[f"a: {n % 3 and 1}", f"b: {n % 7 and 2}"] for n in range(9_000)]
    taken = counts(samples, balanced(samples, 3_000))
    assert abs(taken["a: 0"] - taken["a: 1"]) <= 60
    assert taken["b: 0"] == 1_286  # all that there are, of a seventh
