"""Counts of instructions: some written by hand, small enough to know every sum, and any that there may be."""

from __future__ import annotations

from hypothesis import strategies as st

from sift_ray.pipeline.counts import ACCEPTED, RUNGS
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import Counts

SMALL: Counts = {
    "asked": {"open_ended/org/model": 6, "open_ended/template": 2, "controllable_generation/org/model": 1},
    "reached": {
        "open_ended/de/first": 4,
        "open_ended/en/first": 2,
        "open_ended/de/retry": 3,
        "open_ended/de/fallback": 1,
        "open_ended/en/template": 2,
        "controllable_generation/de/first": 1,
    },
    "answered": {
        "open_ended/de/first": 1,
        "open_ended/en/first": 2,
        "open_ended/de/retry": 2,
        "open_ended/de/fallback": 1,
        "open_ended/en/template": 2,
    },
    "pairs": {
        "open_ended/de/first/accepted": 3,
        "open_ended/en/first/accepted": 4,
        "open_ended/de/first/false_claim": 9,
        "open_ended/en/first/surplus": 2,
        "open_ended/de/retry/accepted": 2,
        "open_ended/de/retry/language": 6,
        "open_ended/de/fallback/accepted": 3,
        "open_ended/en/template/accepted": 6,
        "controllable_generation/de/first/false_claim": 2,
    },
    "untold": {"open_ended/de/first": 1, "open_ended/en/template": 2},
    "tokens": {
        "open_ended/prompt": 1000,
        "open_ended/cached": 750,
        "open_ended/generated": 500,
        "controllable_generation/generated": 500,
    },
}

RULES = [f"rule_{number:02d}_of_a_long_name" for number in range(20)]

_PLACES = st.tuples(st.sampled_from(TASKS), st.sampled_from(LANGUAGES), st.sampled_from(RUNGS)).map("/".join)
_FATES = st.sampled_from([ACCEPTED, *RULES])


@st.composite
def any_counts(draw: st.DrawFn) -> Counts:
    """Draw pairs, and requests that came to a place, of which no more are answered than came."""
    numbers = st.integers(1, 5000)
    pairs = draw(st.dictionaries(st.tuples(_PLACES, _FATES).map("/".join), numbers, max_size=40))
    reached = draw(st.dictionaries(_PLACES, numbers, max_size=20))
    answered = {place: draw(st.integers(0, number)) for place, number in reached.items()}
    return {"pairs": dict(pairs), "reached": dict(reached), "answered": dict(answered)}


def mixed(pairs: dict[str, float]) -> Counts:
    """Counts of so many accepted pairs of each task."""
    return {
        "asked": dict.fromkeys((f"{task}/m" for task in pairs), 1),
        "pairs": {f"{task}/en/first/accepted": number for task, number in pairs.items()},
    }
