"""The arms of `tests.benchmarks.instruct`, each to be run in a process of its own, as vLLM leaves threads behind.

The engine's arguments are those of the stage, and so are the prompts' tokens and the sampling: they are taken down
where the stage gives them to vLLM, so that no arm can have others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from sift_ray.instruct.engine import RequestFailed
from sift_ray.instruct.models import resolve_model
from sift_ray.instruct.vllm_engine import VllmEngine, engine_arguments, engine_environment
from sift_ray.instruct.writer import ModelWriter
from tests.benchmarks.instruct_job import TIMED, WARM_UP, Job

BEGAN: Final = "began"
"""The file that holds when the engine was ready and warm, in s since the epoch."""


class Asked(NamedTuple):
    """One call of vLLM: the prompt's tokens, and its `SamplingParams`."""

    tokens: list[int]
    sampling: Any


def arguments_of_vllm(job: Job) -> dict[str, Any]:
    """Return what the stage starts vLLM with."""
    from vllm.platforms import current_platform

    return engine_arguments(resolve_model(job.model), job.config.instruct.vllm, cpu=current_platform.is_cpu())


def calls_of_vllm(job: Job, wave: int) -> list[Asked]:
    """Return what the stage asks vLLM for a wave, each request once."""
    from transformers import AutoTokenizer

    calls: list[Asked] = []

    class Listening:
        errored = False

        async def generate(self, prompt: Mapping[str, Any], sampling: Any, request_id: str) -> AsyncIterator[Any]:
            calls.append(Asked(list(prompt["prompt_token_ids"]), sampling))
            return
            yield

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(job.model))
    config = job.config.instruct
    engine = VllmEngine(job.model, Listening(), tokenizer, config.vllm.max_model_len)
    writer = ModelWriter({job.model: engine}, config)

    async def ask() -> None:
        for request in job.asked(wave):
            with contextlib.suppress(RequestFailed):  # (nothing was generated)
                await writer.write(request, 0, ())

    asyncio.run(ask())
    return calls


def set_environment(job: Job) -> None:
    """Set what vLLM reads when it is imported, here and in Ray's workers, and keep Ray quiet and at home."""
    os.environ.update(engine_environment(job.config.instruct.vllm))
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", TOKENIZERS_PARALLELISM="false")
    warnings.filterwarnings("ignore")


def leave(core: int | None) -> None:
    """Keep this process, and all that it starts from now on, off a core."""
    if core is not None:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {core})


@contextlib.contextmanager
def kept_on(core: int | None) -> Iterator[None]:
    """Keep the processes that are started inside on one core, which this process has left."""
    if core is None:
        yield
        return
    others = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():  # (those begun inside have inherited the core)
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), others)


def bare(job: Job) -> dict[str, float]:
    """All prompts given to vLLM's offline class at once."""
    from vllm import LLM

    timed, warm_up = calls_of_vllm(job, TIMED), calls_of_vllm(job, WARM_UP)
    with kept_on(job.engine_core):
        llm = LLM(**arguments_of_vllm(job))

    def answer(calls: list[Asked]) -> list[Any]:
        prompts = [{"prompt_token_ids": call.tokens} for call in calls]
        found: list[Any] = llm.generate(prompts, [call.sampling for call in calls], use_tqdm=False)
        return found

    answer(warm_up)
    began = time.time()
    outputs = answer(timed)
    ended = time.time()
    return {
        "began": began,
        "ended": ended,
        "rows": len(outputs),
        "generated_tokens": sum(len(output.outputs[0].token_ids) for output in outputs),
        "prompt_tokens": sum(len(output.prompt_token_ids) for output in outputs),
        "cached_tokens": sum(output.num_cached_tokens or 0 for output in outputs),
    }


