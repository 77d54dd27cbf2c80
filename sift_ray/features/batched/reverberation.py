"""Reverberation as `sift_ray.features.reverberation` estimates it, for many clips at once."""

from __future__ import annotations

import torch
from torch.nn import functional

from sift_ray.features.batched.spectrum import PowerGroup, PowerSpectrograms, quantile
from sift_ray.features.reverberation import (
    ABOVE_FLOOR_DB,
    DYNAMIC_RANGE_DB,
    FLOOR_QUANTILE,
    MEL_BANK,
    MIN_FRAMES,
    MIN_SLOPES,
    QUANTILE,
    SILENCE_DB,
    SLOPE_FRAMES,
    SLOPE_KERNEL,
    c50_of_rate,
)


def c50(power: PowerSpectrograms) -> list[tuple[float | None, str | None]]:
    """Estimate what `sift_ray.features.reverberation.c50` does.

    Returns:
        One per clip: C50 in dB and None, or None and the reason: `too_short` with less than 0.4 s, `no_decays` where
        too few falling slopes stand above the noise.
    """
    found = power.to_host([_decay_rates(group) for group in power.groups])
    results: list[tuple[float | None, str | None]] = []
    for frames, row in zip(power.frames, found.tolist(), strict=True):
        if frames < MIN_FRAMES:
            results.append((None, "too_short"))
            continue
        falling, rate = row
        results.append((None, "no_decays") if falling < MIN_SLOPES else (c50_of_rate(rate), None))
    return results


def _decay_rates(group: PowerGroup) -> torch.Tensor:
    """Return float64 [clips, 2]: how many slopes fall, and how fast the bands fall where they fall fast, dB/s."""
    clips, frames, _ = group.power.shape
    bank, kernel = (torch.from_numpy(array).to(group.power.device) for array in (MEL_BANK, SLOPE_KERNEL))
    if frames < MIN_FRAMES:
        return torch.zeros(clips, 2, dtype=torch.float64, device=group.power.device)
    levels = 10.0 * torch.log10(group.power @ bank + 1e-20)
    levels = torch.maximum(levels, levels.amax((1, 2), keepdim=True) - SILENCE_DB).transpose(1, 2).contiguous()
    counts = group.frames[:, None]
    floor = quantile(
        levels.masked_fill(~group.valid[:, None], torch.inf), counts.expand(-1, levels.shape[1]), FLOOR_QUANTILE
    )

    slopes = levels.unfold(2, SLOPE_FRAMES, 1) @ kernel
    first = levels[..., : slopes.shape[2]]
    lowest = -functional.max_pool1d(-levels, SLOPE_FRAMES, stride=1)
    heard = (first > levels.amax(2, keepdim=True) - DYNAMIC_RANGE_DB) & (lowest > floor[..., None] + ABOVE_FLOOR_DB)
    falling = heard & (slopes < 0) & group.valid[:, None, SLOPE_FRAMES - 1 :]
    number = falling.sum((1, 2))
    rates = -quantile(slopes.masked_fill_(~falling, torch.inf).flatten(1), number, QUANTILE)
    return torch.stack([number.double(), rates.double()], 1)
