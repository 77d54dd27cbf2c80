"""How much memory a job's processes took at most, by kind of process, read while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil

GIB: Final = 2**30
EVERY_S: Final = 5.0
"""Seconds between two readings, each of a tenth of a second; what comes and goes between them is not seen."""

DRIVER: Final = "driver"
WORKER: Final = "the largest Ray worker"
WORKERS: Final = "all Ray workers"
OTHERS: Final = "Ray's other processes"
SHARED: Final = "what they share: Ray's object store, libraries"
ALL: Final = "all of it"

Peaks = dict[str, float]
"""Bytes by kind of process: its own pages (USS). A page that several map is among what they share, once."""


@contextmanager
def peaks_while(pid: int, every_s: float = EVERY_S) -> Iterator[Peaks]:
    """Read the memory of a process and of all below it until the block is left; the peaks are what is yielded.

    It is read when the block begins, every so many seconds, and when the block ends, if the process is still there.
    """
    peaks: Peaks = {}
    over = threading.Event()

    def read() -> None:
        for kind, size in _reading(pid).items():
            peaks[kind] = max(peaks.get(kind, 0.0), size)

    def watch() -> None:
        read()
        while not over.wait(every_s):
            read()
        read()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _reading(pid: int) -> Peaks:
    sums = dict.fromkeys((DRIVER, WORKER, WORKERS, OTHERS, SHARED, ALL), 0.0)
    for process in _family(pid):
        try:
            name, memory = _title(process), process.memory_full_info()
        except psutil.Error:
            continue  # (it has ended)
        sums[ALL] += memory.pss  # (of a shared page, a part for each process that maps it)
        sums[SHARED] += memory.pss - memory.uss
        if process.pid == pid:
            sums[DRIVER] = memory.uss
        elif name.startswith("ray::"):
            sums[WORKER] = max(sums[WORKER], memory.uss)
            sums[WORKERS] += memory.uss
        else:
            sums[OTHERS] += memory.uss
    return sums


def _family(pid: int) -> list[psutil.Process]:
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.Error:
        return []


def _title(process: psutil.Process) -> str:
    command = process.cmdline()
    return command[0] if command else ""
