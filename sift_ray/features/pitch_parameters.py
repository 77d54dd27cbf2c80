"""The parameters of Praat's pitch analysis, under Praat's names and with Praat's defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PitchParameters:
    """Parameters of "To Pitch (ac)".

    Attributes:
        pitch_floor: lowest F0 looked for, Hz; the window is 3 / floor seconds long.
        pitch_ceiling: highest F0 looked for, Hz.
        silence_threshold: frames whose peak is below this share of the clip's peak are probably unvoiced.
        voicing_threshold: strength of the unvoiced candidate, on the scale of the normalised autocorrelation.
        octave_cost: how much a candidate of twice the frequency is favoured.
        octave_jump_cost: cost of a change of F0 from frame to frame, per octave.
        voiced_unvoiced_cost: cost of a change between voiced and unvoiced.
        max_candidates: candidates kept in a frame, the unvoiced one among them.
    """

    pitch_floor: float = 75.0
    pitch_ceiling: float = 600.0
    silence_threshold: float = 0.03
    voicing_threshold: float = 0.45
    octave_cost: float = 0.01
    octave_jump_cost: float = 0.35
    voiced_unvoiced_cost: float = 0.14
    max_candidates: int = 15
