"""How far an alignment is to be believed, 0 to 1, from the sound itself.

Viterbi always finds some path, for a wrong transcript too. Three things tell: whether the transcript's phones fit
the sound as well as phones can (`PhoneModel`), whether other phones of the language would fit it nearly as well
(`decoys`), and whether sound is left over that no word covers. A logistic function of them, whose weights were
fitted on true and spoilt clips, makes the score. All of it depends on the clip and its alignment alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.decoys import PhoneStrings, decoys_of, path_scores
from sift_ray.align.phone_model import SILENCE, PhoneInterval, PhoneModel, frame_labels
from sift_ray.align.signal import STEP_S, energy_db

_WORST = -8.0
_ACTIVE_SHARE = 0.35  # of the way from the noise floor to the loud parts, in dB
_HANGOVER = 4  # frames around a loud one that count as sound: stops are silent inside
_SHORTEST_S = 0.0305  # viter's shortest phone has three frames
_MOST_SHORT = 0.5
_BREATH_S = 0.25
_LONGEST_UNCOVERED_S = 1.0
_LEAST_GAP = 0.05  # a frame: how far decoys fall short of the best phones of all, if they hardly do
_DEVIATION = 0.02  # a frame, added to the decoys' own: a few can be alike by chance


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for an alignment of one clip.

    A frame's likelihood is log p(phone), all phones equally likely beforehand, less the best phone's: -8 to 0.

    Attributes:
        path: likelihood of the best path of the transcript's phones through the whole clip, for each frame that
            sounds; -8 to 0. (Not for each frame aligned: an alignment that squeezes its words would pay for it twice.)
        fit: how well each phone fits where it was laid, tanh of half its mean likelihood, mean over phones; -1 to 0.
            One phone that can't be is as bad as one that hardly can: a misread letter is not a wrong transcript.
        advantage: how much of what the mean decoy falls short of 0 the transcript makes good; 1 is perfect.
        distinction: by how many standard deviations of the decoys the transcript's path is better than their mean.
        silence_likeness: mean likelihood of silence where no word lies, -8 to 0.
        uncovered_s: how much the longest stretch of sound without a word exceeds a breath of 0.25 s; at most 0.75.
        squeezed: by how much the share of phones of at most 30 ms exceeds a half: in quick speech many are as short.
        phones: how many phones were aligned.
        word_likeness: mean likelihood of the phones aligned with each word, NaN for one without frames;
            float64 `[words]`.
    """

    path: float
    fit: float
    advantage: float
    distinction: float
    silence_likeness: float
    uncovered_s: float
    squeezed: float
    phones: int
    word_likeness: NDArray[np.float64]


