"""The work of a release on Ray: a first look at all waves, then every wave read once, cut up and appended in order.

A wave's task explodes its instructions into samples and hands each writer the folders that are its own; writers are
actors and get the waves one after the other, so that files hold them in that order whatever finished first. A bounded
number of waves is under way. The driver holds references and counts.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, WorkerCrashedError

from sift_ray.config import RayConfig
from sift_ray.config_release import Format, ReleaseConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.pipeline.progress import Pace
from sift_ray.pipeline.release_tasks import GroupWriters, WaveFiles, explode, look, merge, settle_all
from sift_ray.pipeline.waves import LostRowsError
from sift_ray.release.files import Written
from sift_ray.release.layout import Group
from sift_ray.storage import OutputRoot

LOST: Final = (RayActorError, WorkerCrashedError, ObjectLostError, OutOfMemoryError, OSError)
"""What another try may go better after: a process or node is gone, or the store did not answer."""

_MERGED_AT_ONCE: Final = 16
_MOST_WRITERS: Final = 16
_ROWS_WORTH_A_WRITER: Final = 200_000  # fewer are written before another process has started
_ROWS_WITH_AUDIO: Final = 2_000  # the same, where the writer reads audio too
_MOST_WAVES: Final = 16


class Surveyed(NamedTuple):
    """What the first look told."""

    choice: Any  # a reference to a `Choice`
    accepted: dict[Group, int]  # without repeats
    repeated: Counter[tuple[str, str]]  # by task and language
    rows: dict[Group, int]
    held_out: dict[str, dict[str, int]]
    labels: dict[str, dict[str, float]]


class Outcome(NamedTuple):
    """What was written."""

    folders: dict[tuple[Format, Group], Written]
    generators: dict[str, int]
    data_sources: list[str]


class Flow:
    """The tasks and actors of one release."""

    def __init__(
        self,
        root: OutputRoot,
        waves: Sequence[WaveFiles],
        config: ReleaseConfig,
        limits: RayConfig,
        audio: StorageConfig,
    ) -> None:
        """Size the flow by the cluster.

        Args:
            root: of the job.
            waves: in their order.
            config: how the release is to be.
            limits: retries of tasks.
            audio: how to speak to the store of the corpora.
        """
        self._root, self._waves, self._config, self._audio = root, waves, config, audio
        cpus = int(ray.cluster_resources().get("CPU", 1))
        self._writers = max(1, min(cpus // 3, _MOST_WRITERS))
        # (one of two CPUs for the writer would leave one for all that it waits for)
        self._cpus = {1: 0.5, 2: 0.66}.get(cpus, 1.0)
        self._ahead = max(2, min(cpus - self._writers + 1, _MOST_WAVES))
        self._task = {
            "num_cpus": self._cpus,
            "max_retries": limits.max_task_retries,
            "retry_exceptions": [OSError],
        }

    def survey(self, shares: Sequence[Sequence[int]]) -> Surveyed:
        """Look at all waves; `shares` are the numbers of those that a task goes over.

        Raises:
            LeakError: dev and test share an audio or a speaker.
        """
        looking, merging = look.options(**self._task), merge.options(**self._task)
        pace = Pace("release: a first look", len(shares))
        parts: list[Any] = []
        under_way: deque[Any] = deque()
        for share in shares:
            under_way.append(looking.remote(self._root, [self._waves[wave] for wave in share], self._config))
            if len(under_way) > 2 * _MOST_WAVES:
                ray.wait([under_way[0]])
                parts.append(under_way.popleft())
                pace.step()
            if len(parts) >= _MERGED_AT_ONCE:
                parts = [merging.remote(self._config, *parts)]
        parts += under_way
        while len(parts) > _MERGED_AT_ONCE:
            parts = [merging.remote(self._config, *parts[:_MERGED_AT_ONCE]), *parts[_MERGED_AT_ONCE:]]
        choice, told = settle_all.options(**self._task).remote(self._config, *parts)
        with _causes():
            return Surveyed(choice, *ray.get(told))

    def write(self, version: str, surveyed: Surveyed) -> Outcome:
        """Write every sample into the version's folders.

        Raises:
            LeakError: two splits share an audio or a speaker.
            LostRowsError: a folder does not hold the samples that it should.
        """
        each = _ROWS_WITH_AUDIO if self._config.audio == "embedded" else _ROWS_WORTH_A_WRITER
        worth = sum(surveyed.rows.values()) // each
        lanes = _lanes(surveyed.rows, max(1, min(self._writers, worth)))
        writer = ray.remote(max_restarts=0, max_task_retries=0)(GroupWriters)
        writers = []
        for lane in range(max(lanes.values(), default=0) + 1):
            rows = {group: n for group, n in surveyed.rows.items() if lanes[group.task, group.language] == lane}
            actor = writer.options(num_cpus=self._cpus)
            writers.append(actor.remote(self._root, version, rows, self._config, self._audio))
        under_way: deque[list[Any]] = deque()
        appended: deque[list[Any]] = deque()
        exploding = explode.options(num_returns=len(writers) + 1, **self._task)
        generators: Counter[str] = Counter()
        sources: set[str] = set()
        pace = Pace("release", len(self._waves))
        numbers = itertools.count()

        def append_next() -> None:
            number = next(numbers)
            told, *parts = under_way.popleft()
            by_generator, of = ray.get(told)
            generators.update(by_generator)
            sources.update(of)
            appended.append([w.append.remote(number, part) for w, part in zip(writers, parts, strict=True)])
            pace.step()
            if len(appended) >= self._ahead:
                ray.get(appended.popleft())

        try:
            with _causes():
                for files in self._waves:
                    under_way.append(
                        exploding.remote(self._root, files, lanes, len(writers), self._config, surveyed.choice)
                    )
                    if len(under_way) >= self._ahead:
                        append_next()
                while under_way:
                    append_next()
                while appended:
                    ray.get(appended.popleft())
                folders: dict[tuple[Format, Group], Written] = {}
                for part in ray.get([w.finish.remote(len(self._waves)) for w in writers]):
                    folders |= part
        finally:
            for refs in under_way:
                ray.cancel(refs[0], force=True)
            for actor in writers:
                ray.kill(actor)
        for form in self._config.formats:
            for group, count in surveyed.rows.items():
                found = folders[form, group].rows
                if found != count:
                    raise LostRowsError(
                        f"release: {count:,} samples of {group.label} were to be written, not {found:,}"
                    )
        return Outcome(folders, dict(sorted(generators.items())), sorted(sources))


@contextmanager
def _causes() -> Iterator[None]:
    """Raise what a task's own code raised, rather than Ray's wrapping of it."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else None
        if cause is None or isinstance(cause, ray.exceptions.RayTaskError):
            raise
        raise cause from error


def _lanes(rows: Mapping[Group, int], writers: int) -> dict[tuple[str, str], int]:
    """Share out tasks and languages among writers: the largest first, each to who has the least."""
    sizes: Counter[tuple[str, str]] = Counter()
    for group, count in rows.items():
        sizes[group.task, group.language] += count
    loads = [0] * max(1, min(writers, len(sizes)))
    lanes = {}
    for pair, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        lane = loads.index(min(loads))
        loads[lane] += size
        lanes[pair] = lane
    return lanes
