"""One pass over the annotations: what shape their measurements have, and some of what was refused."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import Rulers
from sift_ray.report.page.histograms import COLUMNS, Shapes
from sift_ray.report.page.reading import batches, least, ranks
from sift_ray.schema import BACKEND_MEASURES, MEASURES
from sift_ray.storage import OutputRoot, WaveManifest, wave_files

BACKENDS: Final = ("snr_backend", "c50_backend", "distortion_backend", "quality_backend")
"""Columns that name what measured another, where that may give the unit."""

_PICKED: Final = ("unit_id", "status", "reject_stage", "reject_reason")


def backend_of(column: str) -> str:
    """Return the name of the column that says what measured `column`, where there is one: `snr_backend`."""
    return f"{column.removesuffix('_db')}_backend"


def unit_of(column: str, backend: str | None) -> str:
    """Return the unit of a measured column, by who measured it where that gives the unit."""
    return BACKEND_MEASURES.get(backend or "", MEASURES[column]).unit


@dataclass(frozen=True, slots=True, order=True)
class Refused:
    """An utterance that was refused, or whose alignment was: where it lies. They stand in the order of `rank`."""

    rank: int
    unit_id: int
    file: str
    what: str
    reason: str


class Survey:
    """What a pass over the annotations found.

    Attributes:
        shapes: of the usable rows.
        refused: some utterances of each (what was refused, reason), by hash; none is kept twice.
    """

    def __init__(self, rulers: Rulers | None, each: int, seed: int) -> None:
        self.shapes = Shapes(rulers)
        self.refused: defaultdict[tuple[str, str], list[Refused]] = defaultdict(list)
        self._backends: dict[str, set[str]] = {name: set() for name in BACKENDS}
        self._each = each
        self._seed = str(seed)

    def add(self, batch: Any, file: str) -> None:
        """Take in a batch of annotations."""
        ok = pc.equal(batch.column("status"), "ok")
        usable = batch.filter(ok)
        self.shapes.add(usable)
        for name, seen in self._backends.items():
            seen.update(pc.unique(usable.column(name)).drop_null().to_pylist())
        rejected = batch.filter(pc.invert(ok))
        stage = pc.fill_null(rejected.column("reject_stage"), "unknown")
        reason = pc.fill_null(rejected.column("reject_reason"), "unknown")
        self._pick(rejected.column("unit_id"), pc.binary_join_element_wise(stage, reason, "/"), "utterance", file)
        unaligned = usable.filter(pc.is_valid(usable.column("alignment_reason")))
        self._pick(unaligned.column("unit_id"), unaligned.column("alignment_reason"), "word spans", file)

    def units(self) -> dict[str, str]:
        """Return the units of the columns whose backends were seen; several where there were several."""
        columns = {backend_of(attribute.column): attribute.column for attribute in ATTRIBUTES.values()}
        return {
            columns[name]: ", ".join(sorted({unit_of(columns[name], backend) for backend in seen}))
            for name, seen in self._backends.items()
            if seen
        }

    def _pick(self, units: pa.Array, reasons: pa.Array, what: str, file: str) -> None:
        if not self._each:
            return
        for reason in pc.unique(reasons).to_pylist():
            mine = units.filter(pc.equal(reasons, reason)).to_numpy()
            hashes = ranks(mine, self._seed)
            found = [
                Refused(int(hashes[place]), int(mine[place]), file, what, reason) for place in least(hashes, self._each)
            ]
            cell = (what, reason)
            self.refused[cell] = heapq.nsmallest(self._each, [*self.refused[cell], *found])


def survey(root: OutputRoot, manifests: Iterable[WaveManifest], rulers: Rulers | None, each: int, seed: int) -> Survey:
    """Look at every annotation of finished waves; `each` refused utterances of a reason are kept."""
    made = Survey(rulers, each, seed)
    for manifest in manifests:
        for file in wave_files(root, manifest):
            for batch in batches(root, file, (*_PICKED, *BACKENDS, *COLUMNS)):
                made.add(batch, file)
    return made
