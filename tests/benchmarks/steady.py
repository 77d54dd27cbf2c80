"""What makes figures comparable: one core for one process, and of workers the rate while all of them work.

Their start does not count, nor does their end, when some have nothing left to do.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.schema import SAMPLE_RATE

NOTES = ("worker", "began", "ended")


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core meanwhile: Praat's pitch takes as many threads as it finds cores, unasked."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Work(NamedTuple):
    """One batch: the process that worked on it, from when to when (the machine's clock, s), and its audio (s)."""

    worker: float
    began: float
    ended: float
    audio_s: float


class Rate(NamedTuple):
    """Seconds of audio per second, and how long it took until every worker had delivered its first batch."""

    speed: float
    start_up_s: float


def noted(work: Callable[[pa.Table], pa.Table], batch: pa.Table) -> pa.Table:
    """Return `work(batch)` with columns that say which process did it, and when."""
    began = time.monotonic()
    done = work(batch)
    for name, value in zip(NOTES, (float(os.getpid()), began, time.monotonic()), strict=True):
        done = done.append_column(name, pa.array([value] * done.num_rows))
    return done


def works_of(block: pa.Table) -> list[Work]:
    """Return what a block of `noted` batches, with decoded audio in them, tells."""
    samples = pc.list_value_length(block.column("audio"))
    batches = block.select(NOTES).append_column("samples", samples).group_by(NOTES).aggregate([("samples", "sum")])
    columns = (batches.column(name).to_pylist() for name in (*NOTES, "samples_sum"))
    return [Work(*note, count / SAMPLE_RATE) for *note, count in zip(*columns, strict=True)]


def rate(done: Sequence[Work], workers: int, started: float) -> Rate:
    """Count from when every worker has delivered its first batch until the first of them has delivered its last.

    A batch that is under way at either end counts in the share of its time that lies between them. The speed is NaN
    where there is no such time: with too few batches one worker may have delivered its last before another its first.
    """
    ends: dict[float, list[float]] = {}
    for work in done:
        ends.setdefault(work.worker, []).append(work.ended)
    start, end = max(map(min, ends.values())), min(map(max, ends.values()))
    if len(ends) < workers or end <= start:
        return Rate(math.nan, start - started)
    heard = sum(
        work.audio_s * max(0.0, min(work.ended, end) - max(work.began, start)) / (work.ended - work.began)
        for work in done
    )
    return Rate(heard / (end - start), start - started)
