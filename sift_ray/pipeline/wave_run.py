"""Run all unfinished waves of a stage as one flow, and mark each wave as done when its rows are all written.

What is dear to start (an engine, models) starts once, and the next wave is read while this one is worked on. The
driver gets one small row a file, never data. A stage that is stopped loses the few waves that are under way.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sift_ray.job_log import where
from sift_ray.pipeline.metrics import WaveGauges
from sift_ray.pipeline.progress import ProgressLines
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.wave_flow import WAVES_UNDER_WAY, Flow, read_waves
from sift_ray.pipeline.wave_gate import WaveGate
from sift_ray.pipeline.wave_writing import ROWS_PER_SHARD, WrittenFile, write_waves
from sift_ray.pipeline.waves import (
    Expected,
    LostRowsError,
    Stage,
    check_budgets,
    check_ingredients,
    finished_wave,
    versions,
)
from sift_ray.storage import OutputRoot, WaveManifest, add_counts, add_digests, wave_folder, write_manifest

log = logging.getLogger(__name__)

HELD: Final = "held"
"""The table of a manifest's counts that says what the stage held meanwhile: `cpu_s` and `gpu_s`."""


def run_waves(
    session: RaySession,
    root: OutputRoot,
    stage: Stage,
    waves: Iterable[int],
    start: Callable[[Sequence[int]], Sequence[Flow]],
    wave_rows: int = ROWS_PER_SHARD,
) -> Generator[WaveManifest, None, None]:
    """Run every unfinished wave, yielding each one's manifest: those finished before, then those finished now.

    Args:
        session: Ray, which is started if anything is to be done.
        root: of the job.
        stage: what is made.
        waves: of the stage.
        start: returns the flows for the waves that are to be run.
        wave_rows: about so many rows, or more, a wave has: no file is waited for that would hold many waves.

    Raises:
        StaleOutputError: finished waves were made from other ingredients.
        LostRowsError: a wave's rows are not those expected; the wave is left unfinished.
        BudgetExceededError: more of a wave was rejected than allowed; the wave is left unfinished.
    """
    check_ingredients(root, stage)
    waves = list(waves)
    gauges = WaveGauges(stage.name, len(waves))
    unfinished = []
    for wave in waves:
        manifest = finished_wave(root, stage, wave)
        if manifest is None:
            unfinished.append(wave)
        else:
            gauges.finished(manifest.rows)
            yield manifest
    if unfinished:
        session.ensure(stage.name)
        # (of a wave that was ended in its first file there may be uploads, and no folder to be deleted)
        session.check()
        root.abort_uploads(stage.name)
        begun = set(root.names(stage.name))
        for wave in unfinished:
            folder = wave_folder(stage.name, wave)
            if folder.rpartition("/")[2] in begun:
                root.delete(folder)
        rows_a_file = max(1, min(ROWS_PER_SHARD, wave_rows))
        yield from _Run(session, root, stage, unfinished, len(waves), gauges, rows_a_file).manifests(start(unfinished))


