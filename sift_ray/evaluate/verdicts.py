"""What a judge is asked about an answer, and what its reply says; what can't be read is no verdict."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sift_ray.evaluate.samples import OPEN_ENDED, Sample
from sift_ray.instruct.engine import Message, Prompt
from sift_ray.instruct.judging import SCORE_SCHEMA, around_objects, read_score
from sift_ray.instruct.prompts import PromptError
from sift_ray.storage import stable_id

VERDICT_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["correct", "incorrect"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}
MAX_TOKENS: Final = 32

_FOLDER: Final = resources.files("sift_ray.evaluate").joinpath("prompts")
_FILES: Final = {"closed_ended": "closed_ended.v1.j2", "open_ended": "open_ended.v1.j2"}
_WORTH: Final = {"correct": 1.0, "incorrect": 0.0}
_BARE: Final = re.compile(r"[\s\"'`*]*(correct|incorrect)[\s\"'`*.]*", re.IGNORECASE)
_NAMED: Final = re.compile(r"(?<!\w)(verdict|correct|incorrect)(?!\w)", re.IGNORECASE)
_LONGEST: Final = 2000  # characters of a reply that are looked at; the tokens asked for are far fewer


def form_of(task: str) -> str:
    """Return how answers of a task are judged: `open_ended` by a score, all others as right or wrong."""
    return "open_ended" if task == OPEN_ENDED else "closed_ended"


def judging_prompt(sample: Sample, answer: str) -> Prompt:
    """Return what the judge is asked about a model's answer; it decodes greedily, so that it repeats.

    Raises:
        PromptError: the prompt file has an error.
        ValueError: the sample has no reference answer in text.
    """
    if sample.answer is None:
        raise ValueError(f"{sample.sample_id}: {sample.task} has no answer in text")
    form = form_of(sample.task)
    texts = {
        "language": sample.language,
        "question": sample.question,
        "reference": sample.answer,
        "answer": answer,
    }
    case = _block(form, "case", **{name: json.dumps(text, ensure_ascii=False) for name, text in texts.items()})
    return Prompt(
        messages=(Message("system", _block(form, "system")), Message("user", case)),
        seed=stable_id("judge", sample.sample_id) % 2**31,
        max_tokens=MAX_TOKENS,
        temperature=0.0,
        top_p=1.0,
        schema=SCORE_SCHEMA if form == "open_ended" else VERDICT_SCHEMA,
    )


def read_reply(task: str, text: str) -> float | None:
    """Return what a judge's reply to `judging_prompt` says, None unless it says exactly one thing.

    Returns:
        For open-ended answers the score from 0 to 10 (`judging.read_score`), else 1 for correct and 0 for incorrect.
    """
    return read_score(text) if form_of(task) == "open_ended" else read_verdict(text)


def read_verdict(text: str) -> float | None:
    """Return 1 for correct and 0 for incorrect; None unless the reply states exactly one of them.

    Read are JSON's objects such as `{"verdict": "correct"}`, wherever they stand, if they agree and no other verdict
    is spoken of around them; and a reply that is only the word. Prose is not: "not correct" must not pass for correct.
    """
    if len(text) > _LONGEST:
        return None
    if bare := _BARE.fullmatch(text):
        return _WORTH[bare[1].lower()]
    stated: list[float | None] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        stated.extend(
            _WORTH.get(value.strip().lower()) if isinstance(value, str) else None
            for key, value in pairs
            if key.strip().lower() == "verdict"
        )

    if _NAMED.search(around_objects(text, json.JSONDecoder(object_pairs_hook=collect))):
        return None
    return stated[0] if len(set(stated)) == 1 else None


@functools.cache
def prompt_versions() -> Mapping[str, str]:
    """Return the prompt files with the hashes of their texts, 16 hex digits: scores of others don't compare."""
    return {file: hashlib.sha256(_source(file).encode()).hexdigest()[:16] for file in _FILES.values()}


def _block(form: str, block: str, **values: str) -> str:
    file = _FILES[form]
    template = _template(file)
    if block not in template.blocks:
        raise PromptError(f"prompt {file} has no block {block!r}")
    try:
        return "".join(template.blocks[block](template.new_context(dict(values)))).strip()
    except jinja2.TemplateError as error:
        raise PromptError(f"prompt {file}, block {block}: {error}") from error


@functools.cache
def _template(file: str) -> jinja2.Template:
    # autoescape is for HTML; what is written here is plain text for a model
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    try:
        return environment.from_string(_source(file))
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"prompt {file}, line {error.lineno}: {error.message}") from error


@functools.cache
def _source(file: str) -> str:
    try:
        return _FOLDER.joinpath(file).read_text(encoding="utf-8")
    except OSError as error:
        raise PromptError(f"prompt {file}: {error.strerror}") from error
