"""The parts of the page about measurements: their shapes and edges, categories, durations, alignment scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from sift_ray.metadata.categories import ATTRIBUTES, Attribute, labels_of
from sift_ray.metadata.rulers import Group, Ruler, Rulers, in_order
from sift_ray.report.bins_table import name_of
from sift_ray.report.page.balance import CLOSED
from sift_ray.report.page.charts import Drawn, bar, stacked
from sift_ray.report.page.histograms import Histogram, Shapes
from sift_ray.report.page.views import Chart, MeasureView, TableView
from sift_ray.report.tables import count_text, largest_first
from sift_ray.schema import MEASURES

Spoken = Mapping[tuple[str, str], int]
"""How many facts of accepted pairs have each (key, label)."""

GROUPS_SHOWN: Final = 24
"""Histograms of an attribute that a page has at most: the largest groups."""


def title_of(key: str) -> str:
    """Return a metadata key as a heading: "Speaking rate"."""
    return key.replace("_", " ").capitalize()


def measure_views(shapes: Shapes, rulers: Rulers, spoken: Spoken, units: Mapping[str, str]) -> list[MeasureView]:
    """Return each attribute's histograms by group, with the edges that judge it, and the balance of its categories.

    `units` are of the columns, for people (`Survey.units`).
    """
    measured = shapes.measures()
    views = []
    for attribute in ATTRIBUTES.values():
        groups = [group for group in measured if group.attribute == attribute.key]
        largest = sorted(groups, key=lambda group: (-sum(measured[group].counts), in_order(group)))[:GROUPS_SHOWN]
        unit = units.get(attribute.column, MEASURES[attribute.column].unit)
        charts = [
            _chart(attribute, judge, {group: measured[group] for group in judged}, rulers, unit)
            for judge, judged in _by_judge(sorted(largest, key=in_order), rulers)
        ]
        views.append(
            MeasureView(
                title_of(attribute.key),
                unit,
                charts,
                _balance(attribute.key, _judged(attribute, rulers), spoken, rulers.unknown.get(attribute.key, {})),
            )
        )
    return views


def content_balance(spoken: Spoken) -> list[TableView]:
    """Return how often accepted answers rest on each value of the keys that are not measured, such as gender."""
    tables = []
    for key in CLOSED:
        if key not in ATTRIBUTES and any(spoken.get((key, label)) for label in labels_of(key)):
            tables.append(_balance(key, None, spoken, {}))
    return [table for table in tables if table is not None]


def _by_judge(groups: Iterable[Group], rulers: Rulers) -> list[tuple[Ruler, list[Group]]]:
    """Return the groups that each ruler judges: their histograms have the same range and edges."""
    judged: dict[Group, tuple[Ruler, list[Group]]] = {}
    for group in groups:
        if (judge := rulers.judge(group)) is not None:
            judged.setdefault(judge.group, (judge, []))[1].append(group)
    return list(judged.values())


def _chart(attribute: Attribute, judge: Ruler, shapes: Mapping[Group, Histogram], rulers: Rulers, unit: str) -> Chart:
    drawn, tables = [], []
    for group, shape in shapes.items():
        name = name_of(group).partition(", ")[2]
        values = sum(shape.counts)
        caption = f"{name}: {count_text(values)} {'value' if values == 1 else 'values'}"
        if judge.group != group:
            caption += f", judged by {name_of(judge.group).partition(', ')[2]}"
        told = f"Histogram of {attribute.key.replace('_', ' ')}, {name}, in {unit}, with the edges of its categories."
        drawn.append(Drawn(caption, told, shape))
        counts = rulers.counts.get(group, (0,) * len(attribute.labels))
        total = sum(counts)
        rows = [
            (f"{place}. {label}", f"{low:,.4g}", f"{high:,.4g}", *_shared(count, total))
            for place, (label, (low, high), count) in enumerate(
                zip(attribute.labels, pairwise(judge.edges), counts, strict=True), 1
            )
        ]
        title = f"{title_of(attribute.key)}, {name}: categories, {unit}"
        tables.append(TableView(title, ("category", "above", "up to", "values", "share", ""), rows))
    return Chart(*stacked(drawn, judge.edges), tables)


def _judged(attribute: Attribute, rulers: Rulers) -> Counter[str]:
    counts: Counter[str] = Counter()
    for group, numbers in rulers.counts.items():
        if group.attribute == attribute.key:
            counts.update(dict(zip(attribute.labels, numbers, strict=True)))
    return counts


def _balance(
    key: str, judged: Mapping[str, int] | None, spoken: Spoken, unknown: Mapping[str, int]
) -> TableView | None:
    """Return the labels of a key with how many utterances have each, and how many facts of accepted answers."""
    told = {label: spoken.get((key, label), 0) for label in labels_of(key)}
    facts, values = sum(told.values()), sum((judged or {}).values())
    if not facts and not values:
        return None
    counted = []
    if judged is not None:
        counted.append(("utterances", judged, values))
    if facts:
        counted.append(("in accepted answers", told, facts))
    rows: list[Sequence[str]] = [
        (label, *(cell for _, counts, total in counted for cell in _shared(counts.get(label, 0), total)))
        for label in labels_of(key)
    ]
    if judged is not None:
        blank = ("",) * (3 * len(counted) - 1)
        rows += [(f"no category: {reason}", count_text(n), *blank) for reason, n in largest_first(unknown) if n]
    heads = [head for name, *_ in counted for head in (name, "share", "")]
    caption = f"{title_of(key)}: balance of its categories"
    if spoken and not facts:
        caption += "; no accepted answer rests on one"
    return TableView(caption, ("category", *heads), rows)


def _shared(count: int, total: int) -> tuple[str, ...]:
    share = count / total if total else 0.0
    return count_text(count), f"{share:.1%}" if total else "", bar(share)


def duration_charts(shapes: Shapes) -> list[Chart]:
    """Return the histograms of the corpora's durations, over one axis."""
    drawn, tables = [], []
    for corpus, shape in shapes.durations().items():
        told = f"Histogram of the durations of {corpus}, seconds; the last bar holds all longer ones."
        drawn.append(Drawn(f"{corpus}: {count_text(sum(shape.counts))} utterances", told, shape))
        tables.append(_cells(f"Durations of {corpus}, s", shape, ("from", "below", "utterances", ""), 6))
    return [Chart(*stacked(drawn, ()), tables)] if drawn else []


