"""Scores of generated audio and of answers, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sift_ray.evaluate.generation import MISSING, NO_RULER, Outcome
from sift_ray.evaluate.judge import Verdict
from sift_ray.evaluate.samples import Sample
from sift_ray.evaluate.scores import ALL, Answered, OrdinalScore, ordinal_scores, text_scores
from sift_ray.metadata.categories import ATTRIBUTES

KEY = "average_intensity"
LABELS = ATTRIBUTES[KEY].labels
TWO = "closed_ended_comparison"

CONFUSION = ((2, 1, 0), (1, 2, 0), (1, 0, 3))
"""Asked for (rows) and measured (columns): the three lowest categories, ten clips.

Absolute errors: 1 + 1 + 2 = 4 categories in 10 clips. Squared: 1 + 1 + 4 = 6. By the margins alone, rows (3, 3, 4) and
columns (4, 3, 3), squared errors are (1·3·3 + 4·3·3 + 1·3·4 + 1·3·3 + 4·4·4 + 1·4·3) / 10 = 142 / 10. So kappa is
1 - 6 / 14.2 = 41 / 71.
"""


def spoken(number: int) -> Sample:
    return Sample(f"s{number}", "controllable_generation", "en", "vctk_en", (f"u{number}",), "Say it.", None, ())


def outcomes() -> list[Outcome]:
    pairs = [
        (row, column)
        for row, counts in enumerate(CONFUSION)
        for column, count in enumerate(counts)
        for _ in range(count)
    ]
    return [Outcome(spoken(n), KEY, LABELS[asked], LABELS[found]) for n, (asked, found) in enumerate(pairs)]


def whole(given: list[Outcome], *, only_predicted: bool = False) -> OrdinalScore:
    [score] = [s for s in ordinal_scores(given, 0, only_predicted=only_predicted) if s.language == ALL]
    return score


def test_the_error_and_kappa_of_a_small_table() -> None:
    score = whole(outcomes())
    assert (score.asked, score.scored) == (10, 10)
    assert score.mae.value == pytest.approx(0.4)
    assert score.qwk.value == pytest.approx(41 / 71)
    assert np.array(score.confusion)[:3, :3].tolist() == [list(row) for row in CONFUSION]
    for estimate in (score.mae, score.qwk):
        assert estimate.value is not None
        assert estimate.interval is not None
        assert estimate.interval.low < estimate.value < estimate.interval.high


def test_what_is_missing_is_as_far_off_as_can_be_and_what_can_t_be_judged_is_not_counted() -> None:
    last = len(LABELS) - 1
    gone = [Outcome(spoken(10), KEY, LABELS[1], None, MISSING), Outcome(spoken(11), KEY, LABELS[0], None, "silent")]
    score = whole([*outcomes(), *gone, Outcome(spoken(12), KEY, LABELS[0], None, NO_RULER)])
    assert score.mae.value == pytest.approx((4 + (last - 1) + last) / 12)
    assert (score.missing, score.faulty, score.unjudged, score.scored) == (1, {"silent": 1}, {NO_RULER: 1}, 12)
    kept = whole([*outcomes(), *gone], only_predicted=True)
    # (audio that can't be measured was predicted)
    assert kept.mae.value == pytest.approx((4 + last) / 11)


def compared(first: int, second: int) -> Sample:
    names = (f"u{first}", f"u{second}")
    return Sample(f"{first}-{second}", TWO, "en", "vctk_en", names, "Who is louder?", "The first.", None)


def width(answers: list[Answered]) -> float:
    interval = text_scores(answers, 0)[-1].score.interval
    assert interval is not None
    return interval.high - interval.low


def test_comparisons_that_share_a_clip_are_drawn_together() -> None:
    # of three clips the first is heard wrongly, or rightly, in both comparisons that it stands in
    right = np.random.default_rng(0).random(60) < 0.5
    rows = [(3 * n, 3 * n + k, worth) for n, worth in enumerate(right) for k in (1, 2)]
    shared = [Answered(compared(a, b), Verdict(float(worth))) for a, b, worth in rows]
    apart = [Answered(compared(2 * n, 2 * n + 1), Verdict(float(worth))) for n, (_, _, worth) in enumerate(rows)]
    once = [answer for answer in shared if int(answer.sample.utterance_ids[1][1:]) % 3 == 1]
    # what is said twice of one clip is worth no more than once
    assert width(shared) == pytest.approx(width(once))
    assert width(apart) < 0.8 * width(shared)
