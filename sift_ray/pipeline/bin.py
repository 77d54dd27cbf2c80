"""bin: the rulers of all annotations, in passes of small tasks over a few waves each; only sums come back.

Two passes make the rulers (`metadata.bins` says why two), and one counts what they make of the annotations; rulers
from elsewhere need only the last.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import ray

from sift_ray.config import BinConfig, Config
from sift_ray.metadata.bins import count, finish, keep_inliers, measure
from sift_ray.metadata.bins_file import BinsError, read_bins, write_bins
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.moments import Inliers, Moments, NearMean, outlier_std
from sift_ray.metadata.rulers import Group, Rulers
from sift_ray.metadata.tally import Tally
from sift_ray.pipeline.frozen_bins import frozen_mark, gaps, measured_by, read_frozen
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.progress import Pace
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import finished_waves, raise_stale
from sift_ray.storage import (
    OutputRoot,
    StorageError,
    WaveManifest,
    fingerprint,
    read_json,
    read_table,
    wave_files,
)

log = logging.getLogger(__name__)

BINS_NAME = "bins.json"
BINNING_VERSION = 2
MOST_TASKS: Final = 256
"""Tasks of a pass: what they bring back waits in the object store, so their number does not grow with the waves."""
ROWS_A_TASK: Final = 100_000
"""A task of fewer rows, a tenth of a second's work, would cost more to start than to run."""

_MEASURED = ["status", "corpus", "language", "gender", *(attribute.column for attribute in ATTRIBUTES.values())]
_COUNTED = [*_MEASURED, "null_reasons"]


def run_bin(session: RaySession, config: Config, root: OutputRoot, plan: Plan) -> Rulers:
    """Write `bins.json`, or read the one there is; frozen bins of the config are copied into the output.

    Raises:
        StaleOutputError: the bins there were made from other annotations or another method.
        StorageError: a wave is not annotated yet.
        BinsError: the frozen bins can't be used, or were made with other backends.
    """
    if root.exists(BINS_NAME):
        rulers, document = _load(config, root, plan)
        _tell_gaps(rulers, config.bin, document.get("outlier_std"))
        return rulers
    waves = _annotated(root, plan)
    frozen = None if config.bin.frozen is None else read_frozen(config)
    session.ensure(BINS_NAME)
    tasks = shared_out([wave_files(root, manifest) for manifest in waves], sum(manifest.rows for manifest in waves))
    rulers = _measure(root, tasks, config.bin) if frozen is None else frozen.rulers
    rulers = _merged("bin: categories", Tally(), root, tasks, _COUNTED, count, rulers).put_into(rulers)
    deviations = _outlier_std(config.bin) if frozen is None else frozen.outlier_std
    document = {
        **json.loads(write_bins(rulers)),
        "outlier_std": deviations,
        "measured_by": measured_by(config),
        "made_from": _ingredients(config.bin, waves, None if frozen is None else frozen.mark),
    }
    root.put(BINS_NAME, json.dumps(document, ensure_ascii=False, indent=1).encode())
    log.info("bin: %d rulers in %s/%s", len(rulers.rulers), root.uri, BINS_NAME)
    _tell_gaps(rulers, config.bin, deviations)
    return rulers


def load_rulers(config: Config, root: OutputRoot, plan: Plan) -> tuple[Rulers, str, str]:
    """Return the rulers, their fingerprint, and that of the annotations they come from.

    Raises:
        StorageError: there is no bins.json.
        StaleOutputError: it was made from other annotations or another method.
        BinsError: it can't be used.
    """
    rulers, document = _load(config, root, plan)
    # the text of the rulers alone: what they were made from, and what they counted, does not change what they say
    mark = fingerprint({"rulers": write_bins(rulers.with_counts({}, {}))})
    return rulers, mark, str(document["made_from"]["annotations"])


