"""How fast the backend `ctc` aligns: the model's forward pass, the search and the whole, against the bare model.

    python -m tests.benchmarks.align_ctc [--device cuda|cpu] [--seconds S ...] [--quick]

The model has the published shape of wav2vec2-large (316 million parameters) or of wav2vec2-base (95 million), with
layer norms, so that clips of unlike lengths are heard together, and random weights: what they are does not change the
time. Clips of speech of 3 to 20 s lie in the host's memory, each with a text, 14 letters a second. "The bare model" is
its forward pass alone on the same batches in the same precision, normalised and padded beforehand. Medians of several
batches after warm-up are printed, as times faster than real time; the device has finished whenever the clock is read.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from sift_ray.align.ctc_backend import CtcAligner
from sift_ray.align.ctc_models import CtcModel
from sift_ray.align.ctc_viterbi import best_paths
from sift_ray.align.protocol import AlignmentFailure, AlignmentJob
from sift_ray.audio.batching import duration_buckets
from sift_ray.config_align import AlignConfig
from sift_ray.schema import SAMPLE_RATE
from tests.align.tiny_ctc import LETTERS, save_ctc
from tests.benchmarks.clips import Clip, seconds_of, speech_clips
from tests.benchmarks.gpu import describe

LETTERS_PER_SECOND: Final = 14
WORDS: Final = ("el", "viento", "del", "norte", "y", "el", "sol", "discutían", "sobre", "cuál", "de", "ellos")
WARM_UPS, RUNS = 2, 7
BATCH_S: Final = 240.0
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
             "conv_dim": (32,) * 7},
}  # fmt: skip


def model_of(shape: str) -> Callable[[int], tuple[Any, Any]]:
    """Return what makes a random model of `shape` for so many tokens, and its feature extractor."""

    def made(size: int) -> tuple[Any, Any]:
        config = transformers.Wav2Vec2Config(
            vocab_size=size, pad_token_id=0, feat_extract_norm="layer", do_stable_layer_norm=True, **SHAPES[shape]
        )
        return transformers.Wav2Vec2ForCTC(config), transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)

    return made


def text_for(clip: Clip) -> str:
    """Return a text that can be said in a clip."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < LETTERS_PER_SECOND * len(clip) / SAMPLE_RATE - 10:
        words.append(WORDS[len(words) % len(WORDS)])
    return " ".join(words or ["sí"])


def inputs_of(model: CtcModel, clips: Sequence[Clip]) -> list[dict[str, torch.Tensor]]:
    """Return what the model is given of `clips`, in buckets as the aligner's."""
    buckets = duration_buckets([len(clip) for clip in clips], round(BATCH_S * SAMPLE_RATE))
    return [
        dict(model._extractor([clips[i] for i in bucket], sampling_rate=SAMPLE_RATE, return_tensors="pt", padding=True))
        for bucket in buckets
    ]


def bare(model: CtcModel, inputs: Sequence[dict[str, torch.Tensor]], device: str) -> None:
    """Run the model alone."""
    for given in inputs:
        with torch.inference_mode():
            model._model(given["input_values"].to(device, model._dtype), given["attention_mask"].to(device))


def median_s(calls: Sequence[Callable[[], object]], device: str, warm_ups: int) -> float:
    """Run the first `warm_ups` calls, then time each of the others."""
    seconds = []
    for number, call in enumerate(calls):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        if number >= warm_ups:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(shape: str, seconds: Sequence[float], device: str, runs: tuple[int, int]) -> None:
    """Print a table for each amount of audio in a call."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = save_ctc(Path(scratch) / shape, tuple(LETTERS), *model_of(shape)(5 + len(LETTERS)))
        config = AlignConfig.model_validate(
            {
                "backend": "ctc",
                "models": {"es": str(folder)},
                "min_score": 0.0,
                "ctc": {"device": device, "batch_s": BATCH_S},
                "pool": {"num_gpus": int(device == "cuda")},
            }
        )
        aligner = CtcAligner(config)
        aligner.align("es", [AlignmentJob(clip, "sí") for clip in speech_clips(2)])
        (model,) = aligner._models.values()
    size = sum(parameter.numel() for parameter in model._model.parameters()) / 1e6
    print(f"\nwav2vec2 {shape}, {size:.0f} million parameters, {str(model._dtype).removeprefix('torch.')}")
    warm_ups, timed = runs
    for amount in seconds:
        batches = [speech_clips(amount, seed=seed) for seed in range(warm_ups + timed)]
        jobs = [[AlignmentJob(clip, text_for(clip)) for clip in clips] for clips in batches]
        targets = [[model.vocabulary.spell(job.transcript.replace(" ", "")) for job in some] for some in jobs]
        heard = [model.emissions(clips) for clips in batches]
        inputs = [inputs_of(model, clips) for clips in batches]
        refused = [o for some in jobs for o in aligner.align("es", some) if isinstance(o, AlignmentFailure)]
        if refused:
            raise RuntimeError(f"clips were not aligned: {refused[0]}")
        audio_s = statistics.median(map(seconds_of, batches[warm_ups:]))
        took = {
            "the bare model": median_s([lambda i=i: bare(model, i, device) for i in inputs], device, warm_ups),
            "emissions": median_s([lambda c=c: model.emissions(c) for c in batches], device, warm_ups),
            "the search": median_s(
                [lambda h=h, t=t: best_paths(h, t, 0) for h, t in zip(heard, targets, strict=True)], device, warm_ups
            ),
            "the backend": median_s([lambda j=j: aligner.align("es", j) for j in jobs], device, warm_ups),
        }
        print(f"{timed} batches of {audio_s:.0f} s, the first of {len(batches[0])} clips")
        print(f"{'':<20}{'ms':>10}{'x real time':>14}{'of the bare model':>20}")
        for name, taken in took.items():
            print(
                f"{name:<20}{1000 * taken:>10.1f}{audio_s / taken:>14,.0f}{took['the bare model'] / taken:>20.2f}",
                flush=True,
            )


def main() -> int:
    """Return 2 where there is no GPU to measure on."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.align_ctc")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options.add_argument("--seconds", type=float, nargs="+", default=(120, 240, 480), help="of audio in a call")
    options.add_argument("--shape", choices=sorted(SHAPES), nargs="+", default=("base", "large"))
    options.add_argument("--quick", action="store_true", help="a tiny model and 10 s: shows that the script runs")
    chosen = options.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("No GPU is at hand: nothing was measured. --device cpu runs the same on the CPU.", file=sys.stderr)
        return 2
    print(describe(chosen.device))
    runs = (1, 1) if chosen.quick or chosen.device == "cpu" else (WARM_UPS, RUNS)
    for shape in ("tiny",) if chosen.quick else chosen.shape:
        measure(shape, (10.0,) if chosen.quick else chosen.seconds, chosen.device, runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
