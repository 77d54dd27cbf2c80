"""SNR and C50 of the speech in a clip by Brouhaha, the network that the SIFT-50M paper uses through Data-Speech.

The network was trained on windows of 6 s, and its normalisations take their statistics over the window, so it hears
nothing else here:

- a shorter clip is repeated until the window is full, as the authors' own inference does (it replaced pyannote.audio's
  padding with zeros, which the statistics would take in), and the frames that begin in the clip count;
- on a longer one windows slide. With pyannote.audio's step of a tenth of a window the network would run ten times
  over all audio. With half a window (in whole frames, so that frames of overlapping windows fall together) it runs
  twice, and all frames but those of the clip's first and last 1.5 s lie in the middle half of a window. The last
  window is pulled back to end with the clip (17 ms before its end at most), where the authors' one repeats the rest.

Frames of several windows are averaged with Hamming weights, as pyannote.audio does. Data-Speech's numbers are the
means over the frames with speech, those whose probability is above 0.78, the threshold of Brouhaha's pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sift_ray.features.brouhaha_net import STRIDE, BrouhahaNet
from sift_ray.features.checkpoints import CheckpointError
from sift_ray.features.weights import Foreign, load_checkpoint
from sift_ray.schema import SAMPLE_RATE

SNR_BACKEND: Final = "brouhaha_snr"
C50_BACKEND: Final = "brouhaha_c50"

MIN_SAMPLES: Final = 4_000
"""A clip under 0.25 s is not judged."""
WINDOW_S: Final = 6.0
"""What the network hears at once, where the checkpoint does not tell."""
STEP_WINDOWS: Final = 0.5
"""How far the next window begins behind the last, in windows; pyannote.audio's is 0.1."""
SPEECH_THRESHOLD: Final = 0.78
"""Above this probability a frame holds speech."""

_CPU_WINDOWS: Final = 8  # at once; the filters' output of one takes 3 MB
_GPU_WINDOWS: Final = 256  # 2 GB in all


class RoomEstimate(NamedTuple):
    """What Brouhaha tells of a clip.

    Attributes:
        snr_db: ratio of the power of speech to that of noise, dB; -15 to 80.
        c50_db: ratio of what reaches the microphone within 50 ms to what comes later, dB; -10 to 60.
        reason: why both are None: `too_short`, or `no_speech` where no frame holds any.
    """

    snr_db: float | None
    c50_db: float | None
    reason: str | None = None


class Brouhaha:
    """The network with published weights on one device.

    Args:
        weights: the checkpoint, as `published.BROUHAHA` finds it.
        device: cpu or cuda.

    Raises:
        CheckpointError: the file can't be read, or holds no weights of this network; says what is missing.
    """

    def __init__(self, weights: Path, *, device: torch.device | str = "cpu") -> None:
        checkpoint = load_checkpoint(weights)
        # what Lightning stores of the model's arguments, and pyannote.audio of its task
        stride = _stored(checkpoint, "hyper_parameters", "sincnet", "stride")
        duration_s = _stored(checkpoint, "pyannote.audio", "specifications", "duration")
        try:
            self._net = BrouhahaNet(_state(checkpoint), stride=int(stride or STRIDE), device=device)
        except ValueError as error:
            raise CheckpointError(f"{weights}: {error}") from error
        self._device = torch.device(device)
        self._window = round((duration_s or WINDOW_S) * SAMPLE_RATE)
        self._frames = self._net.frames(self._window)
        self._step = round(self._frames * STEP_WINDOWS) * self._net.hop
        self._weights = np.hamming(self._frames)[:, None]
        self._at_once = _CPU_WINDOWS if self._device.type == "cpu" else _GPU_WINDOWS

    def measure(self, clips: Sequence[NDArray[np.float32]]) -> list[RoomEstimate]:
        """Judge each clip: float32 [n] at 16 kHz, finite, in [-1, 1]. A clip's result depends on that clip alone."""
        heard = [clip for clip in clips if len(clip) >= MIN_SAMPLES]
        scores = self._scores([(clip, start) for clip in heard for start in self._starts(clip)])
        return [
            self._estimate(clip, scores) if len(clip) >= MIN_SAMPLES else RoomEstimate(None, None, "too_short")
            for clip in clips
        ]

    def _starts(self, clip: NDArray[np.float32]) -> list[int]:
        """Return where windows begin in `clip`, all of them whole frames from its beginning."""
        last = max(len(clip) - self._window, 0) // self._net.hop * self._net.hop
        return [*range(0, last, self._step), last]

    def _scores(self, places: Sequence[tuple[NDArray[np.float32], int]]) -> Iterator[NDArray[np.float32]]:
        """Yield the network's output for each window: float32 [frames, 3]."""
        for first in range(0, len(places), self._at_once):
            windows = np.stack(
                [
                    clip[start : start + self._window] if len(clip) >= self._window else np.resize(clip, self._window)
                    for clip, start in places[first : first + self._at_once]
                ]
            )
            # TensorFloat-32, cuDNN's default, rounds to 10 bits: frames at the threshold of speech would change sides
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                scores = self._net(torch.from_numpy(windows).to(self._device)).cpu().numpy()
            yield from scores

    def _estimate(self, clip: NDArray[np.float32], scores: Iterator[NDArray[np.float32]]) -> RoomEstimate:
        """Average the next windows of `scores`, which are those of `clip`."""
        starts = self._starts(clip)
        total = np.zeros((starts[-1] // self._net.hop + self._frames, 3))
        weight = np.zeros((len(total), 1))
        for start in starts:
            frames = slice(start // self._net.hop, start // self._net.hop + self._frames)
            total[frames] += next(scores) * self._weights
            weight[frames] += self._weights
        means = (total / weight)[: -(-len(clip) // self._net.hop)]  # of a repeated clip, the frames of the first time
        speech = means[means[:, 0] > SPEECH_THRESHOLD]
        if not len(speech):
            return RoomEstimate(None, None, "no_speech")
        return RoomEstimate(float(speech[:, 1].mean()), float(speech[:, 2].mean()))


def _state(checkpoint: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    state = checkpoint.get("state_dict", checkpoint)
    items = state.items() if isinstance(state, Mapping) else ()
    return {name: value for name, value in items if isinstance(value, torch.Tensor)}


def _stored(checkpoint: Mapping[str, Any], *names: str) -> int | float | None:
    """Return a number that lies in `checkpoint` under those names, of which some may be an object's attributes."""
    value: Any = checkpoint
    for name in names:
        value = value.state if isinstance(value, Foreign) else value
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None
