"""Clips and transcripts that do not belong together, in every way that an aligner must see through."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.confidence import active
from sift_ray.align.signal import STEP_S
from sift_ray.schema import SAMPLE_RATE

Samples = NDArray[np.float32]

NEIGHBOURS = 8
"""Transcripts are swapped with one of so many clips whose length is nearest."""
MOST_SHARED = 0.5
"""Prompts that share more of their words than this are not wrong enough to swap."""


class Clip(Protocol):
    """What is known of a clip: `human_speech.Recording` and others."""

    @property
    def name(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def transcript(self) -> str: ...
    @property
    def samples(self) -> Samples: ...


@dataclass(frozen=True)
class Case:
    """`samples` with a `transcript`; `kind` says what is wrong, `name` whose clip it was."""

    kind: str
    name: str
    samples: Samples
    transcript: str


def partner(clip: Clip, clips: Sequence[Clip], source: np.random.Generator) -> Clip:
    """Return another clip of about the same length with another text."""
    length = clip.samples.size
    nearest = sorted(clips, key=lambda other: abs(np.log(other.samples.size / length)))
    others = [other for other in nearest[: 4 * NEIGHBOURS] if _shared(clip, other) <= MOST_SHARED]
    return others[int(source.integers(min(len(others), NEIGHBOURS)))]


def swapped(clips: Sequence[Clip], seed: int = 0) -> list[Case]:
    """Give every clip the transcript of its `partner`."""
    source = np.random.default_rng(seed)
    return [Case("swapped", clip.name, clip.samples, partner(clip, clips, source).transcript) for clip in clips]


def others(clips: Sequence[Clip], foreign: Sequence[Clip], seed: int = 0) -> list[Case]:
    """Spoil every clip in the other ways; `foreign` are clips of other languages."""
    source = np.random.default_rng(seed)
    cases = []
    for clip in clips:
        half = partner(clip, clips, source).samples
        stranger = partner(clip, foreign, source)
        ways = {
            "trailing speech": _joined(clip.samples, half[: half.size // 2]),
            "leading speech": _joined(half[half.size // 2 :], clip.samples),
            "truncated": truncated(clip.samples, 0.6),
            "music": music(clip.samples.size, source),
            "noise": noise(clip.samples.size, source),
            "foreign speech": stranger.samples,
        }
        cases += [Case(kind, clip.name, samples, clip.transcript) for kind, samples in ways.items()]
        cases.append(Case("foreign, own text", stranger.name, stranger.samples, stranger.transcript))
    return cases


def truncated(samples: Samples, share: float) -> Samples:
    """Return the beginning of a clip, with `share` of the time from its first sound to its last."""
    sounding = np.flatnonzero(active(samples))
    if sounding.size == 0:
        return samples[: round(share * samples.size)]
    frames = sounding[0] + share * (sounding[-1] - sounding[0])
    return samples[: round(frames * STEP_S * SAMPLE_RATE)]


def noise(length: int, source: np.random.Generator) -> Samples:
    """Return white noise."""
    return (0.05 * source.standard_normal(length)).astype(np.float32)


def music(length: int, source: np.random.Generator) -> Samples:
    """Return plucked chords, a quarter to three quarters of a second each."""
    sound = 1e-4 * source.standard_normal(length)
    start = 0
    while start < length:
        end = min(length, start + int(source.uniform(0.25, 0.75) * SAMPLE_RATE))
        time = np.arange(end - start) / SAMPLE_RATE
        fade = np.exp(-source.uniform(1, 5) * time) * np.minimum(time / 0.01, 1)
        root = 110 * 2 ** (source.integers(0, 24) / 12)
        for semitones in (0, source.integers(3, 5), 7, 12):
            for harmonic in range(1, 9):
                wave = np.sin(2 * np.pi * root * 2 ** (semitones / 12) * harmonic * time + source.uniform(0, 6))
                sound[start:end] += 0.05 * fade * wave / harmonic**1.2
        start = end
    return sound.astype(np.float32)


def _joined(first: Samples, second: Samples) -> Samples:
    return np.concatenate([first, np.full(SAMPLE_RATE // 10, 1e-5, np.float32), second])


def _shared(one: Clip, other: Clip) -> float:
    mine, theirs = (re.findall(r"\w+", clip.transcript.lower()) for clip in (one, other))
    return difflib.SequenceMatcher(a=mine, b=theirs, autojunk=False).ratio()
