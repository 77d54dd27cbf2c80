"""The network of SQUIM's objective measures, for clips of any lengths at once and without padding.

A. Kumar et al., "TorchAudio-Squim: Reference-less Speech Quality and Intelligibility Measures in TorchAudio", ICASSP
2023: a convolution over the waveform, a dual-path LSTM (Y. Luo, Z. Chen, T. Yoshioka, "Dual-path RNN", ICASSP 2020)
and, for each measure, a transformer layer, a pooling over time and two dense layers. Parameters are named as those of
torchaudio's `squim_objective_base`, so that its published weights load as they are.

All frames of all clips lie one after another in one tensor. What a clip is told from is then its own frames alone: the
recurrent layers run over whole chunks and over each clip's own number of chunks, and norms, attention and pooling end
where the clip ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

MEASURES: Final = ("stoi", "pesq", "si_sdr")
"""What the branches tell, in their order: in [0, 1], MOS of ITU-T P.862.2, dB."""

_LEVEL: Final = 1 / 20  # RMS that a clip is brought to
# least raw score of P.862, taken as 1.0, to what P.862.2 makes of the greatest, 4.5
_PESQ_RANGE: Final = (1.0, 0.999 + 4.0 / (1 + math.exp(-1.3669 * 4.5 + 3.8224)))


class _Chunks(NamedTuple):
    """Where the frames of all clips go in overlapping chunks, and come back from.

    The chunks are in packed order: the first chunk of every clip, the longest clip first, then the second of every clip
    that has one, and so on. So the rows [chunk, place] are, as they lie, the packed sequences over the chunks of each
    place of each clip.

    Attributes:
        frames: int64 [chunks, size], which frame is in a place; the number of frames where none is (zeros).
        clips: int64 [chunks], whose chunk it is.
        counts: int64 [clips], chunks of each clip.
        alive: int64 on the host, how many clips have a first, a second, ... chunk.
        merge: int64 [2, frames], the two places (chunk · size + place) that hold a frame.
    """

    frames: torch.Tensor
    clips: torch.Tensor
    counts: torch.Tensor
    alive: torch.Tensor
    merge: torch.Tensor


def _chunk(lengths: Sequence[int], size: int, device: torch.device) -> _Chunks:
    """Lay out clips of so many frames, the longest first.

    A clip is cut twice, each time into (length + size // 2) // size + 1 chunks end to end: the even ones from half a
    chunk before its beginning, the odd ones from its beginning. So each frame is in one even and one odd chunk.
    """
    stride = size // 2
    counts = torch.tensor([2 * ((length + stride) // size + 1) for length in lengths])
    steps = torch.arange(int(counts[0]))
    alive = (counts[None, :] > steps[:, None]).sum(1)
    first = torch.cumsum(alive, 0) - alive  # where the chunks of a step begin
    step = torch.repeat_interleave(steps, alive)
    clips = torch.arange(len(step)) - first[step]
    offsets = torch.tensor([0, *accumulate(lengths)])
    sizes = torch.tensor(lengths)
    starts = step // 2 * size - (1 - step % 2) * stride

    first, clips, offsets, sizes, starts = (part.to(device) for part in (first, clips, offsets, sizes, starts))
    places = starts[:, None] + torch.arange(size, device=device)
    inside = (places >= 0) & (places < sizes[clips][:, None])
    frames = torch.where(inside, places + offsets[clips][:, None], offsets[-1])

    owner = torch.repeat_interleave(torch.arange(len(lengths), device=device), sizes)
    own = torch.arange(len(owner), device=device) - offsets[owner]
    merge = [
        (first[2 * (place // size) + odd] + owner) * size + place % size for odd, place in ((0, own + stride), (1, own))
    ]
    return _Chunks(frames, clips, counts.to(device), alive, torch.stack(merge))


class _Recurrent(nn.Module):  # type: ignore[misc]
    """A bidirectional LSTM and the projection back to the width of its input."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.proj = nn.Linear(2 * hidden, width)

    def within(self, x: torch.Tensor) -> torch.Tensor:
        """Run along each chunk of `x` [chunks, size, width]."""
        return self.proj(self.rnn(x)[0])

    def across(self, x: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
        """Run, for each clip and each place in a chunk, over the clip's chunks in `x` [chunks, size, width]."""
        packed = PackedSequence(x.flatten(0, 1), alive * x.shape[1])  # see _Chunks
        return self.proj(self.rnn(packed)[0].data).view_as(x)


def _add_normed(x: torch.Tensor, change: torch.Tensor, norm: nn.GroupNorm, chunks: _Chunks) -> None:
    """Add `change` [chunks, size, width] to `x`, normed over all that a clip has (a GroupNorm of one group)."""
    per_chunk = change.shape[1] * change.shape[2]

    def mean_by_clip(values: torch.Tensor) -> torch.Tensor:
        # double, so that in what order a GPU adds the chunks does not show
        sums = torch.zeros(len(chunks.counts), dtype=torch.float64, device=values.device)
        sums.index_add_(0, chunks.clips, values.sum((1, 2), dtype=torch.float64))
        return (sums / (chunks.counts * per_chunk))[chunks.clips, None, None]

    change -= mean_by_clip(change).to(change.dtype)
    change *= torch.rsqrt(mean_by_clip(change.square()) + norm.eps).to(change.dtype)
    x += torch.addcmul(norm.bias, change, norm.weight)


class _DualPath(nn.Module):  # type: ignore[misc]
    """LSTMs along chunks of frames and across them, by turns."""

    def __init__(self, width: int, hidden: int, blocks: int, d_model: int, chunk_size: int) -> None:
        super().__init__()
        self.row_rnn = nn.ModuleList(_Recurrent(width, hidden) for _ in range(blocks))
        self.col_rnn = nn.ModuleList(_Recurrent(width, hidden) for _ in range(blocks))
        self.row_norm = nn.ModuleList(nn.GroupNorm(1, width, eps=1e-8) for _ in range(blocks))
        self.col_norm = nn.ModuleList(nn.GroupNorm(1, width, eps=1e-8) for _ in range(blocks))
        self.conv = nn.Sequential(nn.Conv2d(width, d_model, 1), nn.PReLU())
        self._chunk_size = chunk_size

    def forward(self, frames: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """[frames, width] of clips of `lengths`, the longest first → [frames, d_model]."""
        chunks = _chunk(lengths, self._chunk_size, frames.device)
        x = torch.cat([frames, frames.new_zeros(1, frames.shape[1])])[chunks.frames]
        for row, row_norm, col, col_norm in zip(self.row_rnn, self.row_norm, self.col_rnn, self.col_norm, strict=True):
            _add_normed(x, row.within(x), row_norm, chunks)
            _add_normed(x, col.across(x, chunks.alive), col_norm, chunks)
        pointwise, activation = self.conv
        x = activation(functional.linear(x.flatten(0, 1), pointwise.weight.flatten(1), pointwise.bias))
        return x[chunks.merge[0]] + x[chunks.merge[1]]


class _Pooling(nn.Module):  # type: ignore[misc]
    """A mean over time that weighs each value by the softmax of itself times a learnt factor."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[frames, width] of one clip → [width]."""
        return (x * torch.softmax(x * self.alpha, 0)).sum(0)


class _Branch(nn.Sequential):  # type: ignore[misc]
    """One measure: a transformer layer, the pooling, two dense layers."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__(
            nn.TransformerEncoderLayer(d_model, heads, 4 * d_model, dropout=0.0, batch_first=True),
            _Pooling(),
            nn.Sequential(nn.Linear(d_model, d_model), nn.PReLU(), nn.Linear(d_model, 1)),
        )

    def forward(self, x: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """[frames, d_model] of clips of `lengths` → [clips], before it is brought into a range."""
        layer, pooling, dense = self
        # the layer's own forward would want padding and a mask, and on a CPU hold all of the attention's weights
        attention = layer.self_attn
        qkv = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        heads = qkv.view(len(x), 3, attention.num_heads, -1).permute(1, 2, 0, 3)
        seen = torch.cat(
            [functional.scaled_dot_product_attention(*clip[:, None])[0] for clip in heads.split(list(lengths), 2)], 1
        )
        x = layer.norm1(x + attention.out_proj(seen.transpose(0, 1).flatten(1)))
        x = layer.norm2(x + layer.linear2(functional.relu(layer.linear1(x))))
        return dense(torch.stack([pooling(clip) for clip in x.split(list(lengths))])).squeeze(1)


class SquimNet(nn.Module):  # type: ignore[misc]
    """Estimates STOI, PESQ and SI-SDR of speech without a reference.

    Args:
        width: features of a frame; the sizes are the published model's unless given.
        window: samples of a frame; frames are half a window apart.
        d_model: width of the transformers.
        heads: their heads.
        hidden: width of an LSTM in one direction.
        blocks: pairs of LSTMs.
        chunk_size: frames of a chunk.
    """

    def __init__(
        self,
        *,
        width: int = 256,
        window: int = 64,
        d_model: int = 256,
        heads: int = 4,
        hidden: int = 256,
        blocks: int = 2,
        chunk_size: int = 71,
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"conv1d": nn.Conv1d(1, width, window, stride=window // 2, bias=False)})
        self.dprnn = _DualPath(width, hidden, blocks, d_model, chunk_size)
        self.branches = nn.ModuleList(_Branch(d_model, heads) for _ in MEASURES)

    def forward(self, clips: Sequence[torch.Tensor], measures: Sequence[str] = MEASURES) -> dict[str, torch.Tensor]:
        """Estimate each of `measures` for clips of any lengths: float32 [n] at 16 kHz, not silent, a window or more.

        Returns:
            float32 [clips] for each measure; the same, to rounding, as for each clip alone.
        """
        order = sorted(range(len(clips)), key=lambda index: -len(clips[index]))
        weight = self.encoder["conv1d"].weight
        window = weight.shape[2]
        windows = [clips[index].unfold(0, window, window // 2) for index in order]
        lengths = [len(frames) for frames in windows]
        gains = [_LEVEL / clips[index].square().mean().sqrt() for index in order]
        frames = torch.cat([frames * gain for frames, gain in zip(windows, gains, strict=True)])
        x = self.dprnn(functional.relu(functional.linear(frames, weight.flatten(1))), lengths)
        back = torch.tensor(order, device=x.device).argsort()
        raw = {measure: self.branches[MEASURES.index(measure)](x, lengths)[back] for measure in measures}
        return {measure: _to_range(measure, values) for measure, values in raw.items()}


def _to_range(measure: str, raw: torch.Tensor) -> torch.Tensor:
    if measure == "stoi":
        return torch.sigmoid(raw)
    if measure == "pesq":
        return _PESQ_RANGE[0] + (_PESQ_RANGE[1] - _PESQ_RANGE[0]) * torch.sigmoid(raw)
    return raw
