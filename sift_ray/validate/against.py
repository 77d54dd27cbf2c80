"""Rules that hold a release against what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.validate.duplicates import Duplicates, Explain, Repeats
from sift_ray.validate.findings import Findings, shown
from sift_ray.validate.hashing import Hashes
from sift_ray.validate.ids import flags, parts_of
from sift_ray.validate.measured import Measured, among, fact_hashes, lead_hashes, partner_hashes
from sift_ray.validate.reading import Batch
from sift_ray.validate.spill import PARTS, HashSpill, Places, absent

_CONTROLLABLE: Final = "controllable_generation"
_SPOKEN: Final = r"(?s)\n\n(?:Text|Texte|Testo|Texto): (?P<spoken>.*)$"


class Against:
    """Looks up utterances, speakers, evidence and texts to be spoken."""

    def __init__(self, measured: Measured, folder: Path, *, held_bytes: int) -> None:
        """Take what was measured, a scratch folder that is there, and the bytes that each of two tables may hold."""
        self._measured = measured
        self._evidence, self._spoken = (
            HashSpill(folder / name, held_bytes=held_bytes) for name in ("evidence", "spoken")
        )
        self._rows_with_evidence = 0
        self._spoken_rows = 0

    def look(self, batch: Batch, duplicates: Duplicates, found: Findings) -> None:
        """Look at some rows; who speaks them goes to `duplicates`."""
        places, parts = batch.places(), parts_of(batch)
        leads = lead_hashes(batch.column("data_source"), parts.first)
        language = pa.array([batch.shard.language] * len(batch), pa.string())
        partners = partner_hashes(language, parts.second)
        there, at = among(leads, self._measured.known.utterances)
        second = np.asarray(parts.second.is_valid())
        unknown = ~there | (second & ~among(partners, self._measured.known.partners)[0])
        names = batch.column("id")
        found.rows("not_annotated", batch.shard.path, batch.numbers, unknown, lambda i: shown(names[i].as_py()))
        if len(self._measured.known.speakers):
            speakers = self._measured.known.speakers[at]
            known = there & (speakers != 0)
            duplicates.add_speakers(speakers[known], places[known])
        if batch.has("evidence"):
            self._look_at_evidence(batch, leads, partners, places, ~unknown)
        if batch.shard.task == _CONTROLLABLE:
            self._look_at_spoken(batch, leads, places, ~unknown)

    def _look_at_evidence(
        self,
        batch: Batch,
        leads: Hashes,
        partners: Hashes,
        places: Places,
        told: NDArray[np.bool_],
    ) -> None:
        evidence = batch.column("evidence")
        facts, parents = pc.list_flatten(evidence), np.asarray(pc.list_parent_indices(evidence))
        # (what nobody can tell was never measured; what is not annotated is told of already)
        known = flags(pc.struct_field(facts, "value").is_valid()) & told[parents]
        facts, parents = facts.filter(pa.array(known)), parents[known]
        audio = np.asarray(pc.struct_field(facts, "audio"))
        hashes = np.empty(len(facts), np.uint64)
        for number, owners in enumerate((leads, partners)):
            mine = audio == number
            of_mine = facts.filter(pa.array(mine))
            hashes[mine] = fact_hashes(owners, of_mine, parents[mine], audio[mine])
        self._evidence.add(hashes, places[parents])
        self._rows_with_evidence += len(np.unique(parents))

    def _look_at_spoken(self, batch: Batch, leads: Hashes, places: Places, told: NDArray[np.bool_]) -> None:
        spoken = pc.struct_field(pc.extract_regex(batch.said.question, _SPOKEN), "spoken")
        rows = np.flatnonzero(told)
        count = len(rows)
        facts = pa.StructArray.from_arrays(
            [
                pa.array(["transcript"] * count, pa.string()),
                spoken.take(pa.array(rows)),
                pa.array(np.zeros(count, np.int32)),
            ],
            names=["key", "value", "position"],
        )
        self._spoken.add(fact_hashes(leads, facts, rows, np.zeros(count, np.int8)), places[rows])
        self._spoken_rows += count

    def finish(self, found: Findings, explain: Explain) -> None:
        """Report what was not measured."""
        for rule, table, rows in (
            ("evidence_not_measured", self._evidence, self._rows_with_evidence),
            ("spoken_text", self._spoken, self._spoken_rows),
        ):
            breaches = Repeats(rule)
            for number in range(PARTS):
                part = table.part(number)
                missing = np.unique(part.places[absent(part, self._measured.facts.part(number))])
                breaches.add(missing, missing)
            found.looked(rule, rows, "rows")
            breaches.settle(found, explain)
