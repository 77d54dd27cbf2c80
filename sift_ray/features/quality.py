"""Speech quality by DNSMOS P.835, whose model ships in the `speechmos` wheel: no download.

C. K. A. Reddy, V. Gopal, R. Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to
evaluate noise suppressors", ICASSP 2022. The network hears 9.01 s: a spectrogram, four convolutions at its full
resolution (97 % of the cost), three more between poolings, one maximum over all places, dense layers. `speechmos`
repeats a shorter clip until the window is full, and averages windows a second apart, of which a 2 s clip has seven
that hear the same. Here

- a clip of 9.01 s or more is heard in `windows` evenly spaced windows (one: from its middle);
- a shorter one is repeated into one window (its end cut to a whole hop of 10 ms). The window is then periodic, and
  so is what the four great convolutions make of it: one period and both edges are computed and laid out to the full
  window, which the poolings, whose grid the repetition does not fit, then see in full. The result is that of the
  whole window.

The cut to a hop is not without effect: uncut, each repetition falls differently into the frames, and the maximum over
more draws is a little higher. On 40 human clips of 0.3 to 8 s OVRL is 0.15 lower than speechmos's mean of windows
(SIG 0.09, BAK 0.13). Against the score of the whole 9 s recording, of which 3 s were cut out, both are as good: mean
error 0.17 here and 0.16 there, rank correlation 0.91 and 0.91.

Here onnxruntime runs the network on a CPU; `sift_ray.features.batched.dnsmos` is the same network for a GPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
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

HOP: Final = 160
"""Samples from one frame of the model's spectrogram to the next; a frame is two hops long."""
FRAMES: Final = WINDOW_SAMPLES // HOP - 1
"""Frames of a window."""
REACH: Final = 4
"""Frames to either side that the four great convolutions see."""
EDGE_SAMPLES: Final = (2 * REACH + 1) * HOP
"""Samples of a window's end from which the convolutions make its last `REACH` frames."""
EDGE_START: Final = WINDOW_SAMPLES - EDGE_SAMPLES
"""Where that end begins."""

