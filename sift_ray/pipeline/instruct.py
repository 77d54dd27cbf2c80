"""instruct: from annotated utterances and rulers to verified question-answer pairs, one row a request.

A wave's requests are planned first, by hashes, so that it is known before any model runs which rows the wave must end
with. Requests for the templates run as plain CPU tasks; those for a language model go to a pool of actors that each
hold one engine and keep many requests in flight.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from sift_ray.config import Config
from sift_ray.config_instruct import InstructConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.instruct.engines import model_revisions, start_engines
from sift_ray.instruct.prompts import judge_hash, prompt_hash
from sift_ray.instruct.template_engine import TEMPLATE
from sift_ray.instruct.templates import templates_hash
from sift_ray.instruct.unanswerable import unanswerable_hash
from sift_ray.metadata.accents import accents_file
from sift_ray.metadata.phrases import phrase_file
from sift_ray.metadata.rulers import Rulers
from sift_ray.pipeline import metrics
from sift_ray.pipeline.metered_engine import MeteredEngine
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.session import RaySession, actor_limits, task_limits
from sift_ray.pipeline.stages import instruct_stage
from sift_ray.pipeline.waves import Expected, run_waves, table_digest
from sift_ray.schema import INSTRUCTIONS, LANGUAGES, TASKS, conform
from sift_ray.storage import OutputRoot, StorageError, WaveManifest, fingerprint, read_manifest, read_table, wave_files

if TYPE_CHECKING:
    from sift_ray.instruct.judging import Judge
    from sift_ray.instruct.requests import Request
    from sift_ray.instruct.writer import Writer

log = logging.getLogger(__name__)


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
    revisions = model_revisions(config.instruct, config.storage)
    stage = instruct_stage(config, *made_from, data_file_hashes(), revisions)

    def start(wave: int, progress: Progress) -> tuple[ray.data.Dataset, Expected]:
        manifest = read_manifest(root, "annotations", wave)
        if manifest is None:
            raise StorageError(f"{root.uri}: wave {wave} is not annotated; run `sift-ray annotate` first")
        return _dataset(config, root, manifest, rulers, progress, revisions)

    return run_waves(session, root, stage, range(plan.waves), start)


def data_file_hashes() -> dict[str, str]:
    """Return the hash of every prompt, template and phrase file: what is written and accepted depends on them."""
    hashes = {"accents": fingerprint({"text": accents_file()})}
    for language in LANGUAGES:
        hashes[f"templates.{language}"] = templates_hash(language)
        hashes[f"phrases.{language}"] = fingerprint({"text": phrase_file(language)})
        hashes[f"unanswerable.{language}"] = unanswerable_hash(language)
        hashes[f"prompts.judge.{language}"] = judge_hash(language)
        hashes |= {f"prompts.{task}.{language}": prompt_hash(task, language) for task in TASKS}
    return hashes


def _dataset(
    config: Config,
    root: OutputRoot,
    manifest: WaveManifest,
    rulers: Rulers,
    progress: Progress,
    revisions: Mapping[str, str],
) -> tuple[ray.data.Dataset, Expected]:
    instruct = config.instruct
    models = sorted({*instruct.models.values(), TEMPLATE})
    summary, *tables = ray.remote(num_cpus=1, num_returns=1 + len(models))(plan_wave).remote(
        wave_files(root, manifest), root, rulers, instruct, models
    )
    expected, rows = ray.get(summary)
    parts = []
    for model, table in zip(models, tables, strict=True):
        if rows[model]:
            parts.append(_answers(config, model, table, rows[model], progress, revisions))
    if not parts:
        # nothing can be asked of this wave; it still gets its manifest
        return ray.data.from_arrow(INSTRUCTIONS.empty_table()), expected
    return parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0], expected


def plan_wave(
    files: list[str], root: OutputRoot, rulers: Rulers, config: InstructConfig, models: list[str]
) -> tuple[Any, ...]:
    """Return (Expected, rows by model), then each model's requests as a table."""
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
    tables = [requests.filter(pc.equal(answered_by, model)) for model in models]
    rows = {model: table.num_rows for model, table in zip(models, tables, strict=True)}
    expected = Expected(requests.num_rows, table_digest(requests, keyed_by_task=True))
    return (expected, rows), *tables


