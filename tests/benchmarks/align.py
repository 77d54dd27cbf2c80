"""How fast viter's models are trained and clips aligned: against viter called bare, and through Ray with one and two.

    python -m tests.benchmarks.align [--recipe triphone_lda …] [--quick]

First a model of each recipe (monophones and triphones unless told) is trained on the same English speech. Then, on
one core, `ViterAligner.align` and a bare `viter.Model.align_many` on the same padded clips, tokens and dictionary take
turns on every batch; a profile of the same batches says where the time goes that viter does not take (Python's own
share is a little overstated in it).

Then batches go through Ray Data to the actor that aligns in `annotate`, one of it and two in turns, each with as much
work; beside that, as what the machine can give, one and two processes without Ray that do the same. Time counts from
when every worker has delivered its first batch until the first of them has delivered its last.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import itertools
import logging
import math
import multiprocessing
import os
import pstats
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"))
os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")

import numpy as np
import pyarrow as pa
import soxr
import viter
from numpy.typing import NDArray

from sift_ray.align.protocol import AlignmentFailure, AlignmentJob, TrainingClip
from sift_ray.align.viter_backend import ViterAligner
from sift_ray.align.viter_training import train_model
from sift_ray.config import FeaturesConfig, RayConfig
from sift_ray.config_align import AlignConfig
from sift_ray.corpora.demo_voice import VoiceJob, speak
from sift_ray.pipeline.annotate_actors import Aligning, Measuring
from sift_ray.pipeline.audio_batches import AUDIO, FULL_SCALE, ragged
from sift_ray.pipeline.model_place import ModelPlace
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.session import actor_limits
from sift_ray.schema import SAMPLE_RATE, UTTERANCES, conform
from sift_ray.storage import LocalRoot
from tests.benchmarks.clips import LENGTHS_S, PROMPTS, VARIANTS, seconds_of
from tests.benchmarks.steady import NOTES, Rate, Work, noted, one_core, rate
from tests.human_speech import recordings

BATCH_ROWS = 32
RECIPES = ("monophone", "triphone", "triphone_lda", "triphone_sat")
WORKERS = (1, 2)
_ALIGNER = "viter_backend.py"
LONGEST_WAIT_S = 120
MOST_REFUSED = 0.1  # of the clips: what is not aligned costs something else


def english_clips(seconds: float, *, seed: int = 0) -> list[TrainingClip]:
    """Return clips of about 3 to 20 s, `seconds` in all: whole prompts of one voice, joined, with what is said.

    A human voice and two synthetic ones, which say the same, take turns.
    """
    prompts = [prompt for prompt in recordings(PROMPTS) if prompt.language == "en"]
    jobs = [
        VoiceJob(prompt.transcript, f"en+{name}", pitch=pitch, pitch_range=50, rate_wpm=speed)
        for name, pitch, speed in VARIANTS
        for prompt in prompts
    ]
    said = [soxr.resample(one.samples / np.float32(40_000), one.sample_rate, SAMPLE_RATE) for one in speak(jobs)]
    texts = [prompt.transcript.rstrip(". ") for prompt in prompts]
    voices = {"human": [prompt.samples for prompt in prompts]}
    voices |= {name: said[n * len(prompts) : (n + 1) * len(prompts)] for n, (name, *_) in enumerate(VARIANTS)}
    draw = np.random.default_rng(seed)
    clips: list[TrainingClip] = []
    left = seconds * SAMPLE_RATE
    for (name, voice), lengths in itertools.cycle(itertools.product(voices.items(), LENGTHS_S)):
        wanted, parts = draw.uniform(*lengths) * SAMPLE_RATE, [int(draw.integers(len(texts)))]
        while sum(voice[part].size for part in parts) < min(wanted, left):
            parts.append(int(draw.integers(len(texts))))
        waveform = np.concatenate([voice[part] for part in parts]).astype(np.float32)
        clips.append(TrainingClip(f"{len(clips):05d}", name, waveform, ". ".join(texts[part] for part in parts)))
        left -= waveform.size
        if left <= 0:
            return clips
    raise AssertionError("there are no voices")


def audio_s(clips: Sequence[TrainingClip]) -> float:
    """Return how much audio `clips` hold."""
    return seconds_of([clip.waveform for clip in clips])


def batched(clips: Sequence[TrainingClip]) -> list[Sequence[TrainingClip]]:
    """Return `clips` in batches of `BATCH_ROWS`, or less where there are not so many."""
    rows = min(BATCH_ROWS, math.ceil(len(clips) / 3))
    return [clips[start : start + rows] for start in range(0, len(clips), rows)]


def trained(clips: Sequence[TrainingClip], recipes: Sequence[str], folder: Path) -> dict[str, Path]:
    """Train a model by each recipe and print how long that takes; return where the models lie."""
    print(f"training on {len(clips)} clips, {audio_s(clips):.0f} s in all; by the clock, on one core")
    print(f"{'recipe':<20}{'seconds':>9}{'seconds per hour of audio':>28}{'of it made up s':>18}")
    folders = {recipe: folder / f"en-{recipe}" for recipe in recipes}
    for recipe, target in folders.items():
        report = train_model("en", clips, target, seed=0, recipe=recipe)
        heard = report.seconds_of_audio + report.seconds_of_seed
        hourly = report.seconds_taken / heard * 3600
        print(f"{recipe:<20}{report.seconds_taken:>9.1f}{hourly:>28.1f}{report.seconds_of_seed:>18.0f}", flush=True)
    return folders


class Call(NamedTuple):
    """One call of viter: the model, its dictionary's file and content then, and what it was given."""

    model: Any
    dictionary: Path
    entries: str
    items: Sequence[tuple[NDArray[np.float32], str, int]]
    options: Mapping[str, Any]

    def again(self) -> list[Any]:
        """Make the call with nothing around it."""
        found: list[Any] = self.model.align_many(self.items, **self.options)
        return found


