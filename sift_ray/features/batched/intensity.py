"""Intensity as Praat measures it ("To Intensity", mean subtracted), for many clips at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.intensity import PERIODS_PER_WINDOW, SILENCE_DB, least_samples
from sift_ray.features.tracks import STEP_S
from sift_ray.schema import SAMPLE_RATE

_CHUNK_FRAMES: Final = 1 << 16  # 0.4 GB at a pitch floor of 75 Hz
_CHUNK_FRAMES_CPU: Final = 1 << 10  # stays in the cache, which is five times as fast
_KAISER: Final = 2.0 * np.pi**2 + 0.5  # Praat's "Kaiser-20": side lobes under -190 dB
_REFERENCE: Final = 4e-10  # (2e-5)^2, as though an amplitude of 1 were 1 Pa


def intensity_tracks(batch: RaggedBatch, *, pitch_floor: float) -> list[tuple[NDArray[np.float32], float]]:
    """Measure what `sift_ray.features.intensity.intensity_track` does.

    Args:
        batch: clips at 16 kHz; its margin must be 1 or more.
        pitch_floor: lowest F0 in Hz whose periods must not show in the track; sets the window, 6.4 / floor s.

    Returns:
        One per clip: dB re 2e-5, float32 [frames], at least -100, and the centre of the first frame in s. No frames
        where the clip is shorter than Praat's window.
    """
    sizes = np.array(batch.sizes, np.int64)
    counts, first_s = _frame_grid(sizes, pitch_floor)
    clip = np.repeat(np.arange(len(sizes)), counts)
    if not len(clip):
        return [(np.empty(0, np.float32), 0.0) for _ in batch.sizes]
    number = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    # a centre may lie right between two samples: the same arithmetic as Praat's rounds to the same side
    place = (first_s[clip] + number * STEP_S - 0.5 / SAMPLE_RATE) / (1.0 / SAMPLE_RATE) + 1.0
    centres = np.floor(place + 0.5).astype(np.int64) - 1
    weights = _kaiser(pitch_floor)
    lefts = centres - len(weights) // 2
    # beyond the end of a clip lies one sample at most, a zero at the edge of the window, where the weight is nothing
    inside = np.minimum(lefts + len(weights), sizes[clip]) - np.maximum(lefts, 0)

    device = batch.device
    starts = batch.starts[torch.from_numpy(clip).to(device)] + torch.from_numpy(lefts).to(device)
    heard = torch.from_numpy(inside).to(device)
    kernel = torch.from_numpy((weights / weights.sum()).astype(np.float32)).to(device)
    size = _CHUNK_FRAMES_CPU if device.type == "cpu" else _CHUNK_FRAMES
    chunks = zip(starts.split(size), heard.split(size), strict=True)
    powers = torch.cat([_powers(batch, at, samples, kernel) for at, samples in chunks])
    levels = (10.0 * torch.log10(powers / _REFERENCE)).clamp(min=SILENCE_DB).cpu().numpy()
    return list(zip(np.split(levels, np.cumsum(counts)[:-1]), first_s.tolist(), strict=True))


def _frame_grid(sizes: NDArray[np.int64], pitch_floor: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the number of frames (int64 [clips]) and the centre of the first in s (float64 [clips]), as Praat."""
    duration = sizes * (1.0 / SAMPLE_RATE)
    window_s = PERIODS_PER_WINDOW * (1.0 / pitch_floor)  # its last bit decides whether one more frame fits
    counts = np.floor((duration - window_s) / STEP_S).astype(np.int64) + 1
    counts[sizes < least_samples(pitch_floor)] = 0
    first_s = 0.5 * duration - 0.5 * (counts * STEP_S) + 0.5 * STEP_S
    return counts, np.where(counts > 0, first_s, 0.0)


def _kaiser(pitch_floor: float) -> NDArray[np.float64]:
    """Return Praat's window, float64 [an odd number of samples]."""
    half_s = 0.5 * PERIODS_PER_WINDOW / pitch_floor
    reach = int(half_s * SAMPLE_RATE)
    place = np.arange(-reach, reach + 1) / SAMPLE_RATE / half_s
    window: NDArray[np.float64] = np.i0(_KAISER * np.sqrt(np.maximum(1.0 - place**2, 0.0))).astype(np.float64)
    return window


def _powers(batch: RaggedBatch, starts: torch.Tensor, inside: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Return float32 [frames]: the weighted mean square of each about its mean, of the `inside` samples it has."""
    frames = batch.frames(starts, len(kernel))
    frames -= (frames.sum(1) / inside)[:, None]
    return frames.square_() @ kernel
