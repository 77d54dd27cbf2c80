"""A server that speaks OpenAI's chat API, such as `vllm serve`, as an `Engine`.

The server applies the chat template and samples; only calls are made here. What passes (a dropped connection, a
server that is busy) the client tries again by itself, a few times. A call that still fails waits and is tried again
while the fault is the server's: it is unreachable, it says that it is busy, or it fails a trivial chat as well. A
fault of the call alone is that request's failure. Where nothing at all has succeeded for minutes the engine is dead,
so that a job stops rather than refuse all that is left of it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import random
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

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

log = logging.getLogger(__name__)

_NO_KEY: Final = "none"  # the client insists on a key, servers of one's own mostly want none
_PATIENCE_S: Final = 600.0
"""How long nothing may have succeeded, with all that was tried, before the server counts as gone."""
_ONE_CALL_S: Final = 3600.0
"""How long one call is tried again while others succeed."""
_PAUSE_S: Final = 1.0  # before a call is tried again; it doubles each time
_LONGEST_PAUSE_S: Final = 60.0

_CONNECT_S: Final = 30.0
_TIMEOUT: Final = "engine_timeout"
_DETAIL: Final = 500
_NAMES_SHOWN: Final = 10
_MOST_TOKENS: Final = 1 << 24  # more than any context has; the counts of a hundred calls are added up as int32

_TOO_LONG: Final = re.compile(r"context.?length|context window|too long|too many tokens", re.IGNORECASE)
_OF_ROLES: Final = re.compile(r"\bsystem\b|\broles?\b", re.IGNORECASE)
_REFUSED: Final = (400, 413, 422)
_SHUT: Final = (401, 403, 404)
_BUSY: Final = (429, 502, 503, 504)  # as proxies say of a server that restarts

_CONTROL: Final = re.compile(
    r"(?<=<)(?=[|｜]|/?[A-Za-z_][\w-]{0,39}>|</?[A-Z]{1,40}>>)|(?<=\[)(?=/?[A-Z_][A-Z0-9_]{2,39}\])"
)
"""Where a space breaks up what may be a control token: `<|im_end|>`, `</s>`, `<unused12>`, `<<SYS>>`, `[INST]`."""

_LONE: Final = re.compile("[\ud800-\udfff]")  # halves of a character, which no file takes
_FINISH: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")

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


class _Failing(RequestFailed):
    """A call failed by what may pass; `servers` where that is surely no fault of what was asked."""

    def __init__(self, reason: str, detail: str, *, servers: bool) -> None:
        super().__init__(reason, detail)
        self.servers = servers


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
        self._heard = time.monotonic()  # when something last succeeded
        self._warned = False
        self._dead: str | None = None

    @classmethod
    async def start(cls, name: str, config: OpenAIConfig, max_tokens: int = _PROBE.max_tokens) -> OpenAIEngine:
        """Check that the server is up, serves the model `name` and takes chats as they will be sent.

        The key is that of the environment variable `config.api_key_env`, if set. `max_tokens` is the most that a chat
        will ask for: the server must have room for it, and is asked for a few words only.

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
            # a proxy that the environment names would look for the server on its own machine
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if _is_loopback(config.base_url) else None,
        )
        engine = cls(name, config, client, key)
        try:
            await engine._check_served()
            await engine._check_chat(max_tokens)
        except BaseException:
            await engine.close()
            raise
        return engine

    async def generate(self, prompt: Prompt) -> Generation:
        """Continue `prompt`; see `Engine.generate`. At most `concurrency` calls are in flight, others wait.

        While the server is unreachable, busy or fails at everything the call is tried again, with growing pauses.
        """
        async with self._calls:
            began, pause = time.monotonic(), _PAUSE_S
            others_pass = False  # the server took another chat after this one's last failure
            while True:
                if self._dead is not None:
                    raise EngineDied(self._dead)
                try:
                    return await self._ask(self._client, prompt)
                except _Failing as failure:
                    passed, others_pass = others_pass, not failure.servers and await self._answers()
                    # once more, as it may be just now that the server came back; not after a wait as long as can be
                    if others_pass and (passed or failure.reason == _TIMEOUT):
                        raise RequestFailed(failure.reason, failure.detail) from None
                    if not others_pass:
                        self._weigh(failure, began)
                if others_pass:
                    continue
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - parts calls, hides nothing
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """Drop the connections; a second call does nothing. The server goes on."""
        if not self._client.is_closed():
            self._dead = f"{self.name}: the engine was closed"
            await self._client.close()

    def _weigh(self, failure: _Failing, began: float) -> None:
        """Return if a call that began then (seconds of the monotonic clock) is to wait and be tried again.

        Raises:
            RequestFailed: it is not: it waited for `_ONE_CALL_S` while others were answered.
            EngineDied: it is not: nobody was answered for `_PATIENCE_S`.
        """
        now = time.monotonic()
        quiet_s = now - max(began, self._heard)
        if quiet_s >= _PATIENCE_S:
            self._dead = self._gone(f"nothing has succeeded for {quiet_s:.0f} s; the last failure: {failure}")
            raise EngineDied(self._dead) from None
        if now - began >= _ONE_CALL_S:
            raise RequestFailed(failure.reason, failure.detail) from None
        if not self._warned:
            self._warned = True
            log.warning(
                "%s: %s of %s; calls wait and are tried again, for %.0f s if none succeeds",
                self._config.base_url,
                failure.reason,
                self.name,
                _PATIENCE_S,
            )

    async def _answers(self) -> bool:
        """Whether the server takes a trivial chat, once asked."""
        try:
            await self._ask(self._client.with_options(max_retries=0), _PROBE)
        except _Failing:
            return False
        except RequestFailed:
            pass  # it reads what it is asked
        return True

    async def _ask(self, client: AsyncOpenAI, prompt: Prompt) -> Generation:
        """Make one call, with the retries of `client`.

        Raises:
            _Failing: it failed, and the fault may be the server's.
            RequestFailed: the server refuses the prompt.
            EngineDied: the server refuses everything.
        """
        import openai

        try:
            generation = _generation(await client.chat.completions.create(**self._arguments(prompt)))
        except openai.APITimeoutError:
            raise _Failing(_TIMEOUT, f"no reply within {self._config.timeout_s:g} s", servers=False) from None
        except openai.APIConnectionError as error:
            raise _Failing("engine_unreachable", self._cause(error), servers=True) from None
        except openai.APIStatusError as error:
            raise self._of_status(error.status_code, self._clean(error)) from None
        except (openai.OpenAIError, ValueError) as error:  # (a ValueError is of its JSON reader)
            raise _Failing("engine_unreadable", self._clean(error), servers=False) from None
        self._answered()
        return generation

    def _answered(self) -> None:
        self._heard = time.monotonic()
        if self._warned and self._dead is None:
            self._warned = False
            log.info("%s: the server of %s answers again", self._config.base_url, self.name)

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
            self._answered()
            return RequestFailed("prompt_too_long" if _TOO_LONG.search(said) else "engine_refused", said)
        if status in _SHUT:
            return EngineDied(self._gone(f"it says {said}"))
        return _Failing("engine_busy" if status in _BUSY else "engine_error", said, servers=status in _BUSY)

    async def _check_served(self) -> None:
        import openai

        url = self._config.base_url
        try:
            served = [model.id async for model in self._client.models.list()]
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EngineStartError(f"{url}: {self._key_advice()}; it says {self._clean(error)}") from None
        except openai.APIConnectionError as error:
            raise EngineStartError(
                f"{url}: no server answers ({self._cause(error)}); start one, such as `vllm serve {self.name}`, or "
                "mend instruct.openai.base_url"
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

    async def _check_chat(self, max_tokens: int) -> None:
        url, probe = self._config.base_url, replace(_PROBE, max_tokens=max_tokens)
        try:
            try:
                await self._ask(self._client, probe)
            except RequestFailed as first:
                if first.reason != "engine_refused" or not _OF_ROLES.search(first.detail):
                    raise
                # many templates, Mixtral's among them, take no system turn
                self._system_turn = False
                await self._ask(self._client, probe)
        except RequestFailed as error:
            if error.reason == "prompt_too_long":
                raise EngineStartError(
                    f"{url}: {self.name} has no room for instruct.sampling.max_tokens: {max_tokens}: {error.detail}; "
                    "lower it, or serve the model with a longer context (vLLM: --max-model-len)"
                ) from None
            form = "a chat to be answered by a JSON schema" if self._with_schemas else "a chat"
            raise EngineStartError(
                f"{url}: {self.name} does not take {form}: {error.detail}; serve an instruction-tuned model, whose "
                "tokenizer has a chat template; if the schema is at fault, set instruct.openai.structured: none"
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

    def _clean(self, error: BaseException) -> str:
        """Return what an error says, without the key, which a server may repeat."""
        text = _LONE.sub("\ufffd", str(error) or type(error).__name__)
        return (text.replace(self._secret, "[key]") if self._secret else text)[:_DETAIL]

    def _cause(self, error: Exception) -> str:
        """Return why a connection failed; the client's own error only says that it did."""
        cause = error.__cause__
        if cause is None or not str(cause):
            return self._clean(error)
        return f"{type(cause).__name__}: {self._clean(cause)}"


def disarm(text: str) -> str:
    """Break up what may be control tokens of a chat template, which a transcript may hold to pose as another turn.

    The server's tokenizer is not known here, so this goes by the forms that such tokens have.
    """
    return _CONTROL.sub(" ", text)


def _is_loopback(url: str) -> bool:
    """Whether a server runs on this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _generation(reply: Any) -> Generation:
    """Return what a reply holds, of which the client checks nothing.

    Raises:
        _Failing: it holds no text.
    """
    choices, usage = getattr(reply, "choices", None), getattr(reply, "usage", None)
    if not choices:
        raise _Failing("engine_silent", "the server's reply holds no choice", servers=False)
    choice = choices[0] if isinstance(choices, list) else None
    message, finish = getattr(choice, "message", None), getattr(choice, "finish_reason", None)
    text = getattr(message, "content", None) or ""
    if message is None or not isinstance(text, str):
        raise _Failing("engine_unreadable", "the content of the server's reply is no text", servers=False)
    return Generation(
        text=_LONE.sub("\ufffd", text),
        finish_reason=finish if isinstance(finish, str) and _FINISH.fullmatch(finish) else "unknown",
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(getattr(usage, "prompt_tokens_details", None), "cached_tokens"),
        generated_tokens=_count(usage, "completion_tokens"),
    )


def _count(usage: Any, name: str) -> int:
    """Return a count of tokens; 0 where there is none that can be."""
    count = getattr(usage, name, None)
    return count if type(count) is int and 0 <= count < _MOST_TOKENS else 0
