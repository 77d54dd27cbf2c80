"""The likeliest CTC path through a known text: Viterbi over blanks, labels and repeats, many clips at once.

The states and steps are those of Graves et al., "Connectionist temporal classification" (ICML 2006), section 4.1, with
the maximum in the place of the sum: the text with a blank before, between and after its labels, 2S + 1 states in all.
In each frame a path stays, goes to the next state, or passes over the blank between two labels that differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_MOST_CELLS: Final = 2**24
"""Frames x clips x states at once: 64 MiB of float32, and up to six times that in between."""

BLANK: Final = -1


class CtcPath(NamedTuple):
    """The likeliest path of one clip.

    Attributes:
        places: int32 [T], which label of the text each frame says, from 0; `BLANK` for none.
        log_probs: float32 [T], log-probability of what the path says in each frame.
        best: float32 [T], log-probability of the likeliest label of each frame, whatever the path says.
        score: log-probability of the path, the sum of `log_probs`.
    """

    places: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    best: NDArray[np.float32]
    score: float


def best_paths(emissions: Sequence[torch.Tensor], targets: Sequence[Sequence[int]], blank: int) -> list[CtcPath | None]:
    """Find the likeliest path of each text through its clip; each comes out as it does alone.

    Args:
        emissions: log-probabilities of each clip, float32 [T, V], all on one device, where the search runs.
        targets: the labels of each clip's text, in order.
        blank: which of the V is the blank; no target holds it.

    Returns:
        One per clip; None where no path exists: there are fewer frames than labels and blanks between equal ones, or
        the labels needed have probability 0. A path whose score is NaN has met NaN in the emissions.
    """
    paths: list[CtcPath | None] = [None] * len(emissions)
    if not emissions:
        return paths
    # (the first is the longest: its frames are those of every row of its chunk)
    waiting = sorted((i for i, e in enumerate(emissions) if len(e)), key=lambda i: (-len(emissions[i]), i))
    states = 2 * max(map(len, targets)) + 1
    while waiting:
        rows = max(1, _MOST_CELLS // (len(emissions[waiting[0]]) * states))
        chunk, waiting = waiting[:rows], waiting[rows:]
        found = _search([emissions[i] for i in chunk], [targets[i] for i in chunk], blank)
        for index, path in zip(chunk, found, strict=True):
            paths[index] = path
    return paths


def _search(emissions: Sequence[torch.Tensor], targets: Sequence[Sequence[int]], blank: int) -> list[CtcPath | None]:
    import torch

    device = emissions[0].device
    lengths = np.array([len(rows) for rows in emissions])
    last = np.array([2 * len(target) for target in targets])  # the state of the blank after each text
    frames, clips, states = int(lengths.max()), len(emissions), int(last.max()) + 1
    labels = np.full((clips, states), blank)
    for row, target in enumerate(targets):
        labels[row, 1 : 2 * len(target) : 2] = target
    batch = torch.nn.utils.rnn.pad_sequence(list(emissions)).float()  # [T, B, V]
    reached, steps = _trellis(batch, torch.from_numpy(labels).to(device), blank)

    every = np.arange(clips)
    ends = torch.from_numpy(np.stack([lengths - 1, every, last])).to(device)
    on_blank = reached[ends[0], ends[1], ends[2]].cpu().numpy()
    # an empty text has no label to end on
    on_label = np.where(last > 0, reached[ends[0], ends[1], (ends[2] - 1).clamp(min=0)].cpu().numpy(), -np.inf)
    scores = np.where(on_blank >= on_label, on_blank, on_label)
    scores = np.where(np.isnan(on_blank), on_blank, scores)
    state = np.where(on_blank >= on_label, last, last - 1).clip(min=0)
    del reached
    back = steps.cpu().numpy()
    visited = np.empty((frames, clips), np.int64)
    for frame in range(frames - 1, -1, -1):
        visited[frame] = state
        if frame:
            # a shorter clip waits at its last state until its own frames begin
            state = np.where(frame < lengths, state - back[frame - 1, every, state], state)
    said = torch.from_numpy(labels[every, visited]).to(device)
    log_probs = batch.gather(2, said[:, :, None])[:, :, 0].cpu().numpy()
    best = batch.amax(2).cpu().numpy()
    places = np.where(visited % 2 == 1, visited // 2, BLANK).astype(np.int32)
    return [
        None
        if scores[row] == -np.inf
        else CtcPath(
            places[:length, row].copy(), log_probs[:length, row].copy(), best[:length, row].copy(), float(scores[row])
        )
        for row, length in enumerate(lengths)
    ]


def _trellis(batch: torch.Tensor, labels: torch.Tensor, blank: int) -> tuple[Any, Any]:
    """Return the score of the best path to each state in each frame, and how many states the last step went.

    Args:
        batch: [T, B, V].
        labels: what each state says, int64 [B, N].
        blank: which label the blank is.

    Returns:
        float32 [T, B, N], and int8 [T - 1, B, N] for the steps into frames 1 to T - 1.
    """
    import torch

    frames, clips, _ = batch.shape
    states = labels.shape[1]
    # two states before the first, which nothing comes from, spare every step a special case
    score = batch.new_full((frames, clips, states + 2), -torch.inf)
    score[:, :, 2:] = batch.gather(2, labels.expand(frames, clips, states))
    score[0, :, 4:] = -torch.inf  # a path begins with the first blank or the first label
    skips = torch.zeros_like(labels, dtype=torch.bool)
    skips[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    allowed = batch.new_zeros((clips, states, 3))
    allowed[:, :, 0].masked_fill_(~skips, -torch.inf)
    # three kernels a frame: on a GPU each costs more than the arithmetic in it
    for frame in range(1, frames):
        score[frame, :, 2:] += (score[frame - 1].unfold(1, 3, 1) + allowed).amax(2)
    two, one, stay = score[:-1, :, :-2] + allowed[:, :, 0], score[:-1, :, 1:-1], score[:-1, :, 2:]
    # of equal ways that of the shortest step, so that the path does not hang on the device
    steps = torch.where(two > torch.maximum(stay, one), 2, (one > stay).to(torch.int8)).to(torch.int8)
    return score[:, :, 2:], steps
