"""The parts of the page about measurements: their shapes and edges, categories, durations, alignment scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from sift_ray.metadata.categories import ATTRIBUTES, Attribute, labels_of
from sift_ray.metadata.rulers import Group, Rulers, in_order
from sift_ray.report.bins_table import name_of
from sift_ray.report.page.balance import CLOSED
from sift_ray.report.page.charts import bar, histogram
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
        charts = [_chart(attribute, group, measured[group], rulers, unit) for group in sorted(largest, key=in_order)]
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


def _chart(attribute: Attribute, group: Group, shape: Histogram, rulers: Rulers, unit: str) -> Chart:
    judge = rulers.judge(group)
    edges = () if judge is None else judge.edges
    counts = rulers.counts.get(group, (0,) * len(attribute.labels))
    total = sum(counts)
    rows = [
        (
            f"{place}. {label}",
            f"{low:,.4g}",
            f"{high:,.4g}",
            count_text(count),
            f"{count / total:.1%}" if total else "",
            bar(count / total if total else 0.0),
        )
        for place, (label, (low, high), count) in enumerate(
            zip(attribute.labels, pairwise(edges), counts, strict=True), 1
        )
    ]
    name = name_of(group).partition(", ")[2]
    values = sum(shape.counts)
    caption = f"{name}: {count_text(values)} {'value' if values == 1 else 'values'}"
    if judge is not None and judge.group != group:
        caption += f", judged by {name_of(judge.group).partition(', ')[2]}"
    described = f"Histogram of {attribute.key.replace('_', ' ')}, {name}, in {unit}, with the edges of its categories."
    numbers = TableView(
        f"{title_of(attribute.key)}, {name}: categories, {unit}",
        ("category", "above", "up to", "values", "share", ""),
        rows,
    )
    return Chart(caption, histogram(shape, edges, described), numbers)


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
    rows: list[Sequence[str]] = []
    for label in labels_of(key):
        cells: list[str] = [label]
        if judged is not None:
            cells += _shared(judged.get(label, 0), values)
        rows.append((*cells, *_shared(told[label], facts)))
    if judged is not None:
        rows += [
            (f"no category: {reason}", count_text(n), "", "", "", "", "") for reason, n in largest_first(unknown) if n
        ]
    heads = ("utterances", "share", "") if judged is not None else ()
    return TableView(
        f"{title_of(key)}: balance of its categories", ("category", *heads, "in accepted answers", "share", ""), rows
    )


def _shared(count: int, total: int) -> tuple[str, ...]:
    share = count / total if total else 0.0
    return count_text(count), f"{share:.1%}" if total else "", bar(share)


def duration_charts(shapes: Shapes) -> list[Chart]:
    """Return the histogram of each corpus's durations."""
    return [
        Chart(
            f"{corpus}: {count_text(sum(shape.counts))} utterances",
            histogram(
                shape, (), f"Histogram of the durations of {corpus}, seconds; the last bar holds all longer ones."
            ),
            _cells(f"Durations of {corpus}, s", shape, ("from", "below", "utterances", ""), 6),
        )
        for corpus, shape in shapes.durations().items()
    ]


def alignment_charts(shapes: Shapes) -> list[Chart]:
    """Return the histogram of each language's alignment scores, those that were refused dashed on top."""
    charts = []
    for language, (used, refused) in shapes.scores().items():
        kept, not_kept = sum(used.counts), sum(refused.counts)
        caption = f"{language}: {count_text(kept)} alignments used, {count_text(not_kept)} refused (dashed)"
        described = f"Histogram of alignment scores in {language}, 0 to 1."
        both = _score_numbers(language, used, refused)
        charts.append(Chart(caption, histogram(used, (), described, refused.counts), both))
    return charts


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
