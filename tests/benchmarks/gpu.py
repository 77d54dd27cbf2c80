"""How fast a GPU measures: each part, the parts together, and the whole stage, over batches of several sizes.

    python -m tests.benchmarks.gpu [--device cuda|cpu] [--seconds S ...]

Speech at 16 kHz lies in the host's memory before anything is timed; clips are as long as those of Multilingual
LibriSpeech (10 to 20 s) and of Common Voice (3 to 8 s), as many of each. Every batch is another one, as in a job: two
run before anything is timed, and the device has finished whenever the clock is read. Medians of several batches are
printed, as times faster than real time, with the most memory that tensors took meanwhile. Without a GPU this ends with
status 2; `--device cpu --seconds 20` shows that the script runs, and nothing about a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import torch

from sift_ray.config import FeaturesConfig
from sift_ray.features.batched import noise, reverberation
from sift_ray.features.batched.dnsmos import BatchedDnsmos
from sift_ray.features.batched.intensity import intensity_tracks
from sift_ray.features.batched.pitch import pitch_tracks
from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.batched.spectrum import power_spectrograms
from sift_ray.features.extract import FeatureExtractor
from sift_ray.features.pitch_parameters import PitchParameters
from tests.benchmarks.clips import Clip, seconds_of, speech_clips

BATCHES_S = (75, 150, 300, 600, 1200, 2400)
WARM_UPS, RUNS = 2, 7
GOAL: Final = "F0 + intensity + SNR + DNSMOS"
GOAL_SPEED: Final = 5_000  # times real time, on an H100
PARAMETERS = PitchParameters()


class Taken(NamedTuple):
    """What a part takes for a batch: the median of `RUNS` in s, and the peak of memory in GiB (None on a CPU)."""

    seconds: float
    peak_gib: float | None


def parts(clips: Sequence[Clip], device: str, dnsmos: BatchedDnsmos, stage: FeatureExtractor) -> dict[str, Any]:
    """Return what is timed on one batch: each takes nothing, and leaves its results on the host."""
    batch = RaggedBatch.of(clips, device)
    power = power_spectrograms(batch)
    floor = PARAMETERS.pitch_floor

    def together() -> None:
        copied = RaggedBatch.of(clips, device)
        pitch_tracks(copied, PARAMETERS)
        intensity_tracks(copied, pitch_floor=floor)
        noise.snr(copied, power_spectrograms(copied))
        dnsmos.score(clips)

    return {
        "copy to the device": lambda: RaggedBatch.of(clips, device),
        "F0": lambda: pitch_tracks(batch, PARAMETERS),
        "intensity": lambda: intensity_tracks(batch, pitch_floor=floor),
        "spectrogram": lambda: power_spectrograms(batch),
        "SNR": lambda: noise.snr(batch, power),
        "C50": lambda: reverberation.c50(power),
        "DNSMOS": lambda: dnsmos.score(clips),
        GOAL: together,
        "the whole stage": lambda: stage.measure(clips),
    }


def timed(calls: Sequence[Callable[[], object]], device: str, warm_ups: int) -> Taken:
    """Run the first `warm_ups` calls, then time each of the others."""
    on_gpu = device == "cuda"
    seconds = []
    for number, call in enumerate(calls):
        if number == warm_ups and on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        if number >= warm_ups:
            seconds.append(time.perf_counter() - start)
    return Taken(statistics.median(seconds), torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None)


def describe(device: str) -> str:
    """Return what the figures were taken on."""
    if device == "cpu":
        return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}: this says nothing about a GPU"
    gpu = torch.cuda.get_device_properties(0)
    tf32 = {"convolutions": torch.backends.cudnn.allow_tf32, "matrices": torch.backends.cuda.matmul.allow_tf32}
    allowed = " and ".join(name for name, on in tf32.items() if on) or "nothing"
    return (
        f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, torch {torch.__version__}, CUDA {torch.version.cuda}; "
        f"TF32 is allowed for {allowed}"
    )


def measure(sizes: Sequence[float], device: str) -> None:
    """Print a table for each batch size, and the best of them."""
    print(describe(device))
    warm_ups, runs = (WARM_UPS, RUNS) if device == "cuda" else (1, 1)
    config = FeaturesConfig.model_validate(
        {"device": device, "engine": "torch", "batch_s": 10 * max(sizes), "pool": {"num_gpus": int(device == "cuda")}}
    )
    stage, dnsmos = FeatureExtractor(config), BatchedDnsmos(windows=config.dnsmos_windows, device=device)
    best: dict[float, float] = {}
    for size in sizes:
        batches = [speech_clips(size, seed=seed) for seed in range(warm_ups + runs)]
        audio_s = seconds_of(batches[0])
        print(f"\n{len(batches)} batches of {audio_s:.0f} s, the first of {len(batches[0])} clips")
        print(f"{'':<32}{'ms':>10}{'x real time':>13}{'peak GiB':>10}")
        try:
            every = [parts(clips, device, dnsmos, stage) for clips in batches]
            for name in every[0]:
                took = timed([calls[name] for calls in every], device, warm_ups)
                peak = "-" if took.peak_gib is None else f"{took.peak_gib:.2f}"
                print(f"{name:<32}{1000 * took.seconds:>10.1f}{audio_s / took.seconds:>13,.0f}{peak:>10}", flush=True)
                if name == GOAL:
                    best[size] = audio_s / took.seconds
        except torch.cuda.OutOfMemoryError as error:
            print(f"does not fit into the GPU: {error}")
            torch.cuda.empty_cache()
    if best:
        size, speed = max(best.items(), key=lambda found: found[1])
        print(f"\n{GOAL}: {speed:,.0f} times real time in batches of {size:g} s", end="")
        print(f" (the goal on an H100 is {GOAL_SPEED:,})" if device == "cuda" else "")


def main() -> int:
    """Return 2 where there is no GPU to measure on."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options.add_argument("--seconds", type=float, nargs="+", default=BATCHES_S, help="of audio in a batch")
    chosen = options.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("No GPU is at hand: nothing was measured. --device cpu runs the same on the CPU.", file=sys.stderr)
        return 2
    measure(chosen.seconds, chosen.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
