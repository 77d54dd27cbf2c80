"""The stages as functions of a config, each going on from what is there: what the CLI and `jobs/` call."""

from __future__ import annotations

import _thread
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sift_ray.config import Config
from sift_ray.lease import Lease
from sift_ray.pipeline.align_models import ensure_models, planned_languages, train_models
from sift_ray.pipeline.annotate import run_annotate
from sift_ray.pipeline.bin import BINS_NAME, load_rulers, run_bin
from sift_ray.pipeline.instruct import run_instruct
from sift_ray.pipeline.plan import PLAN_NAME, Plan, check_plan, read_plan, run_plan
from sift_ray.pipeline.release import RELEASE_NAME, run_release
from sift_ray.pipeline.session import RaySession
from sift_ray.schema import LANGUAGES
from sift_ray.storage import MANIFEST_NAME, OutputRoot, StorageError, root_of

log = logging.getLogger(__name__)

STAGES = ("plan", "annotate", "bin", "instruct", "release")
_LEFT_BY = {
    "plan": ("utterances", PLAN_NAME, "models"),
    "annotate": ("annotations",),
    "bin": (BINS_NAME,),
    "instruct": ("instructions",),
    "release": (RELEASE_NAME,),  # what readers get stays until a new version takes its place
}
_ALIASES = {"utterances": "plan", "annotations": "annotate", "bins": "bin", "instructions": "instruct"}


@contextmanager
def _job(config: Config, *, whole: bool = False) -> Iterator[tuple[OutputRoot, RaySession]]:
    """Open the output root for this job alone, and a session on Ray; `whole`: for all stages."""
    root = root_of(config)
    # who lost the lease must not go on for the rest of a wave: the main thread is interrupted as by Ctrl-C
    with Lease(root, on_loss=_thread.interrupt_main) as lease, RaySession(config, lease.check, whole=whole) as session:
        try:
            yield root, session
        except KeyboardInterrupt:
            lease.raise_if_lost()  # (then it was no wish to stop, and there is nothing to go on from)
            raise


def plan(config: Config) -> None:
    """Cut the corpora into waves."""
    with _job(config) as (root, _):
        run_plan(config, root)


def annotate(config: Config) -> None:
    """Measure and align every utterance of the plan."""
    with _job(config) as (root, session):
        _annotate(session, config, root, _planned(config, root))


def bin_(config: Config) -> None:
    """Build the rulers that turn measurements into categories."""
    with _job(config) as (root, session):
        run_bin(session, config, root, _planned(config, root))


def instruct(config: Config) -> None:
    """Write and verify instructions."""
    with _job(config) as (root, session):
        _instruct(session, config, root, _planned(config, root))


def release(config: Config) -> None:
    """Publish the accepted instructions as a dataset."""
    with _job(config) as (root, session):
        run_release(session, config, root, _planned(config, root))


def build(config: Config, restart_from: str | None = None) -> None:
    """Run every stage that is not complete, in one Ray session.

    Args:
        config: the job.
        restart_from: first delete what this stage and all after it made.
    """
    with _job(config, whole=True) as (root, session):
        if restart_from is not None:
            forget(root, restart_from)
        made = run_plan(config, root)
        _annotate(session, config, root, made)
        run_bin(session, config, root, made)
        _instruct(session, config, root, made)
        run_release(session, config, root, made)


def align_train(config: Config, languages: list[str] | None = None) -> dict[str, str]:
    """Train or import the alignment models that the job needs and does not have; plan first if need be.

    Args:
        config: the job.
        languages: only these; None: all of the plan.

    Returns:
        Language → the folder of its model. Without `languages`, one with too little speech to train on is left out.

    Raises:
        TrainingError: the backend is not one that trains, a language is unknown or not in the plan, or is asked for
            and has too little speech.
    """
    from sift_ray.align.protocol import TrainingError

    backend = config.annotate.align.backend
    if backend != "viter":
        raise TrainingError(f"annotate.align.backend is {backend}: only viter has models that are trained on the job")
    asked = set(languages or ())
    if unknown := sorted(asked - set(LANGUAGES)):
        raise TrainingError(f"no language {', '.join(unknown)}; there are {', '.join(LANGUAGES)}")
    with _job(config) as (root, session):
        made = run_plan(config, root)
        planned = planned_languages(config, root, made)
        if absent := sorted(asked - planned):
            raise TrainingError(
                f"{root.uri}: the plan holds no usable utterance in {', '.join(absent)}; "
                f"it has {', '.join(sorted(planned)) or 'none at all'}"
            )
        places = train_models(session, config, root, made, asked or planned)
    if short := sorted(language for language in asked if places[language].fingerprint is None):
        raise TrainingError(
            f"{', '.join(short)}: too little transcribed speech to train an aligner; lower annotate.align.min_train_s, "
            "or give the folder of a trained model as annotate.align.models"
        )
    return {language: f"{root.uri}/{place.folder}" for language, place in places.items() if place.fingerprint}


def forget(root: OutputRoot, stage: str) -> None:
    """Delete what `stage` and the stages after it made; markers go first, so that nothing half-deleted counts.

    Raises:
        StorageError: there is no such stage.
    """
    stage = _ALIASES.get(stage, stage)
    if stage not in STAGES:
        raise StorageError(f"no stage {stage!r}; there are {', '.join(STAGES)}")
    for later in reversed(STAGES[STAGES.index(stage) :]):
        # marks first: what is left of a stage without them does not count, however much that is
        for path in _LEFT_BY[later]:
            for name in root.names(path):
                if name.startswith("wave="):
                    root.delete(f"{path}/{name}/{MANIFEST_NAME}")
        for path in sorted(_LEFT_BY[later], key=lambda path: not path.endswith(".json")):
            root.delete(path)
        log.info("%s: what it made in %s is deleted", later, root.uri)


def _planned(config: Config, root: OutputRoot) -> Plan:
    made = read_plan(root)
    if made is None:
        raise StorageError(f"{root.uri}: there is no {PLAN_NAME}; run `sift-ray plan` first, or `sift-ray build`")
    check_plan(config, root)
    return made


def _annotate(session: RaySession, config: Config, root: OutputRoot, made: Plan) -> None:
    models = ensure_models(session, config, root, made)
    for _ in run_annotate(session, config, root, made, models):
        pass


def _instruct(session: RaySession, config: Config, root: OutputRoot, made: Plan) -> None:
    rulers, mark, annotations = load_rulers(config, root, made)
    for _ in run_instruct(session, config, root, made, rulers, (annotations, mark)):
        pass


RUN: dict[str, Callable[[Config], None]] = {
    "plan": plan,
    "annotate": annotate,
    "bin": bin_,
    "instruct": instruct,
    "release": release,
}
