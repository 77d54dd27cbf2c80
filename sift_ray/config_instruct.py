"""The `instruct` section of a config: tasks and their mix, who writes, and what becomes of what can't be verified."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from sift_ray.config_sections import PoolConfig, Section, Share, paths_are_checked
from sift_ray.schema import TASKS

Task = Literal[
    "closed_ended_acoustic_level",
    "closed_ended_content_level",
    "closed_ended_word_align",
    "closed_ended_word_align_numeric",
    "closed_ended_comparison",
    "open_ended",
    "controllable_generation",
]
UNANSWERABLE_TASKS: Final = ("closed_ended_acoustic_level", "closed_ended_content_level", "open_ended")
"""Tasks among whose questions may stand some that nobody can answer who only hears the audio."""

TEMPLATE: Final = "template"
"""Who writes where no model does: an engine, a fallback, and in rows the name of what answered."""

WORD_TIMES: Final = "closed_ended_word_align_numeric"
"""The task that is only done where the config names it: times in numbers harm what is trained on them."""


NO_ANSWER: Final = "controllable_generation"
"""The task whose answer is the audio itself."""

_HOST: Final = re.compile(r"\w([\w.-]*[\w.])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(%\w+)?")
"""A name, or an address of numbers, of version 4 or 6."""

_CLOSED: Final = "closed_ended_"
_TWO_MODELS: Final = 0.45  # of a GPU's memory, for each of two engines on it


def _full_name(task: Any) -> Any:
    """Return the task that a short name stands for, such as `comparison`; anything else as it is."""
    closed = f"{_CLOSED}{task}"
    return closed if closed in TASKS else task


def _by_full_names(section: Any) -> Any:
    """Return a mapping that is keyed by tasks with their full names."""
    if not isinstance(section, Mapping):
        return section
    named: dict[Any, Any] = {}
    for key, value in section.items():
        task = _full_name(key)
        if task in named:
            raise ValueError(f"{task}: given twice, by its full and its short name; keep one")
        named[task] = value
    return named


class SamplingConfig(Section):
    """Decoding of the language model; the defaults are the reference's."""

    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)
    max_tokens: int = Field(2048, ge=8)


class TaskConfig(Section):
    """One task's share of the work."""

    fraction: Share = 1.0  # of the utterances that can have it
    pairs: int = Field(10, ge=1, le=20)  # asked for in a request
    engine_share: Share = 1.0  # of its requests that go to the engine; the rest to the templates
    unanswerable: Share = 0.05  # of its requests: about what can't be heard, to be answered by saying so


class VllmConfig(Section):
    """The vLLM engine of one actor."""

    dtype: str = "auto"
    max_model_len: int = Field(8192, ge=256)  # prompt and max_tokens; a long clip's words take 3,000
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    tensor_parallel_size: int = Field(1, ge=1)
    enforce_eager: bool = False
    cpu_kvcache_gib: int = Field(2, ge=1)
    cpu_threads: int | None = None
    max_num_seqs: int | None = None
    start_attempts: int = Field(3, ge=1, le=10)  # against what passes: a port just taken, say


class OpenAIConfig(Section):
    """A server that speaks OpenAI's chat API, such as `vllm serve`, with `engine: openai`."""

    base_url: str = "http://127.0.0.1:8000/v1"
    api_key_env: str = Field("OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")  # its name; never the key itself
    timeout_s: float = Field(600.0, gt=0)  # of one call
    retries: int = Field(5, ge=0)  # of a call that fails by what passes: the connection, a 429, a 5xx
    concurrency: int = Field(64, ge=1)  # calls in flight from one actor
    structured: Literal["json_schema", "none"] = "json_schema"  # none: for servers that can't follow a schema

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        if "@" in url.split("//", 1)[-1].split("/", 1)[0]:
            raise ValueError("holds a user or password, which logs would show; put a key in the variable api_key_env")
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} must begin with http:// or https://, as in http://host:8000/v1")
        if not (url.isprintable() and url.split() == [url]):
            raise ValueError(f"{url!r} holds blanks or characters that no address has")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:  # (a port that is no number up to 65535, a bracket that is not closed)
            raise ValueError(f"{url!r} is no address: {error}; expected such as http://host:8000/v1") from None
        if not host or not _HOST.fullmatch(host) or port == 0 or parts.netloc.endswith(":"):
            raise ValueError(f"{url!r} names no host and port that can be called; expected such as http://host:8000/v1")
        if parts.query or parts.fragment:
            raise ValueError(f"{url!r} goes on behind a ? or #; give it up to there, mostly ending with /v1")
        return url


