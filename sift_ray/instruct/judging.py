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
_LONGEST: Final = 2000  # characters of a reply that are looked at; the tokens asked for are far fewer

_NUMBER: Final = r"(-?[0-9]{1,2}(?:\.[0-9]{1,3})?)(?:\s{0,3}(?:/|out of)\s{0,3}10)?"
_VALUE: Final = re.compile(rf"\s*{_NUMBER}\s*\.?\s*")
_PROSE: Final = re.compile(  # to the end of its line or sentence: what follows a number may change it
    rf"(?<![\w-])score[\"'*]{{0,3}}\s*[:=]\s*[\"'*]{{0,3}}{_NUMBER}[\"'`*\s}}\])]*(?:[.;!](?=\s|$)|$)",
    re.IGNORECASE | re.MULTILINE,
)
_NAMED: Final = re.compile(r"(?<![\w-])score(?![\w-])", re.IGNORECASE)
_DIGIT: Final = re.compile(r"\d")


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

    Read are JSON's objects such as `{"score": 7}`, wherever they stand; `score: 7` at the end of a line or sentence,
    if no other number is near; and a reply that is only a number. `7/10` is 7; all else, such as `7/100`, is none.
    """
    if len(text) > _LONGEST:
        return None
    if bare := _VALUE.fullmatch(text):
        return _in_range(bare[1])
    stated, prose = _of_objects(text)
    if _NAMED.search(prose):
        found = _PROSE.search(prose)
        rest = prose if found is None else prose[: found.start()] + prose[found.end() :]
        if found is None or _DIGIT.search(rest) or _NAMED.search(rest):
            return None
        stated.append(_in_range(found[1]))
    return stated[0] if len(set(stated)) == 1 else None


def _of_objects(text: str) -> tuple[list[float | None], str]:
    """Return the scores in the JSON objects of `text`, None for each that is no score, and what is around these."""
    stated: list[float | None] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:
            if key.strip().lower() == "score":
                match = _VALUE.fullmatch(value) if isinstance(value, str) else None
                stated.append(_in_range(match[1]) if match else None)

    # numbers as they are written
    decoder = json.JSONDecoder(object_pairs_hook=collect, parse_float=str, parse_int=str, parse_constant=str)
    return stated, around_objects(text, decoder)


def around_objects(text: str, decoder: json.JSONDecoder) -> str:
    """Read each JSON object of `text` with `decoder`, whose hook gets what is in them; return what is around these."""
    around: list[str] = []
    start = 0
    while (brace := text.find("{", start)) >= 0:
        around.append(text[start:brace])
        try:
            _, start = decoder.raw_decode(text, brace)
        except (ValueError, RecursionError):
            around.append("{")
            start = brace + 1
        else:
            around.append("\n")
    return "".join((*around, text[start:]))


def _in_range(number: str) -> float | None:
    """Return a score; None where the number is out of range, or written as none is, such as 07."""
    whole = number.partition(".")[0]
    score = float(number)
    return score if 0 <= score <= _BEST and (whole == "10" or len(whole) == 1) else None
