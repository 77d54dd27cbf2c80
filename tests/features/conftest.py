"""Clean synthetic voices in five languages, and what spoils them."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from sift_ray.corpora.demo_voice import VoiceJob, speak
from sift_ray.schema import SAMPLE_RATE

Clip = NDArray[np.float32]

SENTENCES = {
    "en": "When the sunlight strikes raindrops in the air, they act as a prism and form a rainbow.",
    "de": "Der Nordwind und die Sonne stritten sich, wer von ihnen der Stärkere wäre.",
    "fr": "La bise et le soleil se disputaient, chacun assurant qu'il était le plus fort.",
    "it": "Si bisticciavano un giorno il vento di tramontana e il sole, chi fosse il più forte.",
    "es": "El viento norte y el sol discutían sobre cuál de ellos era el más fuerte.",
}


@pytest.fixture(scope="session")
def voices() -> list[Clip]:
    """Ten clips of 3 to 6 s: float32, 16 kHz, dry."""
    jobs = [
        VoiceJob(text, f"{language}+{variant}", pitch=pitch, pitch_range=50, rate_wpm=rate)
        for language, text in SENTENCES.items()
        for variant, pitch, rate in (("f2", 55, 150), ("m3", 40, 175))
    ]
    return [
        0.8 * soxr.resample(spoken.samples.astype(np.float32) / 32768, spoken.sample_rate, SAMPLE_RATE)
        for spoken in speak(jobs)
    ]


@pytest.fixture(scope="session")
def voice(voices: list[Clip]) -> Clip:
    return voices[0]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def tone(hz: float, seconds: float, level: float = 0.1) -> Clip:
    """A voice-like tone: eight harmonics falling by 6 dB an octave, of RMS `level`."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 9))
    return (wave * level / np.sqrt(np.mean(wave**2))).astype(np.float32)