def active(waveform: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say for each 10 ms frame of a padded clip whether there is sound."""
    levels = energy_db(waveform)
    if levels.size == 0:
        return np.zeros(0, np.bool_)
    floor, loud = np.percentile(levels, [10, 95])
    above = levels > floor + _ACTIVE_SHARE * (loud - floor)
    return np.convolve(above, np.ones(2 * _HANGOVER + 1), mode="same")[: above.size] > 0


def gather(
    model: PhoneModel,
    waveform: NDArray[np.float32],
    features: NDArray[np.float32],
    intervals: Sequence[PhoneInterval],
    words: int,
) -> Evidence:
    """Measure the alignment `intervals` of the padded `waveform`, whose `observe` is `features`."""
    labels = frame_labels(intervals, features.shape[0])
    columns = {phone: column for column, phone in enumerate(model.phones)}
    column_of = np.array([columns.get(i.phone, -1) for i in intervals] + [-1])
    word_of = np.array([i.word for i in intervals] + [-1])
    likelihoods = model.likelihoods(features)
    np.maximum(likelihoods, np.float32(_WORST), out=likelihoods)
    spoken = np.array([i.phone != SILENCE for i in intervals] + [False])[labels]
    sounding = active(waveform)[: spoken.size]
    known = np.flatnonzero(spoken & (column_of[labels] >= 0))
    own, owner = likelihoods[known, column_of[labels[known]]], word_of[labels[known]]
    said = [index for index, interval in enumerate(intervals) if interval.phone != SILENCE]
    path, advantage, distinction = _against_decoys(
        model, likelihoods, [intervals[i] for i in said], max(int(sounding.sum()), 1)
    )
    uncovered = _longest(sounding & ~spoken) * STEP_S
    likeness = _means(own, labels[known], len(intervals), _WORST)[said]
    short = [intervals[i].end_s - intervals[i].start_s <= _SHORTEST_S for i in said]
    silent = likelihoods[~spoken, columns[SILENCE]]
    return Evidence(
        path=path,
        fit=float(np.tanh(likeness / 2).mean()) if said else -1.0,
        advantage=advantage,
        distinction=distinction,
        silence_likeness=float(silent.mean()) if silent.size else 0.0,
        uncovered_s=max(min(uncovered, _LONGEST_UNCOVERED_S) - _BREATH_S, 0.0),
        squeezed=max(float(np.mean(short)) - _MOST_SHORT, 0.0) if said else 1.0 - _MOST_SHORT,
        phones=len(said),
        word_likeness=_means(own, owner, words, np.nan),
    )


def _against_decoys(
    model: PhoneModel, likelihoods: NDArray[np.float32], said: Sequence[PhoneInterval], frames: int
) -> tuple[float, float, float]:
    """Return `Evidence`'s path, advantage and distinction; the worst there is where no path or no decoy is found."""
    columns = {phone: column for column, phone in enumerate(model.phones)}
    known = [i for i in said if i.phone in columns]
    phones = np.array([columns[i.phone] for i in known], np.int64)
    starts = np.diff([i.word for i in known], prepend=-1) != 0
    decoys = decoys_of(phones, model.spoken.astype(np.int64), model.word_starts)
    if not decoys:
        return _WORST, 0.0, 0.0
    totals = path_scores(likelihoods, PhoneStrings.of([(phones, starts), *decoys], columns[SILENCE]))
    possible = totals >= _WORST * likelihoods.shape[0]
    if not possible[0] or not possible[1:].any():
        return _WORST, 0.0, 0.0
    own, others = float(totals[0]), totals[1:][possible[1:]]
    gain = own - float(others.mean())
    return (
        max(own / frames, _WORST),
        gain / max(-float(others.mean()), _LEAST_GAP * frames),
        gain / (float(others.std()) + _DEVIATION * frames),
    )


def _means(values: NDArray[np.float32], groups: NDArray[np.int64], count: int, empty: float) -> NDArray[np.float64]:
    """Return the mean of each group's values, float64 `[count]`; `empty` for a group without, -1 is no group."""
    inside = groups >= 0
    number = np.bincount(groups[inside], minlength=count)
    sums = np.bincount(groups[inside], values[inside], minlength=count)
    return np.where(number > 0, sums / np.maximum(number, 1), empty)


def _longest(frames: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], frames, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


DEFAULT_THRESHOLD: Final = 0.12
"""Where 1 % of the true transcripts of 2,029 human clips is lost (en, es, fr, it; 0.4 to 15 s, a third under a second),
each scored by weights fitted to other clips with other texts: 95.5 % of three times as many transcripts swapped among
clips of like length score less, all of them from 3 s on. Models were trained on 220 clips a language, 7 to 10 minutes.
The weights below come from 1,753 of the clips. With them, of the other 276, 1.8 % of the true are lost and 96.9 % of
the swapped caught: from 3 s on none and all, under a second 3.3 % and 94 %, for short words are alike, and some of the
clips say another word than is written. What to measure was chosen by cross-validation on all of these clips. Caught
besides are 87 % where speech follows the transcript's, 66 % where some comes before, 27 % where the end is cut off,
97 % of music and of foreign speech, 94 % of noise (`tests.benchmarks.align_confidence`)."""

_INTERCEPT: Final = -2.91
_WEIGHTS: Final = {
    "path": 1.01, "fit": 1.47, "advantage": 4.76, "distinction": 0.373,
    "silence_likeness": 0.334, "uncovered_s": -3.03, "squeezed": -5.97,
}  # fmt: skip
_SHORTNESS: Final = 3.61  # by 1 / sqrt(phones): in short clips all of these stray further


def score(evidence: Evidence) -> float:
    """Return how likely the transcript is the clip's, 0 to 1, if half of all transcripts were wrong.

    Logistic regression on the swaps that `DEFAULT_THRESHOLD` tells of and, with less weight, on clips with speech
    before or after, cut short, or replaced by foreign speech, music or noise.
    """
    z = _INTERCEPT + sum(weight * getattr(evidence, name) for name, weight in _WEIGHTS.items())
    z += _SHORTNESS / np.sqrt(max(evidence.phones, 1))
    return round(float(1 / (1 + np.exp(-z))), 4)


def word_scores(evidence: Evidence) -> list[float | None]:
    """Return a score for each word, 0 to 1; None for a word without frames.

    A monotone map of the word's mean likeness, to order words by; unlike `score` it is no calibrated probability.
    """
    values = 1 / (1 + np.exp(-1.5 * (evidence.word_likeness + 3.0)))
    return [None if np.isnan(value) else round(float(value), 4) for value in values]
