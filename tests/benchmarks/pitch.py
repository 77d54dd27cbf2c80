"""How fast F0 is tracked on one core, by ours and by others, and how far each agrees with Praat.

    python -m tests.benchmarks.pitch [--quick]

Human and synthetic clips of 3 to 20 s go through every tracker, with the same range of F0, on one core. The trackers
take turns, each with as many clips as it does in three seconds; the median of the turns counts. Speed is seconds of
audio per second of processor time, which other work on the machine disturbs least; that by the clock stands beside it.
AMFM-decompy and swift-f0 are needed here only: `pip install 'sift-ray[benchmarks]'`. What is missing is left out, and
said.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"))

import numpy as np
from numpy.typing import NDArray

from sift_ray.features.pitch import pitch_track
from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.features.tracks import STEP_S
from sift_ray.schema import SAMPLE_RATE
from tests.benchmarks.clips import Clip, seconds_of, speech_clips
from tests.benchmarks.steady import one_core

PARAMETERS = PitchParameters()
FLOOR, CEILING = PARAMETERS.pitch_floor, PARAMETERS.pitch_ceiling
GROSS = 0.2  # an F0 that is further off than this is a gross pitch error


class Track(NamedTuple):
    """F0 in Hz, 0 where unvoiced, and the centres of its frames in s."""

    f0_hz: NDArray[np.floating]
    times: NDArray[np.floating]


Tracker = Callable[[Sequence[Clip]], list[Track]]


def _grid(f0: NDArray[np.floating], start: float) -> Track:
    return Track(f0, start + STEP_S * np.arange(len(f0)))


def parselmouth_alone() -> Tracker:
    import parselmouth

    def track(clip: Clip) -> Track:
        pitch = parselmouth.Sound(clip, SAMPLE_RATE).to_pitch_ac(
            time_step=STEP_S, pitch_floor=FLOOR, pitch_ceiling=CEILING
        )
        return _grid(pitch.selected_array["frequency"], pitch.x1)

    return lambda clips: [track(clip) for clip in clips]


def ours_by_praat() -> Tracker:
    return lambda clips: [_grid(*pitch_track(clip, PARAMETERS)) for clip in clips]


def ours_in_torch() -> Tracker:
    import torch

    from sift_ray.features.batched.pitch import pitch_tracks
    from sift_ray.features.batched.ragged import RaggedBatch

    torch.set_num_threads(1)
    return lambda clips: [_grid(*track) for track in pitch_tracks(RaggedBatch.of(clips, "cpu"), PARAMETERS)]


def pyaapt() -> Tracker:
    from amfm_decompy import basic_tools, pYAAPT

    def track(clip: Clip) -> Track:
        pitch = pYAAPT.yaapt(
            basic_tools.SignalObj(clip, SAMPLE_RATE), f0_min=FLOOR, f0_max=CEILING, frame_space=1000 * STEP_S
        )
        return Track(pitch.samp_values, pitch.frames_pos / SAMPLE_RATE)

    return lambda clips: [track(clip) for clip in clips]


def pyin() -> Tracker:
    import librosa

    hop = round(STEP_S * SAMPLE_RATE)

    def track(clip: Clip) -> Track:
        f0, _, _ = librosa.pyin(clip, fmin=FLOOR, fmax=CEILING, sr=SAMPLE_RATE, hop_length=hop, fill_na=0.0)
        return _grid(f0, 0.0)

    return lambda clips: [track(clip) for clip in clips]


def swift_f0() -> Tracker:
    import swift_f0

    network = swift_f0.SwiftF0(threads=1)

    def track(clip: Clip) -> Track:
        found = network.detect(clip, SAMPLE_RATE, FLOOR, CEILING)
        return Track(np.where(found.confidence >= 0.5, found.pitch_hz, 0.0), found.timestamps)

    return lambda clips: [track(clip) for clip in clips]


TRACKERS: dict[str, tuple[Callable[[], Tracker], str]] = {
    "parselmouth alone": (parselmouth_alone, "praat-parselmouth"),
    "ours, Praat": (ours_by_praat, "praat-parselmouth"),
    "ours, torch": (ours_in_torch, "torch"),
    "swift-f0": (swift_f0, "swift-f0"),
    "pYAAPT": (pyaapt, "AMFM-decompy"),
    "librosa.pyin": (pyin, "librosa"),
}


@dataclass
class Contender:
    """A tracker, the clips that it hears next, and what its turns took."""

    track: Tracker
    clips: Iterator[Clip]
    portion_s: float = 0.0
    by_processor: list[float] = field(default_factory=list)
    by_clock: list[float] = field(default_factory=list)

    def take_turn(self) -> None:
        """Hear `portion_s` of audio or a little more, and note the speed."""
        portion: list[Clip] = []
        while seconds_of(portion) < self.portion_s:
            portion.append(next(self.clips))
        clock, processor = time.perf_counter(), time.process_time()
        self.track(portion)
        self.by_processor.append(seconds_of(portion) / (time.process_time() - processor))
        self.by_clock.append(seconds_of(portion) / (time.perf_counter() - clock))


def available() -> dict[str, Tracker]:
    """Return the trackers whose package is installed, and say which are not."""
    found = {}
    for name, (make, package) in TRACKERS.items():
        try:
            found[name] = make()
        except ModuleNotFoundError as error:
            print(f"{name} is left out ({error}): pip install {package}")
    return found


class Agreement(NamedTuple):
    """How far a tracker agrees with Praat.

    `same_voicing` is the share of frames with the same voicing; of those that both call voiced, `off` is the median
    relative difference of F0, and `gross` the share that is more than 20 % off.
    """

    same_voicing: float
    off: float
    gross: float


def agreement(tracks: Sequence[Track], praat: Sequence[Track]) -> Agreement:
    """Compare with Praat at the centres of its frames, each with the nearest frame of the other."""
    same, differences = [], []
    for track, reference in zip(tracks, praat, strict=True):
        middles = (track.times[1:] + track.times[:-1]) / 2
        f0 = track.f0_hz[np.searchsorted(middles, reference.times)]
        same.append((f0 > 0) == (reference.f0_hz > 0))
        both = (f0 > 0) & (reference.f0_hz > 0)
        differences.append(np.abs(f0[both] / reference.f0_hz[both] - 1))
    apart = np.concatenate(differences)
    return Agreement(float(np.mean(np.concatenate(same))), float(np.median(apart)), float(np.mean(apart > GROSS)))


def compare(audio_s: float, turns: int, turn_s: float) -> None:
    """Print a line for each tracker."""
    clips = speech_clips(audio_s)
    trackers = available()
    contenders, agreed = {}, {}
    praat = trackers["parselmouth alone"](clips)
    for name, track in trackers.items():
        track(clips[:1])  # compiles and loads what is loaded late
        start = time.process_time()
        tracks = track(clips)
        speed = audio_s / (time.process_time() - start)
        agreed[name] = agreement(tracks, praat)
        contenders[name] = Contender(track, itertools.cycle(clips), portion_s=speed * turn_s)
    for turn in range(turns):
        order = list(contenders.values())
        for contender in order if turn % 2 else reversed(order):
            contender.take_turn()

    print(f"\n{len(clips)} clips, {audio_s} s; F0 of {FLOOR:g} to {CEILING:g} Hz; {turns} turns of about {turn_s:g} s")
    print(f"{'seconds of audio per second':<28}{'one core':>9}{'turns':>16}{'by clock':>10}", end="")
    print(f"{'same voicing':>14}{'median off':>12}{'gross errors':>14}")
    for name, contender in contenders.items():
        low, high = min(contender.by_processor), max(contender.by_processor)
        middle, clock = map(statistics.median, (contender.by_processor, contender.by_clock))
        with_praat = agreed[name]
        print(f"{name:<28}{middle:>9.1f}{f'{low:.1f} to {high:.1f}':>16}{clock:>10.1f}", end="")
        print(f"{with_praat.same_voicing:>14.1%}{with_praat.off:>12.2%}{with_praat.gross:>14.2%}", flush=True)


def main() -> None:
    """Compare on one core."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.pitch")
    options.add_argument("--quick", action="store_true", help="a few seconds: the figures mean nothing")
    quick = options.parse_args().quick
    with one_core():
        compare(*((12, 1, 0.1) if quick else (120, 5, 3.0)))


if __name__ == "__main__":
    main()
