"""DNSMOS P.835 in torch, for a GPU: the network, weights and windows of `sift_ray.features.quality`.

A GPU wants many windows at once, and one library with its CUDA. Windows of repeated clips need the frames of one
period only. Sorted by how many, those that stand together are computed to the length of the longest, for which a
window simply goes on: nothing is padded, and no result depends on its neighbours. That length is a multiple of 32
frames, and the number of windows a power of two, as each new shape makes a GPU plan its convolutions anew.

Nearly all of the time goes into three convolutions of 128, 64 and 64 channels. In half precision (sums in single
precision) tensor cores take them several times faster; what is rounded are their weights, what they hear and what
they say. On 56 human recordings that moved no score by more than 0.0009 MOS (median 0.0001), rounded so on a CPU.
Clicks in digital silence, which drive the network three times as far as speech does, were moved by up to 0.0025; with
any one of the three convolutions in single precision that would still be 0.0014 or more.
TF32 in all convolutions has as many digits, but moved scores by up to 0.002, and by 0.005 where digits are cut off
instead of rounded: what must stay exact is what the first convolution hears, and what the last ones make of it. So
all else is in single precision, and TF32 off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch.nn import functional

from sift_ray.features.quality import (
    EDGE_SAMPLES,
    EDGE_START,
    FRAMES,
    HOP,
    REACH,
    MosScores,
    Window,
    dnsmos_windows,
    load_model,
    mean_scores,
)

_FRAMES_AT_ONCE: Final = 8 * FRAMES  # 0.13 MB each in the first convolutions: 1 GB
_SHORTEST: Final = 0.75  # of the longest window's frames; one that needs fewer begins a group of its own
_FRAME_STEP: Final = 32  # windows are computed to a multiple of it
_WINDOWS_AT_ONCE: Final = 64  # short ones, laid out in full behind the fourth: 18.5 MB each, 1.2 GB
_LOG_FLOOR: Final = 1e-12  # the model's least power
_SCOPE: Final = "mos_estimator_logpow/"


class BatchedDnsmos:
    """The DNSMOS P.835 model on one device.

    Args:
        windows: windows taken from a clip of more than 9.01 s.
        device: where it runs: cuda, cuda:0, cpu.
        half: compute the second to the fourth convolution in half precision; None: where the device is a GPU.

    Raises:
        FileNotFoundError: the `speechmos` package holds no model.
        ValueError: it holds another one.
    """

    def __init__(self, *, windows: int = 1, device: torch.device | str = "cuda", half: bool | None = None) -> None:
        self._windows = windows
        self._device = torch.device(device)
        self._inner_dtype = torch.float16 if (self._device.type == "cuda" if half is None else half) else torch.float32
        weights = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()).to(self._device)
            for tensor in load_model().graph.initializer
        }
        kernels = [weights[f"time2freq/stft-{part}/kernel:0"] for part in ("real", "imag")]  # [161, 320, 1]
        self._stft = torch.cat(kernels).squeeze(-1).T
        self._convolutions = [
            (weights[f"{name}/kernel:0"], weights[f"{name}/bias:0"])
            for name in ("conv2d", *(f"conv2d_{index}" for index in range(1, 7)))
        ]
        for index in (1, 2, 3):
            kernel, bias = self._convolutions[index]
            layout = torch.channels_last if self._inner_dtype == torch.float16 else torch.contiguous_format
            self._convolutions[index] = (
                kernel.to(self._inner_dtype, memory_format=layout),
                bias.to(self._inner_dtype),
            )
        self._dense = [
            tuple(weights[f"{_SCOPE}{name}/{part}/ReadVariableOp/resource:0"] for part in ("MatMul", "BiasAdd"))
            for name in ("dense", "dense_1", "dense_3")
        ]

    def score(self, clips: Sequence[NDArray[np.float32]]) -> list[MosScores | None]:
        """Judge each clip: float32 [n] at 16 kHz, finite, in [-1, 1]. None for one of less than 0.25 s.

        Raises:
            torch.OutOfMemoryError: the device has not the 2 to 3 GB that a call takes.
        """
        of_clip = [dnsmos_windows(clip, self._windows) for clip in clips]
        owned = [(owner, window) for owner, windows in enumerate(of_clip) for window in windows]
        owned.sort(key=lambda pair: pair[1].head_frames, reverse=True)
        if not owned:
            return [None] * len(clips)
        # convolutions may round to TF32 unless told, and lengths differ too much to try algorithms out on each
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            raw = torch.cat([self._judge(group) for group in _groups([window for _, window in owned])])
        outputs: list[list[NDArray[np.float32]]] = [[] for _ in clips]
        for (owner, _), row in zip(owned, raw.cpu().numpy(), strict=True):
            outputs[owner].append(row)
        return [mean_scores(rows) for rows in outputs]

    def _judge(self, windows: Sequence[Window]) -> torch.Tensor:
        """Run the network on windows of falling `head_frames`: the raw outputs, float32 [windows, 3]."""
        head = _computed_frames(windows[0])
        features = self._front(np.stack([window.cut(0, (head + 1) * HOP) for window in windows]))
        if head < FRAMES:
            edges = self._front(np.stack([window.cut(EDGE_START, EDGE_SAMPLES) for window in windows]))
            features[:, :, -REACH:] = edges[:, :, -REACH:]
            places = torch.from_numpy(np.stack([window.places(head) for window in windows])).to(self._device)
            _, channels, _, bins = features.shape
            features = features.gather(2, places[:, None, :, None].expand(-1, channels, -1, bins))
        for layer in self._convolutions[4:]:
            features = _convolve(functional.max_pool2d(features, 2), layer)
        values = features.amax((2, 3))
        for index, (kernel, bias) in enumerate(self._dense):
            values = torch.addmm(bias, values if index == 0 else values.relu(), kernel)
        return values

    def _front(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Run the four great convolutions.

        Args:
            samples: float32 [windows, (frames + 1) × 160].

        Returns:
            float32 [windows, 32, frames, 161].
        """
        frames = torch.from_numpy(samples).to(self._device).unfold(1, 2 * HOP, HOP)
        real, imaginary = (frames @ self._stft).chunk(2, dim=-1)
        power = real.square() + imaginary.square()
        features = _convolve(power.clamp(min=_LOG_FLOOR).log10().unsqueeze(1), self._convolutions[0])
        if self._inner_dtype == torch.float16:
            features = features.to(self._inner_dtype, memory_format=torch.channels_last)
        for layer in self._convolutions[1:4]:
            features = _convolve(features, layer)
        return features.float()


def _convolve(features: torch.Tensor, layer: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return functional.conv2d(features, *layer, padding=1).relu_()


def _computed_frames(longest: Window) -> int:
    """Return how many frames from the start are computed of the windows of a group."""
    return min(FRAMES, -(-longest.head_frames // _FRAME_STEP) * _FRAME_STEP)


def _groups(windows: Sequence[Window]) -> Iterator[Sequence[Window]]:
    """Cut windows of falling `head_frames` into groups of 1, 2, 4, 8, ... like ones that fit the memory."""
    start = 0
    while start < len(windows):
        at_once = min(_WINDOWS_AT_ONCE, _FRAMES_AT_ONCE // _computed_frames(windows[start]), len(windows) - start)
        while windows[start + at_once - 1].head_frames < _SHORTEST * windows[start].head_frames:
            at_once -= 1
        end = start + (1 << at_once.bit_length() - 1)
        yield windows[start:end]
        start = end
