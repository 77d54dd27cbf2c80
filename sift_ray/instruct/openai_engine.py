"""A server that speaks OpenAI's chat API, such as `vllm serve`, as an `Engine`.

The server applies the chat template and samples; only calls are made here. What passes (a dropped connection, a
server that is busy) the client tries again by itself, with a growing wait; what is left becomes one of two things. A
fault of one call is that request's failure. A server that is gone, or that goes on failing whatever it is asked, is a
dead engine, so that a job stops rather than refuse all that is left of it.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Any, Final

from sift_ray.config_instruct import OpenAIConfig
from sift_ray.instruct.engine import (
    EngineDied,
    EngineStartError,
    Generation,
    Message,
    Prompt,
    RequestFailed,
    without_system,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_NO_KEY: Final = "none"  # the client insists on a key, servers of one's own mostly want none
_FAILURES_IN_A_ROW: Final = 8
"""Calls that fail one after the other, each with all its retries, before the server counts as gone."""

_CONNECT_S: Final = 30.0
_DETAIL: Final = 500
_NAMES_SHOWN: Final = 10

_TOO_LONG: Final = re.compile(r"context.?length|context window|too long|too many tokens", re.IGNORECASE)
_REFUSED: Final = (400, 413, 422)
_SHUT: Final = (401, 403, 404)

_CONTROL: Final = re.compile(r"(?<=<)(?=[|｜]|/?[A-Za-z_]{1,40}>|</?[A-Z]{1,40}>>)|(?<=\[)(?=/?[A-Z_]{3,40}\])")
"""Where a space breaks up what may be a control token: `<|im_end|>`, `</s>`, `<end_of_turn>`, `<<SYS>>`, `[INST]`."""

_PROBE_SCHEMA: Final = {
    "type": "object",
    "properties": {"a": {"enum": ["yes", "no"]}},
    "required": ["a"],
    "additionalProperties": False,
}
_PROBE: Final = Prompt(  # the shape of all chats that will follow
    messages=(
        Message("system", "Reply with JSON only."),
        Message("user", "Say yes."),
        Message("assistant", '{"a": "yes"}'),
        Message("user", "Say no."),
    ),
    seed=0,
    max_tokens=16,
    schema=_PROBE_SCHEMA,
)


class OpenAIEngine:
    """An `Engine` whose model runs in a server."""

    def __init__(self, name: str, config: OpenAIConfig, client: AsyncOpenAI, secret: str) -> None:
        """Take a client of the running asyncio loop; `secret` is its key, to be kept out of all messages."""
        self.name = name
        self._config = config
        self._client = client
        self._secret = secret
        self._with_schemas = config.structured == "json_schema"
        self._system_turn = True
        self._calls = asyncio.Semaphore(config.concurrency)
        self._failures = 0
        self._closed = False

    @classmethod
    async def start(cls, name: str, config: OpenAIConfig) -> OpenAIEngine:
        """Check that the server is up, serves the model `name` and takes chats as they will be sent.

        The key is that of the environment variable `config.api_key_env`, if set.

        Raises:
            EngineStartError: it does not; or the client is not installed, or the key can't be one.
        """
        try:
            import openai
        except ImportError as error:
            raise EngineStartError(
                f"the client openai can't be imported ({error}); install sift-ray[openai]"
            ) from error
        key = os.environ.get(config.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise EngineStartError(
                f"the environment variable {config.api_key_env} holds characters that no key has; set it anew"
            )
        client = openai.AsyncOpenAI(
            api_key=key or _NO_KEY,
            base_url=config.base_url,
            max_retries=config.retries,
            timeout=openai.Timeout(config.timeout_s, connect=min(config.timeout_s, _CONNECT_S)),
        )
        engine = cls(name, config, client, key)
        try:
            await engine._check_served()
            await engine._check_chat()
        except BaseException:
            await engine.close()
            raise
        return engine

    async def generate(self, prompt: Prompt) -> Generation:
        """Continue `prompt`; see `Engine.generate`. At most `concurrency` calls are in flight, others wait."""
        async with self._calls:
            if self._closed:
                raise EngineDied(f"{self.name}: the engine was closed")
            if self._failures >= _FAILURES_IN_A_ROW:
                raise EngineDied(self._gone("it went on failing"))
            return await self._call(prompt)

    async def close(self) -> None:
        """Drop the connections; a second call does nothing. The server goes on."""
        if not self._closed:
            self._closed = True
            await self._client.close()

    async def _call(self, prompt: Prompt) -> Generation:
        import openai

        try:
            reply = await self._client.chat.completions.create(**self._arguments(prompt))
        except openai.APITimeoutError:
            raise self._passing("engine_timeout", f"no reply within {self._config.timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            raise EngineDied(self._gone(_cause(error))) from None
        except openai.APIStatusError as error:
            raise self._of_status(error.status_code, self._clean(error)) from None
        except (openai.OpenAIError, ValueError) as error:  # (a ValueError is of its JSON reader)
            raise self._passing("engine_unreadable", self._clean(error)) from None
        if not getattr(reply, "choices", None):
            raise self._passing("engine_silent", "the server's reply holds no choice")
        self._failures = 0
        return _generation(reply)

    def _arguments(self, prompt: Prompt) -> dict[str, Any]:
        turns = prompt.messages if self._system_turn else without_system(prompt.messages)
        arguments: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": turn.role, "content": disarm(turn.content)} for turn in turns],
            "temperature": prompt.temperature,
            "top_p": prompt.top_p,
            "max_tokens": prompt.max_tokens,
            "seed": prompt.seed,
        }
        if prompt.schema is not None and self._with_schemas:
            form = {"name": "reply", "schema": dict(prompt.schema), "strict": True}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        return arguments

    def _of_status(self, status: int, said: str) -> RequestFailed | EngineDied:
        """Return what an error status means, after all retries."""
        if status in _REFUSED:
            self._failures = 0  # it is there, and reads what it is asked
            return RequestFailed("prompt_too_long" if _TOO_LONG.search(said) else "engine_refused", said)
        if status in _SHUT:
            return EngineDied(self._gone(f"it says {said}"))
        return self._passing("engine_busy" if status == 429 else "engine_error", said)

    def _passing(self, reason: str, detail: str) -> RequestFailed | EngineDied:
        """Return a failure of one call; that of a dead server where there were too many with no success between."""
        self._failures += 1
        if self._failures >= _FAILURES_IN_A_ROW:
            return EngineDied(self._gone(f"the last {self._failures} calls failed, each with its retries: {detail}"))
        return RequestFailed(reason, detail)

    async def _check_served(self) -> None:
        import openai

        url = self._config.base_url
        try:
            served = [model.id async for model in self._client.models.list()]
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EngineStartError(f"{url}: {self._key_advice()}; it says {self._clean(error)}") from None
        except openai.APIConnectionError as error:
            raise EngineStartError(
                f"{url}: no server answers ({_cause(error)}); start one, such as `vllm serve {self.name}`, or mend "
                "instruct.openai.base_url"
            ) from None
        except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
            # (the client takes whatever comes back for a list of models)
            raise EngineStartError(
                f"{url}: this is no server of OpenAI's API: {url.rstrip('/')}/models says {self._clean(error)}; "
                "instruct.openai.base_url mostly ends with /v1"
            ) from None
        if self.name not in served:
            names = ", ".join(served[:_NAMES_SHOWN]) + (", …" if len(served) > _NAMES_SHOWN else "")
            raise EngineStartError(
                f"{url}: the server does not serve the model {self.name}, but {names or 'nothing'}; name one of "
                "them in instruct.models, or start the server with it"
            )

    async def _check_chat(self) -> None:
        try:
            try:
                await self._call(_PROBE)
            except RequestFailed as first:
                if first.reason != "engine_refused":
                    raise
                # many templates, Mixtral's among them, take no system turn
                self._system_turn = False
                try:
                    await self._call(_PROBE)
                except RequestFailed:
                    raise first from None
        except RequestFailed as error:
            form = "a chat to be answered by a JSON schema" if self._with_schemas else "a chat"
            raise EngineStartError(
                f"{self._config.base_url}: {self.name} does not take {form}: {error.detail}; serve an "
                "instruction-tuned model, whose tokenizer has a chat template; if the schema is at fault, set "
                "instruct.openai.structured: none"
            ) from None
        except EngineDied as error:
            raise EngineStartError(str(error)) from None

    def _key_advice(self) -> str:
        name = self._config.api_key_env
        if self._secret:
            return f"the server refuses the key in the environment variable {name}"
        return f"the server wants a key, and the environment variable {name} is not set where the actors run"

    def _gone(self, why: str) -> str:
        return f"{self._config.base_url}: the server of {self.name} serves nothing more: {why}"

    def _clean(self, error: Exception) -> str:
        """Return what an error says, without the key, which a server may repeat."""
        text = str(error) or type(error).__name__
        return (text.replace(self._secret, "[key]") if self._secret else text)[:_DETAIL]


def disarm(text: str) -> str:
    """Break up what may be control tokens of a chat template, which a transcript may hold to pose as another turn.

    The server's tokenizer is not known here, so this goes by the forms that such tokens have.
    """
    return _CONTROL.sub(" ", text)


def _generation(reply: Any) -> Generation:
    choice, usage = reply.choices[0], reply.usage
    details = getattr(usage, "prompt_tokens_details", None)
    return Generation(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "unknown",
        prompt_tokens=getattr(usage, "prompt_tokens", 0) or 0,
        cached_tokens=getattr(details, "cached_tokens", 0) or 0,
        generated_tokens=getattr(usage, "completion_tokens", 0) or 0,
    )


def _cause(error: Exception) -> str:
    """Return why a connection failed; the client's own error only says that it did."""
    cause = error.__cause__
    return f"{type(cause).__name__}: {cause}"[:_DETAIL] if cause is not None and str(cause) else str(error)
