"""Alignment models are made here: trained on the corpus, or imported, each language in a Ray task of its own."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import ray

from sift_ray.config import Config
from sift_ray.pipeline.model_place import ModelPlace, fetch_lexicon
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.training_speech import TrainingClips
from sift_ray.storage import MANIFEST_NAME, OutputRoot, put_json
from sift_ray.worker_errors import sentence_of

log = logging.getLogger(__name__)

_MOST_THREADS: Final = 8
_THREADS: Final = "RAYON_NUM_THREADS"  # viter's


@dataclass(frozen=True)
class MissingModel:
    """A model to be made.

    Attributes:
        language: its language.
        place: where it shall lie.
        rows: the utterances that it is trained on, or that an imported model's phones are learnt from.
        seconds: how much speech these are, by what the plan knows.
        most_s: no more than this is decoded of it.
        ingredients: all that it depends on.
        source: the file to import; None: it is trained.
    """

    language: str
    place: ModelPlace
    rows: pa.Table
    seconds: float
    most_s: float
    ingredients: Mapping[str, Any]
    source: Path | None = None


def make_models(session: RaySession, config: Config, root: OutputRoot, models: Sequence[MissingModel]) -> None:
    """Train or import `models` and keep them in the root.

    Raises:
        AlignError: one gave no usable model; those that did are kept.
    """
    if not models:
        return
    session.ensure("models")
    resolved = config.model_copy(update={"corpora_storage": config.reading_from.resolved()})
    running = {}
    threads = threads_each(len(models), session.cores())
    make = _make.options(num_cpus=threads)
    for model in models:
        root.delete(model.place.folder)
        what = "trained on" if model.source is None else f"{model.source} is imported with"
        log.info("alignment model %s: %s %d clips, %.0f s", model.language, what, model.rows.num_rows, model.seconds)
        # the source is a file of this machine
        content = None if model.source is None else model.source.read_bytes()
        running[model.language] = make.remote(model, content, root, resolved, threads)
    failed: list[Exception] = []
    for language, reference in running.items():
        try:
            made: _Made = ray.get(reference)
        except Exception as error:  # one language must not cost the hours that another has been trained for
            log.error("alignment model %s: none was made: %s", language, sentence_of(error))
            failed.append(error)
        else:
            if made.undecoded:
                told = "alignment model %s: %d clips could not be decoded and are not in it; the first: %s"
                log.warning(told, language, made.undecoded, made.first_error)
            log.info(
                "alignment model %s: made in %.1f s of %d clips, %.0f s",
                language,
                made.took_s,
                made.clips,
                made.audio_s,
            )
    if failed:
        raise failed[0]


def threads_each(models: int, cores: Sequence[int]) -> int:
    """Return how many threads each training gets so that all run at once on nodes of so many cores; at least 1."""
    most = min(max(cores, default=1), _MOST_THREADS)
    enough = (threads for threads in range(most, 1, -1) if sum(node // threads for node in cores) >= models)
    return next(enough, 1)


@dataclass(frozen=True)
class _Made:
    """What a model was made of, in what time."""

    clips: int
    audio_s: float
    undecoded: int
    first_error: str
    took_s: float


@contextmanager
def _heard() -> Iterator[None]:
    """Let be heard what is logged of alignment: a worker shows nothing by itself, but Ray shows its standard error."""
    told = logging.getLogger("sift_ray.align")
    handler, level = logging.StreamHandler(), told.level
    told.addHandler(handler)
    told.setLevel(logging.INFO)
    try:
        yield
    finally:
        told.removeHandler(handler)  # the worker may be given the next language
        told.setLevel(level)


# (a worker does one and ends: viter keeps its threads as long as the process lives, and an aligner has only one)
@ray.remote(num_cpus=1, max_retries=1, max_calls=1)
def _make(model: MissingModel, source: bytes | None, root: OutputRoot, config: Config, threads: int) -> _Made:
    """Make one language's model and keep it in the root."""
    clock = time.monotonic()
    os.environ[_THREADS] = str(threads)  # (the session's default is one)
    lexicon = fetch_lexicon(root, model.place)
    annotate = config.annotate
    clips = TrainingClips(
        model.rows, annotate.decode, config.reading_from, least_s=annotate.align.min_train_s, most_s=model.most_s
    )
    with _heard(), tempfile.TemporaryDirectory(prefix="sift-ray-align-") as scratch:
        out = Path(scratch) / "model"
        if source is not None and model.source is not None:
            from sift_ray.align.viter_import import import_model

            given = Path(scratch) / model.source.name
            given.write_bytes(source)
            import_model(model.language, given, clips, out, dictionary=lexicon.dictionary, g2p=lexicon.g2p)
        else:
            from sift_ray.align.viter_training import train_model

            align = annotate.align
            train_model(
                model.language,
                clips,
                out,
                align.seed,
                dictionary=lexicon.dictionary,
                g2p=lexicon.g2p,
                recipe=align.recipe,
                threads=threads,
            )
        for file in sorted(out.iterdir()):
            root.put(f"{model.place.folder}/{file.name}", file.read_bytes())
    took_s = round(time.monotonic() - clock, 3)
    made = _Made(clips.clips, round(clips.seconds, 3), clips.undecoded, clips.first_error, took_s)
    put_json(root, f"{model.place.folder}/{MANIFEST_NAME}", {"ingredients": dict(model.ingredients), **asdict(made)})
    return made