def _load(config: Config, root: OutputRoot, plan: Plan) -> tuple[Rulers, dict[str, Any]]:
    """Return the rulers of bins.json and the whole of it; see `load_rulers`."""
    document = read_json(root, BINS_NAME)
    if document is None:
        raise StorageError(f"{root.uri}: there is no {BINS_NAME}; run `sift-ray bin` first")
    source = f"{root.uri}/{BINS_NAME}"
    made_from = document.get("made_from") if isinstance(document, dict) else None
    if not isinstance(made_from, dict):
        raise BinsError(f"{source}: not the {BINS_NAME} of a job: it does not say what it was made from")
    ingredients = _ingredients(config.bin, _annotated(root, plan), frozen_mark(config, made_from))
    if made_from != ingredients:
        raise_stale(root, "bin", made_from, ingredients)
    return read_bins(json.dumps(document), source), document


def _tell_gaps(rulers: Rulers, config: BinConfig, outlier_std: Mapping[str, float] | None) -> None:
    if config.frozen is not None:
        for gap in gaps(rulers, config, outlier_std):
            log.warning("%s: %s", config.frozen, gap)


def _outlier_std(config: BinConfig) -> dict[str, float]:
    """Return k of each attribute; quantiles put nothing aside."""
    return {key: outlier_std(config, key) for key in ATTRIBUTES} if config.method == "equal_width" else {}


def _ingredients(config: BinConfig, waves: list[WaveManifest], frozen: str | None) -> dict[str, object]:
    """Return what bins.json is made from; `frozen` is the fingerprint of frozen bins, which settle most of the rest."""
    settling = None if frozen is None else {"frozen", "unknown_gender"}
    return {
        "bin": config.model_dump(mode="json", include=settling),
        "frozen": frozen,
        "binning_version": BINNING_VERSION,
        "annotations": waves[0].fingerprint,
    }


def _annotated(root: OutputRoot, plan: Plan) -> list[WaveManifest]:
    return finished_waves(root, "annotations", plan.waves, "sift-ray annotate")


class _Sums(Protocol):
    """What a pass brings back."""

    def merge(self, other: Self) -> None: ...


_S = TypeVar("_S", bound=_Sums)
_Tasks = list[list[list[str]]]
"""The files of each wave of each task."""


def shared_out(waves: list[list[str]], rows: int) -> _Tasks:
    """Give each task so many neighbouring waves that it has `ROWS_A_TASK`, and more where there were too many tasks.

    Args:
        waves: the files of each wave.
        rows: of all waves together.
    """
    most = max(1, min(MOST_TASKS, rows // ROWS_A_TASK))
    share = -(-len(waves) // most)
    return [waves[start : start + share] for start in range(0, len(waves), share)]


def _measure(root: OutputRoot, tasks: _Tasks, config: BinConfig) -> Rulers:
    moments = _merged("bin: distributions", Moments(), root, tasks, _MEASURED, measure, config)
    inliers = Inliers()
    if config.method == "equal_width":
        near_mean = moments.near_mean(config)
        inliers = _merged("bin: outliers", inliers, root, tasks, _MEASURED, keep_inliers, config, near_mean)
    return finish(moments, inliers, config)


def _merged(
    title: str,
    sums: _S,
    root: OutputRoot,
    tasks: _Tasks,
    columns: list[str],
    work: Callable[..., _S],
    *given: BinConfig | Mapping[Group, NearMean] | Rulers,
) -> _S:
    """Return `sums` with those that `work(tables, *given)` makes of every task; their order does not matter."""
    shared = [ray.put(value) for value in given]  # (once, not once a task)
    waiting = [_pass.remote(root, waves, columns, work, *shared) for waves in tasks]
    pace = Pace(title, len(waiting))
    while waiting:
        ready, waiting = ray.wait(waiting)
        sums.merge(ray.get(ready.pop()))
        pace.step()
    return sums


@ray.remote(num_cpus=1, max_retries=2)
def _pass(
    root: OutputRoot, waves: list[list[str]], columns: list[str], work: Callable[..., _Sums], *given: Any
) -> _Sums:
    return work((_good_rows(root, files, columns) for files in waves if files), *given)


def _good_rows(root: OutputRoot, files: list[str], columns: list[str]) -> pa.Table:
    """Return the rows of a wave that were not rejected: the others shape no ruler."""
    table = pa.concat_tables(read_table(root, file, columns) for file in files)
    return table.filter(pc.equal(table["status"], "ok"))
