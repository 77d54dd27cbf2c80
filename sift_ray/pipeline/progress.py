"""Progress where no terminal shows bars: plain lines with rows, rate over the last minutes, and time left."""

from __future__ import annotations

import contextvars
import logging
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Self

log = logging.getLogger(__name__)

_INTERVAL_S = 15.0
_WINDOW = 20  # readings: at 15 s apart, the last five minutes


class RowCounter:
    """Counts the rows that workers have finished, by what they are rows of; an actor, one a job."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()

    def add(self, title: str, rows: int) -> None:
        """Count `rows` more."""
        self._rows[title] += rows

    def rows(self, title: str) -> int:
        """Return the count."""
        return self._rows[title]


class Progress:
    """What workers tell of their rows; travels with a stage's functions. Without a counter it does nothing."""

    def __init__(self, title: str = "", counter: Any = None) -> None:
        self._title = title
        self._counter = counter

    def add(self, rows: int) -> None:
        """Count finished rows; never waits."""
        if self._counter is not None:
            self._counter.add.remote(self._title, rows)


class ProgressLines:
    """Logs a line every 15 s while its block runs.

    `rows` is how many are to be done, 0 while that is not known; it may change meanwhile.
    """

    def __init__(
        self, title: str, counter: Any, on_reading: Callable[[int, int], None] = lambda _done, _rows: None
    ) -> None:
        """Take the `RowCounter` actor, or None for silence (on a terminal Ray Data's own bars tell all this).

        `on_reading` gets the rows done and to be done, whenever they are read.
        """
        self.rows = 0
        self._title = title
        self._counter = counter
        self._on_reading = on_reading
        # (the counter outlives this block, and another of the same title)
        self._key = f"{title} {secrets.token_hex(4)}"
        self.progress = Progress(self._key, counter)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._watch,), name="progress", daemon=True
        )

    def __enter__(self) -> Self:
        if self._counter is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._counter is not None:
            self._thread.join(timeout=15)

    def _watch(self) -> None:
        import ray  # (workers import this module for `Progress`, which needs no more)

        started = time.monotonic()
        readings: deque[tuple[float, int]] = deque([(started, 0)], maxlen=_WINDOW)
        while not self._stop.wait(_INTERVAL_S):
            try:
                done = ray.get(self._counter.rows.remote(self._key), timeout=10)
                self._on_reading(done, self.rows)
            except Exception as error:  # the line is a courtesy: its failure must not end the wave
                log.debug("no progress reading: %s", error)
                continue
            now = time.monotonic()
            readings.append((now, done))
            log.info("%s", describe(self._title, done, self.rows, now - started, readings))


class Pace:
    """Logs a line every 15 s at most while parts of a job come in one by one."""

    def __init__(self, title: str, parts: int, interval_s: float = _INTERVAL_S) -> None:
        self._title, self._parts, self._interval_s = title, parts, interval_s
        self._started = self._told_at = time.monotonic()
        self._done = 0

    def step(self) -> None:
        """One more part is done."""
        self._done += 1
        now = time.monotonic()
        if now - self._told_at >= self._interval_s:
            self._told_at = now
            readings = deque([(self._started, 0), (now, self._done)])
            log.info("%s", describe(self._title, self._done, self._parts, now - self._started, readings, "parts"))


def describe(
    title: str, done: int, rows: int, elapsed_s: float, readings: deque[tuple[float, int]], unit: str = "rows"
) -> str:
    """Return one progress line; the rate is that of the kept readings, so that a slow start is forgotten."""
    (first_at, first_done), (last_at, last_done) = readings[0], readings[-1]
    rate = (last_done - first_done) / (last_at - first_at) if last_at > first_at else 0.0
    left = f"{(rows - done) / rate:.0f} s left" if rate > 0 else "no estimate yet"
    return f"{title}: {done:,} of {rows:,} {unit}, {rate:.1f} {unit}/s, {elapsed_s:.0f} s so far, {left}"
