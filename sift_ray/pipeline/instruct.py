"""instruct: from annotated utterances and rulers to verified question-answer pairs, one row a request.

A wave's requests are planned first, by hashes, so that it is known before any model runs which rows the wave must end
with. Requests for the templates run as plain CPU tasks; those for a language model go to a pool of actors that each
hold one engine, for as many waves as there are, and keep many requests in flight.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
import yaml
from pydantic import ValidationError

from sift_ray.config import Config
from sift_ray.config_instruct import TEMPLATE, InstructConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.instruct.engines import model_revisions, start_engines
from sift_ray.instruct.prompts import PromptError, check_prompts, judge_hash, prompt_hash
from sift_ray.instruct.templates import templates, templates_hash
from sift_ray.instruct.unanswerable import unanswerable_hash
from sift_ray.instruct.verify.small_words import small_words_hash
from sift_ray.job_log import where
from sift_ray.metadata.accents import accents_file
from sift_ray.metadata.phrases import phrase_file
from sift_ray.metadata.rulers import Rulers
from sift_ray.pipeline import metrics
from sift_ray.pipeline.metered_engine import MeteredEngine
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.preflight import TEMPLATE_CPUS
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.session import RaySession, actor_limits, task_limits
from sift_ray.pipeline.stages import instruct_stage
from sift_ray.pipeline.wave_flow import Flow, lasting
from sift_ray.pipeline.wave_pieces import of_wave, open_piece
from sift_ray.pipeline.wave_run import run_waves
from sift_ray.pipeline.waves import Expected, table_digest
from sift_ray.schema import LANGUAGES, TASKS
from sift_ray.storage import OutputRoot, StorageError, WaveManifest, fingerprint, read_manifest, read_table, wave_files

if TYPE_CHECKING:
    from sift_ray.instruct.judging import Judge
    from sift_ray.instruct.requests import Request
    from sift_ray.instruct.writer import Writer

log = logging.getLogger(__name__)

_TEMPLATE_ROWS = 1024  # so many are written from templates in some seconds, beside which a task costs nothing


def run_instruct(
    session: RaySession,
    config: Config,
    root: OutputRoot,
    plan: Plan,
    rulers: Rulers,
    made_from: tuple[str, str],
) -> Iterator[WaveManifest]:
    """Write instructions for every unfinished wave, yielding each wave's manifest.

    `made_from` are the fingerprints of the annotations and of the bins.
    """
    check_texts(config.instruct)
    revisions = model_revisions(config.instruct, config.storage)
    stage = instruct_stage(config, *made_from, data_file_hashes(), revisions)

    def start(waves: Sequence[int]) -> list[Flow]:
        files = {}
        for wave in waves:
            manifest = read_manifest(root, "annotations", wave)
            if manifest is None:
                raise StorageError(f"{root.uri}: wave {wave} is not annotated; run `sift-ray annotate` first")
            files[wave] = wave_files(root, manifest)
        limits = lasting(config.ray, waves)
        long_lived = config.model_copy(update={"ray": limits})
        busy = session.busy_tasks(TEMPLATE_CPUS)
        return [
            Flow(
                ReadRequests(root, files, rulers, config.instruct, model),
                partial(answers, config=long_lived, model=model, revisions=revisions, busy=busy),
            )
            for model in config.instruct.models_asked()
        ]

    return run_waves(session, root, stage, range(plan.waves), start, config.plan.wave_rows)


def check_texts(config: InstructConfig) -> None:
    """Read the templates and render the prompts that the config needs, before a model is loaded or a node paid for.

    Raises:
        PromptError: one is missing, is not of its form, or has a placeholder that nothing fills.
    """
    asked = [task for task in TASKS if config.task(task).fraction > 0.0]
    for language in LANGUAGES:
        try:
            templates(language)
        except ValidationError as error:
            at, what = error.errors()[0]["loc"], error.errors()[0]["msg"]
            raise PromptError(f"templates/{language}.yaml, {'.'.join(map(str, at))}: {what}") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise PromptError(f"templates/{language}.yaml: {error}") from error
    if config.engine != TEMPLATE:
        check_prompts(asked, LANGUAGES, judged=any(config.judge_of(task) for task in asked))


def data_file_hashes() -> dict[str, str]:
    """Return the hash of every file of prompts, templates, phrases and words: of what is written and accepted."""
    hashes = {"accents": fingerprint({"text": accents_file()})}
    for language in LANGUAGES:
        hashes[f"templates.{language}"] = templates_hash(language)
        hashes[f"phrases.{language}"] = fingerprint({"text": phrase_file(language)})
        hashes[f"unanswerable.{language}"] = unanswerable_hash(language)
        hashes[f"small_words.{language}"] = small_words_hash(language)
        hashes[f"prompts.judge.{language}"] = judge_hash(language)
        hashes |= {f"prompts.{task}.{language}": prompt_hash(task, language) for task in TASKS}
    return hashes


@dataclass(frozen=True)
class ReadRequests:
    """Plans a wave's requests, and keeps those that one model answers, in pieces of a batch each.

    Each model's flow plans for itself: that takes seconds a wave, and answering takes minutes.
    """

    root: OutputRoot
    files: Mapping[int, list[str]]
    rulers: Rulers
    config: InstructConfig
    model: str

    def __call__(self, wave: int) -> tuple[Expected, Iterable[pa.Table]]:
        """Return the wave's requests; see `wave_flow.Reading`."""
        expected, requests = plan_wave(self.files[wave], self.root, self.rulers, self.config, self.model)
        rows = max(self.config.pool.batch_rows, _TEMPLATE_ROWS if self.model == TEMPLATE else 0)
        return expected, (requests.slice(start, rows) for start in range(0, requests.num_rows, rows))