class JudgeConfig(Section):
    """A model that scores accepted answers from 0 to 10; those below `threshold` are refused."""

    model: str | None = None  # None: the one that wrote the answer
    tasks: tuple[Annotated[Task, BeforeValidator(_full_name)], ...] = ("open_ended",)
    threshold: float = Field(6.0, ge=0, le=10)

    @field_validator("tasks")
    @classmethod
    def _answered(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        if NO_ANSWER in tasks:
            raise ValueError(f"{NO_ANSWER} has no answers to judge; drop it")
        if not tasks:
            raise ValueError("name the tasks to judge, or drop the judge section")
        return tasks


class EnginePool(PoolConfig):
    """The language model's actors: with vLLM a GPU each unless told otherwise; callers of a server need none."""

    actors: tuple[int, int] = (1, 1)
    num_gpus: float = Field(1.0, ge=0)  # unless given, 0 with engine openai
    batch_rows: int = Field(64, ge=1)


def _check_named(model: str, key: str) -> None:
    """Check that a model's name is one: it stands in rows, metrics and requests to servers."""
    if not model or not model.isprintable() or model.strip() != model:
        raise ValueError(f"{key}: {model!r} is no model's name; write it without blanks around it, or drop the key")


def _check_folder(model: str, info: ValidationInfo) -> None:
    """Check that a model that is named as a folder is there, unless a server has it."""
    local = info.data.get("engine") != "openai" and model.startswith(("/", ".", "~"))
    if local and paths_are_checked(info) and not Path(model).expanduser().is_dir():
        raise ValueError(f"no such folder: {model}")


class InstructConfig(Section):
    """Writing instructions, and what happens to those that can't be verified."""

    engine: Literal["vllm", "template", "openai"] = "vllm"
    models: Mapping[str, str] = Field(default_factory=lambda: {"default": "smollm2"})
    model_cache: str | None = None  # where bundled weights are unpacked; default the user's cache
    fallback: Literal["template", "none"] = "none"
    retries: int = Field(1, ge=0, le=5)
    constrain: Literal["json", "value"] = "json"  # value: the grammar makes the asked value occur
    facts_per_request: int | None = Field(None, ge=1)  # None: all that is known
    tasks: Mapping[Task, TaskConfig] = Field(default_factory=dict)
    comparison_uses: int = Field(2, ge=1)  # how often an utterance may stand in comparisons
    sampling: SamplingConfig = SamplingConfig()
    vllm: VllmConfig = VllmConfig()
    openai: OpenAIConfig = OpenAIConfig()
    judge: JudgeConfig | None = None
    pool: EnginePool = Field(EnginePool(), validate_default=True)
    # in flight at an engine; a batch waits for its slowest row: let them hold several times the rows it takes at once
    concurrent_batches: int = Field(64, ge=1)
    error_budget: Share = 1.0  # weak models are rejected nearly always; a production config lowers it
    fault_budget: Share = 0.05  # of a wave's requests: failed by a fault (engine, judge, our own), not by what was said

    @field_validator("models", "tasks", mode="before")
    @classmethod
    def _short_names(cls, section: Any) -> Any:
        return _by_full_names(section)

    @field_validator("models")
    @classmethod
    def _keys(cls, models: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        for key in models:
            if key != "default" and key not in TASKS:
                raise ValueError(f"no task {key!r}; keys are default, {', '.join(TASKS)}")
        if "default" not in models:
            raise ValueError("name a default model")
        for key, model in models.items():
            _check_named(model, key)
            _check_folder(model, info)
        return models

    @field_validator("tasks")
    @classmethod
    def _unanswerable(cls, tasks: Mapping[Task, TaskConfig]) -> Mapping[Task, TaskConfig]:
        for task, section in tasks.items():
            if task not in UNANSWERABLE_TASKS and section.unanswerable and "unanswerable" in section.model_fields_set:
                raise ValueError(
                    f"{task}: unanswerable questions are asked in {', '.join(UNANSWERABLE_TASKS)} alone; drop the key"
                )
        return tasks

    @field_validator("judge")
    @classmethod
    def _judging_model(cls, judge: JudgeConfig | None, info: ValidationInfo) -> JudgeConfig | None:
        if judge is not None and judge.model is not None:
            _check_named(judge.model, "model")
            _check_folder(judge.model, info)
        return judge

    @field_validator("pool")
    @classmethod
    def _no_gpu_to_call_a_server(cls, pool: EnginePool, info: ValidationInfo) -> EnginePool:
        if info.data.get("engine") == "openai" and "num_gpus" not in pool.model_fields_set:
            return pool.model_copy(update={"num_gpus": 0.0})
        return pool

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if self.judge is None:
            return self
        if self.engine == "template":
            raise ValueError("judge: there is no model to judge with, as engine is template; drop the section")
        crowded = self.vllm.gpu_memory_utilization > _TWO_MODELS and self.pool.num_gpus > 0
        if self.engine == "vllm" and crowded and any(self.judge_of(t) not in (None, self.model_of(t)) for t in TASKS):
            raise ValueError(
                f"judge: {self.judge.model} shares its GPUs with the model that it judges, so "
                f"vllm.gpu_memory_utilization may be {_TWO_MODELS} at most, not {self.vllm.gpu_memory_utilization:g}"
            )
        return self

    @model_validator(mode="after")
    def _has_its_gpus(self) -> Self:
        wanted = self.vllm.tensor_parallel_size  # (of a model that is not spread, several may share a GPU)
        if self.engine == "vllm" and wanted > 1 and 0 < self.pool.num_gpus < wanted:
            raise ValueError(
                f"vllm.tensor_parallel_size {wanted} spreads a model over {wanted} GPUs, and an actor has "
                f"{self.pool.num_gpus:g}: set pool.num_gpus to {wanted}"
            )
        return self

    @model_validator(mode="after")
    def _served(self) -> Self:
        if self.engine == "openai":
            if "models" not in self.model_fields_set:
                raise ValueError("engine openai: name the model that the server serves, as models: {default: ...}")
            if self.constrain == "value" and self.openai.structured == "none":
                raise ValueError("constrain: value needs a server that follows a schema; drop openai.structured: none")
        return self

    def model_of(self, task: str) -> str:
        """Return the model that answers `task` (or the default one)."""
        return self.models.get(task, self.models["default"])

    def models_asked(self) -> list[str]:
        """Return the models that may get requests, the templates (`TEMPLATE`) among them; at least one."""
        asked = set()
        for task in TASKS:
            section = self.task(task)
            if section.fraction > 0:
                by_engine = self.engine != TEMPLATE and section.engine_share > 0
                by_template = self.engine == TEMPLATE or section.engine_share < 1
                asked |= ({self.model_of(task)} if by_engine else set()) | ({TEMPLATE} if by_template else set())
        return sorted(asked) or [TEMPLATE]

    def judge_of(self, task: str) -> str | None:
        """Return the model that judges the answers of `task`; None where they are not judged."""
        judge = self.judge
        if judge is None or task not in judge.tasks:
            return None
        return judge.model or self.model_of(task)

    def settled(self) -> InstructConfig:
        """Return the section as fingerprints take it: what has no bearing on what is written has its default.

        Where a server runs and how patiently it is called is such; so is the section of an engine that is not used.
        """
        openai, vllm = OpenAIConfig(), VllmConfig()
        if self.engine == "openai":
            openai = OpenAIConfig(structured=self.openai.structured)
        elif self.engine == "vllm":
            vllm = self.vllm.model_copy(update={"start_attempts": vllm.start_attempts})
        return self.model_copy(update={"openai": openai, "vllm": vllm})

    def task(self, task: str) -> TaskConfig:
        """Return the section of `task`, or the defaults."""
        sections: Mapping[str, TaskConfig] = {str(key): section for key, section in self.tasks.items()}
        return sections.get(task) or TaskConfig(fraction=0.0 if task == WORD_TIMES else 1.0)