@contextmanager
def calls_of_viter() -> Iterator[list[Call]]:
    """Note every call of the models that are loaded meanwhile, for as long as they live."""
    calls: list[Call] = []

    class Listening:
        def __init__(self, path: Path, *, dict: Path, **options: Any) -> None:
            self._model, self._dictionary = model_class(path, dict=dict, **options), Path(dict)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._model, name)

        def align_many(self, items: Any, **options: Any) -> Any:
            calls.append(Call(self._model, self._dictionary, self._dictionary.read_text("utf-8"), items, options))
            return self._model.align_many(items, **options)

    model_class = viter.Model
    with mock.patch.object(viter, "Model", Listening):
        yield calls


@contextmanager
def quiet() -> Iterator[None]:
    """Set aside what viter writes to standard error, as the aligner does."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return what `work` takes: seconds of the processor, and by the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - clock


def against_bare(recipe: str, folder: Path, clips: Sequence[TrainingClip], turns: int) -> None:
    """Print the speed of the aligner and of viter bare, and where the aligner's own time goes."""
    # what it costs to align does not depend on whether the result is believed
    batches = [[AlignmentJob(c.waveform, c.transcript, c.speaker_id) for c in batch] for batch in batched(clips)]
    with calls_of_viter() as noting:
        listening = ViterAligner({"en": folder}, min_score=0.0)
        calls, refused = [], []
        for batch in batches:
            noting.clear()
            found = listening.align("en", batch)
            refused += [one for one in found if isinstance(one, AlignmentFailure)]
            assert len(noting) == 1, f"{len(noting)} calls of viter for a batch: which of them is the bare one?"
            calls.append(noting[0])
    assert len(refused) <= MOST_REFUSED * len(clips), f"{len(refused)} clips can't be aligned, such as: {refused[0]}"
    aligner = ViterAligner({"en": folder}, min_score=0.0)
    aligner.align("en", batches[0])
    gc.collect()  # or else what was imported until now is gone through in one turn, once in the life of a process
    took: dict[str, list[tuple[float, float]]] = {"viter bare": [], "the aligner": []}
    for turn in range(turns):
        spent = dict.fromkeys(took, np.zeros(2))
        for number, (batch, call) in enumerate(zip(batches, calls, strict=True)):
            call.dictionary.write_text(call.entries, "utf-8")
            ways: dict[str, Callable[[], Any]] = {
                "viter bare": call.again,
                "the aligner": lambda batch=batch: aligner.align("en", batch),
            }
            # each is first as often as the other, so that neither has the warmer caches
            for name in list(ways)[:: 1 if (number + turn) % 2 else -1]:
                with quiet():
                    spent[name] = spent[name] + timed(ways[name])
        for name, seconds in spent.items():
            took[name].append((float(seconds[0]), float(seconds[1])))
    heard = audio_s(clips)
    for name, turn_times in took.items():
        columns = ""
        for kind in (0, 1):
            speed = statistics.median(heard / seconds[kind] for seconds in turn_times)
            pairs = zip(took["viter bare"], turn_times, strict=True)
            ratio = statistics.median(bare[kind] / ours[kind] for bare, ours in pairs)
            columns += f"{speed:>13.1f}{ratio:>10.3f}"
        print(f"{f'{name}, {recipe}':<32}{columns}", flush=True)
    for name, share in shares_of(lambda: [aligner.align("en", batch) for batch in batches]):
        print(f"    {name:<50}{share:>7.1%}")


