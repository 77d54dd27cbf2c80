"""The network of Brouhaha, with the parameter names of its published checkpoint.

M. Lavechin et al., "Brouhaha: multi-task training for voice activity detection, speech-to-noise ratio, and C50 room
acoustics estimation", ASRU 2023: the PyanNet of pyannote.audio (H. Bredin, A. Laurent, "End-to-end speaker
segmentation for overlap-aware resegmentation", Interspeech 2021) with three heads. SincNet (M. Ravanelli, Y. Bengio,
"Speaker recognition from raw waveform with SincNet", SLT 2018) turns 16 kHz samples into 60 features every 270
samples; a bidirectional LSTM and dense layers follow.

Every normalisation takes its statistics over one window's own time, so a window's result does not depend on what else
is in the batch, as long as all windows of a batch are whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from sift_ray.schema import SAMPLE_RATE

STRIDE: Final = 10
"""Samples between two outputs of the filters in the published network; no tensor's shape tells it."""

_FILTERS: Final = 80  # 40 even ones, then the 40 odd ones of the same bands
_FILTER_LENGTH: Final = 251
_MIN_HZ: Final = 50.0  # of a band's lower edge, and of its width
_FEATURES: Final = 60
_CONTEXT: Final = 5  # frames that the second and third convolution see
_POOL: Final = 3
_SNR_DB: Final = (-15.0, 80.0)  # the paper's ranges, between which a sigmoid gives the value
_C50_DB: Final = (-10.0, 60.0)
_HEADS: Final = ("vad", "snr", "c50")
_PARTS: Final = ("sincnet.", "lstm.", "linear.", "classifier.")
_NAMED: Final = 8  # faults of a kind that an error spells out
# constants of the filters' formula that the checkpoint carries along
_CONSTANTS: Final = {"sincnet.conv1d.0.filterbank.window_", "sincnet.conv1d.0.filterbank.n_"}


