"""A small phone classifier, fitted to a trained aligner's own alignments: it says what viter does not.

viter gives boundaries and no likelihood. So the frames that its alignment calls a phone teach a network with one
hidden layer to tell phones from fifteen neighbouring frames of cepstra (Bourlard and Morgan, Connectionist Speech
Recognition, 1994). What it says of a clip tells how well any later alignment fits the sound. Beside it are kept
the phones that the training clips say, to take decoys from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.protocol import AlignError
from sift_ray.align.signal import STEP_S, WINDOW_S, cepstra, splice

CONTEXT: Final = 7
SILENCE: Final = "sil"
MOST_SPOKEN: Final = 20_000
"""So many phones of the training clips are kept."""

_HIDDEN = 128
_DROPPED = 0.5  # of the hidden units, at each step
_BATCH = 256
_EPOCHS = 12
_LEAST_VISITS, _MOST_VISITS = 50_000, 3_000_000  # frames seen in training, repeated ones too
_RATE, _DECAY = 2e-3, 1e-4
_PRIOR_FRAMES = 20.0


@dataclass(frozen=True, slots=True)
class PhoneInterval:
    """One aligned phone, `sil` among them; seconds from the start of the waveform that was aligned."""

    phone: str
    start_s: float
    end_s: float
    word: int  # index of the word it belongs to, -1 for silence


def observe(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the classifier sees of a padded clip, float32 `[frames, features]`."""
    return cepstra(waveform)


def frame_labels(intervals: Sequence[PhoneInterval], frames: int) -> NDArray[np.int64]:
    """Return the index into `intervals` that each frame's centre lies in, -1 outside all."""
    labels = np.full(frames, -1, np.int64)
    times = np.array([(interval.start_s, interval.end_s) for interval in intervals]).reshape(-1, 2)
    edges = np.maximum(np.ceil((times - WINDOW_S / 2) / STEP_S), 0).astype(np.int64)
    for index, (first, last) in enumerate(edges.tolist()):
        labels[first:last] = index
    return labels


@dataclass(frozen=True, slots=True)
class PhoneModel:
    """A network that scores phones, and what the training clips say.

    Attributes:
        phones: `P` names, `sil` among them.
        mean, scale: float32 `[F]`, of a frame and its `CONTEXT` neighbours on either side.
        hidden, hidden_bias: float32 `[F, H]` and `[H]`; rectified units.
        output, output_bias: float32 `[H, P]` and `[P]`; phones are taken as equally likely beforehand.
        spoken: int16 `[n]`, the training clips' phones in their order, as indices of `phones`, without silence.
        word_starts: bool `[n]`, which of `spoken` begin a word.
    """

    phones: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: NDArray[np.float32]
    spoken: NDArray[np.int16]
    word_starts: NDArray[np.bool_]

    @classmethod
    def fit(cls, clips: Iterable[tuple[NDArray[np.float32], Sequence[PhoneInterval]]]) -> Self:
        """Learn from `(observe(padded clip), its intervals)`; the same clips in the same order give the same model.

        Raises:
            AlignError: no frame of any phone is there.
        """
        columns: dict[str, int] = {SILENCE: 0}
        padded, centres, labels = [], [], []
        spoken: list[int] = []
        starts: list[bool] = []
        offset = 0
        for features, intervals in clips:
            word = -1
            for interval in intervals:
                column = columns.setdefault(interval.phone, len(columns))
                if interval.phone != SILENCE and len(spoken) < MOST_SPOKEN:
                    spoken.append(column)
                    starts.append(interval.word != word or not starts)
                    word = interval.word
            owner = frame_labels(intervals, features.shape[0])
            kept = np.flatnonzero(owner >= 0)
            labels.append(np.array([columns[i.phone] for i in intervals], np.int64)[owner[kept]])
            centres.append(kept + offset + CONTEXT)
            padded.append(np.pad(features, ((CONTEXT, CONTEXT), (0, 0)), mode="edge"))
            offset += padded[-1].shape[0]
        if not labels or sum(map(len, labels)) == 0:
            raise AlignError("no aligned frame to learn phones from")
        phones = tuple(columns)
        mean, scale, weights = _train(
            np.concatenate(padded), np.concatenate(centres), np.concatenate(labels), len(phones)
        )
        return cls(
            phones, mean, scale, weights[0], weights[1], weights[2], weights[3],
            np.array(spoken, np.int16), np.array(starts, np.bool_),
        )  # fmt: skip

    def likelihoods(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the natural log of each phone's probability less that of the best phone, float32 `[frames, P]`."""
        # (x - mean) / scale @ hidden + bias, with what does not depend on x taken together
        weights = self.hidden / self.scale[:, None]
        bias = self.hidden_bias - (self.mean / self.scale) @ self.hidden
        # the model has feature after feature, each of all neighbours; `splice` sets frame after frame
        weights = weights.reshape(-1, 2 * CONTEXT + 1, weights.shape[1]).swapaxes(0, 1).reshape(weights.shape)
        active = splice(features, CONTEXT) @ weights
        active += bias
        scores = np.maximum(active, 0, out=active) @ self.output
        scores += self.output_bias
        scores -= scores.max(axis=1, keepdims=True, initial=-np.inf)
        return scores

    def save(self, path: Path) -> None:
        """Write all of it to `path`, an uncompressed npz."""
        with path.open("wb") as stream:
            np.savez(stream, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            AlignError: the file can't be read, or is another kind of file or an older version's.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        except (OSError, ValueError) as error:
            raise AlignError(f"{path}: no phone classifier can be read there: {error}") from error
        missing = sorted({field.name for field in fields(cls)} - arrays.keys())
        if missing:
            raise AlignError(
                f"{path}: a phone classifier of another version, without {', '.join(missing)}; train the model anew"
            )
        return cls(**arrays | {"phones": tuple(str(phone) for phone in arrays["phones"])})


def _log_softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    scores = scores - scores.max(axis=1, keepdims=True, initial=-np.inf)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)), np.float32)


