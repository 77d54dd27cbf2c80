"""Distortion and quality by SQUIM: SI-SDR and PESQ as its objective network estimates them without a reference.

A. Kumar et al., "TorchAudio-Squim: Reference-less Speech Quality and Intelligibility Measures in TorchAudio", ICASSP
2023; the network is in `squim_net`. The weights that torchaudio publishes were trained on speech of the DNS challenge
2020, and are licensed under CC BY 4.0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sift_ray.audio.batching import duration_buckets
from sift_ray.features.checkpoints import CheckpointError
from sift_ray.features.squim_net import SquimNet
from sift_ray.features.weights import load_weights
from sift_ray.schema import SAMPLE_RATE

DISTORTION_BACKEND: Final = "squim_si_sdr"
QUALITY_BACKEND: Final = "squim_pesq"
MIN_SAMPLES: Final = SAMPLE_RATE // 4
"""A clip under 0.25 s is not judged."""
MAX_SAMPLES: Final = 30 * SAMPLE_RATE
"""Of a clip over 30 s its middle 30 s are judged: the cost of attention grows with the square of what is heard."""

_AT_ONCE: Final = 120 * SAMPLE_RATE  # samples the network holds at once: 1 GB on a CPU
_SILENT: Final = 1e-6  # RMS; the network divides by it


class SquimScores(NamedTuple):
    """Estimates of what two measures with a reference would tell: SI-SDR in dB, PESQ as MOS (ITU-T P.862.2)."""

    si_sdr_db: float
    pesq: float


class Squim:
    """The SQUIM objective network on one device.

    Args:
        weights: file of a state dict of torchaudio's `squim_objective_base`, as `published.SQUIM` finds it.
        device: where it runs.

    Raises:
        CheckpointError: the file can't be read, or holds the weights of another network.
    """

    def __init__(self, weights: Path, *, device: str | torch.device) -> None:
        net = SquimNet()
        try:
            net.load_state_dict(load_weights(weights))
        except RuntimeError as error:
            reasons = str(error).splitlines()  # a headline, then one for each tensor that does not fit
            raise CheckpointError(
                f"{weights}: not the weights of SQUIM's objective network (torchaudio's squim_objective_base): "
                f"{reasons[min(1, len(reasons) - 1)].strip()[:200]}"
            ) from error
        self._net = net.eval().to(device)
        self._device = device

    def score(self, clips: Sequence[NDArray[np.float32]]) -> list[SquimScores | None]:
        """Judge each clip: float32 [n] at 16 kHz, finite.

        What a clip gets does not depend on the others. None for one under 0.25 s, or silent (RMS below -120 dB re full
        scale).
        """
        heard = [_middle(clip) for clip in clips]
        judged = [index for index, clip in enumerate(heard) if len(clip) >= MIN_SAMPLES and _rms(clip) > _SILENT]
        scores: list[SquimScores | None] = [None] * len(clips)
        for bucket in duration_buckets([len(heard[index]) for index in judged], _AT_ONCE):
            members = [judged[place] for place in bucket]
            for index, found in zip(members, self._infer([heard[index] for index in members]), strict=True):
                scores[index] = found
        return scores

    def _infer(self, clips: Sequence[NDArray[np.float32]]) -> list[SquimScores]:
        # TensorFloat-32, cuDNN's default, would make a score depend on which kernel a batch's size selects
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            tensors = [torch.tensor(clip, dtype=torch.float32, device=self._device) for clip in clips]
            found = self._net(tensors, ("si_sdr", "pesq"))
            pairs = torch.stack([found["si_sdr"], found["pesq"]], 1).tolist()
        return [SquimScores(si_sdr_db, pesq) for si_sdr_db, pesq in pairs]


def _middle(clip: NDArray[np.float32]) -> NDArray[np.float32]:
    start = max(0, (len(clip) - MAX_SAMPLES) // 2)
    return clip[start : start + MAX_SAMPLES]


def _rms(clip: NDArray[np.float32]) -> float:
    return math.sqrt(float(np.mean(np.square(clip, dtype=np.float64))))
