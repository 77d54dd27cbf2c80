"""Clips of any lengths as one tensor, end to end, so that no padding is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

ROW_STEP: Final = {"cpu": 1}
"""Rows that are transformed at once come in multiples of this on a kind of device; of `GPU_ROW_STEP` on others."""
GPU_ROW_STEP: Final = 1024


@dataclass(frozen=True, slots=True)
class RaggedBatch:
    """Clips on one device.

    Attributes:
        samples: float32 [total], the clips one after another, with `margin` zeros before, between and after them.
        starts: int64 [clips], where each clip begins in `samples`.
        lengths: int64 [clips], samples of each clip.
        sizes: the same lengths, on the host.
        margin: zeros on either side of a clip; frames may reach so far beyond its ends.
    """

    samples: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor
    sizes: tuple[int, ...]
    margin: int

    @classmethod
    def of(cls, clips: Sequence[NDArray[np.float32]], device: torch.device | str, margin: int = 32) -> RaggedBatch:
        """Copy `clips` (float32 [n] each) to `device`."""
        sizes = tuple(len(clip) for clip in clips)
        lengths = np.array(sizes, np.int64)
        ends = np.cumsum(lengths + margin)
        starts = ends - lengths
        samples = np.zeros(int(ends[-1] if len(clips) else 0) + margin, np.float32)
        for start, clip in zip(starts.tolist(), clips, strict=True):
            samples[start : start + len(clip)] = clip
        return cls(
            torch.from_numpy(samples).to(device),
            torch.from_numpy(starts).to(device),
            torch.from_numpy(lengths).to(device),
            sizes,
            margin,
        )

    @property
    def device(self) -> torch.device:
        """Where the clips lie."""
        return self.samples.device

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.sizes)

    def frames(self, places: torch.Tensor, width: int) -> torch.Tensor:
        """Cut frames of `width` samples (a copy).

        Args:
            places: int64 [n], where frames begin in `samples`.
            width: samples of a frame.

        Returns:
            float32 [n, width].
        """
        return self.samples.unfold(0, width, 1)[places]


def padded_chunks(rows: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    """Cut `rows`, one or more, into chunks of `size` and one of what is left, of few different lengths on a GPU.

    There, each number of Fourier transforms made at once needs a plan and memory of its own, which stay. So what is
    left is filled up to a multiple of `GPU_ROW_STEP` with the last row; of what is made of the chunks, only the first
    `len(rows)` rows count.
    """
    missing = -len(rows) % ROW_STEP.get(rows.device.type, GPU_ROW_STEP)
    chunks: tuple[torch.Tensor, ...] = torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]).split(size)
    return chunks
