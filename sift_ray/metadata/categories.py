"""The ordinal categories of SIFT-50M (arXiv 2504.09081): which labels an attribute has, in which order.

An attribute's labels run from its column's low values to its high ones, so a label's place in the tuple is its
ordinal. Labels are English whatever the language of a text; `metadata.phrases` words them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sift_ray.schema import AGES, ATTRIBUTE_COLUMNS, GENDERS, LANGUAGES


@dataclass(frozen=True, slots=True)
class Attribute:
    """A metadata key whose categories are ordered bins of a measured column.

    Attributes:
        key: metadata key, as in the reference.
        column: the utterance-level column of `schema.ANNOTATIONS` that is binned.
        word_column: the column of `schema.WORD` judged by the same ruler, None where words have no such measure.
        labels: category labels, in the order of the column's values, lowest first.
        by_gender: whether each gender has its own ruler; then unknown gender means unknown category.
        outlier_std: default k; values farther than k standard deviations from the mean do not shape the edges.
            Where Data-Speech has the attribute, k is that of its published run (its run_scripts of version 02).
    """

    key: str
    column: str
    word_column: str | None
    labels: tuple[str, ...]
    by_gender: bool = False
    outlier_std: float = 3.0

    def ordinal(self, label: str) -> int:
        """Return the place of `label`, from 0.

        Raises:
            ValueError: it is no label of this attribute.
        """
        try:
            return self.labels.index(label)
        except ValueError:
            raise ValueError(f"{self.key} has no label {label!r}; it has {', '.join(self.labels)}") from None


def _attribute(
    key: str, labels: tuple[str, ...], *, word_column: str | None = None, by_gender: bool = False, k: float = 3.0
) -> Attribute:
    return Attribute(key, ATTRIBUTE_COLUMNS[key], word_column, labels, by_gender, k)


ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    a.key: a
    for a in (
        _attribute(
            "average_pitch",
            (
                "very low pitch",
                "quite low pitch",
                "slightly low pitch",
                "moderate pitch",
                "slightly high pitch",
                "quite high pitch",
                "very high pitch",
            ),
            word_column="pitch_mean_hz",
            by_gender=True,
            k=1.5,
        ),
        _attribute(
            "pitch_variation",
            (
                "very monotone",
                "quite monotone",
                "slightly monotone",
                "moderate intonation",
                "slightly expressive",
                "quite expressive",
                "very expressive",
            ),
            word_column="pitch_std_hz",
            by_gender=True,
            k=2.0,
        ),
        _attribute(
            "speaking_rate",
            (
                "very slowly",
                "quite slowly",
                "slightly slowly",
                "moderate speed",
                "slightly fast",
                "quite fast",
                "very fast",
            ),
            k=5.5,
        ),
        _attribute("average_intensity", ("softly", "moderate volume", "loudly"), word_column="intensity_db"),
        _attribute(
            "noise_level",
            (
                "very noisy",
                "noisy",
                "slightly noisy",
                "balanced in clarity",
                "slightly clean",
                "clean",
                "very clean",
            ),
            k=3.5,
        ),
        _attribute(
            "reverberation",
            (
                "very distant-sounding",
                "distant-sounding",
                "slightly distant-sounding",
                "slightly close-sounding",
                "very close-sounding",
            ),
            k=8.0,
        ),
        _attribute(
            "distortion_level",
            ("extremely noisy", "very noisy", "noisy", "slightly noisy", "almost no noise", "very clear"),
        ),
        _attribute(
            "speech_quality",
            (
                "very bad speech quality",
                "bad speech quality",
                "slightly bad speech quality",
                "moderate speech quality",
                "great speech quality",
                "wonderful speech quality",
            ),
        ),
    )
}
"""The eight binned attributes, in the reference's order."""

WORD_ATTRIBUTES: Final = tuple(a.key for a in ATTRIBUTES.values() if a.word_column is not None)
"""Attributes that single words have too."""

VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "age_category": AGES,
    "gender": GENDERS,
    "language": LANGUAGES,
}
"""Content-level keys with a closed set of values."""

CONTENT_KEYS: Final = ("phonemes", "age_category", "accent", "gender", "transcript", "language")
"""Content-level keys in the reference's order; `language` is the acoustic language identification's."""

WORD_KEY: Final = "word"

TIME_KEYS: Final = ("start_s", "end_s")
"""When a word starts and ends, in seconds with two decimals; only for tasks that ask for times."""

KEYS: Final = (*ATTRIBUTES, *CONTENT_KEYS, WORD_KEY, *TIME_KEYS)
"""Every key that a fact can have."""

RELATED: Final[Mapping[str, frozenset[str]]] = {
    # a text that speaks of one of these may well grade the other: "the pitch is very monotone"
    "average_pitch": frozenset({"pitch_variation"}),
    "pitch_variation": frozenset({"average_pitch"}),
}


def labels_of(key: str) -> tuple[str, ...]:
    """Return the closed set of values of `key`; empty for keys of free text."""
    if key in ATTRIBUTES:
        return ATTRIBUTES[key].labels
    return VALUES.get(key, ())


def ordinal_of(key: str, value: str) -> int | None:
    """Return the place of `value` in the order of its key's, from 0; None where the values have no order.

    The binned attributes have one, and the age groups.
    """
    if key in ATTRIBUTES:
        return ATTRIBUTES[key].ordinal(value)
    return AGES.index(value) if key == "age_category" else None
