"""An engine whose calls are seen by Prometheus; see `metrics`."""

from __future__ import annotations

import time
from typing import Final

from sift_ray.instruct.engine import Engine, Generation, Prompt
from sift_ray.pipeline import metrics

_TOLD_EVERY_S: Final = 1.0


class MeteredEngine:
    """An `Engine` that passes calls on to another, and counts them, their tokens and how long they take."""

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self._engine = engine
        self._label = metrics.model_label(engine.name)
        self._in_flight = 0
        self._tokens = {"prompt": 0, "cached": 0, "generated": 0}
        self._told_at = time.monotonic()
        metrics.record(metrics.ENGINE_STARTS, 1, self._label)

    async def generate(self, prompt: Prompt) -> Generation:
        """Continue `prompt`; see `Engine.generate`."""
        self._in_flight += 1
        self._tell()
        called = time.monotonic()
        try:
            generation = await self._engine.generate(prompt)
            self._tokens["prompt"] += generation.prompt_tokens
            self._tokens["cached"] += generation.cached_tokens
            self._tokens["generated"] += generation.generated_tokens
        finally:
            self._in_flight -= 1
            self._tell()
        metrics.record(metrics.CALL, time.monotonic() - called, self._label)
        if generation.waited_s is not None:
            metrics.record(metrics.QUEUE_WAIT, generation.waited_s, self._label)
        return generation

    async def close(self) -> None:
        """Close the other engine."""
        await self._engine.close()

    def _tell(self) -> None:
        """Tell what was gathered, once a second at most while calls are under way."""
        now = time.monotonic()
        if self._in_flight and now - self._told_at < _TOLD_EVERY_S:
            return
        self._told_at = now
        metrics.record(metrics.IN_FLIGHT, self._in_flight, self._label)
        for kind, count in self._tokens.items():
            metrics.record(metrics.TOKENS, count, self._label, kind)
            self._tokens[kind] = 0
