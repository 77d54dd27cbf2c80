"""From the path of a text through a clip to its words' spans, and how far they are to be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.ctc_viterbi import BLANK, CtcPath
from sift_ray.align.protocol import WordSpan
from sift_ray.align.transcripts import SpokenWord

LEAD_S: Final = 0.03
"""A label begins so long before the first frame that says it, or where the one before ends: a CTC model says a label
only when it has heard some of it.

Lead and tail were chosen on 455 words of synthetic Spanish whose places are known, with a small wav2vec2 (1.5 million
weights, 27 % of letters wrong) trained on other sentences: onsets were 26 ms late in the median, and 80 % within 50 ms;
with the lead they are 3 ms early, and 96 % within 50 ms. Models differ, so another may be 20 ms off.
"""

TAIL_S: Final = 0.05
"""A word ends so long after the last frame of its last label, or where the next word begins: a CTC model goes back to
blank while the sound is still to be heard (26 ms before the end in the median there; with the tail 3 ms)."""

DEFAULT_THRESHOLD: Final = 0.25
"""Chosen with the same small model on 200 true and 194 swapped transcripts of clips of like length, synthetic and human
Spanish that it was not trained on: loses 5 % of the true, all single letters or words of at most 7 letters, and catches
99 % of the swapped. It is provisional, as no published checkpoint was at hand; a better model parts the two further."""

_WORST: Final = -8.0
"""Least log-probability that a frame's label may lack to the likeliest: what is worse is wrong all the same."""


@dataclass(frozen=True, slots=True)
class CtcText:
    """The words of a transcript and what a model must say for them.

    Attributes:
        words: all words with their phones.
        target: labels in their order, those between words included.
        places: for each word where its labels begin and end in `target`; equal where it has none.
        by_phones: whether a label is a phone, and a word's labels those of its first pronunciation.
    """

    words: Sequence[SpokenWord]
    target: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    by_phones: bool


def utterance_score(text: CtcText, path: CtcPath) -> float:
    """Return how likely the text is beside what the model hears by itself, 0 to 1 (1: it hears just this text).

    The square root of the geometric mean over labels, those between words aside, of the path's probability over that
    of the likeliest path. All frames count, as speech that the text lacks is heard under its blanks.
    """
    return _score(_margins(path), sum(end - start for start, end in text.places))


def word_spans(text: CtcText, path: CtcPath, *, frame_s: float, duration_s: float) -> list[WordSpan]:
    """Return a span for each word of `text`; words without labels have null times.

    Frame i is from i to i + 1 times `frame_s`, moved by `LEAD_S` at the start of a label and `TAIL_S` at the end of a
    word. The pauses between words belong to none.

    Args:
        text: what was searched for.
        path: the likeliest way to say it.
        frame_s: seconds from one frame to the next.
        duration_s: of the clip; nothing ends later.
    """
    said = np.flatnonzero(path.places != BLANK)
    _, first, frames = np.unique(path.places[said], return_index=True, return_counts=True)
    begins = said[first]
    ends_s = (begins + frames) * frame_s  # the frames of one label follow each other
    starts_s = np.maximum(begins * frame_s - LEAD_S, 0.0)
    spoken = [label for start, end in text.places for label in range(start, end)]  # not those between words
    starts_s[spoken[1:]] = np.maximum(starts_s[spoken[1:]], ends_s[spoken[:-1]])
    margins = _margins(path)
    spans: list[WordSpan] = []
    limit_s = duration_s
    for position in range(len(text.words), 0, -1):
        word, (start, end) = text.words[position - 1], text.places[position - 1]
        phones = list(word.pronunciations[0]) if word.pronunciations else []
        if start == end:
            spans.append(WordSpan(word.word, position, None, None, phones))
            continue
        own = (path.places >= start) & (path.places < end)
        phone_starts_s = [round(float(start_s), 4) for start_s in starts_s[start:end]]
        spans.append(
            WordSpan(
                word.word,
                position,
                phone_starts_s[0],
                round(min(float(ends_s[end - 1]) + TAIL_S, limit_s), 4),
                phones,
                _score(margins[own], end - start),
                phone_starts_s if text.by_phones else None,
            )
        )
        limit_s = phone_starts_s[0]
    return spans[::-1]


def _score(margins: NDArray[np.float32], labels: int) -> float:
    return round(math.exp(0.5 * float(margins.sum(dtype=np.float64)) / labels), 4)


def _margins(path: CtcPath) -> NDArray[np.float32]:
    """Return how much less likely each frame's label is than the likeliest: float32 [T], `_WORST` to 0."""
    margins: NDArray[np.float32] = np.maximum(path.log_probs - path.best, np.float32(_WORST))
    return margins