_CUT: Final = "mos_estimator_logpow/conv2d_3/Relu:0"  # their output, [N, 32, frames, 161]

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
    """The DNSMOS P.835 model in two onnxruntime sessions on the CPU, cut behind its fourth convolution.

    Args:
        windows: windows taken from a clip of more than 9.01 s.
        threads: threads of one inference; 1, as workers share a machine.

    Raises:
        FileNotFoundError: the `speechmos` package holds no model.
        ValueError: it holds another one.
    """

    def __init__(self, *, windows: int = 1, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._windows = windows
        self._front, self._back = (
            onnxruntime.InferenceSession(part, options, providers=["CPUExecutionProvider"])
            for part in _cut_model(load_model())
        )

    def score(self, clips: Sequence[NDArray[np.float32]]) -> list[MosScores | None]:
        """Judge each clip: float32 [n] at 16 kHz, finite, in [-1, 1]. None for one of less than 0.25 s."""
        # one window at a time: the convolutions are near a core's peak, and several at once take as long each
        return [
            mean_scores(
                [
                    self._back.run(None, {_CUT: self._features(window)})[0][0]
                    for window in dnsmos_windows(clip, self._windows)
                ]
            )
            for clip in clips
        ]

    def _features(self, window: Window) -> NDArray[np.float32]:
        """Compute what the four great convolutions make of a window: float32 [1, 32, 900, 161]."""
        head = window.head_frames
        features = self._run_front(window.cut(0, (head + 1) * HOP)[None])
        if head == FRAMES:
            return features
        features[:, :, -REACH:] = self._run_front(window.cut(EDGE_START, EDGE_SAMPLES)[None])[:, :, -REACH:]
        return features[:, :, window.places(head)]

    def _run_front(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self._front.run(None, {"input_1": samples})[0]
        return features


@dataclass(frozen=True, slots=True)
class Window:
    """What DNSMOS hears: 144,160 samples, or fewer that are repeated until there are as many.

    Attributes:
        heard: float32 [144160] or [period × 160], a view of the clip. The repetitions are made where they are needed:
            of many short clips at once, they would be hundreds of megabytes.
    """

    heard: NDArray[np.float32]

    @property
    def period(self) -> int:
        """The frames (10 ms) after which the window repeats; more than it has, where it does not."""
        return len(self.heard) // HOP

    @property
    def head_frames(self) -> int:
        """How many frames from the start must be computed: with the last `REACH` of the window, they hold all."""
        return min(FRAMES, self.period + 2 * REACH)

    def cut(self, start: int, count: int) -> NDArray[np.float32]:
        """Return `count` samples of the window from its `start`-th on: float32 [count], a view where it can be."""
        start %= len(self.heard)
        if start + count <= len(self.heard):
            return self.heard[start : start + count]
        return np.resize(self.heard, start + count)[start:]

    def places(self, head: int) -> NDArray[np.int64]:
        """Say where each frame behind the four great convolutions is found.

        Args:
            head: how many frames from the start were computed, at least `head_frames`. The last `REACH` of them,
                which lack what follows, have been replaced by the last of the window.

        Returns:
            int64 [900], each below `head`.
        """
        inner = np.arange(FRAMES - 2 * REACH) % self.period + REACH
        return np.concatenate((np.arange(REACH), inner, np.arange(head - REACH, head)))


def dnsmos_windows(clip: NDArray[np.float32], windows: int = 1) -> list[Window]:
    """Cut (or fill) what DNSMOS hears of `clip` (float32 [n], 16 kHz): see the module's text.

    Returns:
        `windows` windows of a clip that is longer than one, else one; none of a clip under 0.25 s.
    """
    if len(clip) < MIN_SAMPLES:
        return []
    spare = len(clip) - WINDOW_SAMPLES
    if spare < 0:
        return [Window(clip[: len(clip) // HOP * HOP])]
    starts = {int(spare * (index + 0.5) / windows) for index in range(windows)}
    return [Window(clip[start : start + WINDOW_SAMPLES]) for start in sorted(starts)]


def mean_scores(outputs: Sequence[NDArray[np.float32]]) -> MosScores | None:
    """Bring the network's outputs, float32 [3] for each window of one clip, to MOS and average; None without any."""
    if not len(outputs):
        return None
    raw = np.asarray(outputs, np.float64)
    mos = [np.polyval(terms, raw[:, index]).mean() for index, terms in enumerate((_SIG, _BAK, _OVRL))]
    return MosScores(*map(float, mos))


def load_model(path: Path | None = None) -> onnx.ModelProto:
    """Read the DNSMOS P.835 network: of `path`, or of the installed `speechmos`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is another network.
    """
    path = path or _model_path()
    model = onnx.load(str(path))
    if _CUT not in (name for node in model.graph.node for name in node.output):
        raise ValueError(f"{path}: not the DNSMOS model that is known here: use the one of speechmos 0.0.1")
    return model


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


def _cut_model(model: onnx.ModelProto) -> tuple[bytes, bytes]:
    """Return the model in two, the first for any number of frames; weights and operations stay as they are.

    The published graph takes [N, 144160], makes one copy without the last hop and one without the first, and
    reshapes both to [N, 900, 160]: the sizes that are replaced here.
    """
    replaced = {
        "shape_tensor": [0, -1, HOP],  # 0: as in the input
        "shape_tensor1": [0, -1, HOP],
        "input_1:01_cropping_end": [np.iinfo(np.int64).max, -HOP],
    }
    for tensor in model.graph.initializer:
        if tensor.name in replaced:
            tensor.CopyFrom(numpy_helper.from_array(np.array(replaced[tensor.name]), tensor.name))
    cut = [output for node in model.graph.node for output in node.output].index(_CUT) + 1  # every node has one output
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