class BrouhahaNet:
    """The network on one device; the sizes of its layers are read from the shapes of `weights`.

    Args:
        weights: the checkpoint's state dict; what is no part of the network (such as a metric's state) is left.
        stride: samples between two outputs of the filters.
        device: where it runs.

    Attributes:
        hop: samples from one frame to the next.

    Raises:
        ValueError: `weights` are not those of this network; says what is missing, unknown or of another shape.
    """

    def __init__(
        self, weights: Mapping[str, torch.Tensor], *, stride: int = STRIDE, device: torch.device | str = "cpu"
    ) -> None:
        own = {name: weights[name] for name in weights if name.startswith(_PARTS) and name not in _CONSTANTS}
        self._layers = _layers(own)
        _fill(self._layers, own)
        self._layers.eval().requires_grad_(False)
        bands = self._layers["sincnet"]["conv1d"][0]["filterbank"]
        self._filters = sinc_filters(bands["low_hz_"], bands["band_hz_"]).to(device)
        self._layers.to(device)
        self._stride = stride
        self.hop = stride * _POOL**3

    def frames(self, samples: int) -> int:
        """Return how many frames a window of `samples` gives: none where it is too short for one."""
        frames = ((samples - _FILTER_LENGTH) // self._stride + 1) // _POOL
        for _ in range(2):
            frames = (frames - _CONTEXT + 1) // _POOL
        return max(frames, 0)

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Hear windows: float32 [windows, samples], 16 kHz, on the network's device, two frames long at least.

        Returns:
            float32 [windows, frames, 3]: probability of speech, SNR in dB, C50 in dB.
        """
        with torch.inference_mode():
            features = self._hear(windows[:, None])
            features, _ = self._layers["lstm"](features.transpose(1, 2))
            for layer in self._layers["linear"]:
                features = functional.leaky_relu(layer(features))
            heads = self._layers["classifier"]["linears"]
            vad, snr, c50 = (torch.sigmoid(heads[name](features)) for name in _HEADS)
            # the sigmoids of SNR and C50 fall: from the upper end at -inf to the lower one
            return torch.cat((vad, _between(_SNR_DB, 1.0 - snr), _between(_C50_DB, 1.0 - c50)), dim=2)

    def _hear(self, waveform: torch.Tensor) -> torch.Tensor:
        """SincNet: [windows, 1, samples] to [windows, 60, frames]."""
        net = self._layers["sincnet"]
        sound = functional.conv1d(net["wav_norm1d"](waveform), self._filters, stride=self._stride).abs_()
        features = functional.leaky_relu(net["norm1d"][0](functional.max_pool1d(sound, _POOL)))
        for convolution, norm in zip(net["conv1d"][1:], net["norm1d"][1:], strict=True):
            features = functional.leaky_relu(norm(functional.max_pool1d(convolution(features), _POOL)))
        return features


def sinc_filters(low_hz: torch.Tensor, band_hz: torch.Tensor) -> torch.Tensor:
    """Return the band-pass filters, a pair for each band: float32 [2 × bands, 1, 251].

    The impulse response of an ideal band-pass is the difference of two sincs, (sin 2π high t - sin 2π low t) / πt; with
    cosines in the sines' place it is the odd filter of the pair (M. Pariente et al., "Filterbank design for end-to-end
    speech separation", ICASSP 2020). Both are tapered by a Hamming window, and 1 is the even one's middle.

    Angles are rounded to float32 as they were in training: what little the filters let through of other bands is
    normalised too, so that on a pure tone exact ones change the results by some hundredths of a dB.

    Args:
        low_hz: [bands, 1], how far the lower edge lies above 50 Hz; its sign means nothing.
        band_hz: [bands, 1], how much wider than 50 Hz the band is; its sign means nothing. It ends at 8 kHz.
    """
    low = low_hz.abs() + _MIN_HZ
    high = (low + _MIN_HZ + band_hz.abs()).clamp(_MIN_HZ, SAMPLE_RATE / 2)
    reach = _FILTER_LENGTH // 2
    angle = 2.0 * torch.pi * (torch.arange(-reach, 0.0) / SAMPLE_RATE)  # per Hz, before the middle
    scale = torch.hamming_window(_FILTER_LENGTH, periodic=False)[:reach] / ((high - low) * angle)
    even = ((high * angle).sin() - (low * angle).sin()) * scale
    odd = ((low * angle).cos() - (high * angle).cos()) * scale
    middle = torch.ones_like(low)
    pairs = (even, middle, even.flip(1)), (odd, 0.0 * middle, -odd.flip(1))
    return torch.cat([torch.cat(parts, dim=1) for parts in pairs])[:, None]


def _between(ends: tuple[float, float], share: torch.Tensor) -> torch.Tensor:
    return ends[0] + (ends[1] - ends[0]) * share


def _layers(weights: Mapping[str, torch.Tensor]) -> nn.ModuleDict:
    """Build the layers, named as in the checkpoint, in the sizes that `weights` have."""
    recurrent = weights.get("lstm.weight_hh_l0")
    hidden = 1 if recurrent is None else recurrent.shape[-1]  # where it is missing, `_fill` says so
    depth = sum(re.fullmatch(r"lstm\.weight_ih_l\d+", name) is not None for name in weights)
    dense = sum(re.fullmatch(r"linear\.\d+\.weight", name) is not None for name in weights)
    widths = [2 * hidden] + [len(weights.get(f"linear.{index}.weight", ())) for index in range(dense)]
    bands = {name: nn.Parameter(torch.zeros(_FILTERS // 2, 1)) for name in ("low_hz_", "band_hz_")}
    convolutions = (nn.Conv1d(channels, _FEATURES, _CONTEXT) for channels in (_FILTERS, _FEATURES))
    norms = (nn.InstanceNorm1d(channels, affine=True) for channels in (_FILTERS, _FEATURES, _FEATURES))
    return nn.ModuleDict(
        {
            "sincnet": nn.ModuleDict(
                {
                    "wav_norm1d": nn.InstanceNorm1d(1, affine=True),
                    "conv1d": nn.ModuleList([nn.ModuleDict({"filterbank": nn.ParameterDict(bands)}), *convolutions]),
                    "norm1d": nn.ModuleList(norms),
                }
            ),
            "lstm": nn.LSTM(_FEATURES, hidden, max(depth, 1), bidirectional=True, batch_first=True),
            "linear": nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths)),
            "classifier": nn.ModuleDict(
                {"linears": nn.ModuleDict({name: nn.Linear(widths[-1], 1) for name in _HEADS})}
            ),
        }
    )


def _fill(layers: nn.ModuleDict, weights: Mapping[str, torch.Tensor]) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in layers.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    other = [name for name in wanted if name in given and given[name] != wanted[name]]
    faults = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unknown": sorted(given.keys() - wanted.keys()),
        "of another shape": [f"{name} {list(given[name])} instead of {list(wanted[name])}" for name in other],
    }
    if any(faults.values()):
        found = "; ".join(f"{fault}: {_some(names)}" for fault, names in faults.items() if names)
        raise ValueError(f"these are not the weights of Brouhaha's network: {found}")
    layers.load_state_dict(dict(weights))


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
