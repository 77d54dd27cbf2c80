"""The job that a release came from: its bins, how it measured, and what it knows of the utterances."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from sift_ray.config import Config, DecodeConfig, FeaturesConfig
from sift_ray.config_file import ConfigError
from sift_ray.config_storage import StorageConfig
from sift_ray.metadata.bins_file import BinsError, read_bins
from sift_ray.metadata.rulers import Rulers
from sift_ray.release.versions import FOLDER
from sift_ray.storage import (
    OutputRoot,
    StorageError,
    open_root,
    read_json,
    read_manifest,
    read_table,
    root_of,
    wave_files,
)

BINS: Final = "bins.json"
_STAGE: Final = "annotations"
_RECORD: Final = f"{_STAGE}/_STAGE.json"
_LEVELS: Final = 3  # a release's version lies in `release`, or in `release/<format>`, of its job's output
_MEASURING: Final = (
    "pitch_floor",
    "pitch_ceiling",
    "silence_threshold",
    "voicing_threshold",
    "octave_cost",
    "octave_jump_cost",
    "voiced_unvoiced_cost",
)
_RUNNING: Final = ("device", "engine", "batch_s", "pool")
_ENGINES: Final = {"praat_ac": "praat", "torch_ac": "torch"}
"""Engines by the backend of pitch that they write into rows."""
_DECODING: Final = ("min_s", "max_s", "long_clips")
_COLUMNS: Final = (
    "utterance_id",
    "data_source",
    "corpus",
    "gender",
    "speaking_rate_pps",
    "speech_duration_s",
    "status",
)


class Measuring(NamedTuple):
    """How audio is decoded and measured, and in words where that is from."""

    decode: DecodeConfig
    features: FeaturesConfig
    source: str


class Known(NamedTuple):
    """What a job's annotations say of an utterance; None is unknown.

    Attributes:
        corpus: whose rulers judge it.
        gender: of the speaker.
        phones: how many were counted for its speaking rate.
    """

    corpus: str
    gender: str | None
    phones: int | None


def job_of(release: str, config: Config | None = None) -> OutputRoot | None:
    """Return the output root of a release's job: the config's, else the release's folder or one around it.

    Further away than the folder beside it only one counts in whose `release` it lies. None: none of them holds bins or
    annotations.
    """
    roots = (open_root(uri, None if config is None else config.storage) for uri in _around(release))
    for root in chain(() if config is None else (root_of(config),), roots):
        if root.exists(BINS) or root.exists(_RECORD):
            return root
    return None


def _around(uri: str) -> Iterator[str]:
    """Yield an address and the folders around it."""
    remote, mark, path = uri.rpartition("://")
    parts, below = path.rstrip("/") if mark else str(Path(uri).absolute()), ""
    for level in range(_LEVELS + 1):
        if level < 2 or below == FOLDER:
            yield f"{remote}{mark}{parts}"
        parts, slash, below = parts.rpartition("/")
        if not slash or not parts:
            return


def rulers_of(path: str | None, job: OutputRoot | None, storage: StorageConfig | None = None) -> tuple[Rulers, str]:
    """Return the frozen rulers and the address of their file: `path`, else the job's bins.json.

    Raises:
        ConfigError: there is none.
        BinsError: it can't be used; or it was not named, and is not of the job that lies there.
    """
    if path is not None:
        folder, _, name = path.rpartition("/")
        root = open_root(folder or ("/" if path.startswith("/") else "."), storage)
    elif job is not None:
        root, name = job, BINS
    else:
        raise ConfigError(
            f"no {BINS} lies beside the release, and without bins nothing tells what its measurements are called; "
            f"name the job's {BINS} with --bins, or its YAML file with --config"
        )
    source = f"{root.uri}/{name}"
    try:
        text = root.read(name).decode()
    except OSError as error:
        reason = error.strerror or "it is not there"
        raise ConfigError(f"{source}: no bins can be read there: {reason}; name a {BINS} with --bins") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not a {BINS}: not UTF-8: {error}") from error
    if path is not None or job is None:
        return read_bins(text, source), source
    try:
        rulers = read_bins(text, source)
        _check_of_job(json.loads(text), job, source)
    except BinsError as error:
        raise BinsError(f"{error}; (found by where the release lies: --bins names another {BINS})") from error
    return rulers, source


def _check_of_job(document: Mapping[str, Any], job: OutputRoot, source: str) -> None:
    """Check that bins were made by a job, from the annotations that lie beside them, if any do.

    Raises:
        BinsError: not so.
    """
    made_from = document.get("made_from")
    mark = made_from.get("annotations") if isinstance(made_from, dict) else None
    if not isinstance(mark, str):
        raise BinsError(f"{source}: not the {BINS} of a job: it does not say which annotations it was made from")
    record = read_json(job, _RECORD)
    if record is not None and record.get("fingerprint") != mark:
        raise BinsError(
            f"{source}: made from other annotations ({mark}) than those beside it ({record.get('fingerprint')}); build "
            "the bins again"
        )


def measuring_of(job: OutputRoot | None, config: Config | None) -> Measuring:
    """Return how the job decodes and measures what prompts of synthesis ask for: pitch, rate and intensity.

    That is what the job's annotations record, since its bins are of them; else what the config says; else the defaults.
    The engine is the one that their rows name. Where it runs the config says.

    Raises:
        StorageError: the record or the annotations can't be used.
    """
    given = None if config is None else config.annotate
    chosen = {} if given is None else {name: getattr(given.features, name) for name in _RUNNING}
    record = None if job is None else read_json(job, _RECORD)
    if job is None or record is None:
        if given is None:
            return Measuring(DecodeConfig(), _features({}), "default settings, as no job is known")
        chosen |= {name: getattr(given.features, name) for name in _MEASURING}
        return Measuring(given.decode, _features(chosen), "the settings of the config")
    try:
        annotate: Mapping[str, Any] = record["ingredients"]["annotate"]
        decode = DecodeConfig(**{name: annotate["decode"][name] for name in _DECODING})
        features = _features(
            chosen | {name: annotate["features"][name] for name in _MEASURING} | _engine_of(job, chosen.get("device"))
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise StorageError(
            f"{job.uri}/{_RECORD}: it does not say how the job measured ({type(error).__name__}: {error}); make the "
            "annotations again, or put bins.json and the release elsewhere and name the first with --bins"
        ) from error
    return Measuring(decode, features, f"the settings in {job.uri}/{_RECORD}")


def _engine_of(job: OutputRoot, device: str | None) -> dict[str, Any]:
    """Return the settings of the engine that measured the job's annotations; empty where no row tells."""
    for path in _tables(job):
        for backend in pc.unique(read_table(job, path, ["pitch_backend"])["pitch_backend"]).to_pylist():
            if engine := _ENGINES.get(backend):
                # (Praat runs on the CPU, whatever else does on a GPU)
                return {"engine": engine} | ({"device": "auto"} if engine == "praat" and device == "cuda" else {})
    return {}