def shares_of(work: Callable[[], Any]) -> list[tuple[str, float]]:
    """Return what each function takes that the aligner's own module calls, of all of `work`; the least left out."""
    profile = cProfile.Profile()
    with quiet():
        profile.runcall(work)
    stats: Any = pstats.Stats(profile)
    found: dict[str, float] = {}
    for (file, _, function), (_, _, _, cumulative, callers) in stats.stats.items():
        called_s = [times[3] for (caller, *_), times in callers.items() if caller.endswith(_ALIGNER)]
        if called_s and not file.endswith(_ALIGNER):
            name = function if file == "~" else f"{Path(file).stem}.{function}"
            found[name] = found.get(name, 0.0) + sum(called_s) / stats.total_tt
        if "align_many" in function and file == "~":
            found["of which viter itself"] = cumulative / stats.total_tt
    return sorted(((name, share) for name, share in found.items() if share > 0.002), key=lambda item: -item[1])


class Noted(Aligning):
    """The actor of `annotate`, which also notes who aligned a batch, and when."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return noted(super().__call__, batch)


def works_of(block: pa.Table) -> list[Work]:
    """Return what a block of `noted` batches tells; their audio is gone, its duration is not."""
    sums = block.select([*NOTES, "duration_s"]).group_by(NOTES).aggregate([("duration_s", "sum")])
    return [Work(*(row[name] for name in (*NOTES, "duration_s_sum"))) for row in sums.to_pylist()]


def measured_batches(clips: Sequence[TrainingClip]) -> list[pa.Table]:
    """Return `clips` as the actor that measures hands them on; without DNSMOS, which would take most of the time."""
    measure = Measuring(FeaturesConfig(quality="none", device="cpu"))
    tables = []
    for number, batch in enumerate(batched(clips)):
        if tables and len(batch) < tables[0].num_rows:
            break  # Ray would make one of it and the next
        rows = [
            {
                "unit_id": number * BATCH_ROWS + row,
                "utterance_id": clip.utterance_id,
                "corpus": "-",
                "data_source": "-",
                "language": "en",
                "split": "-",
                "transcript": clip.transcript,
                "duration_s": clip.waveform.size / SAMPLE_RATE,
                "status": "ok",
            }
            for row, clip in enumerate(batch)
        ]
        samples = [np.clip(np.rint(c.waveform * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1) for c in batch]
        table = conform(pa.Table.from_pylist(rows, UTTERANCES), UTTERANCES)
        table = table.append_column("clipping_ratio", pa.array([0.0] * len(rows), pa.float32()))
        tables.append(measure(table.append_column("audio", ragged([s.astype(np.int16) for s in samples], AUDIO))))
    return tables


def actor_arguments(folder: Path) -> dict[str, Any]:
    """Return what the actor is made with; the model lies in a folder of its root."""
    models = {"en": ModelPlace("benchmark", folder.name)}
    return {
        "config": AlignConfig(min_score=0.0),
        "root": LocalRoot(folder.parent),
        "models": models,
        "progress": Progress(),
    }


def through_ray(batches: Sequence[pa.Table], workers: int, folder: Path) -> Rate:
    """Let actors in the Ray that is open align `batches`."""
    import ray

    started = time.monotonic()
    dataset = ray.data.from_arrow_refs([ray.put(batch) for batch in batches]).map_batches(
        Noted,
        fn_constructor_kwargs=actor_arguments(folder),
        batch_size=batches[0].num_rows,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=workers, max_size=workers),
        num_cpus=1,
        ray_remote_args_fn=actor_limits(RayConfig()),
    )
    done: list[Work] = []
    for bundle in dataset.iter_internal_ref_bundles():
        for block in ray.get(list(bundle.block_refs)):
            assert block.column("words").null_count <= MOST_REFUSED * block.num_rows
            done += works_of(block)
    assert len(done) == len(batches), "Ray cut the batches anew"
    return rate(done, workers, started)


def _process(batches: Sequence[pa.Table], folder: Path, reports: Any) -> None:
    align = Noted(**actor_arguments(folder))
    for batch in batches:
        reports.put(works_of(align(batch)))


def without_ray(batches: Sequence[pa.Table], workers: int, folder: Path) -> Rate:
    """Let processes align `batches`, dealt out beforehand."""
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    started = time.monotonic()
    parts = [(batches[part::workers], folder, reports) for part in range(workers)]
    processes = [context.Process(target=_process, args=part) for part in parts]
    for process in processes:
        process.start()
    done = [work for _ in batches for work in reports.get(timeout=LONGEST_WAIT_S)]
    for process in processes:
        process.join()
    return rate(done, workers, started)


def one_and_two(batches: Sequence[pa.Table], turns: int, ways: Mapping[str, Callable[..., Rate]], folder: Path) -> None:
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
    rows = batches[0].num_rows
    print(f"\n{len(batches)} batches of {rows} clips for two workers, half of them for one; by the clock")
    print(f"{'seconds of audio per second':<32}{'1 worker':>10}{'2 workers':>11}{'over 2 x 1':>12}{'start-up s':>16}")
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        for name, measure in ways.items():
            found = {
                # half of the work for one worker, so that each worker has as much
                workers: measure(batches[: len(batches) * workers // max(WORKERS)], workers, folder)
                for workers in (WORKERS if turn % 2 else WORKERS[::-1])
            }
            one, two = (found[workers] for workers in WORKERS)
            ratios[name].append(two.speed / (2 * one.speed))
            speeds[name].append(two.speed)
            assert turns == 1 or math.isfinite(ratios[name][-1]), "too few batches for two workers"
            start_up = f"{one.start_up_s:.1f} and {two.start_up_s:.1f}"
            print(f"{name:<32}{one.speed:>10.1f}{two.speed:>11.1f}{ratios[name][-1]:>12.3f}{start_up:>16}", flush=True)
    ray.shutdown()
    medians = (f"{statistics.median(found):.3f} {name}" for name, found in ratios.items())
    print(f"two workers over twice one, median of {turns} turns: {', '.join(medians)}")
    if len(ways) > 1:
        ray_speeds, bare_speeds = speeds.values()
        over = statistics.median(a / b for a, b in zip(ray_speeds, bare_speeds, strict=True))
        print(f"two workers through Ray over two processes without, median of {turns} turns: {over:.3f}")


def main() -> None:
    """Print all parts."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.align")
    options.add_argument("--quick", action="store_true", help="half a minute: the figures mean nothing")
    options.add_argument("--recipe", choices=RECIPES, action="append", help="train this; may be given again")
    given = options.parse_args()
    quick = given.quick
    turns, recipes = 3, tuple(given.recipe or RECIPES[:2])
    ways = {"through Ray": through_ray, "processes without Ray": without_ray}
    training_s, aligned_s = 300.0, 600.0
    if quick:
        turns, recipes, ways = 1, RECIPES[:1], {"through Ray": through_ray}
        training_s, aligned_s = 120.0, 60.0
    logging.getLogger("sift_ray").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as scratch:
        clips = english_clips(aligned_s, seed=1)
        with one_core():
            folders = trained(english_clips(training_s), recipes, Path(scratch))
            count = len(batched(clips)[0])
            print(
                f"\n{len(clips)} clips, {audio_s(clips):.0f} s in all, in batches of {count}; one process on one core;"
            )
            print(f"medians of {turns} turns; under each aligner what its time goes to")
            print(
                f"{'seconds of audio per second':<32}{'by processor':>13}{'of bare':>10}{'by clock':>13}{'of bare':>10}"
            )
            for recipe in recipes:
                against_bare(recipe, folders[recipe], clips, turns)
        folder = folders[recipes[-1]]
        one_and_two(measured_batches(clips) * (1 if quick else 4), turns, ways, folder)


if __name__ == "__main__":
    main()