def alignment_charts(shapes: Shapes) -> list[Chart]:
    """Return the histograms of the languages' alignment scores over one axis, those that were refused on top."""
    drawn, tables = [], []
    for language, (used, refused) in shapes.scores().items():
        caption = f"{language}: {count_text(sum(used.counts))} used, {count_text(sum(refused.counts))} refused"
        told = f"Histogram of alignment scores in {language}, 0 to 1."
        drawn.append(Drawn(caption, told, used, refused.counts))
        tables.append(_score_numbers(language, used, refused))
    return [Chart(*stacked(drawn, ()), tables)] if drawn else []


def _score_numbers(language: str, used: Histogram, refused: Histogram) -> TableView:
    cells = list(zip(_merged(used, 8), _merged(refused, 8), strict=True))
    most = max(*(kept + not_kept for (_, _, kept), (_, _, not_kept) in cells), 1)
    rows = [
        (f"{low:.3g}", f"{high:.3g}", count_text(kept), count_text(not_kept), bar((kept + not_kept) / most))
        for (low, high, kept), (_, _, not_kept) in cells
    ]
    return TableView(f"Alignment scores in {language}", ("from", "below", "used", "refused", ""), rows)


def _cells(caption: str, shape: Histogram, heads: Sequence[str], at_once: int) -> TableView:
    merged = _merged(shape, at_once)
    most = max(*(count for _, _, count in merged), 1)
    rows = [(f"{low:.3g}", f"{high:.3g}", count_text(count), bar(count / most)) for low, high, count in merged]
    return TableView(caption, heads, rows)


def _merged(shape: Histogram, at_once: int) -> list[tuple[float, float, int]]:
    """Return a histogram with fewer cells: low end, high end, count."""
    width = (shape.high - shape.low) / len(shape.counts)
    return [
        (shape.low + start * width, shape.low + (start + at_once) * width, sum(shape.counts[start : start + at_once]))
        for start in range(0, len(shape.counts), at_once)
    ]
