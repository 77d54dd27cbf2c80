"""Synthetic speech that helps a model through its first minutes of real speech.

A training that knows nothing lays the phones of a text evenly over its clip, and gets better from there. On a long
sentence that start is far off, and a minute of several noisy voices does not mend it: a sixth of the words came to
begin within 50 ms of their place. On a piece of one to four words the start is nearly right. espeak-ng says where
each of its words begins, so the same texts are read by it and cut into such pieces; some of them in a room and in
noise, so that these are not new to the model when the real clips move it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from sift_ray.align.protocol import TrainingClip
from sift_ray.align.text import text_rules, written_words
from sift_ray.corpora.demo_acoustics import in_room, room_response
from sift_ray.corpora.demo_voice import Spoken, VoiceJob, speak
from sift_ray.schema import SAMPLE_RATE

_VARIANTS: Final = ("f2", "m3", "f3", "m1", "f4", "m7", "f1", "m5", "f5", "m2")
_CHARACTERS_PER_SECOND = 14.0
_PEAK = 0.3
_LONGEST_TEXT = 300  # characters
_MOST_WORDS = 4  # in a piece
_SNR_DB = (8.0, 45.0)
_IN_A_ROOM = 0.3  # share of the pieces
_T60_S, _DIRECT_DB, _TAIL_S = (0.2, 0.8), (-3.0, 6.0), 0.15


def seed_speech(language: str, transcripts: Sequence[str], seconds: float, seed: int) -> Iterator[TrainingClip]:
    """Yield about `seconds` of short synthetic clips that say `transcripts` in turn; equal arguments, equal clips.

    Raises:
        SynthesisError: espeak-ng refused.
    """
    rules = text_rules(language)
    texts = [" ".join(written_words(transcript, rules)) for transcript in transcripts]
    texts = [text for text in texts if 0 < len(text) <= _LONGEST_TEXT]
    if not texts:
        return
    source = np.random.default_rng([seed, 1])
    jobs: list[VoiceJob] = []
    planned = 0.0
    while planned < seconds:
        text = texts[len(jobs) % len(texts)]
        jobs.append(
            VoiceJob(
                text=text,
                voice=f"{rules.reader}+{_VARIANTS[len(jobs) % len(_VARIANTS)]}",
                pitch=int(source.integers(25, 76)),
                pitch_range=int(source.integers(20, 81)),
                rate_wpm=int(source.integers(130, 191)),
            )
        )
        planned += len(text) / _CHARACTERS_PER_SECOND
    for number, (job, spoken) in enumerate(zip(jobs, speak(jobs), strict=True)):
        for first, (text, samples) in enumerate(_pieces(job.text, spoken, source)):
            waveform = _record(samples, spoken.sample_rate, source)
            yield TrainingClip(f"seed-{number}-{first}", f"seed-{job.voice}", waveform, text)


def _pieces(text: str, spoken: Spoken, source: np.random.Generator) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Cut `text` into pieces of one to `_MOST_WORDS` words where espeak began a word, and its sound with it."""
    words = text.split(" ")
    begins: list[int | None] = []
    place = 0
    for word in words:
        begins.append(min((sample for at, sample in spoken.words if place <= at < place + len(word)), default=None))
        place += len(word) + 1
    dry = np.asarray(spoken.samples, np.float32)
    dry *= _PEAK / max(float(np.abs(dry).max(initial=0.0)), 1.0)
    first, begin = 0, 0
    while first < len(words):
        last = first + int(source.integers(1, _MOST_WORDS + 1))
        # words that espeak joined ("of the") have one beginning and are not parted
        end = next((index for index in range(last, len(words)) if begins[index] is not None), len(words))
        until = (begins[end] if end < len(words) else None) or dry.size
        yield " ".join(words[first:end]), dry[begin:until]
        first, begin = end, until


def _record(dry: NDArray[np.float32], rate: int, source: np.random.Generator) -> NDArray[np.float32]:
    samples = np.asarray(soxr.resample(dry, rate, SAMPLE_RATE), np.float64)
    if source.uniform() < _IN_A_ROOM:
        room = room_response(source.uniform(*_T60_S), source.uniform(*_DIRECT_DB), SAMPLE_RATE, source)
        level = _rms(samples)
        samples = np.concatenate([samples, np.zeros(round(_TAIL_S * SAMPLE_RATE))])
        samples = in_room(samples, room)[: samples.size]
        samples *= level / max(_rms(samples), 1e-9)
    noise = _rms(samples) * 10 ** (-source.uniform(*_SNR_DB) / 20)
    return np.asarray(samples + noise * source.standard_normal(samples.size), np.float32)


def _rms(samples: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) if samples.size else 0.0