def plan_wave(
    files: Sequence[str], root: OutputRoot, rulers: Rulers, config: InstructConfig, model: str
) -> tuple[Expected, pa.Table]:
    """Return all that a wave must end with, and the requests of it that `model` answers (`schema.REQUESTS`)."""
    from sift_ray.instruct.requests import plan_requests

    annotations = pa.concat_tables(read_table(root, file) for file in files)
    requests = plan_requests(annotations, rulers, config)
    answered_by = pa.array(
        [
            TEMPLATE if engine == TEMPLATE else config.model_of(task)
            for engine, task in zip(requests["engine"].to_pylist(), requests["task"].to_pylist(), strict=True)
        ],
        pa.string(),
    )
    expected = Expected(requests.num_rows, table_digest(requests, keyed_by_task=True))
    return expected, requests.filter(pc.equal(answered_by, model))


def answers(
    pieces: ray.data.Dataset,
    progress: Progress,
    config: Config,
    model: str,
    revisions: Mapping[str, str] | None = None,
    busy: tuple[float, int | None] = (TEMPLATE_CPUS, None),
) -> ray.data.Dataset:
    """Return the rows of `instructions`, and their wave, that `model` answers requests with, given piece by piece.

    Templates are filled by tasks that are `busy`: so many CPUs each, and so many at once; see `RaySession.busy_tasks`.
    """
    instruct = config.instruct
    pool = instruct.pool
    if model == TEMPLATE:
        return pieces.map_batches(
            answer_from_templates,
            fn_kwargs={"config": instruct, "progress": progress},
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.TaskPoolStrategy(size=busy[1]),
            num_cpus=busy[0],
            ray_remote_args_fn=task_limits(config.ray),
        )
    return pieces.map_batches(
        Answering,
        fn_constructor_kwargs={
            "config": instruct,
            "model": model,
            "progress": progress,
            "storage": config.storage,
            "revisions": revisions,
        },
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=pool.actors[0],
            max_size=pool.actors[1],
            max_concurrent_calls_per_actor=instruct.concurrent_batches,
        ),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus,
        ray_remote_args_fn=actor_limits(config.ray),
    )


def answer_from_templates(piece: pa.Table, config: InstructConfig, progress: Progress) -> pa.Table:
    """Answer a piece of a wave's requests with the template engine; the rows know their wave."""
    from sift_ray.instruct.answering import answered, table_of
    from sift_ray.instruct.requests import Request
    from sift_ray.instruct.verify import collect_rarely
    from sift_ray.instruct.writer import TemplateWriter

    collect_rarely()
    wave, asked = open_piece(piece)
    requests, writer = [Request.from_row(row) for row in asked.to_pylist()], TemplateWriter()

    async def answer() -> list[dict[str, Any]]:
        return [await answered(request, writer, None, config) for request in requests]

    with where("instructions", wave):
        table, rows = table_of(requests, asyncio.run(answer()), writer)
    progress.add(len(rows))
    metrics.count_requests(rows, config.judge_of)
    return of_wave(wave, table)


class Answering:
    """The actor that holds a model's engine; batches run concurrently, so that the engine is never short of work."""

    def __init__(
        self,
        config: InstructConfig,
        model: str,
        progress: Progress,
        storage: StorageConfig | None = None,
        revisions: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._model = model
        self._progress = progress
        self._storage = storage
        self._revisions = revisions
        self._writing: tuple[Writer, Judge] | None = None
        self._starting = asyncio.Lock()

    async def _started(self) -> tuple[Writer, Judge]:
        """Return the writer and the judge; their engines belong to the loop of the first batch, which starts them."""
        from sift_ray.instruct.judging import Judge
        from sift_ray.instruct.verify import collect_rarely
        from sift_ray.instruct.writer import ModelWriter

        async with self._starting:
            if self._writing is None:
                started = await start_engines(self._model, self._config, self._storage, self._revisions)
                collect_rarely()
                engines = {name: MeteredEngine(engine) for name, engine in started.items()}
                self._writing = ModelWriter(engines, self._config), Judge(engines, self._config)
        return self._writing

    async def __call__(self, piece: pa.Table) -> AsyncIterator[pa.Table]:
        """Answer a piece of a wave's requests, all of them in flight at once; the rows know their wave."""
        from sift_ray.instruct.answering import answered, table_of
        from sift_ray.instruct.engine import EngineDied
        from sift_ray.instruct.requests import Request
        from sift_ray.instruct.writer import TemplateWriter

        wave, asked = open_piece(piece)
        requests = [Request.from_row(row) for row in asked.to_pylist()]
        writer, judge = await self._started()
        fallback = TemplateWriter() if self._config.fallback == TEMPLATE else None

        async def answer(request: Request) -> dict[str, Any]:
            result = await answered(request, writer, fallback, self._config, judge)
            self._progress.add(1)
            return result

        try:
            with where("instructions", wave):
                answers = await asyncio.gather(*map(answer, requests))
        except EngineDied as error:
            # a retry would reach this dead engine again: leave, so that Ray puts a fresh actor in our place
            log.error("the engine died, its actor leaves: %s", error)
            os._exit(1)
        table, rows = table_of(requests, answers, writer)
        metrics.count_requests(rows, self._config.judge_of)
        yield of_wave(wave, table)
