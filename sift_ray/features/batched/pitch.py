"""Fundamental frequency by Praat's autocorrelation method (Boersma 1993), many clips at once.

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound", IFA Proceedings 17 (1993).

As in Praat's "To Pitch (ac)": the frames and their windows, the normalised autocorrelation, the choice of candidates
by sinc interpolation of depth 30, their place and strength by one of depth 70, the path through them. Approximated: the
top of the interpolation is the best of 16 places per sample and a parabola there, where Praat searches on (frequencies
differ by 1e-5 of themselves or less in nearly every frame); the autocorrelation is in single precision; candidates
above 4.8 kHz are interpolated like the others, not at depth 700.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sift_ray.features.batched.pitch_path import StepOrder, best_path
from sift_ray.features.batched.ragged import RaggedBatch, padded_chunks
from sift_ray.features.pitch import PERIODS_PER_WINDOW, shortest_pitched
from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.features.tracks import STEP_S
from sift_ray.schema import SAMPLE_RATE

CHUNK_FRAMES: Final = 2048
"""Frames worked on at once on a CPU, for its caches' sake: some 50 MB at a floor of 75 Hz."""
GPU_CHUNK_FRAMES: Final = 16384
"""And on a GPU: some 0.5 GB."""

_SAMPLE_S: Final = 1 / SAMPLE_RATE
_CHOICE_DEPTH: Final = 30  # samples on either side that a candidate's first strength is interpolated from
_PEAK_DEPTH: Final = 70  # and its final place and strength
_NOTHING: Final = 1e-36  # peaks and energies below are silence, in single precision
_GRID: Final = 16  # places per sample at which the interpolated autocorrelation is computed


