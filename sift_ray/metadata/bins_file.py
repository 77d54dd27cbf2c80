"""The text of `bins.json`: every ruler, what the groups of the data set hold, and who judges each of both."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from pydantic import ValidationError

from sift_ray.metadata.bins_document import FORMAT, BinsDocument
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import Group, Ruler, Rulers

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
    """Read what `write_bins` wrote; at the top there may be more than that.

    Raises:
        BinsError: not such a document, other categories than this version's, or entries that can't be: with the file,
            the entry and what is wrong with it.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise BinsError(f"{source}: not a bins.json: {error}") from error
    if isinstance(document, dict) and document.get("format", FORMAT) != FORMAT:
        raise BinsError(f"{source}: format {document['format']!r}, this version reads {FORMAT}; build the bins again")
    try:
        read = BinsDocument.model_validate_json(text)
    except ValidationError as error:
        raise BinsError(f"{source}: not a bins.json: {_told(error, document)}") from error
    return Rulers(
        [Ruler(**entry.model_dump(exclude={"labels", "judged_by"})) for entry in read.rulers],
        method=read.method,
        min_count=read.min_count,
        counts={entry.group: tuple(entry.categories.values()) for entry in read.groups},
        unknown=read.unknown,
    )


def _told(error: ValidationError, document: Any) -> str:
    """Return the first fault, with the entry that has it, and how many more there are."""
    faults = error.errors()
    place = faults[0]["loc"]
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).lstrip(".")
    if len(place) > 1 and isinstance(place[1], int):
        entry = document[place[0]][place[1]]
        if isinstance(entry, dict):
            where += f" ({', '.join(str(entry.get(key)) for key in Group._fields)})"
    what = faults[0]["msg"].removeprefix("Value error, ")
    more = f" (the first of {len(faults)} faults)" if len(faults) > 1 else ""
    return f"{where}: {what}{more}" if where else f"{what}{more}"


def _named(judge: Ruler | None) -> dict[str, Any] | None:
    if judge is None:
        return None
    return {"corpus": judge.corpus, "language": judge.language, "gender": judge.gender, "count": judge.count}
