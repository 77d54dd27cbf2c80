"""Tones that stand for vowels, and a phone classifier that knows them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.phone_model import PhoneInterval, PhoneModel, observe
from sift_ray.align.signal import pad
from sift_ray.schema import SAMPLE_RATE

TONES = {"a": 300.0, "i": 2500.0}
MODEL_PHONES = ("sil", "a", "i")


def tone_clip(names: str, seed: int = 0) -> tuple[NDArray[np.float32], list[PhoneInterval]]:
    """Return a padded clip of tones, 0.1 s and a word each, between 0.1 s of faint noise; and where they lie."""
    time = np.arange(int(0.1 * SAMPLE_RATE)) / SAMPLE_RATE
    rest = [np.zeros(time.size)]
    dry = np.concatenate([*rest, *(0.3 * np.sin(2 * np.pi * TONES[name] * time) for name in names), *rest])
    clip = dry + 0.001 * np.random.default_rng(seed).standard_normal(dry.size)
    spans = [PhoneInterval(name, 0.4 + 0.1 * i, 0.5 + 0.1 * i, i) for i, name in enumerate(names)]
    end = 0.4 + 0.1 * len(names)
    silences = [PhoneInterval("sil", 0.0, 0.4, -1), PhoneInterval("sil", end, end + 0.4, -1)]
    return pad(clip.astype(np.float32)), [silences[0], *spans, silences[1]]


def tone_model() -> PhoneModel:
    """Return a classifier fitted to four clips."""
    clips = [tone_clip(names, seed) for seed, names in enumerate(("aiaai", "iaiia", "aaiia", "iiaai"))]
    return PhoneModel.fit((observe(clip), intervals) for clip, intervals in clips)
