"""Turn a request into a chat: instructions and examples first, which never change, and what is known last.

The texts are data: `prompts/frame.<language>.j2` (rules, retry) and `prompts/<task>.<language>.j2` (task, how it is
asked, examples), Jinja blocks rendered in a sandbox. What precedes the last turn is the same for all requests of a
task, language and form, so that a prefix cache carries it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sift_ray.config_instruct import UNANSWERABLE_TASKS, WORD_TIMES
from sift_ray.instruct.engine import Message
from sift_ray.instruct.requests import CONTROLLABLE, WORD_ALIGN, Request
from sift_ray.instruct.unanswerable import topic_names
from sift_ray.metadata.categories import WORD_KEY
from sift_ray.metadata.phrases import phrases
from sift_ray.metadata.record import Fact, render

_FOLDER: Final = resources.files("sift_ray.instruct").joinpath("prompts")
_FRAME: Final = "frame"
_UNANSWERABLE: Final = "unanswerable"  # the prompts of requests about what nobody can tell, whatever their task
_JUDGE: Final = "judge"
_WORDS_SHOWN = 4  # of the words, in a request about one thing


class PromptError(ValueError):
    """A prompt file is missing or can't be rendered; the message names it."""


def render_prompt(request: Request, reasons: Sequence[str] = ()) -> tuple[Message, ...]:
    """Return the chat for `request`; `reasons` say why the last try was refused.

    Raises:
        PromptError: the prompt file has an error, or a placeholder that nothing fills.
    """
    language, pairs = request.language, request.pairs_wanted
    form = "one" if pairs == 1 else "many"
    if request.unknown:
        static = _static(_UNANSWERABLE, language, form)
        last = _ask(_UNANSWERABLE, language, pairs, topic_names(language, request.unknown))
    else:
        static = _static(request.task, language, form)
        known = render(shown_facts(request), language)
        last = f"{known}\n{_ask(request.task, language, pairs, _key_names(language, request.focus))}"
    if reasons:
        # all that can't be read is worded alike
        told = dict.fromkeys("parse" if reason.startswith("parse_") else reason for reason in reasons)
        name = _UNANSWERABLE if request.unknown else _FRAME
        last = f"{last}\n{_block(name, language, 'retry', reasons=tuple(told))}"
    return (*static, Message("user", last))


def check_prompts(tasks: Sequence[str], languages: Sequence[str], *, judged: bool) -> None:
    """Render all that the prompts of `tasks` are made of, so that a fault in a file shows before a model is loaded.

    Args:
        tasks: that are asked.
        languages: that they may be asked in.
        judged: whether the judge's prompt is needed too.

    Raises:
        PromptError: a prompt file is missing, or can't be rendered; the message names file and block.
    """
    unanswerable = (_UNANSWERABLE,) if set(tasks) & set(UNANSWERABLE_TASKS) else ()
    for language in languages:
        for task in (*tasks, *unanswerable):
            try:
                for form, pairs in (("one", 1), ("many", 2)):
                    _static(task, language, form)
                    _ask(task, language, pairs, ())
                    _ask(task, language, pairs, ("…",))
            except (ValueError, TypeError, LookupError) as error:
                if isinstance(error, PromptError):
                    raise
                raise PromptError(f"prompt {task}.{language}.j2, its examples: {error!r}") from error
        for name in (_FRAME, *unanswerable):
            for reasons in (("language",), ("language", "parse")):
                _block(name, language, "retry", reasons=reasons)
        if judged:
            _block(_JUDGE, language, "system")
            _block(_JUDGE, language, "case", record="", question='""', answer='""')


def render_judging(request: Request, question: str, answer: str) -> tuple[str, str]:
    """Return what the judge of a pair is told, and the case: one line of JSON with all that is known, and the pair.

    Raises:
        PromptError: the prompt file has an error, or a placeholder that nothing fills.
    """
    language = request.language
    case = _block(
        _JUDGE,
        language,
        "case",
        record=render(request.facts, language),
        question=json.dumps(question, ensure_ascii=False),
        answer=json.dumps(answer, ensure_ascii=False),
    )
    return _block(_JUDGE, language, "system").strip(), case.strip()