class Turn:
    """Lets what comes first warm the engine, and notes when that is done; all else waits."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / BEGAN
        self._lock = asyncio.Lock()

    async def after(self, warm: Callable[[], AsyncIterator[Any]]) -> None:
        """Return when `warm` has run to its end, once."""
        async with self._lock:
            if not self._path.exists():
                async for _ in warm():
                    pass
                self._path.write_text(str(time.time()))


def stage(job: Job) -> dict[str, float]:
    """The whole stage, from the annotations on disk to the pairs, verified and on disk."""
    from sift_ray.pipeline import instruct
    from sift_ray.pipeline.plan import Plan
    from sift_ray.pipeline.session import RaySession
    from sift_ray.pipeline.wave_pieces import piece_of

    warm_up, folder, core = piece_of(WARM_UP, job.requests(WARM_UP)), job.folder, job.engine_core

    class Timed(instruct.Answering):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._turn = Turn(folder)

        async def _started(self) -> Any:
            with kept_on(core):
                return await super()._started()

        async def __call__(self, piece: pa.Table) -> AsyncIterator[pa.Table]:
            first = super().__call__
            await self._turn.after(lambda: first(warm_up))
            async for table in first(piece):
                yield table

    with mock.patch.object(instruct, "Answering", Timed), RaySession(job.config) as session:
        made_from = ("annotations", "bins")
        plan = Plan(waves=1, rows=0, content="")
        list(instruct.run_instruct(session, job.config, job.root, plan, job.rulers, made_from))
    return _measured(job.folder, Path(job.root.uri) / "instructions" / "wave=00000")


def _measured(folder: Path, written: Path) -> dict[str, float]:
    """Return what Parquet files tell; the last of them ends the clock."""
    files = sorted(written.glob("*.parquet"))
    columns = ("generated_tokens", "prompt_tokens", "cached_tokens")
    table = pa.concat_tables(pq.read_table(file, partitioning=None) for file in files)
    sums = {name: sum(table[name].to_pylist()) for name in columns if name in table.column_names}
    ended = max(file.stat().st_mtime for file in files)
    return {"began": float((folder / BEGAN).read_text()), "ended": ended, "rows": table.num_rows} | sums


def ray_data_llm(job: Job) -> dict[str, float]:
    """The prompts' tokens through `ray.data.llm` to Parquet; nothing is read or verified."""
    import ray
    import ray.data
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    pool, instruct = job.config.instruct.pool, job.config.instruct
    arguments = arguments_of_vllm(job)
    timed, warm_up = ([_row(call) for call in calls_of_vllm(job, wave)] for wave in (TIMED, WARM_UP))
    ray.init(
        num_cpus=max(2, os.cpu_count() or 1),
        include_dashboard=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=arguments.pop("model"),
            engine_kwargs=arguments,
            batch_size=pool.batch_rows,
            max_concurrent_batches=instruct.concurrent_batches,
            concurrency=1,
            placement_group_config={"bundle_per_worker": {"CPU": pool.num_cpus}},
            log_engine_metrics=False,
            **{f"{part}_stage": {"enabled": False} for part in ("chat_template", "tokenize", "detokenize")},
        ),
        preprocess=dict,
        postprocess=_written,
    )
    engine = processor.get_stage_by_name("vLLMEngineStage")
    standard, folder, core = engine.fn, job.folder, job.engine_core

    class Timed(standard):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            with kept_on(core):
                super().__init__(*arguments, **named)
            self._turn = Turn(folder)

        async def udf(self, batch: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
            first = super().udf
            rows = [{**row, self.IDX_IN_BATCH_COLUMN: place} for place, row in enumerate(warm_up)]
            await self._turn.after(lambda: first(rows))
            async for row in first(batch):
                yield row

    # (set as it should be, the stage would forget the placement group and ask for a GPU)
    engine.__dict__["fn"] = Timed
    blocks = max(1, -(-len(timed) // pool.batch_rows))
    written = job.folder / "ray_data_llm"
    processor(ray.data.from_items(timed).repartition(blocks)).write_parquet(str(written))
    ray.shutdown()
    return _measured(job.folder, written)


def _row(call: Asked) -> dict[str, Any]:
    sampling = call.sampling
    wanted = {name: getattr(sampling, name) for name in ("temperature", "top_p", "max_tokens", "seed")}
    if sampling.structured_outputs is not None:
        wanted["structured_outputs"] = {"json": json.dumps(sampling.structured_outputs.json)}
    return {"tokenized_prompt": call.tokens, "sampling_params": wanted}


def _written(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": row["generated_text"],
        "generated_tokens": row["num_generated_tokens"],
        "prompt_tokens": row["num_input_tokens"],
    }


ARMS: Final[Mapping[str, Callable[[Job], dict[str, float]]]] = {
    "bare": bare,
    "ray.data.llm": ray_data_llm,
    "stage": stage,
    "retries": stage,
}
"""By name: `retries` is the stage as the demo has it, which asks again what was refused."""
