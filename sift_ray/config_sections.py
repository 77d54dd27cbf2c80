"""What every section of the config is made of: strict models, checked paths, pools of actors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Language = Literal["en", "de", "fr", "it", "es"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_remote(path: str) -> bool:
    """Whether `path` is an address rather than a path."""
    return "://" in path


def paths_are_checked(info: ValidationInfo) -> bool:
    """Whether paths must be there: not where a job is only looked at, or goes on, away from its corpora."""
    return info.context is None or bool(info.context.get("check_paths", True))


_WEIGHTS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".zip", ".viter")


def is_plainly_local(model: str) -> bool:
    """Whether `model` can only be a path; what is not may be a hub id or a name, looked up when it is loaded."""
    return not is_remote(model) and (model.startswith(("/", ".", "~")) or model.endswith(_WEIGHTS))


def model_there(model: str | None, info: ValidationInfo) -> str | None:
    """Check that a model is there, if it is plainly a local path."""
    if model is not None and is_plainly_local(model) and paths_are_checked(info):
        path = Path(model).expanduser()
        if not path.exists():
            raise ValueError(f"no such file or folder: {model}")
    return model


class PoolConfig(Section):
    """Resources of one stage's actors, each."""

    actors: tuple[int, int] = (1, 2)
    num_cpus: float = Field(1.0, gt=0)
    num_gpus: float = Field(0.0, ge=0)
    batch_rows: int = Field(32, ge=1)

    @field_validator("actors")
    @classmethod
    def _range(cls, actors: tuple[int, int]) -> tuple[int, int]:
        low, high = actors
        if not 1 <= low <= high:
            raise ValueError(f"actors is [least, most] with 1 <= least <= most, not [{low}, {high}]")
        return actors
