"""How fast clips are measured: against the bare parts in a loop, and through Ray with one worker and with two.

    python -m tests.benchmarks.features [--quick]

First the whole feature stage (`FeatureExtractor.measure`) and a loop that only calls its parts (Praat's pitch and
intensity, the spectrogram, SNR, C50, DNSMOS) take turns on every batch, in one process on one core; the same
without DNSMOS, which takes most of the time, and there the torch engine on the CPU takes a third turn.

Then batches of decoded audio go through Ray Data to the actor of `annotate`, one of it and two in turns, each with as
much work; beside that, as what the machine can give, one and two processes without Ray that measure the same. Time
counts from when every worker has delivered its first batch until the first of them has delivered its last.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"))
os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")

import numpy as np
import pyarrow as pa

from sift_ray.config import FeaturesConfig, RayConfig
from sift_ray.features import noise, reverberation
from sift_ray.features.extract import FeatureExtractor
from sift_ray.features.intensity import intensity_track
from sift_ray.features.pitch import pitch_track
from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.features.quality import Dnsmos
from sift_ray.features.spectrum import power_spectrogram
from sift_ray.pipeline.annotate_actors import Measuring
from sift_ray.pipeline.audio_batches import AUDIO, FULL_SCALE, ragged
from sift_ray.pipeline.session import actor_limits
from sift_ray.schema import SAMPLE_RATE, UTTERANCES, conform
from tests.benchmarks.clips import Clip, seconds_of, speech_clips
from tests.benchmarks.steady import Rate, Work, noted, one_core, rate, works_of

BATCH_ROWS = 4  # less than a job's, so that there are enough of them
CONFIG = FeaturesConfig(device="cpu")
PARTS = ("F0", "intensity", "spectrogram", "SNR", "C50", "DNSMOS")
WORKERS = (1, 2)
LONGEST_WAIT_S = 120


def bare_parts(with_dnsmos: bool) -> tuple[Callable[[Sequence[Clip]], None], dict[str, float]]:
    """Return what calls the parts on each clip, and the processor seconds that each part has taken, kept up to date."""
    dnsmos = Dnsmos(windows=CONFIG.dnsmos_windows) if with_dnsmos else None
    parameters = PitchParameters()
    spent = dict.fromkeys(PARTS if with_dnsmos else PARTS[:-1], 0.0)

    def measure(clips: Sequence[Clip]) -> None:
        for clip in clips:
            times = [time.process_time()]
            pitch_track(clip, parameters)
            times.append(time.process_time())
            intensity_track(clip, pitch_floor=parameters.pitch_floor)
            times.append(time.process_time())
            power = power_spectrogram(clip)
            times.append(time.process_time())
            noise.snr(clip, power)
            times.append(time.process_time())
            reverberation.c50(power)
            times.append(time.process_time())
            if dnsmos is not None:
                dnsmos.score([clip])
                times.append(time.process_time())
            for part, (start, end) in zip(spent, itertools.pairwise(times), strict=True):
                spent[part] += end - start

    return measure, spent


def in_turns(
    ways: Mapping[str, Callable[[Sequence[Clip]], Any]], batches: Sequence[Sequence[Clip]], turns: int
) -> dict[str, list[tuple[float, float]]]:
    """Return what each way took for all batches, in each turn: seconds of the processor and by the clock."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for measure in ways.values():
        measure(batches[0])
    for turn in range(turns):
        spent = {name: [0.0, 0.0] for name in ways}
        for number, batch in enumerate(batches):
            # each way is first as often as the others, so that none has the warmer caches
            first = (number + turn) % len(ways)
            for name in [*ways, *ways][first : first + len(ways)]:
                processor, clock = time.process_time(), time.perf_counter()
                ways[name](batch)
                spent[name][0] += time.process_time() - processor
                spent[name][1] += time.perf_counter() - clock
        for name, (processor, clock) in spent.items():
            took[name].append((processor, clock))
    return took


def against_the_parts(clips: Sequence[Clip], turns: int) -> None:
    """Print the speed of the stage and of its parts."""
    batches = [clips[start : start + BATCH_ROWS] for start in range(0, len(clips), BATCH_ROWS)]
    audio_s = seconds_of(clips)
    print(f"{len(clips)} clips, {audio_s:.0f} s in all; one process on one core; medians of {turns} turns")
    print(f"{'seconds of audio per second':<32}{'by processor':>13}{'of the parts':>13}", end="")
    print(f"{'by clock':>10}{'of the parts':>13}")
    for quality in ("dnsmos", "none"):
        bare, spent = bare_parts(quality == "dnsmos")
        config = CONFIG.model_copy(update={"quality": quality})
        ways: dict[str, Callable[[Sequence[Clip]], Any]] = {
            "the parts in a loop": bare,
            "the stage": FeatureExtractor(config).measure,
        }
        if quality == "none":
            ways["the stage, torch"] = FeatureExtractor(config.model_copy(update={"engine": "torch"})).measure
        bare(batches[0])  # SNR makes its table
        spent.update(dict.fromkeys(spent, 0.0))
        took = in_turns(ways, batches, turns)
        for name, seconds in took.items():
            columns = ""
            for kind, width in ((0, 13), (1, 10)):
                middle = statistics.median(audio_s / turn[kind] for turn in seconds)
                pairs = zip(took["the parts in a loop"], seconds, strict=True)
                ratio = statistics.median(base[kind] / ours[kind] for base, ours in pairs)
                columns += f"{middle:>{width}.1f}{ratio:>13.3f}"
            print(f"{name + ('' if quality == 'dnsmos' else ', without DNSMOS'):<32}{columns}", flush=True)
        if quality == "dnsmos":
            shares = {part: seconds / sum(spent.values()) for part, seconds in spent.items()}
            print("  of which " + ", ".join(f"{part} {share:.1%}" for part, share in shares.items()))


