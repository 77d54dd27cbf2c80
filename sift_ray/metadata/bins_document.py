"""What bins.json must be like, wherever it comes from: types without leniency, and entries that can be."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import EVERYONE, Group
from sift_ray.schema import GENDERS

FORMAT: Final = 2

_Name = Annotated[str, Field(min_length=1)]
_Count = Annotated[int, Field(ge=0)]


class _Entry(BaseModel):
    """What a ruler and a group have in common."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    attribute: str
    corpus: _Name
    language: _Name | None
    gender: str | None
    judged_by: Any = None  # (for people: what is read follows from the rulers)

    @property
    def group(self) -> Group:
        return Group(self.attribute, self.corpus, self.language, self.gender)

    def check(self, labels: tuple[str, ...]) -> None:
        """Raise ValueError where the group can't be, or its labels are not those of this version."""
        attribute = ATTRIBUTES.get(self.attribute)
        if attribute is None or attribute.labels != labels:
            raise ValueError("its categories are not those of this version; build the bins again")
        if attribute.by_gender and self.gender not in (*GENDERS, EVERYONE):
            raise ValueError(f"gender must be {', '.join(GENDERS)} or {EVERYONE}, not {self.gender}")
        if not attribute.by_gender and self.gender is not None:
            raise ValueError(f"gender must be null, as {self.attribute} is not split by it, not {self.gender}")


class RulerEntry(_Entry):
    """A ruler; see `rulers.Ruler`."""

    count: Annotated[int, Field(ge=1)]
    kept: _Count
    low: float
    high: float
    mean: float
    std: Annotated[float, Field(ge=0)]
    edges: tuple[float, ...]
    histogram: tuple[float, float, tuple[_Count, ...]]
    labels: tuple[str, ...]

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        self.check(self.labels)
        edges = len(self.labels) + 1
        if len(self.edges) != edges or not all(a <= b for a, b in itertools.pairwise(self.edges)):
            raise ValueError(f"{edges - 1} categories need {edges} edges, in order")
        if self.kept > self.count:
            raise ValueError(f"kept ({self.kept}) is more than count ({self.count})")
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        low, high, counts = self.histogram
        if low > high or sum(counts) != self.count:
            raise ValueError(f"its histogram must run from low to high and hold count ({self.count}) values")
        return self


class GroupEntry(_Entry):
    """What a group of the data set holds; see `rulers.Rulers.counts`."""

    categories: dict[str, _Count]

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        self.check(tuple(self.categories))
        return self


class BinsDocument(BaseModel):
    """The whole; whoever keeps it may write more at the top."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    format: Literal[2]
    method: Literal["equal_width", "quantile"]
    min_count: Annotated[int, Field(ge=1)]
    rulers: tuple[RulerEntry, ...]
    groups: tuple[GroupEntry, ...]
    unknown: dict[str, dict[str, _Count]]
    outlier_std: dict[str, float] | None = None  # k that the rulers were made with
    measured_by: dict[str, str] | None = None  # the backends of what they were made from

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        _no_group_twice("rulers", self.rulers)
        _no_group_twice("groups", self.groups)
        if strange := [key for key in self.unknown if key not in ATTRIBUTES]:
            raise ValueError(f"unknown: no attribute {strange[0]!r}; there are {', '.join(ATTRIBUTES)}")
        return self


def _no_group_twice(key: str, entries: Iterable[_Entry]) -> None:
    places: dict[Group, int] = {}
    for place, entry in enumerate(entries):
        first = places.setdefault(entry.group, place)
        if first != place:
            group = ", ".join(str(part) for part in entry.group)
            raise ValueError(f"{key}[{place}] ({group}): the same as {key}[{first}]; keep one")
