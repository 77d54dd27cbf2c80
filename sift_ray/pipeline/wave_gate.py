"""Lets the waves of a stage begin one after another, so that few are under way and they end about in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from sift_ray.pipeline.waves import Expected


class WaveGate:
    """What the tasks that read waves ask before they begin, and tell of what they found; an actor, one a run.

    A wave may begin while fewer than `most_waves` are under way, or while the rows under way are fewer than
    `least_rows`. Rows that wait for others to fill a file are thus never waited for in vain, if `least_rows` is more
    than can wait so.
    """

    def __init__(self, waves: Sequence[int], most_waves: int, least_rows: int) -> None:
        """Take the waves in the order in which they are to begin."""
        self._waiting = deque(waves)
        self._most_waves, self._least_rows = most_waves, least_rows
        self._expected: dict[int, Expected] = {}
        self._left: dict[int, int | None] = {}
        """Of the waves that began: how many rows are still to be written, None while that is not known."""
        self._changed = asyncio.Condition()

    async def begin(self, wave: int) -> None:
        """Return when `wave` may begin; at once where it has begun before."""
        async with self._changed:
            await self._changed.wait_for(lambda: wave in self._left or self._may_begin(wave))
            if wave not in self._left:
                self._waiting.popleft()
                self._left[wave] = None
                self._changed.notify_all()

    def _may_begin(self, wave: int) -> bool:
        if self._waiting[0] != wave:
            return False
        under_way = [left for left in self._left.values() if left != 0]
        if len(under_way) < self._most_waves:
            return True
        return None not in under_way and sum(left or 0 for left in under_way) < self._least_rows

    async def expect(self, wave: int, expected: Expected) -> None:
        """Take down which rows a wave must end with; said again, it changes nothing."""
        async with self._changed:
            if wave not in self._expected:
                self._expected[wave] = expected
                self._left[wave] = expected.rows
                self._changed.notify_all()

    async def wrote(self, wave: int, rows: int) -> None:
        """So many more rows of a wave are written."""
        async with self._changed:
            self._left[wave] = max((self._left[wave] or 0) - rows, 0)
            self._changed.notify_all()

    async def expected(self) -> dict[int, Expected]:
        """Return which rows waves must end with, of those for which it is known."""
        return dict(self._expected)
