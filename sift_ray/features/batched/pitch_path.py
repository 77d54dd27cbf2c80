"""The cheapest path through pitch candidates (Viterbi), for many clips in one pass over time.

P. Boersma, IFA Proceedings 17 (1993). Frames lie step by step: first the first frame of every clip, then the second of
every clip that has one, and so on, clips in order of falling length. So the clips that go on are always the first rows,
a step is a slice, and no padding is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StepOrder:
    """Frames of clips, step by step.

    Attributes:
        clip: int64 [frames], the clip that a frame is of.
        step: int64 [frames], which frame of that clip it is.
        rows: frames of each step; never rises.
    """

    clip: NDArray[np.int64]
    step: NDArray[np.int64]
    rows: tuple[int, ...]

    @classmethod
    def of(cls, counts: Sequence[int]) -> StepOrder:
        """Order the frames of clips that have `counts` frames each."""
        each = np.array(counts, np.int64)
        clip = np.repeat(np.arange(len(each)), each)
        step = np.arange(len(clip)) - np.repeat(np.cumsum(each) - each, each)
        order = np.lexsort((clip, -each[clip], step))
        return cls(clip[order], step[order], tuple(np.bincount(step).tolist()))

    def before(self) -> NDArray[np.int64]:
        """Return where the same clip's frame before each one lies, int64 [frames]; of a first frame, itself."""
        rows = np.array(self.rows, np.int64)
        back = np.concatenate([np.zeros(1, np.int64), rows[:-1]]) if len(rows) else rows
        return np.arange(len(self.clip)) - back[self.step]


def best_path(
    octaves: torch.Tensor,
    voiced: torch.Tensor,
    scores: torch.Tensor,
    order: StepOrder,
    *,
    octave_jump_cost: float,
    voiced_unvoiced_cost: float,
) -> NDArray[np.int64]:
    """Choose a candidate for every frame: the path with the greatest score less the costs of its changes.

    Args:
        octaves: float32 [frames, candidates], log2 of the frequency, 0 where unvoiced.
        voiced: bool [frames, candidates].
        scores: float32 [frames, candidates], -inf for no candidate; every frame has at least one.
        order: how the frames lie; at least one.
        octave_jump_cost: of a change of F0 from frame to frame, per octave.
        voiced_unvoiced_cost: of a change between voiced and unvoiced.

    Returns:
        int64 [frames], the chosen candidate; of equally good ones the first, as in Praat.
    """
    before = torch.from_numpy(order.before()).to(scores.device)
    costs = (octaves[:, :, None] - octaves[before][:, None, :]).abs_().mul_(octave_jump_cost)
    costs.masked_fill_(voiced[:, :, None] != voiced[before][:, None, :], voiced_unvoiced_cost)
    costs -= scores[:, :, None]
    # Sums over thousands of frames: single precision would blur the differences that decide.
    totals = scores[: order.rows[0]].double()
    ways = totals.new_empty((*totals.shape, totals.shape[1]))
    pointers = torch.zeros(scores.shape, dtype=torch.int64, device=scores.device)
    start = len(totals)
    for rows in order.rows[1:]:
        end = start + rows
        torch.sub(totals[:rows, None, :], costs[start:end], out=ways[:rows])
        torch.max(ways[:rows], dim=2, out=(totals[:rows], pointers[start:end]))
        start = end
    return _trace_back(totals.argmax(dim=1).cpu().numpy(), pointers.cpu().numpy(), order.rows)


def _trace_back(last: NDArray[np.int64], pointers: NDArray[np.int64], rows: tuple[int, ...]) -> NDArray[np.int64]:
    """Follow `pointers` back from the `last` candidate of each clip (in the order of the first step)."""
    chosen = np.empty(len(pointers), np.int64)
    current = last.copy()
    end = len(pointers)
    for count in reversed(rows):
        chosen[end - count : end] = current[:count]
        current[:count] = pointers[np.arange(end - count, end), current[:count]]
        end -= count
    return chosen
