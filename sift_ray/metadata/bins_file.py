"""The text of `bins.json`: every ruler, what the groups of the data set hold, and who judges each of both."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import Group, Ruler, Rulers

FORMAT: Final = 2

_FALLBACK: Final = (
    "a group of fewer than min_count values is judged by its corpus over all languages, then by its language over all "
    "corpora, then by all, which judges however few values it has"
)


class BinsError(ValueError):
    """A bins.json cannot be used; the message says what is wrong with it."""


def write_bins(rulers: Rulers) -> str:
    """Return the text of bins.json.

    `rulers` are the edges, with the statistics of the values that made them and a histogram; `groups` are the values of
    the data set that they judge, each value in one group, counted by category (`metadata.rulers.Rulers.counts`). In
    both, `judged_by` names the ruler that judges the group, and on how many values it rests: fewer than `min_count`
    means that there was no larger one. `unknown` counts by reason the utterances that have no category.
    """
    document = {
        "format": FORMAT,
        "method": rulers.method,
        "min_count": rulers.min_count,
        "fallback": _FALLBACK,
        "rulers": [
            {
                **asdict(ruler),
                "labels": ATTRIBUTES[ruler.attribute].labels,
                "judged_by": _named(rulers.judge_of(ruler)),
            }
            for ruler in rulers.rulers.values()
        ],
        "groups": [
            {
                **group._asdict(),
                "categories": dict(zip(ATTRIBUTES[group.attribute].labels, counts, strict=True)),
                "judged_by": _named(rulers.judge(group)),
            }
            for group, counts in rulers.counts.items()
        ],
        "unknown": rulers.unknown,
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


def read_bins(text: str, source: str = "bins.json") -> Rulers:
    """Read what `write_bins` wrote.

    Raises:
        BinsError: not such a document, other categories than this version's, or edges that decrease.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise BinsError(f"{source}: format {document['format']}, this version reads {FORMAT}; build the bins again")
        return Rulers(
            [_ruler(entry, source) for entry in document["rulers"]],
            method=document["method"],
            min_count=document["min_count"],
            counts=dict(_counted(entry, source) for entry in document["groups"]),
            unknown=document["unknown"],
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BinsError(f"{source}: not a bins.json: {type(error).__name__}: {error}") from error


def _named(judge: Ruler | None) -> dict[str, Any] | None:
    if judge is None:
        return None
    return {"corpus": judge.corpus, "language": judge.language, "gender": judge.gender, "count": judge.count}


def _group(entry: Mapping[str, Any], labels: tuple[str, ...], source: str) -> Group:
    """Return the group of an entry, whose categories must be those of this version."""
    group = Group(entry["attribute"], entry["corpus"], entry["language"], entry["gender"])
    if group.attribute not in ATTRIBUTES or ATTRIBUTES[group.attribute].labels != labels:
        raise BinsError(f"{source}: {group}: its categories are not those of this version; build the bins again")
    return group


def _counted(entry: Mapping[str, Any], source: str) -> tuple[Group, tuple[int, ...]]:
    categories = entry["categories"]
    return _group(entry, tuple(categories), source), tuple(categories.values())


def _ruler(entry: Mapping[str, Any], source: str) -> Ruler:
    labels = tuple(entry["labels"])
    group = _group(entry, labels, source)
    edges = tuple(float(edge) for edge in entry["edges"])
    if len(edges) != len(labels) + 1 or not all(a <= b for a, b in itertools.pairwise(edges)):
        raise BinsError(f"{source}: {group}: {len(labels)} categories need {len(labels) + 1} edges, in order")
    low, high, counts = entry["histogram"]
    known = {k: v for k, v in entry.items() if k not in ("edges", "histogram", "judged_by", "labels")}
    return Ruler(**known, edges=edges, histogram=(low, high, tuple(counts)))
