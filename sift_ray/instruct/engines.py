"""The engines that answer for one model of a config: its own, and its judge's where that is another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sift_ray.config_instruct import TEMPLATE, InstructConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.instruct.engine import Engine
from sift_ray.instruct.models import model_revision
from sift_ray.instruct.openai_engine import OpenAIEngine
from sift_ray.instruct.vllm_engine import VllmEngine
from sift_ray.schema import TASKS


def models_for(model: str, config: InstructConfig) -> tuple[str, ...]:
    """Return `model`, then the other models that judge what it writes, sorted."""
    judges = {config.judge_of(task) for task in TASKS if config.model_of(task) == model}
    return (model, *sorted(judge for judge in judges if judge not in (None, model)))


def model_revisions(config: InstructConfig, storage: StorageConfig | None = None) -> dict[str, str]:
    """Return each model of the config, judges included, with what identifies its weights (`models.model_revision`).

    Empty for what a server serves: only the server knows. `storage` says where models at `s3://` are.

    Raises:
        ModelError: a model can't be found.
    """
    if config.engine == TEMPLATE:
        return {}
    models = {name for model in config.models.values() for name in models_for(model, config)}
    return {name: "" if config.engine == "openai" else model_revision(name, storage) for name in sorted(models)}


async def start_engines(
    model: str,
    config: InstructConfig,
    storage: StorageConfig | None = None,
    revisions: Mapping[str, str] | None = None,
) -> Mapping[str, Engine]:
    """Start all that writing with `model` needs, in the running asyncio loop, and return it by the models' names.

    `revisions` is what `model_revisions` found before, so that all who start engines take the same weights.

    Raises:
        ModelError: a model can't be found.
        EngineStartError: an engine does not start; those before it are closed again.
    """
    engines: dict[str, Engine] = {}
    try:
        for name in models_for(model, config):
            engines[name] = await _start(name, config, storage, (revisions or {}).get(name) or None)
    except BaseException:
        for engine in engines.values():
            await engine.close()
        raise
    return engines


async def _start(name: str, config: InstructConfig, storage: StorageConfig | None, revision: str | None) -> Engine:
    if config.engine == "openai":
        return await OpenAIEngine.start(name, config.openai, max_tokens=config.sampling.max_tokens)
    if config.engine == "vllm":
        cache = None if config.model_cache is None else Path(config.model_cache)
        return await VllmEngine.start(name, config.vllm, cache, storage, revision)
    raise ValueError(f"engine {config.engine} has no models to start")
