"""Forced alignment by pocketsphinx with its own English model: where another aligner says that words begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder

from sift_ray.schema import SAMPLE_RATE

_FRAMES_PER_S = 100
_PAD_S = 0.3  # its silence model wants some at both ends
_PAD_LEVEL = 1e-4  # of full scale


@dataclass(frozen=True, slots=True)
class SphinxSpan:
    """A word as given, and where it is spoken, in seconds to the frame of 10 ms."""

    word: str
    start_s: float
    end_s: float


class SphinxAligner:
    """Aligns English words to clips. What its dictionary lacks can't be aligned."""

    def __init__(self) -> None:
        self._decoder = Decoder(lm=None, loglevel="FATAL")

    def knows(self, words: Sequence[str]) -> bool:
        """Whether every word is in the dictionary, as it is or in lower case."""
        return all(self._decoder.lookup_word(word.lower()) is not None for word in words)

    def align(self, words: Sequence[str], waveform: NDArray[np.float32]) -> list[SphinxSpan] | None:
        """Return one span a word, or None where no way was found through the clip.

        Args:
            words: all of them known.
            waveform: float32 [n] at 16 kHz in [-1, 1].
        """
        noise = np.random.default_rng(0).standard_normal(waveform.size + 2 * round(_PAD_S * SAMPLE_RATE))
        padded = np.pad(waveform, round(_PAD_S * SAMPLE_RATE)) + _PAD_LEVEL * noise
        self._decoder.set_align_text(" ".join(words).lower())
        self._decoder.start_utt()
        self._decoder.process_raw(np.rint(np.clip(padded, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        if self._decoder.hyp() is None:
            return None
        # beside the words there are silences, such as <sil>; a second pronunciation is written as "the(2)"
        spoken = [segment for segment in self._decoder.seg() if segment.word[0] not in "<["]
        if [segment.word.partition("(")[0] for segment in spoken] != [word.lower() for word in words]:
            return None
        return [
            SphinxSpan(word, one.start_frame / _FRAMES_PER_S - _PAD_S, (one.end_frame + 1) / _FRAMES_PER_S - _PAD_S)
            for word, one in zip(words, spoken, strict=True)
        ]