def _train(
    padded: NDArray[np.float32], centres: NDArray[np.int64], labels: NDArray[np.int64], phones: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return mean, scale and the four arrays of the network, trained on the frames `padded[centres]`.

    Cross entropy, Adam (Kingma and Ba, 2015) with decoupled weight decay and a cosine schedule, dropout. Phones'
    frequencies start as the output's bias and are taken off at the end, so that the rest learns likelihoods.
    """
    source = np.random.default_rng(0)
    around = np.arange(-CONTEXT, CONTEXT + 1)
    mean = np.repeat(padded[centres].mean(axis=0), around.size)
    scale = np.repeat(padded[centres].std(axis=0) + np.float32(1e-3), around.size)
    number = np.bincount(labels, minlength=phones) + _PRIOR_FRAMES
    prior = np.log(number / number.sum()).astype(np.float32)
    width = mean.size
    weights = [
        (source.standard_normal((width, _HIDDEN)) * np.sqrt(2 / width)).astype(np.float32),
        np.zeros(_HIDDEN, np.float32),
        (source.standard_normal((_HIDDEN, phones)) * np.sqrt(1 / _HIDDEN)).astype(np.float32),
        prior.copy(),
    ]
    first = [np.zeros_like(weight) for weight in weights]
    second = [np.zeros_like(weight) for weight in weights]
    steps = int(np.clip(_EPOCHS * labels.size, _LEAST_VISITS, _MOST_VISITS)) // _BATCH
    waiting = np.zeros(0, np.int64)
    for step in range(1, steps + 1):
        while waiting.size < _BATCH:
            waiting = np.concatenate([waiting, source.permutation(labels.size)])
        chosen, waiting = waiting[:_BATCH], waiting[_BATCH:]
        seen = padded[centres[chosen][:, None] + around].transpose(0, 2, 1).reshape(_BATCH, width)
        gradients = _gradients((seen - mean) / scale, labels[chosen], weights, source)
        rate = np.float32(_RATE * 0.5 * (1 + np.cos(np.pi * step / steps)))
        for i, gradient in enumerate(gradients):
            first[i] += np.float32(0.1) * (gradient - first[i])
            second[i] += np.float32(0.001) * (gradient * gradient - second[i])
            size = np.sqrt(second[i] / np.float32(1 - 0.999**step)) + np.float32(1e-8)
            decay = np.float32(_DECAY if gradient.ndim == 2 else 0)
            weights[i] -= rate * (first[i] / np.float32(1 - 0.9**step) / size + decay * weights[i])
    weights[3] -= prior
    return mean, scale, weights


def _gradients(
    seen: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: Sequence[NDArray[np.float32]],
    source: np.random.Generator,
) -> list[NDArray[np.float32]]:
    hidden, hidden_bias, output, output_bias = weights
    active = seen @ hidden + hidden_bias
    kept = (active > 0) & (source.random(active.shape, np.float32) >= _DROPPED)
    active = active * kept * np.float32(1 / (1 - _DROPPED))
    error = np.exp(_log_softmax(np.asarray(active @ output + output_bias, np.float32)))
    error[np.arange(labels.size), labels] -= 1
    error /= np.float32(labels.size)
    back = error @ output.T * kept * np.float32(1 / (1 - _DROPPED))
    return [seen.T @ back, back.sum(axis=0), active.T @ error, error.sum(axis=0)]
