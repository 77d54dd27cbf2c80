"""A server that speaks OpenAI's chat API, such as `vllm serve`, as an `Engine`.

The server applies the chat template and samples; only calls are made here. What passes (a dropped connection, a
server that is busy) the client tries again by itself, a few times. A call that still fails waits and is tried again
while the fault is the server's: it is unreachable, it says that it is busy, or it fails a trivial chat as well. A
fault of the call alone is that request's failure. Where nothing at all has succeeded for minutes the engine is dead,
so that a job stops rather than refuse all that is left of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sift_ray.config_instruct import OpenAIConfig
from sift_ray.instruct.engine import EngineDied, Generation, Prompt, RequestFailed
from sift_ray.instruct.openai_calls import TIMEOUT, CallFailing, ChatCalls
from sift_ray.instruct.openai_start import PROBE, check_chat, check_served, client_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 600.0
"""How long nothing may have succeeded, with all that was tried, before the server counts as gone."""
_ONE_CALL_S: Final = 3600.0
"""How long one call is tried again while others succeed."""
_PAUSE_S: Final = 1.0  # before a call is tried again; it doubles each time
_LONGEST_PAUSE_S: Final = 60.0


class OpenAIEngine:
    """An `Engine` whose model runs in a server."""

    def __init__(self, name: str, config: OpenAIConfig, client: AsyncOpenAI, secret: str) -> None:
        """Take a client of the running asyncio loop; `secret` is its key, to be kept out of all messages."""
        self.name = name
        self._client = client
        self._calls = ChatCalls(name, config, client, secret)
        self._url = config.base_url
        self._places = asyncio.Semaphore(config.concurrency)
        self._heard = time.monotonic()  # when something last succeeded
        self._warned = False
        self._dead: str | None = None

    @classmethod
    async def start(cls, name: str, config: OpenAIConfig, max_tokens: int = PROBE.max_tokens) -> OpenAIEngine:
        """Check that the server is up, serves the model `name` and takes chats as they will be sent.

        The key is that of the environment variable `config.api_key_env`, if set. `max_tokens` is the most that a chat
        will ask for: the server must have room for it, and is asked for a few words only.

        Raises:
            EngineStartError: it does not; or the client is not installed, or the key can't be one.
        """
        client, key = client_of(config)
        engine = cls(name, config, client, key)
        try:
            await check_served(engine._calls)
            await check_chat(engine._calls, max_tokens)
        except BaseException:
            await engine.close()
            raise
        engine._answered()
        return engine

    async def generate(self, prompt: Prompt) -> Generation:
        """Continue `prompt`; see `Engine.generate`. At most `concurrency` calls are in flight, others wait.

        How long a call waited for that is told; how long it stands in the server's own queue the server does not tell.
        While the server is unreachable, busy or fails at everything the call is tried again, with growing pauses.
        """
        called = time.monotonic()
        async with self._places:
            began, pause = time.monotonic(), _PAUSE_S
            others_pass = False  # the server took another chat after this one's last failure
            while True:
                if self._dead is not None:
                    raise EngineDied(self._dead)
                try:
                    return replace(await self._ask(prompt), waited_s=began - called)
                except CallFailing as failure:
                    passed, others_pass = others_pass, not failure.servers and await self._answers()
                    # once more, as it may be just now that the server came back; not after a wait as long as can be
                    if others_pass and (passed or failure.reason == TIMEOUT):
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

    def _weigh(self, failure: CallFailing, began: float) -> None:
        """Return if a call that began then (seconds of the monotonic clock) is to wait and be tried again.

        Raises:
            RequestFailed: it is not: it waited for `_ONE_CALL_S` while others were answered.
            EngineDied: it is not: nobody was answered for `_PATIENCE_S`.
        """
        now = time.monotonic()
        quiet_s = now - max(began, self._heard)
        if quiet_s >= _PATIENCE_S:
            self._dead = self._calls.gone(f"nothing has succeeded for {quiet_s:.0f} s; the last failure: {failure}")
            raise EngineDied(self._dead) from None
        if now - began >= _ONE_CALL_S:
            raise RequestFailed(failure.reason, failure.detail) from None
        if not self._warned:
            self._warned = True
            log.warning(
                "%s: %s of %s; calls wait and are tried again, for %.0f s if none succeeds",
                self._url,
                failure.reason,
                self.name,
                _PATIENCE_S,
            )

    async def _answers(self) -> bool:
        """Whether the server takes a trivial chat, once asked."""
        try:
            await self._ask(PROBE, retries=False)
        except CallFailing:
            return False
        except RequestFailed:
            pass  # it reads what it is asked
        return True

    async def _ask(self, prompt: Prompt, *, retries: bool = True) -> Generation:
        """Make one call; see `ChatCalls.ask`. A refusal is an answer too."""
        try:
            generation = await self._calls.ask(prompt, retries=retries)
        except CallFailing:
            raise
        except RequestFailed:
            self._answered()
            raise
        self._answered()
        return generation

    def _answered(self) -> None:
        self._heard = time.monotonic()
        if self._warned and self._dead is None:
            self._warned = False
            log.info("%s: the server of %s answers again", self._url, self.name)
