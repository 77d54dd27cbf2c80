"""Many clips at once in torch: pitch, intensity, and what the one spectrogram gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sift_ray.features import noise as noise_per_clip
from sift_ray.features import reverberation as reverberation_per_clip
from sift_ray.features.batched import noise, reverberation
from sift_ray.features.batched.intensity import intensity_tracks
from sift_ray.features.batched.pitch import pitch_tracks
from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.batched.spectrum import power_spectrograms
from sift_ray.features.engine import DISABLED, Signal, Waveform
from sift_ray.features.pitch_parameters import PitchParameters


class TorchEngine:
    """Measures clips together on a device; memory bounds how many (`audio.batching.ShrinkingBatches`).

    Attributes:
        backends: as `engine.SignalEngine`; the definitions of SNR and C50 are those of the CPU.
    """

    def __init__(self, parameters: PitchParameters, *, room: bool, device: str) -> None:
        self._parameters = parameters
        self._room = room
        self._device = device
        self.backends = {"pitch": "torch_ac", "intensity": "torch"}
        if room:
            self.backends |= {"snr": noise_per_clip.BACKEND, "c50": reverberation_per_clip.BACKEND}

    def measure(self, clips: Sequence[Waveform]) -> list[Signal]:
        """Measure each clip: float32 [n], 16 kHz, without its mean, finite, not silent."""
        with torch.inference_mode():
            batch = RaggedBatch.of(clips, self._device)
            pitch = pitch_tracks(batch, self._parameters)
            levels = intensity_tracks(batch, pitch_floor=self._parameters.pitch_floor)
            snr = c50 = [DISABLED] * len(clips)
            if self._room:
                power = power_spectrograms(batch)
                snr, c50 = noise.snr(batch, power), reverberation.c50(power)
        return [Signal(*parts[0], *parts[1], *parts[2:]) for parts in zip(pitch, levels, snr, c50, strict=True)]
