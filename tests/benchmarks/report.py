"""How long a report takes, how large it is, and in how much memory it is made, of a data set made up for it.

    python -m tests.benchmarks.report [--rows 1000000] [--page report.html]

A million utterances by default, in waves of 20,000: three corpora, five languages, a tenth of each measurement unknown,
words on a fifth, some rejected, some not aligned; and as many requests of all tasks, each with three pairs, a third of
them refused by one of twenty rules. Every clip is one file of 8 s. Writing the tables counts in none of the figures.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from sift_ray.config import BinConfig
from sift_ray.config_file import parse_config
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.bins_file import write_bins
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.pipeline.counts import count_annotations, count_instructions, count_utterances
from sift_ray.report.page.write import Choice, write_page
from sift_ray.schema import ANNOTATIONS, FACT, INSTRUCTIONS, PAIR, SPLITS, TASKS, UTTERANCES, conform
from sift_ray.storage import Counts, LocalRoot, ShardInfo, WaveManifest, put_json, wave_folder, write_manifest
from tests.benchmarks.metadata import WAVE_ROWS, wave_of

PAIRS = 3
RULES = 20


def annotations_of(number: int, clip: Path) -> pa.Table:
    """Return the annotations of one wave."""
    random = np.random.default_rng(number)
    table = wave_of(number, whole=True)
    ids = table["unit_id"].to_numpy()
    rejected, unaligned = random.random(WAVE_ROWS) < 0.02, random.random(WAVE_ROWS) < 0.03
    columns = {name: table[name] for name in table.column_names} | {
        "utterance_id": pa.array([f"utterance_{unit}" for unit in ids.tolist()]),
        "split": pa.array(SPLITS).take(pa.array(random.choice(3, WAVE_ROWS, p=[0.9, 0.05, 0.05]))),
        "audio_uri": pa.array([str(clip)] * WAVE_ROWS),
        "duration_s": pa.array(random.gamma(4.0, 2.0, WAVE_ROWS)),
        "status": pa.array(np.where(rejected, "rejected", "ok")),
        "reject_stage": pa.array(["decode"] * WAVE_ROWS, mask=~rejected),
        "reject_reason": pa.array(random.choice(["missing_audio", "truncated", "silent"], WAVE_ROWS), mask=~rejected),
        "alignment_score": pa.array(random.beta(8.0, 1.0, WAVE_ROWS).astype(np.float32)),
        "alignment_reason": pa.array(["low_confidence"] * WAVE_ROWS, mask=~unaligned),
        "distortion_backend": pa.array(["dnsmos_sig"] * WAVE_ROWS),
        "quality_backend": pa.array(["dnsmos_ovrl"] * WAVE_ROWS),
        "oov_words": pa.array([0] * WAVE_ROWS),
        "unpronounced_words": pa.array([0] * WAVE_ROWS),
    }
    return conform(pa.table(columns), ANNOTATIONS)


def instructions_of(annotations: pa.Table, number: int) -> pa.Table:
    """Return as many requests as there are annotations, about each the one of its place."""
    random = np.random.default_rng(number)
    rows, pairs = annotations.num_rows, annotations.num_rows * PAIRS
    labels = [(key, label) for key, attribute in ATTRIBUTES.items() for label in attribute.labels]
    chosen = pa.array(random.integers(0, len(labels), pairs * 2))
    facts = {
        "key": pa.array([key for key, _ in labels]).take(chosen),
        "value": pa.array([label for _, label in labels]).take(chosen),
        "ordinal": pa.nulls(pairs * 2, pa.int8()),
        "audio": pa.array(np.zeros(pairs * 2, np.int8)),
        "position": pa.array(np.zeros(pairs * 2, np.int32)),
    }
    refused = random.random(pairs) < 1 / 3
    rules = random.geometric(0.3, pairs).clip(1, RULES)
    written = {
        "question": pa.array(["How would you describe this voice to somebody who can't hear it?"] * pairs),
        "answer": pa.array(["The person speaks very slowly, in a voice of quite low pitch, and very softly."] * pairs),
        "accepted": pa.array(~refused),
        "reason": pa.array([f"rule_{place}" for place in rules.tolist()], mask=~refused),
        "evidence": _lists(facts, FACT, pairs, 2),
        "generator": pa.array(["a-model"] * pairs),
        "attempt": pa.array(np.zeros(pairs, np.int8)),
        "score": pa.nulls(pairs, pa.float32()),
        "asked": pa.array(random.integers(-(2**62), 2**62, pairs), mask=refused),
    }
    columns: dict[str, Any] = {name: annotations[name] for name in ("unit_id", "language", "split", "data_source")} | {
        "task": pa.array(TASKS).take(pa.array(random.integers(0, len(TASKS), rows))),
        "utterance_ids": _singles(annotations["utterance_id"]),
        "audio_uris": _singles(annotations["audio_uri"]),
        "pairs": _lists(written, PAIR, rows, PAIRS),
        "model": pa.array(["a-model"] * rows),
        "prompt_hash": pa.array(["0"] * rows),
    }
    return conform(pa.table(columns), INSTRUCTIONS)


def _lists(columns: dict[str, Any], kind: pa.StructType, rows: int, each: int) -> pa.ListArray:
    structs = pa.StructArray.from_arrays([columns[field.name] for field in kind], fields=list(kind))
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * each), structs, type=pa.list_(kind))


def _singles(column: pa.ChunkedArray) -> pa.ListArray:
    offsets = pa.array(np.arange(len(column) + 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, column.combine_chunks(), type=pa.list_(pa.string()))


def write_wave(root: LocalRoot, stage: str, number: int, table: pa.Table, counts: Counts) -> None:
    """Write a wave as one file, with its manifest."""
    path = Path(root.locate(f"{wave_folder(stage, number)}/part-00000.parquet"))
    path.parent.mkdir(parents=True)
    pq.write_table(table, path, row_group_size=10_000, compression="zstd")
    file = ShardInfo(name=path.name, rows=table.num_rows, bytes=path.stat().st_size)
    write_manifest(
        root,
        WaveManifest(
            stage=stage,
            wave=number,
            rows=table.num_rows,
            id_digest="0",
            fingerprint="benchmark",
            files=(file,),
            counts=counts,
            started_at="2026-01-01T00:00:00+00:00",
            seconds=1.0,
            versions={},
        ),
    )


def write_job(root: LocalRoot, rows: int, clip: Path) -> int:
    """Write the tables of a job that is finished but for its release, in whole waves; return how many rows each has."""
    waves = max(rows // WAVE_ROWS, 1)
    for number in range(waves):
        annotations = annotations_of(number, clip)
        utterances = conform(annotations, UTTERANCES)
        requests = instructions_of(annotations, number)
        write_wave(root, "utterances", number, utterances.slice(0, 0), count_utterances(utterances))
        write_wave(root, "annotations", number, annotations, count_annotations(annotations))
        write_wave(root, "instructions", number, requests, count_instructions(requests))
        if number == 0:
            root.put("bins.json", write_bins(build_rulers(annotations.to_batches, BinConfig())).encode())
    put_json(root, "plan.json", {"waves": waves, "rows": waves * WAVE_ROWS, "seconds": 1.0})
    return waves * WAVE_ROWS


def measured(output: str, page: str) -> tuple[float, float, float]:
    """Write the report of what lies in `output`; return seconds, seconds of a core, and MiB at its peak.

    The decoder is a process apart: its seconds are among the first alone.
    """
    config = parse_config(f"output: {output}\ncorpora: [{{type: demo, name: demo, path: {output}}}]", "benchmark")
    started, spent = time.perf_counter(), time.process_time()
    write_page(config, Choice(), page)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.perf_counter() - started, time.process_time() - spent, peak


def main() -> None:
    """Write the tables, then the report, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--page", type=Path, help="keep the page here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip = folder / "clip.flac"
        times = np.arange(8 * 16_000) / 16_000
        soundfile.write(clip, 0.3 * np.sin(2 * np.pi * 150 * times) * np.abs(np.sin(2 * np.pi * times)), 16_000)
        root = LocalRoot(folder / "out")
        rows = write_job(root, options.rows, clip)
        page = options.page or folder / "index.html"
        # (a process of its own, so that its peak of memory is its own)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
            took, core, peak = apart.submit(measured, root.uri, str(page)).result()
        print(
            f"{rows:,} utterances and requests: {took:.1f} s ({core:.1f} s of a core), "
            f"{page.stat().st_size / 1e6:.1f} MB, {peak:.0f} MiB at the peak"
        )


if __name__ == "__main__":
    main()