def _features(chosen: Mapping[str, Any]) -> FeaturesConfig:
    """Return a section without the models of quality and room, which no prompt of synthesis asks about."""
    return FeaturesConfig.model_validate({**chosen, "quality": "none", "room": "none"})


def known_utterances(job: OutputRoot | None, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], Known]:
    """Return what the job's annotations say of some utterances, by data source and id; those it lacks are left out.

    How many phones were counted is what their rate makes of their seconds of speech: exact, as rates are quotients.

    Raises:
        StorageError: a wave's manifest can't be read.
    """
    found: dict[tuple[str, str], Known] = {}
    if job is None or not wanted:
        return found
    names = pa.array(sorted({utterance for _, utterance in wanted}), pa.string())
    for path in _tables(job):
        table = read_table(job, path, list(_COLUMNS))
        mine = pc.and_(pc.is_in(table["utterance_id"], value_set=names), pc.equal(table["status"], "ok"))
        for row in table.filter(mine).to_pylist():
            key = (row["data_source"], row["utterance_id"])
            if key in wanted:
                rate, speech_s = row["speaking_rate_pps"], row["speech_duration_s"]
                phones = None if rate is None or speech_s is None else round(rate * speech_s)
                found[key] = Known(row["corpus"], row["gender"], phones)
    return found


def _tables(job: OutputRoot) -> Iterator[str]:
    """Yield the files of the job's finished annotations, as its filesystem wants them."""
    for folder in job.names(_STAGE):
        wave = folder.removeprefix("wave=")
        manifest = read_manifest(job, _STAGE, int(wave)) if wave.isdigit() else None
        if manifest is not None:
            yield from wave_files(job, manifest)
