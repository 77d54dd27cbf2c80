"""The few clips that a page plays and draws: decoded, measured anew, and encoded small."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from sift_ray.audio.errors import DecodeError, DecoderStartError
from sift_ray.audio.isolate import IsolatedDecoder
from sift_ray.config import Config
from sift_ray.features.pitch import pitch_track
from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.schema import SAMPLE_RATE

LONGEST_S: Final = 30.0
"""Of a longer clip only so much is played and drawn."""

PEAKS_PER_S: Final = 100

DRAWN_PER_S: Final = 4_300
"""Bytes of the page that a second of a clip takes as it is drawn: its waveform, and F0 where all is voiced."""

# what every browser plays comes first; libsndfile may have been built without it
_FORMATS: Final = (
    ("MP3", "MPEG_LAYER_III", "audio/mpeg"),
    ("OGG", "OPUS", "audio/ogg"),
    ("WAV", "PCM_16", "audio/wav"),
)


class Span(NamedTuple):
    """A word and when it is said, s from the clip's start."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Sound:
    """A clip as it is played and drawn.

    Attributes:
        source: the encoded audio, as a data URI; empty where the page has no room left for it.
        seconds: of what is played.
        cut: whether the clip is longer than that.
        peaks: float32 [n], the greatest amplitude (0 to 1) in each of `PEAKS_PER_S` parts of a second.
        f0_hz: float32 [m], a value every `tracks.STEP_S`, 0 where unvoiced.
        f0_start_s: centre of the first of them.
    """

    source: str
    seconds: float
    cut: bool
    peaks: NDArray[np.float32]
    f0_hz: NDArray[np.float32]
    f0_start_s: float


class SoundReader:
    """Reads clips one after the other, in a process of its own: a file that kills its decoder costs only itself.

    Args:
        config: the job: how its audio is read, and how its pitch is measured.
        room: bytes that the clips of a page may take together, encoded and drawn; those that come after have no
            `source`, and where that is not enough are not drawn.
    """

    def __init__(self, config: Config, room: int) -> None:
        features = config.annotate.features
        self._parameters = PitchParameters(pitch_floor=features.pitch_floor, pitch_ceiling=features.pitch_ceiling)
        self._decoder = IsolatedDecoder(config.reading_from, config.annotate.decode)
        self._room = room

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoder.close()

    def read(self, uri: str | None) -> Sound | str:
        """Return the clip at an address, or why there is none to hear."""
        if uri is None:
            return "no audio is known"
        try:
            samples = self._decoder.decode(uri).samples
        except (DecodeError, DecoderStartError) as error:
            return str(error)
        kept = samples[: round(LONGEST_S * SAMPLE_RATE)]
        drawn = round(len(kept) / SAMPLE_RATE * DRAWN_PER_S)
        if drawn > self._room:
            return "The page has no room for it."
        wave = kept.astype(np.float32) / np.float32(32768)
        f0, start_s = pitch_track(wave - wave.mean(dtype=np.float64).astype(np.float32), self._parameters)
        source = data_uri(kept)
        if len(source) + drawn > self._room:
            source = ""
        self._room -= len(source) + drawn
        return Sound(source, len(kept) / SAMPLE_RATE, len(kept) < len(samples), peaks_of(wave), f0, start_s)


def data_uri(samples: NDArray[np.int16]) -> str:
    """Return int16 [n] at 16 kHz as the address of an encoded clip that holds it all."""
    for kind, subtype, media_type in _FORMATS:
        if not soundfile.check_format(kind, subtype):
            continue
        encoded = BytesIO()
        soundfile.write(encoded, samples, SAMPLE_RATE, format=kind, subtype=subtype)
        return f"data:{media_type};base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
    raise AssertionError("libsndfile always writes WAV")


def peaks_of(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the greatest amplitude in each hundredth of a second; `wave` is float32 [n] at 16 kHz, in [-1, 1]."""
    size = SAMPLE_RATE // PEAKS_PER_S
    padded = np.zeros(-(-len(wave) // size) * size, np.float32)
    padded[: len(wave)] = np.abs(wave)
    peaks: NDArray[np.float32] = padded.reshape(-1, size).max(axis=1, initial=0.0)
    return peaks


def spans_of(words: Sequence[Mapping[str, Any]] | None) -> list[Span]:
    """Return the words of an annotation (`schema.WORD`) that have a place in time."""
    return [
        Span(word["word"], word["start_s"], word["end_s"])
        for word in words or ()
        if word["start_s"] is not None and word["end_s"] is not None
    ]
