"""What is published, and in which form: the section `release`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from sift_ray.config_sections import Language, Section
from sift_ray.schema import CLOSED_ENDED, TASKS

Format = Literal["parquet", "jsonl"]
HeldOut = Literal["dev", "test"]
Samples = Annotated[int, Field(ge=0)]
Quota = Samples | Mapping[Language, Samples]
"""Samples of each language, or of those that are named (the others have no limit)."""

CLOSED_ENDED_POOL: Final = "closed_ended"
"""A quota under this name is shared evenly by the reference's four closed-ended tasks."""

POOLED_TASKS: Final = tuple(task for task in CLOSED_ENDED if task != "closed_ended_word_align_numeric")


class ReleaseConfig(Section):
    """What is published."""

    name: str = Field("sift-ray", min_length=1)
    # the first is what load_dataset("OUTPUT/release") gives; a second one lies in release/<format>
    formats: tuple[Format, ...] = Field(("parquet",), min_length=1)
    file_mb: int = Field(256, ge=1, le=2048)  # a file ends when it is so large; the last of a folder may be smaller
    comparison: Literal["audio_first", "text_first"] = "audio_first"  # the content of a comparison's question
    # of `audio_path`: <data source>/<id>.<ending>, where the audio lay, or relative with the bytes in a column `audio`
    audio: Literal["relative", "absolute", "embedded"] = "relative"
    flat: bool = False  # columns `question` and `answer` too, for who has no chat template
    quotas: Mapping[HeldOut, Mapping[str, Quota]] = Field(default_factory=dict)  # by task or `closed_ended`
    model_licenses: Mapping[str, str] = Field(default_factory=dict)  # by model that the config names, for the card

    @field_validator("formats")
    @classmethod
    def _once(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        if len(set(formats)) < len(formats):
            raise ValueError(f"a format stands twice in {', '.join(formats)}")
        return formats

    @field_validator("quotas")
    @classmethod
    def _known_tasks(cls, quotas: Mapping[HeldOut, Mapping[str, Quota]]) -> Mapping[HeldOut, Mapping[str, Quota]]:
        for split, of_split in quotas.items():
            for task in of_split:
                if task not in (*TASKS, CLOSED_ENDED_POOL):
                    raise ValueError(f"{split}: no task {task!r}; there are {CLOSED_ENDED_POOL}, {', '.join(TASKS)}")
            if CLOSED_ENDED_POOL in of_split and (twice := sorted({*POOLED_TASKS} & {*of_split})):
                raise ValueError(f"{split}: {twice[0]} has a quota of its own and a share of {CLOSED_ENDED_POOL}'s")
        return quotas

    @model_validator(mode="after")
    def _audio_fits_formats(self) -> Self:
        if self.audio == "embedded" and "jsonl" in self.formats:
            raise ValueError("audio: embedded puts bytes into rows, which jsonl can't hold; set formats to [parquet]")
        if self.audio == "absolute" and "jsonl" in self.formats:
            raise ValueError(
                "audio: absolute leaves a comparison's ids without audio of that name, as jsonl has no other column "
                "for them; set formats to [parquet], or audio to relative"
            )
        return self

    def pool_of(self, split: str, task: str) -> str | None:
        """Return the name of the quota that holds for a split's task, None where there is none."""
        of_split = self.quotas.get(split, {}) if split in get_args(HeldOut) else {}  # type: ignore[call-overload]
        if task in of_split:
            return task
        return CLOSED_ENDED_POOL if CLOSED_ENDED_POOL in of_split and task in POOLED_TASKS else None

    def quota_of(self, split: str, pool: str, language: str) -> int | None:
        """Return the most samples of a quota's language, None where the quota does not name it."""
        quota: Quota = self.quotas[split][pool]  # type: ignore[index]
        if isinstance(quota, int):
            return quota
        by_language: Mapping[str, int] = {str(key): value for key, value in quota.items()}
        return by_language.get(language)
