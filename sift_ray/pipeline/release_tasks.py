"""What the tasks and actors of a release do: look at waves, turn them into samples, hold the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from sift_ray.config_release import Format, ReleaseConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.pipeline.waves import LostRowsError
from sift_ray.pipeline.worker_memory import give_back
from sift_ray.release import survey as surveying
from sift_ray.release.files import MB, FolderWriter, Pieces, Written
from sift_ray.release.held_out import SPEAKERS, seen_in
from sift_ray.release.layout import Group
from sift_ray.release.quotas import kept
from sift_ray.release.repeats import ASKED, without_repeats
from sift_ray.release.samples import (
    PAIR_FIELDS,
    REQUEST_COLUMNS,
    accepted_pairs,
    compose,
    named,
    release_schema,
)
from sift_ray.release.survey import Choice, Survey
from sift_ray.release.versions import base_of
from sift_ray.schema import INSTRUCTIONS
from sift_ray.storage import OutputRoot, read_table


class WaveFiles(NamedTuple):
    """The files of a wave: of its instructions, and of its annotations, which tell speakers (empty: they are gone)."""

    instructions: list[str]
    annotations: list[str]


class GroupedSamples(NamedTuple):
    """Samples of some groups, one after another: of each where it starts in the table, and how many it has."""

    samples: pa.Table
    groups: list[tuple[Group, int, int]]


def _speakers(root: OutputRoot, files: WaveFiles) -> pa.Table | None:
    if not files.annotations:
        return None
    return pa.concat_tables(read_table(root, file, list(SPEAKERS)) for file in files.annotations)


def _leaves(root: OutputRoot, path: str, columns: Sequence[str]) -> pa.Table:
    """Read columns, and parts of nested ones, which Parquet's plain reader can tell apart and a dataset's can't."""
    with pq.ParquetFile(path, filesystem=root.filesystem) as file:
        return file.read(columns=list(columns))


@ray.remote
def look(root: OutputRoot, waves: Sequence[WaveFiles], config: ReleaseConfig) -> Survey:
    """Return the survey of some waves."""
    surveys = []
    for files in waves:
        columns = surveying.columns(config)
        tables = [_leaves(root, file, columns) for file in files.instructions]
        if tables:
            surveys.append(Survey.of(pa.concat_tables(tables), _speakers(root, files), config))
        del tables
    give_back()
    return Survey.merged(surveys, config)


@ray.remote
def merge(config: ReleaseConfig, *surveys: Survey) -> Survey:
    """Return the survey of all their waves."""
    return Survey.merged(surveys, config)


@ray.remote(num_returns=2)
def settle_all(config: ReleaseConfig, *surveys: Survey) -> tuple[Choice, Any]:
    """Return the choice for every wave, and apart from it what the driver must know: counts alone."""
    survey = Survey.merged(surveys, config)
    choice, rows, labels = surveying.settle(survey, config)
    return choice, (survey.rows, survey.repeated, rows, survey.held_out.counts(), labels)


@ray.remote
def explode(
    root: OutputRoot,
    files: WaveFiles,
    lanes: Mapping[tuple[str, str], int],
    writers: int,
    config: ReleaseConfig,
    choice: Choice,
) -> list[Any]:
    """Return generators and data sources, and then for each writer the wave's `GroupedSamples` of its groups."""
    give_back()  # (of the wave before: its samples had to last until they were sent)
    parts: list[list[GroupedSamples]] = [[] for _ in range(writers)]
    generators: Counter[str] = Counter()
    sources: set[str] = set()
    heard = []
    instructions = _samples_columns(root, files.instructions)
    for task, order in _by_task(instructions):
        requests = named(instructions.drop_columns(["pairs"]).take(pa.array(order)), task, config)
        pairs = kept(accepted_pairs(instructions, task, order, requests), task, config, choice.taken)
        heard.append(pairs.select(["split", "audio_uris"]))
        generators.update(_counts(pairs["generator"]))
        sources.update(pairs["data_source"].unique().to_pylist())
        samples = compose(pairs, task, config)
        groups = [(Group(split, task, language), start, count) for split, language, start, count in _runs(samples)]
        for lane, part in enumerate(parts):
            mine = [entry for entry in groups if lanes[task, entry[0].language] == lane]
            if mine:
                part.append(_gathered(samples, mine))
    if heard:
        choice.held_out.check(seen_in(pa.concat_tables(heard), _speakers(root, files)), files.instructions[0])
    return [(dict(generators), sources), *parts]


