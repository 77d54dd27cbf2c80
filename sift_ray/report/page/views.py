"""What the page's template is given: tables, drawings with words beside them, and samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from markupsafe import Markup

from sift_ray.report.page.marks import Piece

Shown = TypeVar("Shown")


@dataclass(frozen=True, slots=True)
class TableView:
    """A table.

    Attributes:
        caption: what it shows; for a reader who jumps to it, it must say so by itself.
        heads: the columns' names; an empty one is of bars.
        rows: cells, the first of each row its name; plain text is escaped, elements are not.
        words: places of columns of words, which stand to the left; the first is one in any case.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Strip:
    """A drawing, and what it is of."""

    caption: str
    drawing: Markup


@dataclass(frozen=True, slots=True)
class Chart:
    """Drawings over one axis, the axis, and what each of them shows in numbers."""

    strips: Sequence[Strip]
    axis: Markup
    numbers: Sequence[TableView]


@dataclass(frozen=True, slots=True)
class MeasureView:
    """A measurement: its histograms by group, and how its categories are spread."""

    title: str
    unit: str
    charts: Sequence[Chart]
    balance: TableView | None


@dataclass(frozen=True, slots=True)
class Player:
    """A clip to hear and to see.

    Attributes:
        name: the utterance's id.
        origin: corpus, language and split, in words.
        language: code of the transcript's language.
        transcript: None where it is not known.
        source: data URI; empty where nothing can be played.
        strips: drawings of it, in order.
        described: the drawings in words.
        note: what else is to be said, such as why it can't be heard; or empty.
    """

    name: str
    origin: str
    language: str
    transcript: str | None
    source: str
    strips: Sequence[Markup]
    described: str
    note: str


@dataclass(frozen=True, slots=True)
class FactView:
    """A fact that an answer rests on: what it is of, its value, and the measurement behind it (or empty)."""

    name: str
    value: str
    measured: str


@dataclass(frozen=True, slots=True)
class SampleView:
    """A question and its answer, with what is heard.

    Attributes:
        title: language and who wrote it.
        language: code of the texts' language.
        rule: what refused the pair; empty where it was accepted.
        by_recording: whether the recording is the answer.
    """

    title: str
    language: str
    players: Sequence[Player]
    question: Sequence[Piece]
    answer: Sequence[Piece]
    by_recording: bool
    facts: Sequence[FactView]
    rule: str


@dataclass(frozen=True, slots=True)
class RefusedView:
    """An utterance that was refused, or whose word spans were."""

    reason: str
    detail: str
    player: Player


@dataclass(frozen=True, slots=True)
class Group(Generic[Shown]):
    """What belongs together under a heading."""

    title: str
    anchor: str
    members: Sequence[Shown]
