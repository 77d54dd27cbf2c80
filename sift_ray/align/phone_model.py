"""A small phone classifier, fitted to a trained aligner's own alignments: it says what viter does not.

viter gives boundaries and no likelihood. So the frames that its alignment calls a phone teach one Gaussian a
phone with one covariance for all (linear discriminant analysis, Fisher 1936; shrunk towards its diagonal),
over seven neighbouring frames of cepstra. Its posteriors tell how well any later alignment fits the sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.protocol import AlignError
from sift_ray.align.signal import STEP_S, WINDOW_S, cepstra, splice

CONTEXT: Final = 3
SILENCE: Final = "sil"
_MEAN_PRIOR = 20.0  # frames of the mean of all that a phone's own mean is drawn towards
_SHRINKAGE = 0.1  # of the covariance towards its diagonal
_DURATION_PRIOR = 5.0  # phones


@dataclass(frozen=True, slots=True)
class PhoneInterval:
    """One aligned phone, `sil` among them; seconds from the start of the waveform that was aligned."""

    phone: str
    start_s: float
    end_s: float
    word: int  # index of the word it belongs to, -1 for silence


def observe(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the classifier sees of a padded clip, float32 `[frames, features]`."""
    return splice(cepstra(waveform), CONTEXT)


def frame_labels(intervals: Sequence[PhoneInterval], frames: int) -> NDArray[np.int64]:
    """Return the index into `intervals` that each frame's centre lies in, -1 outside all."""
    labels = np.full(frames, -1, np.int64)
    for index, interval in enumerate(intervals):
        first = int(np.ceil((interval.start_s - WINDOW_S / 2) / STEP_S))
        last = int(np.ceil((interval.end_s - WINDOW_S / 2) / STEP_S))
        labels[max(first, 0) : max(last, 0)] = index
    return labels


@dataclass(frozen=True, slots=True)
class PhoneModel:
    """Linear scores of phones, and how long each phone lasts.

    Attributes:
        phones: `P` names, `sil` among them.
        weights, bias: float32 `[features, P]` and `[P]`; phones are taken as equally likely beforehand.
        log_duration: float32 `[P, 2]`, mean and standard deviation of the natural log of seconds.
    """

    phones: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    log_duration: NDArray[np.float32]

    @classmethod
    def fit(cls, clips: Iterable[tuple[NDArray[np.float32], Sequence[PhoneInterval]]]) -> Self:
        """Learn from `(observe(padded clip), its intervals)`.

        Raises:
            AlignError: no frame of any phone is there.
        """
        counts: dict[str, float] = {}
        sums: dict[str, NDArray[np.float64]] = {}
        durations: dict[str, list[float]] = {}
        scatter: NDArray[np.float64] | None = None
        for features, intervals in clips:
            labels = frame_labels(intervals, features.shape[0])
            kept = np.asarray(features[labels >= 0], np.float64)
            square = kept.T @ kept
            scatter = square if scatter is None else scatter + square
            for index, interval in enumerate(intervals):
                own = features[labels == index]
                phone = interval.phone
                counts[phone] = counts.get(phone, 0.0) + own.shape[0]
                sums[phone] = sums.get(phone, np.zeros(features.shape[1])) + own.sum(axis=0, dtype=np.float64)
                durations.setdefault(phone, []).append(interval.end_s - interval.start_s)
        phones = tuple(sorted(phone for phone, count in counts.items() if count > 0))
        if scatter is None or not phones:
            raise AlignError("no aligned frame to learn phones from")
        number = np.array([counts[phone] for phone in phones])
        means = np.stack([sums[phone] / counts[phone] for phone in phones])
        within = (scatter - (means * number[:, None]).T @ means) / number.sum()
        diagonal = np.diag(np.diag(within) + 1e-3)
        within = (1 - _SHRINKAGE) * within + _SHRINKAGE * diagonal
        centre = (means * number[:, None]).sum(axis=0) / number.sum()
        share = (number / (number + _MEAN_PRIOR))[:, None]
        means = share * means + (1 - share) * centre
        weights = np.linalg.solve(within, means.T)
        bias = -0.5 * np.einsum("fp,pf->p", weights, means)
        return cls(phones, weights.astype(np.float32), bias.astype(np.float32), _log_durations(phones, durations))

    def log_posteriors(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the natural log of each phone's probability, float32 `[frames, P]`."""
        scores = features @ self.weights + self.bias
        scores -= scores.max(axis=1, keepdims=True, initial=-np.inf)
        return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)), np.float32)

    def save(self, path: Path) -> None:
        """Write all of it to `path`, an uncompressed npz."""
        with path.open("wb") as stream:
            np.savez(
                stream,
                phones=np.array(self.phones),
                weights=self.weights,
                bias=self.bias,
                log_duration=self.log_duration,
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            AlignError: the file can't be read or is another kind of file.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(
                    tuple(str(phone) for phone in stored["phones"]),
                    stored["weights"],
                    stored["bias"],
                    stored["log_duration"],
                )
        except (OSError, KeyError, ValueError) as error:
            raise AlignError(f"{path}: no phone classifier can be read there: {error}") from error


def _log_durations(phones: Sequence[str], durations: dict[str, list[float]]) -> NDArray[np.float32]:
    logs = {phone: np.log(np.maximum(durations[phone], STEP_S)) for phone in phones}
    spoken = [values for phone, values in logs.items() if phone != SILENCE] or list(logs.values())
    everything = np.concatenate(spoken)
    centre, spread = float(everything.mean()), float(max(everything.std(), 0.2))
    table = np.empty((len(phones), 2), np.float32)
    for row, phone in enumerate(phones):
        values = logs[phone]
        share = values.size / (values.size + _DURATION_PRIOR)
        table[row, 0] = share * values.mean() + (1 - share) * centre
        variance = share * values.var() + (1 - share) * spread**2
        table[row, 1] = max(float(np.sqrt(variance)), 0.2)
    return table
