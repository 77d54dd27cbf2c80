"""Speech quality by DNSMOS P.835, whose model ships in the `speechmos` wheel: no download.

C. K. A. Reddy, V. Gopal, R. Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to
evaluate noise suppressors", ICASSP 2022. The network hears 9.01 s: a spectrogram, four convolutions at its full
resolution (97 % of the cost), three more between poolings, one maximum over all places, dense layers. `speechmos`
repeats a shorter clip until the window is full, and averages windows a second apart, of which a 2 s clip has seven
that hear the same. Here

- a clip of 9.01 s or more is heard in `windows` evenly spaced windows (one: from its middle);
- a shorter one is repeated into one window (its end cut to a whole hop of 10 ms). The window is then periodic, and
  so is what the four great convolutions make of it: on a CPU one period and both edges are computed and laid out
  to the full window, which the poolings, whose grid the repetition does not fit, then see in full. The result is
  that of the whole window.

The cut to a hop is not without effect: uncut, each repetition falls differently into the frames, and the maximum over
more draws is a little higher. On 40 human clips of 0.3 to 8 s OVRL is 0.15 lower than speechmos's mean of windows
(SIG 0.09, BAK 0.13). Against the score of the whole 9 s recording, of which 3 s were cut out, both are as good: mean
error 0.17 here and 0.16 there, rank correlation 0.91 and 0.91.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

onnxruntime.disable_telemetry_events()  # a job on someone's speech reports to nobody

WINDOW_SAMPLES: Final = 144_160
"""What DNSMOS hears at once: 9.01 s at 16 kHz."""
MIN_SAMPLES: Final = 4_000
"""A clip under 0.25 s is not judged."""

_HOP: Final = 160  # samples a frame of the model's spectrogram; a frame is two hops long
_FRAMES: Final = WINDOW_SAMPLES // _HOP - 1
_REACH: Final = 4  # frames to either side that the four convolutions see
_CUT: Final = "mos_estimator_logpow/conv2d_3/Relu:0"  # their output, [N, 32, frames, 161]
_GPU_ROWS: Final = 16  # windows at once: 128 channels of 900 × 161 take 74 MB each

# from the raw outputs to MOS, highest power first: the constants of speechmos.dnsmos (not personalised)
_SIG: Final = (-0.08397278, 1.22083953, 0.0052439)
_BAK: Final = (-0.13166888, 1.60915514, -0.39604546)
_OVRL: Final = (-0.06766283, 1.11546468, 0.04602535)


class MosScores(NamedTuple):
    """DNSMOS P.835 on the scale 1 to 5: of the speech signal, of the background, overall."""

    sig: float
    bak: float
    ovrl: float


class Dnsmos:
    """The DNSMOS P.835 model in two onnxruntime sessions, cut behind its fourth convolution.

    Args:
        windows: windows taken from a clip of more than 9.01 s.
        device: cpu, cuda, or auto: cuda where onnxruntime has it.
        threads: threads of one inference; 1, as workers share a machine.

    Raises:
        FileNotFoundError: the `speechmos` package holds no model.
        ValueError: device is cuda, and onnxruntime was built without it.
    """

    def __init__(self, *, windows: int = 1, device: str = "auto", threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._windows = windows
        self._front, self._back = (
            onnxruntime.InferenceSession(part, options, providers=_providers(device))
            for part in _cut_model(_model_path())
        )
        # a CPU is as fast with one window at a time, and need not compute what repeats; a GPU wants many alike
        self._rows = _GPU_ROWS if "CUDAExecutionProvider" in self._front.get_providers() else 1

    def score(self, clips: Sequence[NDArray[np.float32]]) -> list[MosScores | None]:
        """Judge each clip: float32 [n] at 16 kHz, finite, in [-1, 1]. None for one of less than 0.25 s."""
        owners: list[int] = []
        windows: list[Window] = []
        for index, clip in enumerate(clips):
            cut = dnsmos_windows(clip, self._windows)
            owners += [index] * len(cut)
            windows += cut
        scores: list[list[NDArray[np.float64]]] = [[] for _ in clips]
        for start in range(0, len(windows), self._rows):
            batch = windows[start : start + self._rows]
            if self._rows == 1:
                features = self._features_of_period(batch[0])
            else:
                features = self._run_front(np.stack([window.samples for window in batch]))
            (raw,) = self._back.run(None, {_CUT: features})
            for owner, row in zip(owners[start : start + self._rows], raw.astype(np.float64), strict=True):
                scores[owner].append(_mos(row))
        return [MosScores(*np.mean(rows, axis=0).tolist()) if rows else None for rows in scores]

    def _run_front(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self._front.run(None, {"input_1": samples})[0]
        return features

    def _features_of_period(self, window: Window) -> NDArray[np.float32]:
        """Compute [1, 32, 900, 161] from one period and the two edges, where the zero padding reaches in."""
        period, tail = window.period, 3 * _REACH
        if period is None or period + 2 * _REACH + tail >= _FRAMES:
            return self._run_front(window.samples[None])
        head = self._run_front(window.samples[None, : (period + 2 * _REACH + 1) * _HOP])
        end = self._run_front(window.samples[None, -(tail + 1) * _HOP :])[:, :, -_REACH:]
        inner = np.arange(_FRAMES - 2 * _REACH) % period + _REACH
        return np.concatenate((head[:, :, :_REACH], head[:, :, inner], end), axis=2)


class Window(NamedTuple):
    """What DNSMOS hears: float32 [144160], and the frames (10 ms) after which it repeats; None: it does not."""

    samples: NDArray[np.float32]
    period: int | None


def dnsmos_windows(clip: NDArray[np.float32], windows: int = 1) -> list[Window]:
    """Cut (or fill) what DNSMOS hears of `clip` (float32 [n], 16 kHz): see the module's text.

    Returns:
        `windows` windows of a clip that is longer than one, else one; none of a clip under 0.25 s.
    """
    if len(clip) < MIN_SAMPLES:
        return []
    spare = len(clip) - WINDOW_SAMPLES
    if spare < 0:
        period = len(clip) // _HOP
        return [Window(np.resize(clip[: period * _HOP], WINDOW_SAMPLES), period)]
    starts = {int(spare * (index + 0.5) / windows) for index in range(windows)}
    return [Window(clip[start : start + WINDOW_SAMPLES], None) for start in sorted(starts)]


def _mos(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([np.polyval(_SIG, raw[0]), np.polyval(_BAK, raw[1]), np.polyval(_OVRL, raw[2])])


def _providers(device: str) -> list[str]:
    there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cuda" and not there:
        raise ValueError(
            "features.device is cuda, but this onnxruntime runs on the CPU only: install onnxruntime-gpu, "
            "or set features.device to auto or cpu"
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if there and device != "cpu" else ["CPUExecutionProvider"]


def _model_path() -> Path:
    spec = importlib.util.find_spec("speechmos")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "dnsmos_models" / "sig_bak_ovr.onnx"
        if path.is_file():
            return path
    raise FileNotFoundError(
        "the DNSMOS model speechmos/dnsmos_models/sig_bak_ovr.onnx is not installed: "
        "pip install speechmos, or set features.quality to none"
    )


def _cut_model(path: Path) -> tuple[bytes, bytes]:
    """Return the model in two, the first for any number of frames; weights and operations stay as they are.

    The published graph takes [N, 144160], makes one copy without the last hop and one without the first, and
    reshapes both to [N, 900, 160]: the sizes that are replaced here.
    """
    model = onnx.load(str(path))
    replaced = {
        "shape_tensor": [0, -1, _HOP],  # 0: as in the input
        "shape_tensor1": [0, -1, _HOP],
        "input_1:01_cropping_end": [np.iinfo(np.int64).max, -_HOP],
    }
    for tensor in model.graph.initializer:
        if tensor.name in replaced:
            tensor.CopyFrom(numpy_helper.from_array(np.array(replaced.pop(tensor.name)), tensor.name))
    outputs = [output for node in model.graph.node for output in node.output]
    if replaced or _CUT not in outputs:
        raise ValueError(f"{path}: not the DNSMOS model that is known here: use the one of speechmos 0.0.1")
    cut = outputs.index(_CUT) + 1  # every node has one output
    signal, scores = model.graph.input[0], model.graph.output[0]
    signal.type.tensor_type.shape.dim[1].dim_param = "samples"
    middle = helper.make_tensor_value_info(_CUT, TensorProto.FLOAT, ["N", 32, "frames", 161])
    return (
        _part(model, model.graph.node[:cut], signal, middle),
        _part(model, model.graph.node[cut:], middle, scores),
    )


def _part(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    first: onnx.ValueInfoProto,
    last: onnx.ValueInfoProto,
) -> bytes:
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(nodes, "dnsmos", [first], [last], weights)
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(part.SerializeToString())
