"""How the waves of a stage are read: on workers, one after another, in pieces that a flow of the stage works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa
import ray
import ray.data

from sift_ray.config import RayConfig
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.wave_pieces import WAVE, piece_of
from sift_ray.pipeline.waves import Expected
from sift_ray.pipeline.worker_memory import give_back

WAVES_UNDER_WAY: Final = 4
"""One is written to its end, one is worked on, one waits ready and one is read; of small waves more."""
_READERS: Final = 1  # of a flow: two would mix their waves' rows, and make smaller files of them
# Nearly none: Ray Data takes CPUs of a reader that waits at the gate for used, and it waits for steps that need some
_READING_CPUS: Final = 0.01
_READ_RETRIES: Final = 3
_MOST_RESTARTS: Final = 100


class Reading(Protocol):
    """Reads a wave on a worker; pickled, and told the same wave again, it gives the same."""

    def __call__(self, wave: int) -> tuple[Expected, Iterable[pa.Table]]:
        """Return all the rows that the wave must end with, and its pieces: the rows of each go together."""


class Flow(NamedTuple):
    """One way for rows through a stage; a stage may have several, which share its waves.

    Attributes:
        read: reads a wave's rows that go this way.
        work: turns a dataset of pieces (see `wave_pieces`) into rows of the stage that know their wave.
        waiting: so many rows at most wait in `work` for others to fill a batch with.
    """

    read: Reading
    work: Callable[[ray.data.Dataset, Progress], ray.data.Dataset]
    waiting: int = 0


def read_waves(waves: Sequence[int], read: Reading, gate: Any) -> ray.data.Dataset:
    """Return a dataset of the waves' pieces, a block each; `gate` is the actor of the run's `WaveGate`."""
    return (
        ray.data.from_items([{WAVE: wave} for wave in waves], override_num_blocks=len(waves))
        .map_batches(
            read_wave,
            fn_kwargs={"read": read, "gate": gate},
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=_READERS),
            num_cpus=_READING_CPUS,
            max_retries=_READ_RETRIES,
        )
        .repartition(target_num_rows_per_block=1)
    )


def read_wave(batch: pa.Table, read: Reading, gate: Any) -> Iterator[pa.Table]:
    """Read the wave that the batch's one row names when it may begin, and yield it piece by piece."""
    wave = batch.column(WAVE)[0].as_py()
    ray.get(gate.begin.remote(wave))
    expected, pieces = read(wave)
    # (known before any of its rows can be written)
    ray.get(gate.expect.remote(wave, expected))
    yield from (piece_of(wave, rows) for rows in pieces if rows.num_rows)
    del pieces  # (what it was cut from is free then)
    give_back()


def lasting(config: RayConfig, waves: Sequence[int]) -> RayConfig:
    """Return the limits for actors that last for so many waves: their restarts are allowed for each, to a bound.

    (An actor that dies while it is made has no task to be charged with it; that must end some time.)
    """
    allowed = config.max_actor_restarts
    return config.model_copy(update={"max_actor_restarts": max(allowed, min(allowed * len(waves), _MOST_RESTARTS))})