def _gathered(samples: pa.Table, groups: list[tuple[Group, int, int]]) -> GroupedSamples:
    """Return the rows of `groups` alone, in one piece: each slice would be sent with a header for every column."""
    if sum(count for _, _, count in groups) == samples.num_rows:
        return GroupedSamples(samples, groups)
    moved, place = [], 0
    for group, _, count in groups:
        moved.append((group, place, count))
        place += count
    rows = pa.concat_tables(samples.slice(start, count) for _, start, count in groups)
    return GroupedSamples(rows.combine_chunks(), moved)


def _samples_columns(root: OutputRoot, files: Sequence[str]) -> pa.Table:
    """Read what samples are made of; repeats are refused."""
    columns = [*REQUEST_COLUMNS, *(f"pairs.list.element.{name}" for name in (*PAIR_FIELDS, "accepted", ASKED))]
    tables = [_leaves(root, file, columns) for file in files]
    if not tables:
        return INSTRUCTIONS.empty_table()
    instructions, _ = without_repeats(pa.concat_tables(tables).combine_chunks())
    return instructions


def _by_task(instructions: pa.Table) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield each task with its rows' numbers, sorted by split, language and unit."""
    keys = [(name, "ascending") for name in ("task", "split", "language", "unit_id")]
    order = pc.sort_indices(instructions.drop_columns(["pairs"]), keys).to_numpy().astype(np.int64)
    start = 0
    for task, count in sorted(_counts(instructions["task"]).items()):
        yield task, order[start : start + count]
        start += count


def _runs(samples: pa.Table) -> Iterator[tuple[str, str, int, int]]:
    """Yield split and language of each run of rows alike in both, where it starts and its length."""
    groups = samples.group_by(["split", "language"], use_threads=False).aggregate([([], "count_all")])
    start = 0
    for split, language, count in sorted(zip(*(column.to_pylist() for column in groups.columns), strict=True)):
        yield split, language, start, count
        start += count


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}


class GroupWriters:
    """Holds the open files of some groups, in every format."""

    def __init__(
        self, root: OutputRoot, version: str, rows: Mapping[Group, int], config: ReleaseConfig, audio: StorageConfig
    ) -> None:
        self._next = 0
        self._formats = config.formats
        pieces = self._pieces(config, audio)
        schema = release_schema(config)
        self._folders = {
            (form, group): FolderWriter(
                root,
                f"{base_of(form, config.formats)}/{version}",
                group,
                form,
                schema,
                rows=count,
                file_mb=config.file_mb,
                pieces=pieces,
            )
            for form in config.formats
            for group, count in rows.items()
        }

    @staticmethod
    def _pieces(config: ReleaseConfig, audio: StorageConfig) -> Pieces | None:
        if config.audio != "embedded":
            return None
        from sift_ray.release.embedded import with_audio

        return with_audio(audio, config.file_mb * MB)

    def append(self, wave: int, parts: Sequence[GroupedSamples]) -> None:
        """Append a wave's samples, after those of the wave before."""
        if wave != self._next:
            raise LostRowsError(f"release: wave {wave} came when it was wave {self._next}'s turn")
        for samples, groups in parts:
            for group, start, count in groups:
                for form in self._formats:
                    self._folders[form, group].write(samples.slice(start, count))
        give_back()
        self._next += 1  # (last: after a write that failed nothing more may come, nor be closed as if it were whole)

    def finish(self, waves: int) -> dict[tuple[Format, Group], Written]:
        """Close all files, after so many waves; return what lies there."""
        if waves != self._next:
            raise LostRowsError(f"release: {waves} waves were to come, and {self._next} did")
        return {key: folder.close() for key, folder in self._folders.items()}
