"""Rulers: the edges that turn measurements into ordinals, and the `bins.json` that keeps them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.columns import codes, floats
from sift_ray.schema import MEASURES

ALL: Final = "*"
"""Stands for all corpora together."""

FORMAT: Final = 1


class BinsError(ValueError):
    """A bins.json cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Ruler:
    """The edges of one attribute for one corpus (or `ALL`) and gender (or None), and what they come from.

    Attributes:
        count, low, high, mean, std: of all feasible values. `kept`: how many shaped the edges.
        edges: bins + 1 values, not decreasing.
        histogram: low end, high end, counts of equal cells, for the report.
    """

    attribute: str
    corpus: str
    gender: str | None
    count: int
    kept: int
    low: float
    high: float
    mean: float
    std: float
    edges: tuple[float, ...]
    histogram: tuple[float, float, tuple[int, ...]]

    def ordinals(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
        """Return the bin of each value; beyond the edges means the first or last bin, on one the lower bin."""
        places = np.searchsorted(self.edges, values, side="left") - 1
        return np.clip(places, 0, len(self.edges) - 2).astype(np.int8)


class Rulers:
    """All rulers of a data set, and which of them judges whom.

    A group of fewer than `min_count` values is judged by the ruler of all corpora (of the same gender, where the
    attribute is split by gender); so is a corpus that was never measured.
    """

    def __init__(self, rulers: Iterable[Ruler], *, method: str, min_count: int) -> None:
        self.method = method
        self.min_count = min_count
        self.rulers: Mapping[tuple[str, str, str | None], Ruler] = {
            (r.attribute, r.corpus, r.gender): r for r in rulers
        }

    def ruler(self, attribute: str, corpus: str, gender: str | None) -> Ruler | None:
        """Return the ruler that judges this group, None where there is none (as for unknown gender's pitch)."""
        split = ATTRIBUTES[attribute].by_gender
        if split and gender is None:
            return None
        key = gender if split else None
        own = self.rulers.get((attribute, corpus, key))
        if own is not None and own.count >= self.min_count:
            return own
        return self.rulers.get((attribute, ALL, key))

    def ordinals(self, attribute: str, values: Any, corpus: Any, gender: Any) -> npt.NDArray[np.int8]:
        """Return each value's ordinal, -1 where it is unknown.

        Args:
            attribute: a key of `categories.ATTRIBUTES`.
            values: numbers, in the unit of the attribute's column (utterance or word level), null or NaN unknown.
            corpus: strings, as long as `values`.
            gender: strings or null, as long as `values`.

        Returns:
            int8, as long as `values`. Unknown is: null, NaN, outside the feasible range of `schema.MEASURES`, no
            gender where the attribute is split by it, no ruler.
        """
        numbers = floats(values)
        measure = MEASURES[ATTRIBUTES[attribute].column]
        with np.errstate(invalid="ignore"):
            known = (numbers >= measure.low) & (numbers <= measure.high)
        made = np.full(len(numbers), -1, np.int8)
        corpora, corpus_of = codes(corpus)
        genders, gender_of = codes(gender)
        split = ATTRIBUTES[attribute].by_gender
        for corpus_index, name in enumerate(corpora):
            here = known & (corpus_of == corpus_index)
            for gender_index, sex in enumerate(genders) if split else ((-1, None),):
                ruler = self.ruler(attribute, name, sex)
                mask = here & (gender_of == gender_index) if split else here
                if ruler is not None and mask.any():
                    made[mask] = ruler.ordinals(numbers[mask])
        return made

    def labels(self, attribute: str, values: Any, corpus: Any, gender: Any) -> list[str | None]:
        """Return each value's label, None where it is unknown. See `ordinals`."""
        names = (*ATTRIBUTES[attribute].labels, None)  # (-1 is the last)
        return [names[o] for o in self.ordinals(attribute, values, corpus, gender).tolist()]

    def to_json(self) -> str:
        """Return the text of bins.json: every ruler, and which one judges each group."""
        made = []
        for ruler in self.rulers.values():
            judge = self.ruler(ruler.attribute, ruler.corpus, ruler.gender)
            entry = asdict(ruler)
            entry["judged_by"] = ruler.corpus if judge is None else judge.corpus
            entry["labels"] = list(ATTRIBUTES[ruler.attribute].labels)
            made.append(entry)
        document = {"format": FORMAT, "method": self.method, "min_count": self.min_count, "rulers": made}
        return json.dumps(document, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str, source: str = "bins.json") -> Rulers:
        """Read what `to_json` wrote.

        Raises:
            BinsError: not such a document, other categories than this version's, or edges that decrease.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise BinsError(f"{source}: format {document['format']}, this version reads {FORMAT}")
            rulers = [_ruler(entry, source) for entry in document["rulers"]]
            return cls(rulers, method=document["method"], min_count=document["min_count"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise BinsError(f"{source}: not a bins.json: {type(error).__name__}: {error}") from error


def _ruler(entry: Mapping[str, Any], source: str) -> Ruler:
    where = f"{source}: {entry['attribute']}, corpus {entry['corpus']}, gender {entry['gender']}"
    attribute = ATTRIBUTES.get(entry["attribute"])
    if attribute is None or tuple(entry["labels"]) != attribute.labels:
        raise BinsError(f"{where}: its categories are not those of this version; build the bins again")
    edges = tuple(float(edge) for edge in entry["edges"])
    if len(edges) != len(attribute.labels) + 1 or any(b < a for a, b in itertools.pairwise(edges)):
        raise BinsError(f"{where}: {len(attribute.labels)} categories need as many edges and one, in order")
    low, high, counts = entry["histogram"]
    known = {k: v for k, v in entry.items() if k not in ("edges", "histogram", "judged_by", "labels")}
    return Ruler(**known, edges=edges, histogram=(low, high, tuple(counts)))