def _answers(
    config: Config,
    model: str,
    requests: Any,
    rows: int,
    progress: Progress,
    revisions: Mapping[str, str] | None = None,
) -> ray.data.Dataset:
    instruct = config.instruct
    pool = instruct.pool
    blocks = -(-rows // pool.batch_rows)
    if model == TEMPLATE:
        blocks = min(blocks, pool.actors[1] * 16)
    # else a block is a batch: of a larger block's batches, one would wait for the other before an engine that idles
    dataset = ray.data.from_arrow_refs([requests]).repartition(blocks)
    if model == TEMPLATE:
        return dataset.map_batches(
            answer_from_templates,
            fn_kwargs={"config": instruct, "progress": progress},
            batch_size=pool.batch_rows,
            batch_format="pyarrow",
            num_cpus=0.5,
            ray_remote_args_fn=task_limits(config.ray),
        )
    return dataset.map_batches(
        Answering,
        fn_constructor_kwargs={
            "config": instruct,
            "model": model,
            "progress": progress,
            "storage": config.storage,
            "revisions": revisions,
        },
        batch_size=pool.batch_rows,
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


def answer_from_templates(batch: pa.Table, config: InstructConfig, progress: Progress) -> pa.Table:
    """Answer a batch of requests with the template engine."""
    from sift_ray.instruct.requests import Request
    from sift_ray.instruct.writer import TemplateWriter

    async def answer() -> list[dict[str, Any]]:
        requests = (Request.from_row(row) for row in batch.to_pylist())
        return [await answered(request, TemplateWriter(), None, config) for request in requests]

    rows = asyncio.run(answer())
    progress.add(len(rows))
    metrics.count_requests(rows, config.judge_of)
    return _table(rows)


async def answered(
    request: Request, writer: Writer, fallback: Writer | None, config: InstructConfig, judge: Judge | None = None
) -> dict[str, Any]:
    """Return the row of a request, such as a table can hold.

    A request that fails by a fault of ours, or whose row no table can hold, is a refused pair, and costs no other row.
    """
    from sift_ray.instruct.engine import EngineDied
    from sift_ray.instruct.ladder import failed_row, run_request

    try:
        row = await run_request(request, writer, fallback, config, judge)
        _table([row])  # (else one row would cost its whole batch)
    except EngineDied:
        raise
    except Exception as error:
        return failed_row(request, writer, error)
    return row


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
        from sift_ray.instruct.writer import ModelWriter

        async with self._starting:
            if self._writing is None:
                started = await start_engines(self._model, self._config, self._storage, self._revisions)
                engines = {name: MeteredEngine(engine) for name, engine in started.items()}
                self._writing = ModelWriter(engines, self._config), Judge(engines, self._config)
        return self._writing

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        """Answer a batch of requests, all of them in flight at once."""
        from sift_ray.instruct.engine import EngineDied
        from sift_ray.instruct.requests import Request
        from sift_ray.instruct.writer import TemplateWriter

        writer, judge = await self._started()
        fallback = TemplateWriter() if self._config.fallback == TEMPLATE else None

        async def answer(row: dict[str, Any]) -> dict[str, Any]:
            result = await answered(Request.from_row(row), writer, fallback, self._config, judge)
            self._progress.add(1)
            return result

        try:
            rows = await asyncio.gather(*(answer(row) for row in batch.to_pylist()))
        except EngineDied as error:
            # a retry would reach this dead engine again: leave, so that Ray puts a fresh actor in our place
            log.error("the engine died, its actor leaves: %s", error)
            os._exit(1)
        metrics.count_requests(rows, self._config.judge_of)
        yield _table(rows)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return conform(pa.Table.from_pylist(rows, schema=INSTRUCTIONS), INSTRUCTIONS)