class Noted(Measuring):
    """The actor of `annotate`, which also notes who measured a batch, and when."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return noted(super().__call__, batch)


def decoded_batches(clips: Sequence[Clip]) -> list[pa.Table]:
    """Return the clips as `decode_batch` gives them to the actor: int16, `BATCH_ROWS` a block."""
    numbers = pa.array(range(len(clips)))
    constant = dict.fromkeys(("corpus", "data_source", "language", "split"), ["-"] * len(clips))
    identity = {"unit_id": numbers, "utterance_id": numbers.cast(pa.string()), "status": ["ok"] * len(clips)}
    table = conform(pa.table({**constant, **identity}), UTTERANCES)
    samples = [np.clip(np.rint(clip * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16) for clip in clips]
    table = table.append_column("clipping_ratio", pa.array([0.0] * len(clips), pa.float32()))
    table = table.append_column("audio", ragged(samples, AUDIO))
    starts = range(0, len(clips), BATCH_ROWS)
    return [table.take(pa.array(range(start, min(start + BATCH_ROWS, len(clips))))) for start in starts]


def through_ray(batches: Sequence[pa.Table], workers: int) -> Rate:
    """Let actors in the Ray that is open measure `batches`."""
    import ray

    started = time.monotonic()
    dataset = ray.data.from_arrow_refs([ray.put(batch) for batch in batches]).map_batches(
        Noted,
        fn_constructor_kwargs={"config": CONFIG},
        batch_size=BATCH_ROWS,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=workers, max_size=workers),
        num_cpus=CONFIG.pool.num_cpus,
        ray_remote_args_fn=actor_limits(RayConfig()),
    )
    done: list[Work] = []
    for bundle in dataset.iter_internal_ref_bundles():
        for block in ray.get(list(bundle.block_refs)):
            assert block.column("status").to_pylist() == ["ok"] * block.num_rows
            done += works_of(block)
    assert len(done) == len(batches), "Ray cut the batches anew"
    return rate(done, workers, started)


def _process(batches: Sequence[pa.Table], reports: Any) -> None:
    measure = Noted(CONFIG)
    for batch in batches:
        reports.put(works_of(measure(batch)))


def without_ray(batches: Sequence[pa.Table], workers: int) -> Rate:
    """Let processes measure `batches`, dealt out beforehand."""
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    started = time.monotonic()
    processes = [context.Process(target=_process, args=(batches[part::workers], reports)) for part in range(workers)]
    for process in processes:
        process.start()
    done = [work for _ in batches for work in reports.get(timeout=LONGEST_WAIT_S)]
    for process in processes:
        process.join()
    return rate(done, workers, started)


def one_and_two(clips: Sequence[Clip], turns: int, ways: Mapping[str, Callable[..., Rate]]) -> None:
    """Print the rates of one worker and of two, and their ratios."""
    import ray
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(
        num_cpus=max(WORKERS),
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,  # what its idle processes say when they end; what fails in a worker is raised here
        _node_ip_address="127.0.0.1",
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.wait_for_min_actors_s = LONGEST_WAIT_S

    batches = decoded_batches(clips)
    if turns > 1:
        through_ray(batches[:2], 1)  # Ray starts servers of its own during the first seconds of work
    print(f"\n{len(batches)} batches of {BATCH_ROWS} clips for two workers, half of them for one; by the clock")
    print(f"{'seconds of audio per second':<32}{'1 worker':>10}{'2 workers':>11}{'over 2 x 1':>12}{'start-up s':>14}")
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        for name, measure in ways.items():
            found = {
                # half of the work for one worker, so that each worker has as much
                workers: measure(batches[: len(batches) * workers // max(WORKERS)], workers)
                for workers in (WORKERS if turn % 2 else WORKERS[::-1])
            }
            one, two = (found[workers] for workers in WORKERS)
            ratios[name].append(two.speed / (2 * one.speed))
            assert turns == 1 or math.isfinite(ratios[name][-1]), "too few batches for two workers"
            start_up = f"{one.start_up_s:.1f} and {two.start_up_s:.1f}"
            print(f"{name:<32}{one.speed:>10.1f}{two.speed:>11.1f}{ratios[name][-1]:>12.3f}{start_up:>14}", flush=True)
    ray.shutdown()
    medians = (f"{statistics.median(found):.3f} {name}" for name, found in ratios.items())
    print(f"two workers over twice one, median of {turns} turns: {', '.join(medians)}")


def main() -> None:
    """Print both parts."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.features")
    options.add_argument("--quick", action="store_true", help="a few seconds: the figures mean nothing")
    quick = options.parse_args().quick
    clips = [clip - np.float32(clip.mean(dtype=np.float64)) for clip in speech_clips(60 if quick else 240)]
    turns, ways = 3, {"through Ray": through_ray, "processes without Ray": without_ray}
    if quick:
        clips, turns, ways = [clip[:SAMPLE_RATE] for clip in clips], 1, {"through Ray": through_ray}
    with one_core():
        against_the_parts(clips, turns)
    one_and_two(clips * 3, turns, ways)


if __name__ == "__main__":
    main()
