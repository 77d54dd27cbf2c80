"""Which waves may begin while others are under way."""

import asyncio

from sift_ray.pipeline.wave_gate import WaveGate
from sift_ray.pipeline.waves import Expected


class Asked:
    """A gate, and who has passed it."""

    def __init__(self, waves: int, most_waves: int, least_rows: int) -> None:
        self.gate = WaveGate(range(waves), most_waves, least_rows)
        self.passed: list[int] = []
        self._asking: list[asyncio.Task[None]] = []

    async def ask(self, *waves: int) -> None:
        """Ask for these, at once."""

        async def one(wave: int) -> None:
            await self.gate.begin(wave)
            self.passed.append(wave)

        self._asking += [asyncio.create_task(one(wave)) for wave in waves]
        await self.settle()

    async def settle(self) -> None:
        """Let all that can go on do so."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def leave(self) -> None:
        """End those who still wait."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)


def test_waves_begin_in_order_and_no_more_than_may() -> None:
    async def run() -> None:
        asked = Asked(4, most_waves=2, least_rows=0)
        await asked.ask(1, 3, 2, 0)
        assert asked.passed == [0, 1]
        await asked.gate.expect(0, Expected(10, 0))
        await asked.gate.wrote(0, 9)
        await asked.settle()
        assert asked.passed == [0, 1]
        await asked.gate.wrote(0, 1)
        await asked.settle()
        assert asked.passed == [0, 1, 2]
        await asked.leave()

    asyncio.run(run())


def test_a_wave_that_has_begun_may_begin_again() -> None:
    async def run() -> None:
        asked = Asked(3, most_waves=1, least_rows=0)
        await asked.ask(0, 1)
        await asked.ask(0)
        assert asked.passed == [0, 0]
        await asked.leave()

    asyncio.run(run())


def test_a_wave_without_rows_is_not_under_way() -> None:
    async def run() -> None:
        asked = Asked(3, most_waves=1, least_rows=0)
        await asked.ask(0, 1)
        await asked.gate.expect(0, Expected(0, 0))
        await asked.settle()
        assert asked.passed == [0, 1]
        await asked.leave()

    asyncio.run(run())


def test_more_waves_begin_while_their_rows_could_all_be_waiting_for_others() -> None:
    async def run() -> None:
        asked = Asked(9, most_waves=1, least_rows=25)
        await asked.ask(*range(9))
        for wave in range(9):
            if wave not in asked.passed:
                break
            # how many rows it has is not known, so that it may be enough
            assert asked.passed == list(range(wave + 1))
            await asked.gate.expect(wave, Expected(10, 0))
            await asked.settle()
        assert asked.passed == [0, 1, 2]
        await asked.leave()

    asyncio.run(run())


def test_what_a_wave_must_end_with_is_told_once() -> None:
    async def run() -> None:
        asked = Asked(2, most_waves=1, least_rows=0)
        await asked.ask(0)
        await asked.gate.expect(0, Expected(10, 5))
        await asked.gate.wrote(0, 10)
        await asked.gate.expect(0, Expected(10, 5))  # by a task that Ray runs again
        await asked.ask(1)
        assert asked.passed == [0, 1]
        assert await asked.gate.expected() == {0: Expected(10, 5)}
        await asked.leave()

    asyncio.run(run())