class _Sizes(NamedTuple):
    """Lengths in samples, under a floor and ceiling."""

    period: int  # of the floor
    half_window: int  # and the greatest lag that the autocorrelation is known at
    lags: int  # candidates lie below this lag

    @classmethod
    def of(cls, parameters: PitchParameters) -> _Sizes:
        period = math.floor(1 / _SAMPLE_S / parameters.pitch_floor)
        half_window = math.floor(PERIODS_PER_WINDOW / parameters.pitch_floor / _SAMPLE_S) // 2 - 1
        if half_window < 2:
            raise ValueError(f"a pitch floor of {parameters.pitch_floor} Hz is too high for {SAMPLE_RATE} samples/s")
        return cls(period, half_window, min(2 * half_window // 3 + 2, half_window))


def pitch_tracks(batch: RaggedBatch, parameters: PitchParameters) -> list[tuple[NDArray[np.float32], float]]:
    """Track F0 of every clip.

    Args:
        batch: clips, 16 kHz.
        parameters: Praat's.

    Returns:
        For each clip, F0 in Hz, float32 [frames], 0 where unvoiced, and the centre of the first frame in s. No frames
        where the clip is shorter than the window and a step.

    Raises:
        ValueError: where the floor leaves a window of less than six samples.
    """
    sizes = _Sizes.of(parameters)
    counts, first_s = _frame_times(batch.sizes, parameters.pitch_floor)
    order = StepOrder.of(counts.tolist())
    if not len(order.clip):
        return [(np.empty(0, np.float32), 0.0) for _ in batch.sizes]
    clip = torch.from_numpy(order.clip).to(batch.device)
    places = batch.starts[clip] + torch.from_numpy(_places(order, first_s, sizes)).to(batch.device)
    peaks = _peaks(batch)[clip]
    size = CHUNK_FRAMES if batch.device.type == "cpu" else GPU_CHUNK_FRAMES
    chunks = [
        _candidates(batch.frames(part, 2 * sizes.half_window), peak, sizes, parameters)
        for part, peak in zip(padded_chunks(places, size), padded_chunks(peaks, size), strict=True)
    ]
    hz, scores = (torch.cat(parts)[: len(places)] for parts in zip(*chunks, strict=True))
    voiced = hz > 0
    path = best_path(
        hz.log2().masked_fill_(~voiced, 0.0),
        voiced,
        scores,
        order,
        octave_jump_cost=parameters.octave_jump_cost * 0.01 / STEP_S,
        voiced_unvoiced_cost=parameters.voiced_unvoiced_cost * 0.01 / STEP_S,
    )
    track = hz.cpu().numpy()[np.arange(len(path)), path][np.lexsort((order.step, order.clip))]
    tracks = np.split(track, np.cumsum(counts)[:-1])
    return [(f0, float(start)) for f0, start in zip(tracks, first_s, strict=True)]


def _frame_times(lengths: tuple[int, ...], floor: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return how many frames clips of `lengths` samples have, and the centre of their first one, s."""
    window = PERIODS_PER_WINDOW / floor
    samples = np.array(lengths, np.float64)
    counts = np.floor((samples * _SAMPLE_S - window) / STEP_S).astype(np.int64) + 1
    counts[samples < shortest_pitched(floor)] = 0
    first = 0.5 * samples * _SAMPLE_S - 0.5 * counts * STEP_S + 0.5 * STEP_S
    return counts, np.where(counts > 0, first, 0.0)


def _places(order: StepOrder, first_s: NDArray[np.float64], sizes: _Sizes) -> NDArray[np.int64]:
    """Return where each frame begins in its clip.

    In a clip of an odd number of samples a frame's centre falls on a sample, and rounding alone decides whether that
    sample counts as left of it: the sums are Praat's, in Praat's order.
    """
    centres = first_s[order.clip] + order.step * STEP_S
    right = np.floor((centres - 0.5 * _SAMPLE_S) / _SAMPLE_S + 1.0).astype(np.int64)
    return right - sizes.half_window


def _peaks(batch: RaggedBatch) -> torch.Tensor:
    """Return each clip's greatest distance from its mean, float32 [clips]; exactly 0 where all samples are equal."""
    clips = torch.arange(1, 2 * len(batch), 2, device=batch.device)  # margins and clips take turns
    lengths = torch.full((2 * len(batch) + 1,), batch.margin, device=batch.device)
    lengths[clips] = batch.lengths
    mean = torch.segment_reduce(batch.samples.double(), "mean", lengths=lengths, initial=0)
    highest, lowest = (torch.segment_reduce(batch.samples, side, lengths=lengths) for side in ("max", "min"))
    return torch.maximum(highest - mean, mean - lowest)[clips].float()


def _candidates(
    frames: torch.Tensor, peaks: torch.Tensor, sizes: _Sizes, parameters: PitchParameters
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find pitch candidates in frames.

    Args:
        frames: float32 [frames, 2 * half window]; overwritten.
        peaks: float32 [frames], the peak of the clip that a frame is of.
        sizes: of the analysis.
        parameters: Praat's.

    Returns:
        Frequencies in Hz, float32 [frames, candidates], 0 for the unvoiced candidate, which is the first one; and their
        scores, float32 [frames, candidates], -inf where a frame has fewer candidates.
    """
    correlation, intensity = _autocorrelation(frames, peaks, sizes)
    ceiling = min(parameters.pitch_ceiling, 0.5 * SAMPLE_RATE)
    kept = min(max(parameters.max_candidates, math.floor(ceiling / parameters.pitch_floor)) - 1, sizes.lags - 2)
    around = _surroundings(correlation)
    frame, column, lag = _strongest_peaks(correlation[:, : sizes.lags + 1], around, kept, ceiling, parameters)
    values = _interpolated(around, frame, lag, _PEAK_DEPTH)
    top = values.argmax(dim=1).clamp(1, 2 * _GRID - 1)
    left, middle, right = (values.gather(1, (top + side)[:, None])[:, 0] for side in (-1, 0, 1))
    slope, bend = 0.5 * (right - left), 2 * middle - left - right
    shift = torch.where(bend > 0, slope / bend, 0.0).clamp(-1, 1)
    hz = SAMPLE_RATE / (lag + (top - _GRID + shift) / _GRID)
    score = _strength(middle + shift * (slope - 0.5 * bend * shift)) - parameters.octave_cost * torch.log2(ceiling / hz)
    voiced = hz < ceiling

    all_hz = frames.new_zeros(len(frames), kept + 1)
    scores = frames.new_full((len(frames), kept + 1), -torch.inf)
    all_hz[frame, column + 1] = torch.where(voiced, hz, 0.0).float()
    scores[frame, column + 1] = torch.where(voiced, score, -torch.inf).float()
    scores[:, 0] = parameters.voicing_threshold
    if parameters.silence_threshold > 0:
        loudness = intensity * ((1 + parameters.voicing_threshold) / parameters.silence_threshold)
        scores[:, 0] += (2 - loudness).clamp(min=0)
    return all_hz, scores


def _autocorrelation(frames: torch.Tensor, peaks: torch.Tensor, sizes: _Sizes) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames' normalised autocorrelation, float32 [frames, half window + 1], and intensity, float32 [frames].

    The autocorrelation of the windowed frame over that of the window (Boersma 1993, equation 9); all 0 in a silent
    frame. The intensity is the peak near the frame's centre, 1 being the clip's.
    """
    half, period = sizes.half_window, sizes.period
    points = 2 ** math.ceil(math.log2(3 * half))
    turn = torch.arange(1, 2 * half + 1, dtype=torch.float64) * (2 * math.pi / (2 * half + 1))
    window = 0.5 - 0.5 * torch.cos(turn)
    of_window = torch.fft.irfft(torch.fft.rfft(window, n=points).abs().square(), n=points)[: half + 1]

    frames -= frames[:, half - period : half + period].mean(dim=1, keepdim=True)
    frames *= window.to(frames)
    around = period // 2 + 1
    intensity = frames[:, max(half - around, 0) : half + around].abs().amax(dim=1) / peaks
    intensity = torch.where(peaks > _NOTHING, intensity.clamp(max=1), 0.0)
    spectrum = torch.fft.rfft(frames, n=points)
    power = spectrum.real.square() + spectrum.imag.square()
    correlation = torch.fft.irfft(power, n=points)[:, : half + 1]
    energy = correlation[:, :1]
    sounds = (energy > _NOTHING) & (intensity > 0)[:, None]
    correlation = torch.where(sounds, correlation / energy, 0.0) * (of_window[0] / of_window).to(frames)
    return correlation, intensity


def _strongest_peaks(
    correlation: torch.Tensor, around: torch.Tensor, kept: int, ceiling: float, parameters: PitchParameters
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose the `kept` strongest peaks of every frame, and of these the ones that may lie below `ceiling`.

    Those above it would count as unvoiced, and there is an unvoiced candidate already.

    Returns:
        Frame, column (below `kept`) and lag, int64 [peaks] each.
    """
    before, here, after = (correlation[:, 1 + side : correlation.shape[1] - 2 + side] for side in (0, 1, 2))
    peaks = (here > 0.5 * parameters.voicing_threshold) & (here > before) & (here >= after)
    scores = torch.where(peaks, 0.0, -torch.inf)
    # Where no more peaks than are kept, they all stay, and nothing need be known of their strengths.
    frame, place = (peaks & (peaks.sum(dim=1, keepdim=True) > kept)).nonzero(as_tuple=True)
    left, middle, right = before[frame, place], here[frame, place], after[frame, place]
    lag, shift = place + 2, 0.5 * (right - left) / (2 * middle - left - right)
    values = _interpolated(around, frame, lag, _CHOICE_DEPTH)
    favour = parameters.octave_cost * torch.log2(parameters.pitch_floor * (lag + shift) / SAMPLE_RATE)
    scores[frame, place] = (_strength(_between(values, _GRID * (1 + shift.double()))) - favour).float()
    best = scores.topk(kept, dim=1)
    frame, column = (best.values.isfinite() & (best.indices + 2 + 1 > SAMPLE_RATE / ceiling)).nonzero(as_tuple=True)
    return frame, column, best.indices[frame, column] + 2


def _strength(height: torch.Tensor) -> torch.Tensor:
    """Return the strength of a peak of the interpolated autocorrelation: as far below 1 as it is above."""
    return torch.where(height > 1, 1 / height, height)


def _between(values: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return each row of `values`, float64 [n, columns], at the column `place`, float64 [n]: on a parabola."""
    column = place.round().long().clamp(1, values.shape[1] - 2)
    left, middle, right = (values.gather(1, (column + side)[:, None])[:, 0] for side in (-1, 0, 1))
    shift = place - column
    return middle + shift * (0.5 * (right - left) + 0.5 * shift * (left + right - 2 * middle))


def _surroundings(correlation: torch.Tensor) -> torch.Tensor:
    """Return a view, float32 [frames, lags, 2 * depth + 1]: the autocorrelation within `depth` of each lag.

    The depth is `_PEAK_DEPTH`, less in a shorter window. Above the greatest lag lie zeros.
    """
    depth = min(_PEAK_DEPTH, correlation.shape[1] - 1)
    negative, beyond = correlation[:, 1 : depth + 1].flip(1), correlation.new_zeros(len(correlation), depth)
    return torch.cat([negative, correlation, beyond], dim=1).unfold(1, 2 * depth + 1, 1)


def _interpolated(around: torch.Tensor, frame: torch.Tensor, lag: torch.Tensor, depth: int) -> torch.Tensor:
    """Interpolate the autocorrelation near lags.

    Args:
        around: of `_surroundings`.
        frame: int64 [n].
        lag: int64 [n].
        depth: how many samples on either side of a place are taken, where there are as many.

    Returns:
        float64 [n, 2 * _GRID + 1], its values at `_GRID` places per sample from `lag - 1` to `lag + 1`.
    """
    middle = around.shape[2] // 2
    depth = min(depth, middle)
    # Near the end of a short window there are fewer: lags are worked on by how many there are beyond them.
    room = (around.shape[1] - 1 - lag).clamp(max=depth)
    order = room.argsort()
    counts = torch.bincount(room, minlength=depth + 1).tolist()
    taken = around[..., middle - depth : middle + depth + 1][frame[order], lag[order]].double()
    values = taken.new_empty(len(lag), 2 * _GRID + 1)
    for beyond, (rows, part) in enumerate(zip(order.split(counts), taken.split(counts), strict=True)):
        if len(rows):
            values[rows] = part @ _kernel(depth, beyond).to(part.device)
    return values


@lru_cache(maxsize=256)
def _kernel(depth: int, room: int) -> torch.Tensor:
    """Return the kernel of sinc interpolation with a raised-cosine window, float64 [2 * depth + 1, 2 * _GRID + 1].

    Rows are samples from -`depth` to `depth`, columns are places from -1 to 1. As in Praat, as many samples (at most
    `depth`) are taken from the left of a place as from its right, and there are `room` samples beyond 0.
    """
    taps = np.arange(-depth, depth + 1)[:, None]
    place = np.arange(-_GRID, _GRID + 1) / _GRID
    below = np.floor(place)
    taken = np.minimum(depth, room - below)
    left = taps <= below
    distance = np.where(left, place - taps, taps - place)
    first, last = below + 1 - taken, below + taken
    edge = np.where(left, place - first, last - place) + 1
    share = np.where((taps >= first) & (taps <= last), distance / np.maximum(edge, 1e-9), 1.0)
    return torch.from_numpy(np.sinc(distance) * (0.5 + 0.5 * np.cos(np.pi * share)))
