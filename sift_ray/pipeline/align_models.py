"""Alignment models: given in the config, or trained once on the corpus and kept in the output root.

A model is trained on the first clips of its language in the order of the plan, which is a fixed random order, so
that the same corpora give the same model. It lies under `models/align/<language>-<fingerprint>/`.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from sift_ray.config import AlignConfig, Config, DecodeConfig, StorageConfig
from sift_ray.pipeline.audio_batches import FULL_SCALE
from sift_ray.pipeline.decoding import address_order
from sift_ray.pipeline.model_place import ModelPlace
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.stages import annotate_stage, plan_stage
from sift_ray.pipeline.waves import check_ingredients, table_digest
from sift_ray.storage import (
    MANIFEST_NAME,
    OutputRoot,
    StorageError,
    fingerprint,
    put_json,
    read_manifest,
    read_table,
    wave_files,
)

if TYPE_CHECKING:
    from sift_ray.align.protocol import TrainingClip

log = logging.getLogger(__name__)

TRAINING_VERSION = 2
_UNKNOWN_CLIP_S = 5.0  # about what read sentences last: Common Voice's mean
_FOLDER = "models/align"
_COLUMNS = [
    "unit_id",
    "utterance_id",
    "language",
    "status",
    "speaker_id",
    "transcript",
    "audio_uri",
    "duration_s",
]


def ensure_models(session: RaySession, config: Config, root: OutputRoot, plan: Plan) -> dict[str, ModelPlace]:
    """Return the model of each language of the plan, training those that are neither given nor there.

    A language with too little speech to train on (`annotate.align.min_train_s`) gets none: its utterances are measured
    but not aligned, each with the reason `no_model`.

    Raises:
        TrainingError: training gave no usable model.
    """
    align = config.annotate.align
    if align.backend == "none":
        return {}
    places: dict[str, ModelPlace] = {
        language: ModelPlace(_folder_hash(Path(path)), path=str(Path(path).absolute()))
        for language, path in align.models.items()
    }
    wanted = _languages(config, root, plan) - set(places)
    chosen = _training_rows(config, root, plan, wanted)
    training = {}
    waiting = []
    for language, rows in sorted(chosen.items()):
        seconds = pc.sum(rows["duration_s"]).as_py() or 0.0
        if seconds < align.min_train_s:
            log.warning(
                "%s: %.1f s of transcribed speech are too few to train an aligner (min_train_s is %g): its utterances "
                "get no word spans; give a model as annotate.align.models.%s",
                language,
                seconds,
                align.min_train_s,
                language,
            )
            continue
        mark = fingerprint(_ingredients(language, rows, align))
        place = ModelPlace(mark, folder=f"{_FOLDER}/{language}-{mark}")
        places[language] = place
        if not root.exists(f"{place.folder}/{MANIFEST_NAME}"):
            waiting.append((language, rows, place, seconds))
    # hours of training must not end in the news that the annotations there are of other models
    check_ingredients(root, annotate_stage(config, plan.content, fingerprints(places)))
    resolved = config.model_copy(update={"storage": config.storage.resolved()})
    for language, rows, place, seconds in waiting:
        session.ensure("models")
        root.delete(place.folder)
        log.info("alignment model %s: training on %d clips, %.0f s", language, rows.num_rows, seconds)
        training[language] = _train.remote(language, rows, place, root, resolved)
    for language, reference in training.items():
        seconds = ray.get(reference)
        log.info("alignment model %s: trained in %.1f s", language, seconds)
    return dict(sorted(places.items()))


def _languages(config: Config, root: OutputRoot, plan: Plan) -> set[str]:
    """Return the languages that the plan holds good utterances of, by its manifests."""
    found = set()
    for wave in range(plan.waves):
        manifest = read_manifest(root, plan_stage(config).name, wave)
        if manifest is None:
            raise StorageError(f"{root.uri}: wave {wave} of the plan is gone; run `sift-ray plan` into a new output")
        found |= {label.split("/")[1] for label in manifest.counts.get("utterances", {})}
    return found


def _training_rows(config: Config, root: OutputRoot, plan: Plan, languages: set[str]) -> dict[str, pa.Table]:
    """Return the utterances that each language is trained on: the plan's first, up to `train_hours`."""
    decode, most = config.annotate.decode, config.annotate.align.train_hours * 3600.0
    parts: dict[str, list[pa.Table]] = {language: [] for language in languages}
    seconds = dict.fromkeys(languages, 0.0)
    for wave in range(plan.waves):
        open_languages = [language for language in languages if seconds[language] < most]
        manifest = read_manifest(root, plan_stage(config).name, wave)
        if not open_languages or manifest is None:
            break
        for path in wave_files(root, manifest):
            table = read_table(root, path, _COLUMNS)
            # (a clip of unknown length may be among the first hours; what it really holds shows when it is decoded)
            durations = pc.fill_null(table["duration_s"], _UNKNOWN_CLIP_S)
            table = table.set_column(table.schema.get_field_index("duration_s"), "duration_s", durations)
            usable = pc.and_(
                pc.and_(pc.equal(table["status"], "ok"), pc.is_valid(table["transcript"])),
                pc.and_(
                    pc.greater_equal(table["duration_s"], decode.min_s),
                    pc.less_equal(table["duration_s"], decode.max_s),
                ),
            )
            table = table.filter(usable)
            for language in open_languages:
                rows = table.filter(pc.equal(table["language"], language))
                sums = np.cumsum(rows["duration_s"].to_numpy()) + seconds[language]
                rows = rows.slice(0, int(np.searchsorted(sums, most)) + 1)
                seconds[language] += pc.sum(rows["duration_s"]).as_py() or 0.0
                parts[language].append(rows)
    return {language: pa.concat_tables(tables) for language, tables in parts.items() if tables}


