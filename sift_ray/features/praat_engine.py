"""One clip after another with Praat and NumPy: the reference of all else, and the default on a CPU.

In batches of 32 clips torch is half as fast again there (`tests/benchmarks/README.md`), yet DNSMOS takes 88 % of the
time, and every worker would load torch for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from sift_ray.features import noise, reverberation
from sift_ray.features.engine import DISABLED, Signal, Waveform
from sift_ray.features.intensity import intensity_track
from sift_ray.features.pitch import pitch_track
from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.features.spectrum import power_spectrogram


class PraatEngine:
    """Measures clips one by one on the CPU.

    Attributes:
        backends: as `engine.SignalEngine`.
    """

    def __init__(self, parameters: PitchParameters, *, room: bool) -> None:
        self._parameters = parameters
        self._room = room
        self.backends = {"pitch": "praat_ac", "intensity": "praat"}
        if room:
            self.backends |= {"snr": noise.BACKEND, "c50": reverberation.BACKEND}

    def measure(self, clips: Sequence[Waveform]) -> list[Signal]:
        """Measure each clip: float32 [n], 16 kHz, without its mean, finite, not silent."""
        return [self._measure(clip) for clip in clips]

    def _measure(self, clip: Waveform) -> Signal:
        snr = c50 = DISABLED
        if self._room:
            power = power_spectrogram(clip)
            snr, c50 = noise.snr(clip, power), reverberation.c50(power)
        return Signal(
            *pitch_track(clip, self._parameters),
            *intensity_track(clip, pitch_floor=self._parameters.pitch_floor),
            snr,
            c50,
        )