def shown_facts(request: Request) -> tuple[Fact, ...]:
    """Return the facts that the prompt shows: all, or with a focus those that it names.

    Of words, a focused request shows a few neighbours for which the asked key is known, chosen by the seed. The
    transcript of a controllable generation is kept back.
    """
    if request.task == CONTROLLABLE:
        return tuple(f for f in request.facts if f.key != "transcript")
    if not request.focus:
        return request.facts
    if request.task in (WORD_ALIGN, WORD_TIMES):
        places = focus_positions(request)
        keys = {*request.focus, WORD_KEY}
        return tuple(f for f in request.facts if f.position in places and f.key in keys)
    return tuple(f for f in request.facts if f.position == 0 and f.key in request.focus)


def focus_positions(request: Request) -> tuple[int, ...]:
    """Return the positions of the few neighbouring words that a focused word-align request is about."""
    known = sorted({f.position for f in request.facts if f.position and f.key in request.focus})
    if len(known) <= _WORDS_SHOWN:
        return tuple(known)
    start = request.seed % (len(known) - _WORDS_SHOWN + 1)
    return tuple(known[start : start + _WORDS_SHOWN])


@functools.cache
def prompt_hash(task: str, language: str, *, judged: bool = False) -> str:
    """Return the hash of all that a prompt of `task` in `language` is made from, beside the request.

    Where answers are judged, the judge's prompt is in it.
    """
    digest = hashlib.sha256()
    unanswerable = (_UNANSWERABLE,) if task in UNANSWERABLE_TASKS else ()
    for name in (_FRAME, task, *unanswerable, *((_JUDGE,) if judged else ())):
        digest.update(_source(name, language).encode())
    return digest.hexdigest()[:16]


def judge_hash(language: str) -> str:
    """Return the hash of the judge's prompt in `language`."""
    return hashlib.sha256(_source(_JUDGE, language).encode()).hexdigest()[:16]


@functools.cache
def _static(task: str, language: str, form: str) -> tuple[Message, ...]:
    """Return the turns that do not depend on the request."""
    answer = _block(task, language, form).strip()
    pairs = json.loads(answer)
    count = 1 if isinstance(pairs, dict) else len(pairs)
    if task == _UNANSWERABLE:
        # its rules are others than those of what is known, and there is nothing to show
        topics = [str(topic) for topic in _json_block(task, language, f"{form}_topics")]
        system = _block(task, language, "system")
        shown = _ask(task, language, count, topic_names(language, topics))
    else:
        system = _block(_FRAME, language, "system", task=_block(task, language, "task").strip())
        facts = [Fact(*fact) for fact in _json_block(task, language, f"{form}_facts")]
        focus = _json_block(task, language, f"{form}_focus") if form == "one" or task == CONTROLLABLE else ()
        shown = f"{render(facts, language)}\n{_ask(task, language, count, _key_names(language, focus))}"
    return (Message("system", system.strip()), Message("user", shown), Message("assistant", answer))


def _ask(task: str, language: str, pairs: int, asked: Sequence[str]) -> str:
    """Return the line that asks for so many pairs about the things named."""
    return _block(task, language, "ask", pairs=pairs, focus=asked).strip()


def _key_names(language: str, keys: Sequence[str]) -> list[str]:
    wording = phrases(language)
    return [wording.key_name(key) for key in keys]


def _json_block(task: str, language: str, block: str) -> list[Any]:
    text = _block(task, language, block)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PromptError(f"prompt {task}.{language}.j2, block {block}: not JSON: {error}") from error
    if not isinstance(value, list):
        raise PromptError(f"prompt {task}.{language}.j2, block {block}: expected a JSON list")
    return value


def _block(name: str, language: str, block: str, **values: Any) -> str:
    template = _template(name, language)
    if block not in template.blocks:
        raise PromptError(f"prompt {name}.{language}.j2 has no block {block!r}")
    try:
        return "".join(template.blocks[block](template.new_context(values)))
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise PromptError(f"prompt {name}.{language}.j2, block {block}: {error}") from error


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    # autoescape is for HTML; what is written here is plain text for a model
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)


@functools.cache
def _template(name: str, language: str) -> jinja2.Template:
    try:
        return _environment().from_string(_source(name, language))
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"prompt {name}.{language}.j2, line {error.lineno}: {error.message}") from error


@functools.cache
def _source(name: str, language: str) -> str:
    try:
        return _FOLDER.joinpath(f"{name}.{language}.j2").read_text(encoding="utf-8")
    except OSError as error:
        raise PromptError(f"prompt {name}.{language}.j2: {error.strerror}") from error
