"""The tables of `bins show`: where each ruler's categories begin and end, and how many values fall into them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sift_ray.metadata.bins_file import read_bins
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import ALL, EVERYONE, Group, Ruler, Rulers, in_order
from sift_ray.report.tables import grid
from sift_ray.schema import MEASURES
from sift_ray.storage import OutputRoot, StorageError

_BAR = 24  # characters of the fullest category's
_WITH_BARS = 100  # columns of a console that has room for them
_HEADS = ("category", "above", "up to", "values", "share")


def rulers_in(root: OutputRoot, name: str = "bins.json") -> Rulers:
    """Return the rulers that lie under `root`, whatever has become of the annotations since.

    Raises:
        StorageError: there are none.
        BinsError: they can't be used.
    """
    if not root.exists(name):
        raise StorageError(f"{root.uri}: there is no {name}; run `sift-ray bin` first")
    return read_bins(root.read(name).decode(), f"{root.uri}/{name}")


def render(
    rulers: Rulers,
    console: Console,
    *,
    attributes: Collection[str] = (),
    corpora: Collection[str] = (),
    idle: bool = False,
) -> None:
    """Print every ruler as a table, and why values have no category.

    Args:
        rulers: what to print.
        console: where to.
        attributes: only these; empty is all.
        corpora: only rulers of these (`rulers.ALL` for those of all corpora); empty is all.
        idle: print the tables too, and not the headings alone, of rulers that judge no value of the data set.

    Raises:
        ValueError: there are no rulers of one of `corpora`.
    """
    there = {group.corpus for group in rulers.rulers}
    if missing := set(corpora) - there:
        raise ValueError(f"no rulers of {', '.join(sorted(missing))}; there are some of {', '.join(sorted(there))}")
    for group in sorted(rulers.rulers, key=in_order):
        if (attributes and group.attribute not in attributes) or (corpora and group.corpus not in corpora):
            continue
        ruler = rulers.rulers[group]
        console.print(_heading(rulers, ruler), soft_wrap=True)
        if idle or any(rulers.judged(ruler)):
            console.print(_table(rulers, ruler, bars=console.width >= _WITH_BARS))
        console.print()
    if unknown := list(_unknown(rulers, attributes)):
        console.print(grid("Without a category, by reason", ("attribute", "reason", "values"), unknown, words=_WORDS))
        console.print()
    few = rulers.min_count
    console.print(
        f"{len(rulers.rulers):,} rulers by {rulers.method}; a group of fewer than {few:,} values is judged by another.",
        highlight=False,
    )


_WORDS = ("reason",)


def name_of(group: Group) -> str:
    """Return a group in words: "average_pitch, vctk, female"."""
    parts = [group.attribute, "all corpora" if group.corpus == ALL else group.corpus]
    if group.language is not None:
        parts.append(group.language)
    if group.gender is not None:
        parts.append("all speakers" if group.gender == EVERYONE else group.gender)
    return ", ".join(parts)


def _heading(rulers: Rulers, ruler: Ruler) -> Text:
    """Return what the table is of; apart from it, as a table's own title is cut to its width."""
    unit = MEASURES[ATTRIBUTES[ruler.attribute].column].unit
    lines = [
        f"{name_of(ruler.group)}: {ruler.kept:,} of {ruler.count:,} values shape it",
        f"{ruler.low:,.1f} to {ruler.high:,.1f}, mean {ruler.mean:,.1f}, std {ruler.std:,.1f} ({unit})",
    ]
    judge = rulers.judge_of(ruler)
    if judge is not None and judge is not ruler:
        lines.append(f"too few to judge by: the group is judged by {name_of(judge.group)}")
    elif not any(rulers.judged(ruler)):
        lines.append("judges no value here")
    heading = Text("\n".join(lines))
    heading.stylize("bold", 0, len(lines[0]))
    return heading


def _table(rulers: Rulers, ruler: Ruler, *, bars: bool) -> Table:
    judged = rulers.judged(ruler)
    total = sum(judged)
    rows = [
        (
            label,
            f"{low:,.1f}",
            f"{high:,.1f}",
            f"{count:,}",
            f"{count / total:.1%}" if total else "",
            *([bar] if bars else []),
        )
        for label, (low, high), count, bar in zip(
            ATTRIBUTES[ruler.attribute].labels, pairwise(ruler.edges), judged, _bars(judged), strict=True
        )
    ]
    return grid("", (*_HEADS, "") if bars else _HEADS, rows, words=("",))


def _bars(counts: Sequence[int]) -> list[str]:
    most = max((*counts, 1))
    return ["█" * round(_BAR * count / most) for count in counts]


def _unknown(rulers: Rulers, attributes: Collection[str]) -> Iterator[tuple[str, str, str]]:
    for attribute in ATTRIBUTES:
        if attributes and attribute not in attributes:
            continue
        reasons = rulers.unknown.get(attribute, {})
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
            yield attribute, reason, f"{count:,}"
