"""What every way of measuring the signal gives, and where it runs."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sift_ray.config import FeaturesConfig
from sift_ray.features.pitch_parameters import PitchParameters

log = logging.getLogger(__name__)

Waveform = NDArray[np.float32]
Estimate = tuple[float | None, str | None]
"""A value and None, or None and the reason why there is none."""

DISABLED: Estimate = (None, "disabled")


class Signal(NamedTuple):
    """What is measured on one clip by signal processing alone.

    Attributes:
        f0_hz: float32 [frames], Hz, 0 where unvoiced; empty where the clip is too short.
        f0_start_s: centre of the first F0 frame, s.
        intensity_db: float32 [frames], dB re 2e-5; empty where the clip is too short.
        intensity_start_s: centre of the first intensity frame, s.
        snr: signal-to-noise ratio, dB.
        c50: clarity, dB.
    """

    f0_hz: NDArray[np.float32]
    f0_start_s: float
    intensity_db: NDArray[np.float32]
    intensity_start_s: float
    snr: Estimate = DISABLED
    c50: Estimate = DISABLED


class SignalEngine(Protocol):
    """Measures waveforms: one clip at a time with Praat, or many at once in torch.

    Attributes:
        backends: what measures `pitch` and `intensity`, and `snr` and `c50` where they are asked for.
    """

    backends: dict[str, str]

    def measure(self, clips: Sequence[Waveform]) -> list[Signal]:
        """Measure each clip: float32 [n], 16 kHz, without its mean, finite, not silent."""


def pitch_parameters(config: FeaturesConfig) -> PitchParameters:
    """Return Praat's parameters as the config has them."""
    return PitchParameters(
        pitch_floor=config.pitch_floor,
        pitch_ceiling=config.pitch_ceiling,
        silence_threshold=config.silence_threshold,
        voicing_threshold=config.voicing_threshold,
        octave_cost=config.octave_cost,
        octave_jump_cost=config.octave_jump_cost,
        voiced_unvoiced_cost=config.voiced_unvoiced_cost,
    )


def device_of(config: FeaturesConfig) -> str:
    """Return where measuring runs: `cpu` or `cuda`.

    `auto` is cuda where the pool gives its actors GPUs and torch finds one, so that workers without one need not
    load torch to know.

    Raises:
        ValueError: device is cuda, and there is no torch or no GPU that it can use.
    """
    if config.device == "cpu" or (config.device == "auto" and not config.pool.num_gpus):
        return "cpu"
    if importlib.util.find_spec("torch") is None:
        missing = "torch is not installed: pip install 'sift-ray[gpu]'"
    else:
        import torch

        if torch.cuda.is_available():
            return "cuda"
        missing = f"torch {torch.__version__} finds no GPU"
    if config.device == "cuda":
        raise ValueError(f"features.device is cuda, but {missing}, or set features.device to auto or cpu")
    log.warning("features run on the CPU although their actors hold GPUs: %s", missing)
    return "cpu"


def signal_engine(config: FeaturesConfig, device: str) -> SignalEngine:
    """Return the engine of `config.engine`; `auto` is torch on a GPU, where batches pay, and Praat elsewhere.

    Raises:
        ValueError: torch is asked for and not installed.
    """
    parameters, room = pitch_parameters(config), config.room == "signal"
    if config.engine == "praat" or (config.engine == "auto" and device == "cpu"):
        from sift_ray.features.praat_engine import PraatEngine

        return PraatEngine(parameters, room=room)
    if importlib.util.find_spec("torch") is None:
        raise ValueError("features.engine is torch, which is not installed: pip install 'sift-ray[gpu]'")
    from sift_ray.features.batched.engine import TorchEngine

    return TorchEngine(parameters, room=room, device=device)


def release_device_memory() -> None:
    """Give back the GPU memory that torch keeps for later; nothing where torch is not in use."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.backends.cuda.cufft_plan_cache.clear()  # which empty_cache leaves alone
        torch.cuda.empty_cache()
