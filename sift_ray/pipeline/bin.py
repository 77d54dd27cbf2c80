"""bin: the rulers of all annotations, in two passes of small tasks, one a wave; only sums come back to the driver."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from sift_ray.config import BinConfig, Config
from sift_ray.metadata.bins import Inliers, Moments, finish
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import BinsError, Rulers
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.progress import Pace
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import finished_waves, raise_stale
from sift_ray.storage import (
    OutputRoot,
    StorageError,
    WaveManifest,
    fingerprint,
    open_root,
    read_json,
    read_table,
    wave_files,
)

log = logging.getLogger(__name__)

BINS_NAME = "bins.json"
BINNING_VERSION = 1
_COLUMNS = ["status", "corpus", "gender", *(attribute.column for attribute in ATTRIBUTES.values())]


def run_bin(session: RaySession, config: Config, root: OutputRoot, plan: Plan) -> Rulers:
    """Write `bins.json`, or read the one there is; frozen bins of the config are copied into the output.

    Raises:
        StaleOutputError: the bins there were made from other annotations or another method.
        StorageError: a wave is not annotated yet.
        BinsError: the frozen bins can't be used, or were made with other backends.
    """
    if root.exists(BINS_NAME):
        return load_rulers(config, root, plan)[0]
    waves = _annotated(root, plan)
    if config.bin.frozen is not None:
        frozen = _read_frozen(config)
        rulers = Rulers.from_json(frozen, config.bin.frozen)
        _raise_if_measured_otherwise(config, json.loads(frozen))
    else:
        session.ensure(BINS_NAME)
        rulers = _measure(root, waves, config.bin)
    document = {
        **json.loads(rulers.to_json()),
        "measured_by": _measured_by(config),
        "made_from": _ingredients(config, waves),
    }
    root.put(BINS_NAME, json.dumps(document, ensure_ascii=False, indent=1).encode())
    log.info("bin: %d rulers in %s/%s", len(rulers.rulers), root.uri, BINS_NAME)
    return rulers


def load_rulers(config: Config, root: OutputRoot, plan: Plan) -> tuple[Rulers, str, str]:
    """Return the rulers, their fingerprint, and that of the annotations they come from.

    Raises:
        StorageError: there is no bins.json.
        StaleOutputError: it was made from other annotations or another method.
        BinsError: it can't be used.
    """
    document = read_json(root, BINS_NAME)
    if document is None:
        raise StorageError(f"{root.uri}: there is no {BINS_NAME}; run `sift-ray bin` first")
    ingredients = _ingredients(config, _annotated(root, plan))
    if document.get("made_from") != ingredients:
        raise_stale(root, "bin", document.get("made_from", {}), ingredients)
    rulers = Rulers.from_json(json.dumps(document), f"{root.uri}/{BINS_NAME}")
    # the text of the rulers alone: what they were made from does not change what they say
    return rulers, fingerprint({"rulers": rulers.to_json()}), str(ingredients["annotations"])


def _measured_by(config: Config) -> dict[str, str]:
    """Return the backends whose numbers have units of their own: a ruler of one says nothing about another."""
    features = config.annotate.features
    return {"quality": features.quality, "room": features.room}


def _raise_if_measured_otherwise(config: Config, frozen: dict[str, Any]) -> None:
    here = _measured_by(config)
    there = {**here, **frozen.get("measured_by", {})}
    differing = [f"{key}: {there[key]}" for key in here if there[key] != here[key]]
    if differing:
        raise BinsError(
            f"{config.bin.frozen}: its rulers are for annotate.features with {', '.join(differing)}; set the same, or "
            "freeze bins of this job's backends"
        )


def _ingredients(config: Config, waves: list[WaveManifest]) -> dict[str, object]:
    return {
        "bin": config.bin.model_dump(mode="json"),
        "frozen": None if config.bin.frozen is None else fingerprint({"text": _read_frozen(config)}),
        "binning_version": BINNING_VERSION,
        "annotations": waves[0].fingerprint,
    }


def _read_frozen(config: Config) -> str:
    path = str(config.bin.frozen)
    if "://" in path:
        folder, _, name = path.rpartition("/")
        return open_root(folder, config.storage.endpoint_url, config.storage.region).read(name).decode()
    return Path(path).read_text(encoding="utf-8")


def _annotated(root: OutputRoot, plan: Plan) -> list[WaveManifest]:
    return finished_waves(root, "annotations", plan.waves, "sift-ray annotate")


def _measure(root: OutputRoot, waves: list[WaveManifest], config: BinConfig) -> Rulers:
    files = [wave_files(root, manifest) for manifest in waves]
    moments = Moments()
    for part in _as_done([_first_pass.remote(root, wave) for wave in files]):
        moments.merge(part)
    inliers = Inliers(moments.within(config))
    if config.method == "equal_width":
        for part in _as_done([_second_pass.remote(root, wave, inliers) for wave in files]):
            inliers.merge(part)
    return finish(moments, inliers, config)


def _as_done(references: list[Any]) -> Iterator[Any]:
    """Yield results as they come: merging does not depend on the order."""
    pace = Pace("bin", len(references))
    while references:
        ready, references = ray.wait(references)
        yield ray.get(ready[0])
        pace.step()


@ray.remote(num_cpus=1, max_retries=2)
def _first_pass(root: OutputRoot, files: list[str]) -> Moments:
    moments = Moments()
    for table in _tables(root, files):
        moments.add(table)
    return moments


@ray.remote(num_cpus=1, max_retries=2)
def _second_pass(root: OutputRoot, files: list[str], intervals: Inliers) -> Inliers:
    inliers = Inliers(intervals.intervals)
    for table in _tables(root, files):
        inliers.add(table)
    return inliers


def _tables(root: OutputRoot, files: list[str]) -> Iterator[pa.Table]:
    """Yield the good rows of each file; rejected ones shape no ruler."""
    for file in files:
        table = read_table(root, file, _COLUMNS)
        yield table.filter(pc.equal(table["status"], "ok"))
