from hypothesis import given
from hypothesis import strategies as st

from sift_ray.instruct.verify.text import Runs

few = st.lists(st.sampled_from("abc"), max_size=8)


@given(st.lists(few, max_size=6), few)
def test_phrases_are_found_where_they_stand_the_longest_first(phrases: list[list[str]], words: list[str]) -> None:
    longest = {
        start: max(fitting, key=len)
        for start in range(len(words))
        if (fitting := [tuple(run) for run in phrases if run and words[start : start + len(run)] == run])
    }
    assert dict(Runs(phrases).within(words)) == longest
