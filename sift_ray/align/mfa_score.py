"""How far an alignment by MFA is to be believed: how like the sound is to its phones, beside all others of the model.

An acoustic model's likelihood is no measure by itself: it differs by voice and recording. What it gives the phones that
were aligned is set against what the best of its other phones would give the same frames, as in MFA's own measure of a
phone's goodness (`PhoneConfidenceFunction`) and in Witt and Young, Speech Communication 30(2-3), 2000. A right
transcript comes close to the best everywhere; a wrong one is far from it in places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

DEFAULT_THRESHOLD: Final = 0.1
"""Provisional: no model of MFA was at hand when it was chosen, but another aligner's of the same kind (pocketsphinx's
English Gaussians, its own likelihoods, 160 clips of human speech of 1 to 10 words with their own and with swapped
transcripts). There it loses 1.3 % of the true and catches 77 % of the swapped, a quarter of all by finding no path."""

_INTERCEPT: Final = 10.5
_WEIGHT: Final = 1.54
_MOST_GAUSSIANS: Final = 4000  # 5 ms of one core for a second of sound


@dataclass(frozen=True, slots=True)
class MfaPhone:
    """An aligned phone without the mark of its place; seconds of the waveform that was aligned.

    `likeness` is the mean over its frames of its log likelihood less the best rival's, at most 0.
    """

    phone: str
    start_s: float
    end_s: float
    likeness: float


@dataclass(frozen=True, slots=True)
class Rivals:
    """Gaussians from all over an acoustic model.

    Attributes:
        constants: what of their log likelihoods no frame changes, weights among it; float32 `[gaussians]`.
        linear, quadratic: the coefficients of a frame's values and of their squares; float32 `[dimensions, gaussians]`.
    """

    constants: NDArray[np.float32]
    linear: NDArray[np.float32]
    quadratic: NDArray[np.float32]

    @classmethod
    def of(cls, model: Any) -> Self:
        """Take the heaviest Gaussians of each state of `model`, an AmDiagGmm of Kaldi, so many of each as may be."""
        states = model.NumPdfs()
        each = max(_MOST_GAUSSIANS // states, 1)
        constants, linear, quadratic = [], [], []
        for state in range(0, states, -(-states // _MOST_GAUSSIANS)):
            gaussians = model.GetPdf(state)
            heaviest = np.argsort(-gaussians.weights().numpy(), kind="stable")[:each]
            constants.append(gaussians.gconsts().numpy()[heaviest])
            linear.append(gaussians.means_invvars().numpy()[heaviest])
            quadratic.append(-0.5 * gaussians.inv_vars().numpy()[heaviest])
        return cls(
            np.concatenate(constants).astype(np.float32),
            np.ascontiguousarray(np.concatenate(linear).T, np.float32),
            np.ascontiguousarray(np.concatenate(quadratic).T, np.float32),
        )

    def best(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log likelihood of the likeliest Gaussian for each frame of `features` `[frames, dimensions]`."""
        likelihoods = features @ self.linear + np.square(features) @ self.quadratic + self.constants
        return np.asarray(likelihoods.max(axis=1, initial=-np.inf), np.float32)


def likeness(log_likelihood: float, best: NDArray[np.float32]) -> float:
    """Return a phone's likeness from its mean log likelihood and the `best` ones of its frames, at least one."""
    return min(log_likelihood - float(best.mean()), 0.0)


def score(words: Iterable[Sequence[MfaPhone]]) -> float:
    """Return how likely `words`, each its phones, are those of the clip, 0 to 1, if half of all transcripts were wrong.

    Logistic regression on what `DEFAULT_THRESHOLD` tells of, on the mean likeness by time. Of one word it is no
    probability, but orders words.
    """
    phones = [phone for word in words for phone in word]
    lengths = np.array([phone.end_s - phone.start_s for phone in phones])
    if not lengths.sum() > 0:
        return 0.0
    mean = float(np.average([phone.likeness for phone in phones], weights=lengths))
    return round(float(1 / (1 + np.exp(-(_INTERCEPT + _WEIGHT * max(mean, -50.0))))), 4)
