"""Who writes an attempt: a model behind an engine, or the templates. The ladder knows only this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sift_ray.config_instruct import TEMPLATE, InstructConfig
from sift_ray.instruct.engine import Engine, Generation, Prompt
from sift_ray.instruct.grammar import pair_schema
from sift_ray.instruct.prompts import prompt_hash, render_prompt
from sift_ray.instruct.requests import Request
from sift_ray.instruct.template_engine import write_pairs
from sift_ray.instruct.templates import templates_hash

_ATTEMPT_SEED_STEP = 1_000_003  # a retry draws other samples


class Writer(Protocol):
    """Writes pairs for a request as text that `parse` reads."""

    def name(self, task: str) -> str:
        """Return what writes `task`, as it stands in `generator` and `model`."""
        ...

    def prompt_hash(self, task: str, language: str) -> str:
        """Return the hash of the files that the texts of `task` in `language` are made from."""
        ...

    async def write(self, request: Request, attempt: int, reasons: Sequence[str]) -> Generation:
        """Write once; `reasons` say why the attempt before was refused.

        Raises:
            RequestFailed: nothing can be written for this request.
            EngineDied: nothing can be written any more.
        """
        ...


class ModelWriter:
    """Writes with language models: one engine a model, chosen by the task."""

    def __init__(self, engines: Mapping[str, Engine], config: InstructConfig) -> None:
        """Take the engines by the model names of `config.models`."""
        self._engines = engines
        self._config = config

    def _engine(self, task: str) -> Engine:
        return self._engines[self._config.model_of(task)]

    def name(self, task: str) -> str:
        """Return the name of the model of `task`."""
        return self._engine(task).name

    def prompt_hash(self, task: str, language: str) -> str:
        """Return the hash of the prompt files, the judge's among them where answers of `task` are judged."""
        return prompt_hash(task, language, judged=self._config.judge_of(task) is not None)

    async def write(self, request: Request, attempt: int, reasons: Sequence[str]) -> Generation:
        """Prompt the task's model; see `Writer.write`."""
        sampling = self._config.sampling
        prompt = Prompt(
            messages=render_prompt(request, reasons),
            seed=(request.seed + attempt * _ATTEMPT_SEED_STEP) % 2**31,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            schema=pair_schema(request, self._config.constrain),
        )
        return await self._engine(request.task).generate(prompt)


class TemplateWriter:
    """Writes from templates: no model, no waiting, no tokens."""

    def name(self, task: str) -> str:  # noqa: ARG002 - the same for all
        """Return `template`."""
        return TEMPLATE

    def prompt_hash(self, task: str, language: str) -> str:  # noqa: ARG002 - the protocol's
        """Return the hash of the language's template file."""
        return templates_hash(language)

    async def write(self, request: Request, attempt: int, reasons: Sequence[str]) -> Generation:  # noqa: ARG002 - the protocol's
        """Fill templates; see `Writer.write`."""
        return Generation(write_pairs(request, attempt), "stop", 0, 0, 0)
