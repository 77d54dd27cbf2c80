"""The one power spectrogram that the noise and the reverberation estimators share, for many clips at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from sift_ray.features.batched.ragged import RaggedBatch, padded_chunks
from sift_ray.features.spectrum import FULL_SCALE, HANN, HOP, WINDOW

_GROUP_FRAMES: Final = 1 << 16  # padding included; 67 MB of power
_GROUP_FRAMES_CPU: Final = 1 << 12  # less memory is touched for the first time, which is half of the cost
_CHUNK_FRAMES: Final = 1 << 14  # transformed at once: a tenth of a GB
_LONGEST: Final = 1.5  # times the shortest of a group; a sixth of the frames is padding where lengths are spread
_FEW_FRAMES: Final = 50  # more than that do not count: short clips are not worth groups of their own


@dataclass(frozen=True, slots=True)
class PowerGroup:
    """Spectrograms of clips of about one length.

    Attributes:
        clips: which clips of the batch these are.
        power: float32 [clips, frames, 257], as `sift_ray.features.spectrum.power_spectrogram`; past the end of a
            clip its last frame is repeated.
        frames: int64 [clips], frames that a clip has.
        places: int64 [clips, frames], where each frame begins in the samples of the batch.
    """

    clips: tuple[int, ...]
    power: torch.Tensor
    frames: torch.Tensor
    places: torch.Tensor

    @property
    def valid(self) -> torch.Tensor:
        """Which frames are not repeated: bool [clips, frames]."""
        return torch.arange(self.power.shape[1], device=self.power.device) < self.frames[:, None]


@dataclass(frozen=True, slots=True)
class PowerSpectrograms:
    """The spectrograms of a batch.

    Attributes:
        groups: of all clips that have a frame, shortest first.
        frames: how many frames each clip has, on the host.
    """

    groups: tuple[PowerGroup, ...]
    frames: tuple[int, ...]

    def to_host(self, measured: Sequence[torch.Tensor]) -> NDArray[np.float64]:
        """Bring what was measured on the groups to the host in one transfer.

        Args:
            measured: one for each group: float64 [clips of the group, columns], columns the same throughout.

        Returns:
            float64 [clips of the batch, columns]; 0 for a clip without frames.
        """
        if not measured:
            return np.zeros((len(self.frames), 0))
        found = torch.cat(list(measured)).cpu().numpy()
        rows = np.zeros((len(self.frames), found.shape[1]))
        rows[[clip for group in self.groups for clip in group.clips]] = found
        return rows


def power_spectrograms(batch: RaggedBatch) -> PowerSpectrograms:
    """Compute `sift_ray.features.spectrum.power_spectrogram` of each clip of `batch`."""
    frames = tuple(max((size - WINDOW) // HOP + 1, 0) for size in batch.sizes)
    window = torch.from_numpy(HANN).to(batch.device)
    scale = np.full(WINDOW // 2 + 1, 2.0 / FULL_SCALE, np.float32)  # the negative frequencies
    scale[[0, -1]] /= 2.0
    scales = torch.from_numpy(scale).to(batch.device)
    most = _GROUP_FRAMES_CPU if batch.device.type == "cpu" else _GROUP_FRAMES
    groups = tuple(_group(batch, clips, frames, window, scales) for clips in _alike(frames, most))
    return PowerSpectrograms(groups, frames)


def quantile(values: torch.Tensor, counts: torch.Tensor, share: float) -> torch.Tensor:
    """Return quantiles along the last axis, as `numpy.quantile`; only the smallest values are put in order.

    Args:
        values: float [..., n]; those that do not count are +inf.
        counts: int64 [...], how many count, at least one: where there are none, the result is infinite or NaN.
        share: of the values that lie under the quantile, 0 to 1.

    Returns:
        [...], as `values`.
    """
    n = values.shape[-1]
    lowest = values.topk(min(int(share * (n - 1)) + 2, n), dim=-1, largest=False).values
    last = (counts - 1).clamp(min=0)
    place = share * last.double()
    under = place.long()
    over = torch.minimum(under + 1, last)
    at_under, at_over = (lowest.gather(-1, index[..., None])[..., 0] for index in (under, over))
    return at_under + (at_over - at_under) * (place - under).to(values.dtype)


def _alike(frames: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    """Yield the clips in groups of about one length and of at most `most` frames, or of one clip."""
    group: list[int] = []
    for clip in sorted((clip for clip, count in enumerate(frames) if count), key=lambda clip: frames[clip]):
        longest = _LONGEST * frames[group[0]] + _FEW_FRAMES if group else 0
        if group and (frames[clip] > longest or frames[clip] * (len(group) + 1) > most):
            yield tuple(group)
            group = []
        group.append(clip)
    if group:
        yield tuple(group)


def _group(
    batch: RaggedBatch, clips: tuple[int, ...], frames: Sequence[int], window: torch.Tensor, scales: torch.Tensor
) -> PowerGroup:
    members = torch.tensor(clips, device=batch.device)
    counts = torch.tensor([frames[clip] for clip in clips], device=batch.device)
    number = torch.arange(frames[clips[-1]], device=batch.device)
    places = batch.starts[members][:, None] + HOP * torch.minimum(number, counts[:, None] - 1)
    chunks = []
    for part in padded_chunks(places.flatten(), _CHUNK_FRAMES):
        spectrum = torch.fft.rfft(batch.frames(part, WINDOW).mul_(window))
        chunks.append(torch.view_as_real(spectrum).square_().sum(-1).mul_(scales))
    power = (torch.cat(chunks) if len(chunks) > 1 else chunks[0])[: places.numel()]  # a copy costs a CPU a tenth
    return PowerGroup(clips, power.view(*places.shape, -1), counts, places)
