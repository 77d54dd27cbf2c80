"""Speech for the benchmarks of measuring: clips as long as those of the corpora, of one voice each."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable

import numpy as np
import soxr
from numpy.typing import NDArray

from sift_ray.corpora.demo_voice import VoiceJob, speak
from sift_ray.schema import SAMPLE_RATE
from tests.human_speech import recordings

Clip = NDArray[np.float32]

LENGTHS_S = ((10.0, 20.0), (3.0, 8.0))  # clips of Multilingual LibriSpeech and of Common Voice, as many of each
VARIANTS = (("f2", 55, 150), ("m3", 40, 175))  # of espeak-ng: name, pitch, words a minute
PROMPTS = 30  # of each human voice


def speech_clips(seconds: float, *, seed: int = 0) -> list[Clip]:
    """Return clips of 3 to 20 s, `seconds` in all: float32 [n], 16 kHz, in [-1, 1].

    Prompts of one human speaker, or of one synthetic voice, are joined to the length of a clip. Human and synthetic
    voices take turns, a long and a short clip each.
    """
    draw = np.random.default_rng(seed)
    human, synthetic = ([itertools.cycle(prompts) for prompts in group] for group in _voices())
    clips: list[Clip] = []
    left = round(seconds * SAMPLE_RATE)
    for pair in itertools.cycle(list(zip(itertools.cycle(human), synthetic, strict=False))):
        for voice, lengths in itertools.product(pair, LENGTHS_S):
            samples = min(round(draw.uniform(*lengths) * SAMPLE_RATE), left)
            parts: list[Clip] = []
            while sum(map(len, parts)) < samples:
                parts.append(next(voice))
            clips.append(np.concatenate(parts)[:samples])
            left -= samples
            if not left:
                return clips
    raise AssertionError("there are no voices")


def seconds_of(clips: Iterable[Clip]) -> float:
    """Return how much audio `clips` hold."""
    return sum(map(len, clips)) / SAMPLE_RATE


@functools.cache
def _voices() -> tuple[list[list[Clip]], list[list[Clip]]]:
    """Return the prompts of each human voice, and of each synthetic one, which says the same."""
    prompts = recordings(per_language=PROMPTS)
    human: dict[str, list[Clip]] = {}
    for prompt in prompts:
        human.setdefault(prompt.speaker_id, []).append(prompt.samples)
    jobs = [
        VoiceJob(prompt.transcript, f"{prompt.language}+{variant}", pitch=pitch, pitch_range=50, rate_wpm=rate)
        for prompt in prompts
        for variant, pitch, rate in VARIANTS
    ]
    synthetic: dict[str, list[Clip]] = {}
    for job, spoken in zip(jobs, speak(jobs), strict=True):
        samples = 0.8 * soxr.resample(spoken.samples.astype(np.float32) / 32768, spoken.sample_rate, SAMPLE_RATE)
        synthetic.setdefault(job.voice, []).append(np.clip(samples, -1, 1).astype(np.float32))
    return list(human.values()), list(synthetic.values())
