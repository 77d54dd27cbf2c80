"""Signal-to-noise ratio as `sift_ray.features.noise` estimates it, for many clips at once."""

from __future__ import annotations

import torch
from torch.nn import functional

from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.batched.spectrum import PowerGroup, PowerSpectrograms, quantile
from sift_ray.features.noise import (
    ACTIVE,
    BIAS,
    DIGITAL_SILENCE,
    LEAST_ACTIVE,
    LEAST_AMPLITUDE,
    LEVEL_FRAMES,
    LOUD_QUANTILE,
    MIN_FRAMES,
    QUANTILE,
    SMOOTHING,
    blended,
    ratio_db,
    wada_db,
)
from sift_ray.features.spectrum import HOP, WINDOW


def snr(batch: RaggedBatch, power: PowerSpectrograms) -> list[tuple[float | None, str | None]]:
    """Estimate what `sift_ray.features.noise.snr` does.

    Args:
        batch: clips at 16 kHz, without their means.
        power: their `power_spectrograms`.

    Returns:
        One per clip: SNR in dB (at least -20, the end of WADA's table) and None, or None and the reason: `too_short`
        under 0.82 s, or `no_noise_floor` where less of the clip than that is more than digital silence.
    """
    found = power.to_host([_measure(batch, group) for group in power.groups])
    results: list[tuple[float | None, str | None]] = []
    for frames, row in zip(power.frames, found.tolist(), strict=True):
        if frames < MIN_FRAMES:
            results.append((None, "too_short"))
            continue
        sounding, active, noise, spread = row
        if sounding < MIN_FRAMES:
            results.append((None, "no_noise_floor"))
        else:
            results.append((blended(ratio_db(active, noise), wada_db(spread)), None))
    return results


def _measure(batch: RaggedBatch, group: PowerGroup) -> torch.Tensor:
    """Return float64 [clips, 4]: sounding frames, the powers of active ones and of noise, ln E|z| - E ln|z|."""
    valid = group.valid
    energy = group.power.sum(2, dtype=torch.float64)
    silent = (valid & (energy <= DIGITAL_SILENCE)).float()
    reach = WINDOW // HOP
    sounding = valid & (functional.max_pool1d(silent, 2 * reach + 1, stride=1, padding=reach) == 0)
    counts = sounding.sum(1)
    # the frames that count come first, in their order
    order = torch.sort((~sounding).to(torch.uint8), dim=1, stable=True).indices
    beyond = torch.arange(order.shape[1], device=order.device) >= counts[:, None]

    smooth = _smoothed_power(group.power, _extended(order, counts, SMOOTHING // 2))
    smooth.masked_fill_(beyond[:, None], torch.inf)
    lowest = quantile(smooth, counts[:, None].expand(-1, smooth.shape[1]), QUANTILE)
    noise = lowest.sum(1, dtype=torch.float64) / (BIAS[0] + BIAS[1] / counts.double())

    near = energy.gather(1, _extended(order, counts, LEVEL_FRAMES // 2))
    level = functional.avg_pool1d(near, LEVEL_FRAMES, stride=1).masked_fill_(beyond, torch.inf)
    active = level > ACTIVE * noise[:, None]
    few = (active & ~beyond).sum(1) / counts.double() < LEAST_ACTIVE
    loud = level >= quantile(level, counts, LOUD_QUANTILE)[:, None]
    active = torch.where(few[:, None], loud, active) & ~beyond
    speech = torch.where(active, energy.gather(1, order), 0.0).sum(1) / active.sum(1)

    hops = batch.frames(group.places.flatten(), HOP).double().abs_().clamp_(min=LEAST_AMPLITUDE)
    sums = torch.stack([hops.sum(1), hops.log_().sum(1)]).view(2, *sounding.shape)
    mean, mean_log = torch.where(sounding, sums, 0.0).sum(2) / (counts * HOP)
    return torch.stack([counts.double(), speech, noise, mean.log() - mean_log], 1)


def _extended(order: torch.Tensor, counts: torch.Tensor, reach: int) -> torch.Tensor:
    """Repeat the first and the last frame that count: int64 [clips, reach + frames + reach]."""
    places = torch.arange(-reach, order.shape[1] + reach, device=order.device).clamp(min=0)
    return order.gather(1, torch.minimum(places, (counts - 1).clamp(min=0)[:, None]))


def _smoothed_power(power: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Return float32 [clips, 257, frames]: the mean of every three neighbours of those in `order`."""
    clip = torch.arange(len(power), device=power.device)[:, None]
    return functional.avg_pool1d(power[clip, order].transpose(1, 2), SMOOTHING, stride=1)
