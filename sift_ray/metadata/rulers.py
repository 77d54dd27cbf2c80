"""Rulers: the edges that turn measurements into ordinals, and which of them judges whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.columns import Floats, Places, floats, places
from sift_ray.schema import GENDERS, MEASURES

ALL: Final = "*"
"""Stands for all corpora together."""

EVERYONE: Final = "*"
"""Stands for all speakers together, those of unknown gender too."""


class Group(NamedTuple):
    """Values that share a ruler.

    Attributes:
        attribute: a key of `categories.ATTRIBUTES`.
        corpus: a corpus, or `ALL`.
        language: None: all of them.
        gender: one of `schema.GENDERS`, or `EVERYONE`; None where the attribute is not split by gender.
    """

    attribute: str
    corpus: str
    language: str | None
    gender: str | None


def in_order(group: Group) -> tuple[int, str, str, str]:
    """Return what groups are sorted by."""
    return list(ATTRIBUTES).index(group.attribute), group.corpus, group.language or "", group.gender or ""


@dataclass(frozen=True, slots=True)
class Ruler:
    """The edges of one group, and what they come from.

    Attributes:
        attribute, corpus, language, gender: see `Group`.
        count, low, high, mean, std: of all feasible values. `kept`: how many shaped the edges.
        edges: bins + 1 values, not decreasing.
        histogram: low end, high end, counts of equal cells, for the report.
    """

    attribute: str
    corpus: str
    language: str | None
    gender: str | None
    count: int
    kept: int
    low: float
    high: float
    mean: float
    std: float
    edges: tuple[float, ...]
    histogram: tuple[float, float, tuple[int, ...]]

    @property
    def group(self) -> Group:
        """The group whose values made it."""
        return Group(self.attribute, self.corpus, self.language, self.gender)


class Rulers:
    """All rulers, which of them judges whom, and what the data set that they judge holds.

    A group of fewer than `min_count` values is judged by the first of these that has as many: its corpus over all
    languages, its language over all corpora, and at last, however few values it has, all corpora and languages. The
    corpus comes before the language because it is the nearer kin: its clips share microphones, rooms and a way of
    speaking, and one ruler for all its languages still compares like with like. Gender is never given up on the way:
    where an attribute is split by it, a man is judged among men. Those of unknown gender have no category there,
    unless there are rulers of `EVERYONE`, which judge them and nobody else. Whoever was never measured, a corpus or a
    language of other data, goes the same way.

    Attributes:
        counts: by group of the data set, how many of its values fall into each category; each value that has a
            category is counted in one group. A group has a language where its attribute has rulers by language; one of
            `EVERYONE` holds those of unknown gender.
        unknown: attribute → reason → how many utterances have no category.
    """

    def __init__(
        self,
        rulers: Iterable[Ruler],
        *,
        method: str,
        min_count: int,
        counts: Mapping[Group, tuple[int, ...]] | None = None,
        unknown: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.method = method
        self.min_count = min_count
        self.rulers: Mapping[Group, Ruler] = {ruler.group: ruler for ruler in rulers}
        self.counts = counts or {}
        self.unknown = unknown or {}
        self._by_language = {group.attribute for group in self.rulers if group.language is not None}
        self._everyone = {group.attribute for group in self.rulers if group.gender == EVERYONE}

    def group_of(self, attribute: str, corpus: str | None, gender: str | None, language: str | None) -> Group | None:
        """Return the group among whose values a value of this corpus, gender and language is judged.

        None: its gender must be known, and is not one of `schema.GENDERS`.
        """
        if not ATTRIBUTES[attribute].by_gender:
            gender = None
        elif gender not in GENDERS:
            if attribute not in self._everyone:
                return None
            gender = EVERYONE
        return Group(attribute, corpus or ALL, language if attribute in self._by_language else None, gender)

    def judge_everyone(self, attribute: str) -> bool:
        """Return whether speakers of unknown gender are judged, by a ruler of all speakers."""
        return attribute in self._everyone

    def judge(self, group: Group) -> Ruler | None:
        """Return the ruler that judges this group, None where there is none."""
        for near in (group, group._replace(language=None), group._replace(corpus=ALL)):
            ruler = self.rulers.get(near)
            if ruler is not None and ruler.count >= self.min_count:
                return ruler
        return self.rulers.get(group._replace(corpus=ALL, language=None))

    def judge_of(self, ruler: Ruler) -> Ruler | None:
        """Return the ruler that judges the group whose values made `ruler`: itself, unless they are too few."""
        return self.judge(ruler.group)

    def ruler(self, attribute: str, corpus: str | None, gender: str | None, language: str | None) -> Ruler | None:
        """Return the ruler that judges such a value, None where there is none (as for unknown gender's pitch)."""
        group = self.group_of(attribute, corpus, gender, language)
        return None if group is None else self.judge(group)

    def judged(self, ruler: Ruler) -> tuple[int, ...]:
        """Return how many values of the data set `ruler` itself puts into each category."""
        mine = [counts for group, counts in self.counts.items() if self.judge(group) is ruler]
        return tuple(sum(column) for column in zip((0,) * (len(ruler.edges) - 1), *mine, strict=True))

    def with_counts(self, counts: Mapping[Group, tuple[int, ...]], unknown: Mapping[str, Mapping[str, int]]) -> Rulers:
        """Return the same rulers with what another data set holds."""
        return Rulers(
            self.rulers.values(), method=self.method, min_count=self.min_count, counts=counts, unknown=unknown
        )

    def without_everyone(self) -> Rulers:
        """Return the rulers that refuse speakers of unknown gender; the counts are left behind."""
        kept = [ruler for ruler in self.rulers.values() if ruler.gender != EVERYONE]
        return Rulers(kept, method=self.method, min_count=self.min_count)

    def ordinals(self, attribute: str, values: Any, corpus: Any, gender: Any, language: Any) -> npt.NDArray[np.int8]:
        """Return each value's ordinal, -1 where it is unknown.

        A value beyond the edges gets the first or the last category, one that lies on an edge the lower.

        Args:
            attribute: a key of `categories.ATTRIBUTES`.
            values: numbers, in the unit of the attribute's column (utterance or word level), null or NaN unknown.
            corpus: strings, as long as `values`.
            gender: strings or null, as long as `values`.
            language: strings, as long as `values`.

        Returns:
            int8, as long as `values`. Unknown is: null, NaN, outside the feasible range of `schema.MEASURES`, no
            gender where the attribute is split by it and has no ruler of all speakers, no ruler.
        """
        return self.ordinals_at(attribute, floats(values), places(corpus, language, gender))

    def ordinals_at(self, attribute: str, numbers: Floats, at: Places) -> npt.NDArray[np.int8]:
        """Return the same for float64 `numbers` and the rows' places, which serve every attribute of a batch."""
        judges = [self.ruler(attribute, place.corpus, place.gender, place.language) for place in at.distinct]
        nothing = (np.nan,) * (len(ATTRIBUTES[attribute].labels) + 1)
        edges = np.array([nothing if ruler is None else ruler.edges for ruler in judges]).reshape(-1, len(nothing))
        # as many categories lie below a value as there are inner edges below it
        made = np.zeros(len(numbers), np.int8)
        with np.errstate(invalid="ignore"):
            for edge in edges.T[1:-1]:
                made += edge[at.of] < numbers
        judged = np.array([ruler is not None for ruler in judges], bool)
        made[~(feasible(attribute, numbers) & judged[at.of])] = -1
        return made

    def labels(self, attribute: str, values: Any, corpus: Any, gender: Any, language: Any) -> list[str | None]:
        """Return each value's label, None where it is unknown. See `ordinals`."""
        names = np.array((*ATTRIBUTES[attribute].labels, None), object)  # (-1 is the last)
        made: list[str | None] = names[self.ordinals(attribute, values, corpus, gender, language)].tolist()
        return made


def feasible(attribute: str, numbers: Floats) -> npt.NDArray[np.bool_]:
    """Return which values lie in the feasible range of the attribute's column; NaN never does.

    (That of the backend, where it is narrower, was looked at when the value was measured.)
    """
    measure = MEASURES[ATTRIBUTES[attribute].column]
    with np.errstate(invalid="ignore"):
        made: npt.NDArray[np.bool_] = (numbers >= measure.low) & (numbers <= measure.high)
    return made