def _ingredients(language: str, rows: pa.Table, align: AlignConfig) -> dict[str, object]:
    from importlib.metadata import version

    dictionary = align.dictionary(language)
    return {
        "language": language,
        "utterances": f"{table_digest(rows):016x}",
        "seed": align.seed,
        "dictionary": None if dictionary is None else _file_hash(dictionary),
        "viter": version("viter"),
        "training_version": TRAINING_VERSION,
    }


@ray.remote(num_cpus=1, max_retries=1)
def _train(
    language: str,
    rows: pa.Table,
    place: ModelPlace,
    root: OutputRoot,
    config: Config,
) -> float:
    """Train one language's model and keep it in the root; return the seconds it took."""
    from sift_ray.align import viter_training
    from sift_ray.align.viter_backend import train_model

    # a worker logs nothing by itself; what it writes to its standard error Ray shows at the driver
    viter_training.log.addHandler(logging.StreamHandler())
    viter_training.log.setLevel(logging.INFO)
    clock = time.monotonic()
    align = config.annotate.align
    dictionary = align.dictionary(language)
    with tempfile.TemporaryDirectory(prefix="sift-ray-align-") as scratch:
        out = Path(scratch) / "model"
        train_model(
            language,
            _clips(rows, config.annotate.decode, config.storage),
            out,
            align.seed,
            dictionary=dictionary,
        )
        for file in sorted(out.iterdir()):
            root.put(f"{place.folder}/{file.name}", file.read_bytes())
    seconds = time.monotonic() - clock
    put_json(
        root,
        f"{place.folder}/{MANIFEST_NAME}",
        {
            "ingredients": _ingredients(language, rows, align),
            "clips": rows.num_rows,
            "seconds": round(seconds, 3),
        },
    )
    return seconds


def _clips(rows: pa.Table, config: DecodeConfig, storage: StorageConfig) -> Iterator[TrainingClip]:
    """Yield the clips that can be decoded; one that can't is left to `annotate` to reject.

    Decoding happens in a process of its own: a file that crashes its decoder must not cost the training.
    """
    from sift_ray.align.protocol import TrainingClip
    from sift_ray.audio.decode import DecodeError
    from sift_ray.audio.isolate import IsolatedDecoder

    order, _ = address_order(rows["audio_uri"].to_pylist())
    with IsolatedDecoder(storage, config) as decoder:
        for row in rows.take(pa.array(order)).to_pylist():
            try:
                clip = decoder.decode(row["audio_uri"])
            except DecodeError as error:
                log.info("%s is not trained on: %s", row["utterance_id"], error)
                continue
            if clip.cut:
                continue  # its transcript says more than is heard
            samples = clip.samples.astype(np.float32) / np.float32(FULL_SCALE)
            yield TrainingClip(row["utterance_id"], row["speaker_id"], samples, row["transcript"])


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _folder_hash(path: Path) -> str:
    """Return a hash over the names and contents of the files of a model's folder."""
    return fingerprint({file.name: _file_hash(file) for file in sorted(path.iterdir()) if file.is_file()})


def fingerprints(models: Mapping[str, ModelPlace]) -> dict[str, str]:
    """Return each language's model fingerprint."""
    return {language: model.fingerprint for language, model in models.items()}
