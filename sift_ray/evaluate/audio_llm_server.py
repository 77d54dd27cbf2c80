"""An audio language model in a server that speaks OpenAI's chat API, such as `vllm serve Qwen/Qwen2-Audio-7B-Instruct`.

How calls are made, tried again and given up is that of `OpenAIEngine`; here audio joins the message, and the settings
that OpenAI's API lacks are sent as vLLM's server names them, if it is one: others may refuse what they don't know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sift_ray.config_instruct import OpenAIConfig
from sift_ray.evaluate.audio_llm import AudioPrompt, audio_prompt, content_parts
from sift_ray.evaluate.decoding_settings import NGRAM, NGRAM_PROCESSOR, DecodingSettings
from sift_ray.instruct.engine import EngineDied, EngineStartError, Prompt, RequestFailed
from sift_ray.instruct.openai_calls import ChatCalls
from sift_ray.instruct.openai_engine import OpenAIEngine
from sift_ray.instruct.openai_start import check_served, client_of
from sift_ray.schema import SAMPLE_RATE

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_NAMES_SHOWN: Final = 10
_IMPOSSIBLE: Final = 0  # an n-gram size that the processor refuses, and nobody else reads


class AudioCalls(ChatCalls):
    """Calls whose user's turn holds audio; `extra` are settings that a `Prompt` does not hold."""

    def __init__(self, name: str, config: OpenAIConfig, client: AsyncOpenAI, secret: str) -> None:
        """Take what `ChatCalls` takes."""
        super().__init__(name, config, client, secret)
        self.extra: dict[str, Any] = {}

    def _arguments(self, prompt: Prompt) -> dict[str, Any]:
        arguments = super()._arguments(prompt)
        if isinstance(prompt, AudioPrompt):
            arguments["messages"][-1]["content"] = content_parts(prompt)
            if self.extra:
                arguments["extra_body"] = self.extra
        return arguments


class ServedAudioLLM(OpenAIEngine):
    """An `AudioLLM` whose model runs in a server."""

    def __init__(self, name: str, config: OpenAIConfig, client: AsyncOpenAI, secret: str) -> None:
        """Take a client of the running asyncio loop; `secret` is its key, to be kept out of all messages."""
        super().__init__(name, config, client, secret)
        self._audio_calls = AudioCalls(name, config, client, secret)
        self._calls = self._audio_calls
        self.notes: dict[str, str] = {}

    @classmethod
    async def serve(cls, name: str | None, config: OpenAIConfig, settings: DecodingSettings) -> ServedAudioLLM:
        """Check that the server is up, serves the model and takes audio, and find out which settings it applies.

        The key is that of the environment variable `config.api_key_env`, if set.

        Args:
            name: of the model; None: the only one that is served.
            config: where the server is, and how patiently it is called.
            settings: of all calls.

        Raises:
            EngineStartError: it does not; or the client is not installed, or the key can't be one.
        """
        config = config.model_copy(update={"structured": "none"})
        client, key = client_of(config)
        try:
            model = cls(name or await _only_model(ChatCalls("", config, client, key)), config, client, key)
            await check_served(model._audio_calls)
            await model._find_out(settings)
            await _check_hearing(model._audio_calls, settings)
        except BaseException:
            await client.close()
            raise
        model._answered()
        return model

    async def _find_out(self, settings: DecodingSettings) -> None:
        """Settle what is sent beside a `Prompt`: to vLLM what it takes, to others nothing; and note what is not."""
        vllm = await _is_vllm(self._audio_calls)
        if vllm:
            self._audio_calls.extra |= {
                "repetition_penalty": settings.repetition_penalty,
                # without these it would take those of the model's generation_config.json
                "top_k": -1,
                "min_p": 0.0,
            }
        else:
            self.notes["repetition_penalty"] = (
                "not sent, nor that top-k and min-p are off: the server does not say that it is vLLM, and others may "
                "refuse what OpenAI's API lacks"
            )
        wanted = settings.extra_args()
        if wanted is None:
            return
        if vllm and await _forbids_ngrams(self._audio_calls, wanted):
            self._audio_calls.extra["vllm_xargs"] = wanted
        else:
            self.notes[NGRAM] = (
                "not applied: the server is not vLLM with a processor for it; start one where sift-ray is installed, "
                f"with --logits-processors {NGRAM_PROCESSOR}"
            )


async def _only_model(calls: ChatCalls) -> str:
    import openai

    url = calls.config.base_url
    try:
        served = [str(model.id) async for model in calls.client.models.list()]
    except openai.APIConnectionError as error:
        raise EngineStartError(f"{url}: no server answers ({calls.cause(error)}); start one, or mend --url") from None
    except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
        raise EngineStartError(
            f"{url}: its models can't be listed: {calls.clean(error)}; see that --url ends with /v1, and that the "
            f"key, if it wants one, is in the environment variable {calls.config.api_key_env}"
        ) from None
    if len(served) != 1:
        names = ", ".join(served[:_NAMES_SHOWN]) or "none"
        raise EngineStartError(f"{url}: it serves {len(served)} models ({names}); name one with --model")
    return served[0]


async def _check_hearing(calls: AudioCalls, settings: DecodingSettings) -> None:
    """Check that the model takes a chat with audio.

    Raises:
        EngineStartError: it does not.
    """
    noise = np.random.default_rng(0).normal(0.0, 0.01, SAMPLE_RATE).astype(np.float32)
    probe = audio_prompt("What is heard?", [noise], replace(settings, max_tokens=1), one_audio=True)
    try:
        await calls.ask(probe)
    except RequestFailed as error:
        raise EngineStartError(
            f"{calls.config.base_url}: {calls.name} does not take a question about audio: {error.detail}; serve an "
            "audio language model, such as Qwen/Qwen2-Audio-7B-Instruct, by vLLM"
        ) from None
    except EngineDied as error:
        raise EngineStartError(str(error)) from None


async def _is_vllm(calls: ChatCalls) -> bool:
    import openai

    try:
        return "vllm" in [model.owned_by async for model in calls.client.models.list()]
    except (openai.OpenAIError, AttributeError, TypeError, ValueError):
        return False


async def _forbids_ngrams(calls: AudioCalls, wanted: Mapping[str, int]) -> bool:
    """Whether the server has the n-gram processor loaded: it alone refuses a size that can't be one, and no other.

    A server without it takes both, as vLLM reads of `vllm_xargs` only what a processor asks for; one that knows no
    such key refuses both.
    """
    refusal = await _refusal(calls, {**wanted, "ngram_size": _IMPOSSIBLE})
    return refusal is not None and "ngram_size" in refusal and await _refusal(calls, wanted) is None


async def _refusal(calls: AudioCalls, arguments: Mapping[str, int]) -> str | None:
    """Return the words in which the server refuses arguments of a processor; None: it takes them.

    What fails for another reason says nothing of them, and counts as refused in no words.
    """
    import openai

    try:
        await calls.client.chat.completions.create(
            model=calls.name,
            messages=[{"role": "user", "content": "Say yes."}],
            max_tokens=1,
            extra_body={"vllm_xargs": dict(arguments)},
        )
    except openai.APIStatusError as error:
        return str(error) if error.status_code < 500 else ""
    except openai.OpenAIError:
        return ""
    return None
