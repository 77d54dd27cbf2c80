"""A model's verdicts on answers in text: which are correct, or how good they are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from sift_ray.config import Config
from sift_ray.config_file import ConfigError
from sift_ray.config_instruct import InstructConfig, OpenAIConfig, SamplingConfig, VllmConfig
from sift_ray.evaluate.samples import Sample
from sift_ray.evaluate.verdicts import MAX_TOKENS, judging_prompt, read_reply
from sift_ray.instruct.engine import Engine, RequestFailed
from sift_ray.instruct.engines import start_engines

log = logging.getLogger(__name__)

UNREADABLE: Final = "judge_unreadable"
FAILED: Final = "judge_failed"
EMPTY: Final = "empty"
TOO_LONG: Final = "too_long_to_judge"

_TOLD_EVERY_S: Final = 30.0
_SHOWN: Final = 200  # characters of a reply
_IN_FLIGHT: Final = 256  # an engine orders its own queue; this only bounds what waits in memory


class Verdict(NamedTuple):
    """What was said of one answer.

    Attributes:
        score: 0 or 1, of open-ended answers 0 to 10; None: there is no verdict.
        reason: `empty` for an answer without a character, which is 0 unasked; why there is no verdict:
            `judge_unreadable`, or `judge_failed`.
        detail: for a person, what the judge said that can't be read, or why it said nothing.
    """

    score: float | None
    reason: str | None = None
    detail: str | None = None


def judge_section(model: str, url: str | None, config: Config | None) -> InstructConfig:
    """Return what `start_engines` needs for a judge: in a server that is named, or else in this process by vLLM.

    Args:
        model: its name, as the server or vLLM knows it.
        url: of a server that speaks OpenAI's chat API, such as http://127.0.0.1:8000/v1; None: that of the config, if
            its engine is openai.
        config: whose `instruct.openai` or `instruct.vllm` section says how it is called or started.

    Raises:
        ConfigError: the url or the name can't be one.
    """
    given = None if config is None else config.instruct
    openai = OpenAIConfig() if given is None else given.openai
    served = url is not None or (given is not None and given.engine == "openai")
    try:
        if url is not None:
            openai = OpenAIConfig.model_validate({**openai.model_dump(), "base_url": url})
        return InstructConfig(
            engine="openai" if served else "vllm",
            models={"default": model},
            openai=openai,
            vllm=VllmConfig() if given is None else given.vllm,
            model_cache=None if given is None else given.model_cache,
            sampling=SamplingConfig(temperature=0.0, top_p=1.0, max_tokens=MAX_TOKENS),
        )
    except ValueError as error:
        raise ConfigError(f"the judge {model}{'' if url is None else f' at {url}'}: {error}") from error


async def judge_with(
    model: str, section: InstructConfig, config: Config | None, answers: Sequence[tuple[Sample, str]]
) -> list[Verdict]:
    """Start the judge of `judge_section`, ask it about every answer, and close it.

    Raises:
        EngineStartError, ModelError: the judge can't be started.
        EngineDied: it went away while it judged.
    """
    engines = await start_engines(model, section, None if config is None else config.storage)
    try:
        return await judge_all(engines[model], answers)
    finally:
        for engine in engines.values():
            await engine.close()


async def judge_all(engine: Engine, answers: Sequence[tuple[Sample, str]]) -> list[Verdict]:
    """Return a verdict on each answer, in order; what fails with one costs no other.

    Raises:
        EngineDied: the judge is gone.
        PromptError: a prompt file has an error.
    """
    places = asyncio.Semaphore(_IN_FLIGHT)
    done, told_at = 0, time.monotonic()

    async def one(sample: Sample, answer: str) -> Verdict:
        nonlocal done, told_at
        async with places:
            verdict = await _judged(engine, sample, answer)
        done += 1
        if (now := time.monotonic()) - told_at > _TOLD_EVERY_S:
            told_at = now
            log.info("%s: %d of %d answers judged", engine.name, done, len(answers))
        return verdict

    tasks = [asyncio.ensure_future(one(sample, answer)) for sample, answer in answers]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _judged(engine: Engine, sample: Sample, answer: str) -> Verdict:
    if not answer.strip():
        return Verdict(0.0, EMPTY)
    try:
        generation = await engine.generate(judging_prompt(sample, answer))
    except RequestFailed as error:
        # (one that rambles beyond what the judge can read has not answered; left out, it would raise the mean)
        too_long = error.reason == "prompt_too_long"
        return Verdict(0.0, TOO_LONG, str(error)) if too_long else Verdict(None, FAILED, str(error))
    # a text that was cut may end within the verdict
    score = read_reply(sample.task, generation.text) if generation.finish_reason != "length" else None
    if score is not None:
        return Verdict(score)
    return Verdict(None, UNREADABLE, f"{generation.finish_reason}: {generation.text[:_SHOWN]}")
