"""A toy of speech: a phone sounds as one tone, a pause as next to nothing, and one Gaussian each is the whole model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
SHIFT = 160
PHONES = tuple("aeioubdfgklmnprst")
SILENCE, NOISE = "sil", "spn"

Array = NDArray[np.float64]


def tone_hz(phone: str) -> float:
    """Return the frequency that `phone` sounds at."""
    return float(300.0 * 1.14 ** PHONES.index(phone))


def sound(phones: str, phone_s: float = 0.08, pitch: float = 1.0) -> NDArray[np.float32]:
    """Return `phones`, a letter each, spoken evenly; `.` is a pause."""
    time = np.arange(round(phone_s * RATE)) / RATE
    parts = [np.zeros(time.size) if p == "." else 0.3 * np.sin(2 * np.pi * pitch * tone_hz(p) * time) for p in phones]
    return np.concatenate(parts).astype(np.float32)


def observed(wave: Array) -> Array:
    """Return the logarithms of each frame's loudest frequency and of its level; `[frames, 2]`."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (120, 520)), 400)[::SHIFT]
    spectrum = np.abs(np.fft.rfft(frames[: wave.size // SHIFT] * np.hanning(400), 2048, axis=1))
    loudest = (spectrum[:, 5:].argmax(axis=1) + 5) * RATE / 2048
    return np.stack([np.log(loudest), np.log(spectrum.max(axis=1) + 1.0)], axis=1)


@cache
def gaussian(phone: str) -> tuple[Array, Array]:
    """Return mean and variance of a phone's frames, whose levels are told from the loudest."""
    if phone == SILENCE:
        return np.array([6.5, -6.5]), np.array([1.0, 4.0])
    if phone == NOISE:
        return np.array([6.5, -0.5]), np.array([1.0, 1.0])
    return np.array([np.log(tone_hz(phone)), -0.5]), np.array([0.08**2, 1.0])


def constant(phone: str) -> float:
    """Return what of a phone's log likelihood no frame changes."""
    mean, variance = gaussian(phone)
    return float(-0.5 * (np.log(2 * np.pi * variance) + mean**2 / variance).sum())


def likelihoods(phone: str, features: Array) -> Array:
    """Return the log likelihood of each frame."""
    mean, variance = gaussian(phone)
    return np.asarray(-0.5 * ((features - mean) ** 2 / variance + np.log(2 * np.pi * variance)).sum(axis=1))


@dataclass(frozen=True)
class BestPath:
    """The state of each frame, its log likelihood, each state's symbol, and each word's first and last frame."""

    states: list[int]
    likelihoods: Array
    symbols: list[str]
    words: list[tuple[int, int]]


def best_path(words: list[list[str]], features: Array) -> BestPath | None:
    """Lay words of symbols over frames by Viterbi, with a pause or none before each and after the last."""
    symbols = [symbol for word in words for symbol in (SILENCE, *word)] + [SILENCE]
    owners = [owner for number, word in enumerate(words) for owner in (-1, *[number] * len(word))] + [-1]
    likes = np.array([likelihoods(symbol.split("_")[0], features) for symbol in symbols])
    best = np.full(likes.shape, -np.inf)
    came = np.zeros(likes.shape, np.int64)
    best[:2, 0] = likes[:2, 0]
    for t in range(1, likes.shape[1]):
        for s in range(len(symbols)):
            before = [s, *([s - 1] if s else []), *([s - 2] if s > 1 and symbols[s - 1] == SILENCE else [])]
            came[s, t] = max(before, key=lambda b, t=t: best[b, t - 1])  # type: ignore[misc]
            best[s, t] = best[came[s, t], t - 1] + likes[s, t]
    state = max(len(symbols) - 1, len(symbols) - 2, key=lambda s: best[s, -1])
    if best[state, -1] == -np.inf:
        return None
    states = []
    for t in range(likes.shape[1] - 1, -1, -1):
        states.append(int(state))
        state = came[state, t]
    states.reverse()
    frames = [[t for t, s in enumerate(states) if owners[s] == number] for number in range(len(words))]
    places = [(mine[0], mine[-1] + 1) for mine in frames]
    return BestPath(states, likes[states, np.arange(len(states))], symbols, places)
