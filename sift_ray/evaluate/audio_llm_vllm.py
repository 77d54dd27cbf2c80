"""An audio language model that vLLM runs in this process' asyncio loop, on CPU or GPU.

Messages are rendered by vLLM's own chat code from the same parts that a server is sent, so that both ways ask alike.
Nothing of vLLM is imported before a model is started.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from sift_ray.config_instruct import VllmConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.evaluate.audio_llm import AudioPrompt, content_parts
from sift_ray.evaluate.decoding_settings import NGRAM_PROCESSOR, DecodingSettings
from sift_ray.instruct.engine import EngineDied, EngineStartError, Generation, RequestFailed
from sift_ray.instruct.vllm_engine import load_llm
from sift_ray.instruct.vllm_start import end_processes

_MOST_AUDIOS: Final = 2  # of a comparison
_TOO_LONG: Final = re.compile(r"max_model_len|maximum (model|context) length|context length|longer than", re.IGNORECASE)
_DETAIL: Final = 500


class VllmAudioLLM:
    """An `AudioLLM` over vLLM's `AsyncLLM`."""

    def __init__(self, name: str, llm: Any, settings: DecodingSettings, processes: Sequence[BaseProcess] = ()) -> None:
        """Take a running `AsyncLLM` and the processes that it started."""
        self.name = name
        self.notes: dict[str, str] = {}  # all that is asked for is applied
        self._llm = llm
        self._settings = settings
        self._processes = list(processes)
        self._ids = itertools.count()
        self._closed = False

    @classmethod
    async def start(
        cls,
        name: str,
        config: VllmConfig,
        settings: DecodingSettings,
        *,
        one_audio: bool,
        cache: Path | None = None,
        storage: StorageConfig | None = None,
        revision: str | None = None,
    ) -> VllmAudioLLM:
        """Load the model `name` (see `models.resolve_model`), for use in the running asyncio loop.

        Code that comes with a model is never run.

        Raises:
            ModelError: the model can't be had.
            EngineStartError: vLLM is not installed, or refuses the model or the settings, or does not come up.
        """
        more: dict[str, Any] = {"limit_mm_per_prompt": {"audio": 1 if one_audio else _MOST_AUDIOS}}
        if settings.no_repeat_ngram:
            more["logits_processors"] = [NGRAM_PROCESSOR]
        otherwise = ", or name a server with --url"
        llm, processes = await load_llm(name, config, cache, storage, revision, otherwise=otherwise, **more)
        model = cls(name, llm, settings, processes)
        try:
            model._check_hearing()
        except Exception:
            await model.close()
            raise
        return model

    def _check_hearing(self) -> None:
        """Check that this vLLM renders chats as is done here, and that the model takes audio.

        Raises:
            EngineStartError: not so.
        """
        if not hasattr(getattr(self._llm, "renderer", None), "render_chat_async"):
            import vllm

            raise EngineStartError(
                f"vLLM {vllm.__version__} is too old to ask a model about audio from here; install a newer one, or "
                "start it as a server and name that with --url"
            )
        if not self._llm.model_config.is_multimodal_model:
            raise EngineStartError(
                f"model {self.name}: it takes text alone; name an audio language model, such as "
                "Qwen/Qwen2-Audio-7B-Instruct"
            )

    async def generate(self, prompt: AudioPrompt) -> Generation:
        """Answer `prompt`; see `AudioLLM.generate`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        if self._closed:
            raise EngineDied(f"{self.name}: the engine was closed")
        sampling = SamplingParams(
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            repetition_penalty=self._settings.repetition_penalty,
            max_tokens=prompt.max_tokens,
            seed=prompt.seed,
            extra_args=self._settings.extra_args(),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        request_id = f"{os.getpid()}-{next(self._ids)}"
        final = None
        try:
            rendered = await self._rendered(prompt)
            async for output in self._llm.generate(rendered, sampling, request_id):
                final = output
        except EngineDeadError as error:
            raise EngineDied(f"{self.name}: vLLM's engine core died: {error}") from error
        except Exception as error:
            # (of any class: they differ between versions and models' processors; while the engine lives, each is the
            # failure of this one request, and is counted with vLLM's own words)
            if self._llm.errored:
                raise EngineDied(f"{self.name}: vLLM's engine core died: {error}") from error
            reason = "prompt_too_long" if _TOO_LONG.search(str(error)) else "engine_refused"
            raise RequestFailed(reason, f"{type(error).__name__}: {error}"[:_DETAIL]) from error
        if final is None:
            raise RequestFailed("engine_silent", "vLLM ended the request without any output")
        completion = final.outputs[0]
        return Generation(
            text=completion.text,
            finish_reason=completion.finish_reason or "unknown",
            prompt_tokens=len(final.prompt_token_ids or ()),
            cached_tokens=final.num_cached_tokens or 0,
            generated_tokens=len(completion.token_ids),
        )

    async def close(self) -> None:
        """Shut vLLM's processes down and wait until they are gone; a second call does nothing."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._llm.shutdown)
            await asyncio.to_thread(end_processes, self._processes)

    async def _rendered(self, prompt: AudioPrompt) -> Any:
        """Return the prompt as the engine takes it: tokens, with features of the audio in their places."""
        from vllm.renderers import ChatParams

        turns = [{"role": "user", "content": content_parts(prompt)}]
        form = ChatParams(chat_template_kwargs={"add_generation_prompt": True, "continue_final_message": False})
        _, rendered = await self._llm.renderer.render_chat_async([turns], form)
        return rendered[0]
