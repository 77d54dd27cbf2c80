"""kalpy's classes as this project needs them: sound from memory, the same result each time, a lexicon that can grow.

kalpy is the bindings of Kaldi that the Montreal Forced Aligner is made of; importing this needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np
from kalpy.data import Segment
from kalpy.feat.pitch import PitchComputer
from kalpy.fstext.lexicon import LexiconCompiler, Pronunciation
from kalpy.gmm.data import AlignmentArchive
from kalpy.models import AcousticModel
from numpy.typing import NDArray

from sift_ray.align.mfa_lexicon import UNKNOWN, WeightedForm
from sift_ray.schema import SAMPLE_RATE

POSITIONS: Final = ("_B", "_I", "_E", "_S")
"""What kalpy puts after a phone to mark its place in the word, where a model tells places apart."""

_SURE_PAUSE: Final = 0.99  # kalpy takes the log of one less this


class _Pitch(PitchComputer):  # type: ignore[misc]  # kalpy has no types
    def compute_pitch_for_export(self, segment: Any, compress: bool = True) -> Any:
        """Measure the sound in memory; kalpy's own reads the file of `segment` again."""
        if compress:
            raise ValueError("pitch for alignment is never compressed")
        return self.compute_pitch_for_wave(segment.kaldi_wave)


class Model(AcousticModel):  # type: ignore[misc]
    """kalpy's, without the noise that Kaldi draws anew each time, and reading the LDA matrix once."""

    @property
    def mfcc_options(self) -> dict[str, Any]:
        """The model's own, without dither."""
        return {**super().mfcc_options, "dither": 0.0}

    @property
    def pitch_options(self) -> dict[str, Any]:
        """The model's own, without noise on the differences."""
        return {**super().pitch_options, "delta_pitch_noise_stddev": 0.0}

    @property
    def pitch_computer(self) -> Any:
        """What measures pitch for a model that knows it, else None."""
        return _Pitch(**self.pitch_options) if self.meta["features"].get("use_pitch", False) else None

    @cached_property
    def lda_mat(self) -> Any:
        """The matrix, None in a model without one."""
        return super().lda_mat


class AlignmentsInMemory(AlignmentArchive):  # type: ignore[misc]
    """Alignments in memory where kalpy looks for a file of them."""

    def __init__(self, alignments: Mapping[str, Any]) -> None:
        self._alignments = alignments

    def __getitem__(self, item: str) -> Any:
        return self._alignments[item]

    def close(self) -> None:
        """Do nothing: there is no file."""


def segment(waveform: NDArray[np.float32]) -> Any:
    """Return what kalpy takes for a stretch of a file, of `waveform` (16 kHz, [-1, 1]) and without a file."""
    one = Segment("a waveform in memory", 0.0, waveform.size / SAMPLE_RATE)
    one.load_audio = lambda: waveform  # what its `wave` asks for; the path is never opened
    return one


def empty_lexicon(model: Model) -> Any:
    """Return a lexicon of the unknown word alone, with the model's own table of phones."""
    settings = model.parameters
    lexicon = LexiconCompiler(
        disambiguation=False,
        silence_probability=settings["silence_probability"],
        initial_silence_probability=settings["initial_silence_probability"],
        final_silence_correction=settings["final_silence_correction"],
        final_non_silence_correction=settings["final_non_silence_correction"],
        oov_word=UNKNOWN,
        silence_phone=settings["optional_silence_phone"],
        oov_phone=settings["oov_phone"],
        position_dependent_phones=settings["position_dependent_phones"],
        phones=settings["non_silence_phones"],
    )
    if model.meta.get("phone_mapping") or model.phone_symbol_path.is_file():
        table = lexicon.phone_table = model.lexicon_compiler.phone_table
        lexicon.position_dependent_phones = any(
            table.find(index).endswith(POSITIONS) for index in range(table.num_symbols())
        )
    lexicon.pronunciations.append(Pronunciation(lexicon.oov_word, lexicon.oov_phone, 1.0))
    lexicon.compute_disambiguation_symbols()  # names the marks around words too, that paths are cut at
    lexicon.create_fsts()
    return lexicon


def pronunciation(name: str, form: WeightedForm) -> Any:
    """Return kalpy's pronunciation of the word `name`."""
    after = None if form.silence_after is None else min(form.silence_after, _SURE_PAUSE)
    return Pronunciation(
        name, " ".join(form.phones), form.probability, after, form.silence_before, form.no_silence_before, None
    )


def bare(phone: str) -> str:
    """Return `phone` without the mark of its place."""
    return phone[:-2] if phone.endswith(POSITIONS) else phone