class _Run:
    """The waves of one execution: what is written of each, until it is whole."""

    def __init__(
        self,
        session: RaySession,
        root: OutputRoot,
        stage: Stage,
        unfinished: Sequence[int],
        waves: int,
        gauges: WaveGauges,
        rows_a_file: int,
    ) -> None:
        self._root, self._stage, self._check = root, stage, session.check
        self._unfinished, self._waves = list(unfinished), waves
        self._to_do = len(unfinished)
        self._gauges = gauges
        self._rows_a_file = rows_a_file
        self._expected: dict[int, Expected] = {}
        self._written: defaultdict[int, list[WrittenFile]] = defaultdict(list)
        self._rows_done = 0
        self._gate: Any = None
        self._last = time.monotonic()
        counter = None if sys.stderr.isatty() else session.row_counter()
        with where(stage.name):
            self._lines = ProgressLines(stage.name, counter, self._on_reading)

    def manifests(self, flows: Sequence[Flow]) -> Iterator[WaveManifest]:
        """Run the flows; yield each wave's manifest when the wave is finished."""
        gate = self._gate = self._open_gate(flows)
        files = [
            write_waves(
                flow.work(read_waves(self._unfinished, flow.read, gate), self._lines.progress),
                self._root,
                self._stage,
                self._rows_a_file,
            )
            for flow in flows
        ]
        told = files[0].union(*files[1:]) if len(files) > 1 else files[0]
        blocks = iter(told.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        try:
            with self._lines, closing(blocks):
                while True:
                    with where(self._stage.name):
                        block = next(blocks, None)
                        finished = self._take(block, gate)
                    yield from finished
                    if block is None:
                        break
        finally:
            with suppress(Exception):  # (gone with its node or the connection: what is under way says why)
                ray.kill(gate)
        if self._unfinished:
            lost = self._unfinished[0]
            written = sum(part.file.rows for part in self._written[lost])
            raise self._loss(lost, written)

    def _open_gate(self, flows: Sequence[Flow]) -> Any:
        # (without it the run is lost: it must not go with some other node)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        gate = ray.remote(num_cpus=0, scheduling_strategy=here)(WaveGate)
        # of each flow, rows for less than a file wait in the last step, and some for a batch on the way to it
        waiting = sum(flow.waiting + 2 * self._rows_a_file for flow in flows)
        return gate.remote(self._unfinished, WAVES_UNDER_WAY, waiting)

    def _take(self, block: pa.Table | None, gate: Any) -> list[WaveManifest]:
        """Add what was written, None at the end; return the manifests of the waves that are whole with it."""
        files = [] if block is None else [WrittenFile.from_row(row) for row in block.to_pylist()]
        self._expected = ray.get(gate.expected.remote())
        for part in files:
            if part.wave not in self._unfinished:
                self._root.delete(f"{wave_folder(self._stage.name, part.wave)}/{part.file.name}")
                raise self._loss(part.wave, self._expected[part.wave].rows + part.file.rows)
            self._written[part.wave].append(part)
        # (a wave that nothing goes into is whole as soon as that is known)
        whole = [wave for wave in self._unfinished if wave in self._expected and self._is_whole(wave)]
        finished = [self._finish(wave) for wave in whole]
        for part in files:
            gate.wrote.remote(part.wave, part.file.rows)
        return finished

    def _is_whole(self, wave: int) -> bool:
        rows = sum(part.file.rows for part in self._written[wave])
        expected = self._expected[wave]
        if rows < expected.rows:
            return False
        if (rows, add_digests(part.digest for part in self._written[wave])) != (expected.rows, expected.digest):
            raise self._loss(wave, rows)
        return True

    def _finish(self, wave: int) -> WaveManifest:
        parts = self._written.pop(wave)
        folder, title = wave_folder(self._stage.name, wave), self._title(wave)
        rows, now = self._expected[wave].rows, time.monotonic()
        counts = add_counts(part.counts for part in parts)
        check_budgets(self._stage, counts, rows, title, f"{self._root.uri}/{folder}")
        # waves overlap: each has the time since the one before it was done, so that all add up to the stage's
        seconds, self._last = now - self._last, now
        cpus, gpus = _resources()
        manifest = WaveManifest(
            stage=self._stage.name,
            wave=wave,
            rows=rows,
            id_digest=f"{self._expected[wave].digest:016x}",
            fingerprint=self._stage.fingerprint,
            files=tuple(sorted((part.file for part in parts), key=lambda file: file.name)),
            counts={**counts, HELD: {"cpu_s": round(cpus * seconds, 3), "gpu_s": round(gpus * seconds, 3)}},
            started_at=datetime.fromtimestamp(time.time() - seconds, UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            versions=versions(),
        )
        with where(self._stage.name, wave):
            self._check()
            # all of the wave is written: what is still under way is of attempts that were given up
            self._root.abort_uploads(folder)
            for stray in sorted(set(self._root.names(folder)) - {file.name for file in manifest.files}):
                self._root.delete(f"{folder}/{stray}")
            write_manifest(self._root, manifest)
            log.info("%s: %s rows, %.1f s after the last", title, f"{rows:,}", seconds)
        self._unfinished.remove(wave)
        self._rows_done += rows
        self._gauges.finished(rows)
        return manifest

    def _loss(self, wave: int, rows: int) -> LostRowsError:
        expected = self._expected[wave].rows if wave in self._expected else 0
        return LostRowsError(
            f"{self._title(wave)}: {expected:,} rows went in and {rows:,} came out"
            + (", or others than went in" if rows == expected else "")
            + "; the wave is not marked as done, and the next run does it again"
        )

    def _title(self, wave: int) -> str:
        return f"{self._stage.name} wave {wave + 1} of {self._waves}"

    def _on_reading(self, done: int, _: int) -> None:
        known = ray.get(self._gate.expected.remote(), timeout=10).values()
        # (waves that are not read yet are taken to be like those that are)
        self._lines.rows = round(sum(expected.rows for expected in known) / max(len(known), 1) * self._to_do)
        self._gauges.under_way(max(done - self._rows_done, 0), round(self._lines.rows / self._to_do))


def _resources() -> tuple[float, float]:
    """Return the CPUs and GPUs that the job holds; a local Ray may have been told of more CPUs than there are."""
    held = ray.cluster_resources()
    cpus, gpus = held.get("CPU", 0.0), held.get("GPU", 0.0)
    return (min(cpus, float(os.cpu_count() or 1)) if len(ray.nodes()) == 1 else cpus), gpus
