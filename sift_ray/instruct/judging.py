"""A model's opinion of an accepted answer: a score from 0 to 10, and whether it is enough.

It comes on top of the verifier, never instead of it. The judge sees record, question and answer as one JSON object,
so that nothing that is said in a recording, or that the writer made of it, can pass for a turn of the chat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.engine import Engine, Generation, Message, Prompt, RequestFailed
from sift_ray.instruct.prompts import render_judging
from sift_ray.instruct.requests import Request

LOW: Final = "judged_low"
FAILED: Final = "judge_failed"
UNREADABLE: Final = "judge_unreadable"

SCORE_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["score"],
    "additionalProperties": False,
}
_MAX_TOKENS: Final = 32
_BEST: Final = 10
_SCORE: Final = re.compile(r"\bscore\b[\"']?\s*[:=]\s*[\"']?(-?\d+(?:[.,]\d+)?)", re.IGNORECASE)
_BARE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*10)?\s*\.?\s*")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge says of a pair: `reason` is None where it may stand; `score` is None where there is none.

    `generation` has the judge's tokens; None where its engine failed.
    """

    score: float | None
    reason: str | None
    generation: Generation | None


class Judge:
    """Asks the model that the config names for each task."""

    def __init__(self, engines: Mapping[str, Engine], config: InstructConfig) -> None:
        """Take the engines by the models' names, which must hold all that `config.judge_of` names for their tasks."""
        self._engines = engines
        self._config = config

    def judges(self, task: str) -> bool:
        """Whether answers of `task` are judged."""
        return self._config.judge_of(task) is not None

    async def judge(self, request: Request, question: str, answer: str) -> Judgement:
        """Score a pair that was written for `request`, whose task is judged; fails closed.

        Raises:
            EngineDied: the judge's engine is gone.
        """
        model, section = self._config.judge_of(request.task), self._config.judge
        if model is None or section is None:
            raise ValueError(f"no judge is set for {request.task}")
        prompt = judging_prompt(request, question, answer)
        try:
            generation = await self._engines[model].generate(prompt)
        except RequestFailed:
            return Judgement(None, FAILED, None)
        # a text that was cut may end within the number
        score = read_score(generation.text) if generation.finish_reason != "length" else None
        if score is None:
            return Judgement(None, UNREADABLE, generation)
        return Judgement(score, LOW if score < section.threshold else None, generation)


def judging_prompt(request: Request, question: str, answer: str) -> Prompt:
    """Return what the judge is asked; it decodes greedily, so that it repeats.

    Raises:
        PromptError: the prompt file has an error.
    """
    system, case = render_judging(request, question, answer)
    return Prompt(
        messages=(Message("system", system), Message("user", case)),
        seed=request.seed % 2**31,
        max_tokens=_MAX_TOKENS,
        temperature=0.0,
        top_p=1.0,
        schema=SCORE_SCHEMA,
    )


def read_score(text: str) -> float | None:
    """Return the score, from 0 to 10, that a judge's reply states; None unless it states exactly one.

    `{"score": 7}` is read wherever it stands, in prose or fences, and so is a reply that is only a number, `7/10`.
    """
    bare = _BARE.fullmatch(text)
    stated = {bare[1]} if bare else {match[1].replace(",", ".") for match in _SCORE.finditer(text)}
    if len(stated) != 1:
        return None
    try:
        # strict: halves of a score that JSON would not take, such as 07, are no score
        score = float(json.loads(stated.pop()))
    except ValueError:
        return None
    return score if 0 <= score <= _BEST else None
