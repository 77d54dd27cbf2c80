"""What a plan would hold, counted: what `plan --dry-run` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.pipeline.plan_rules import LeftOut


@dataclass
class Cell:
    """The usable rows of one corpus, language and split.

    Attributes:
        utterances: All of them.
        hours: Of those whose duration is known.
        speakers: 64-bit hashes, sorted, each once.
        no_transcript: Rows without a text.
        no_gender: Rows whose speaker's gender is unknown.
        no_duration: Rows whose duration is unknown.
    """

    utterances: int = 0
    hours: float = 0.0
    speakers: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    no_transcript: int = 0
    no_gender: int = 0
    no_duration: int = 0

    def add(self, rows: pa.Table) -> None:
        """Count rows."""
        self.utterances += rows.num_rows
        self.hours += (pc.sum(rows["duration_s"]).as_py() or 0.0) / 3600
        self.speakers = np.union1d(self.speakers, rows["speaker"].drop_null().to_numpy())
        self.no_transcript += rows["transcript"].null_count
        self.no_gender += rows["gender"].null_count
        self.no_duration += rows["duration_s"].null_count


@dataclass
class Rejects:
    """The rejected rows of one reason; `example` is the detail of the one that was read first."""

    rows: int = 0
    example: str = ""
    first: int | None = None

    def add(self, rows: pa.Table) -> None:
        """Count rows."""
        self.rows += rows.num_rows
        place = int(np.argmin(rows["number"].to_numpy()))
        number = rows["number"][place].as_py()
        if self.first is None or number < self.first:
            self.first, self.example = number, rows["reject_detail"][place].as_py() or ""


@dataclass
class Preview:
    """Sums over the rows that would be planned; memory holds a hash for each speaker, and no row."""

    wave_rows: int
    error_budget: float = 1.0
    rows: int = 0
    cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict)  # by corpus, language and split
    rejects: dict[tuple[str, str], Rejects] = field(default_factory=dict)  # by corpus and reason
    skipped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # corpus → why → rows never asked for
    left_out: Mapping[tuple[str, str], LeftOut] = field(default_factory=dict)  # beyond `hours`, by corpus and language

    @property
    def waves(self) -> int:
        """How many waves the rows fill."""
        return -(-self.rows // self.wave_rows)

    def add(self, table: pa.Table) -> None:
        """Count rows as `SPOOLED`."""
        self.rows += table.num_rows
        ok = pc.equal(table["status"], "ok")
        for (corpus, language, split), rows in _groups(table.filter(ok), ("corpus", "language", "split")):
            self.cells.setdefault((corpus, language, split), Cell()).add(rows)
        for (corpus, reason), rows in _groups(table.filter(pc.invert(ok)), ("corpus", "reject_reason")):
            self.rejects.setdefault((corpus, reason), Rejects()).add(rows)


def _groups(table: pa.Table, names: tuple[str, ...]) -> list[tuple[tuple[str, ...], pa.Table]]:
    """Return the rows of each combination of the columns' values."""
    found = []
    for values in table.group_by(list(names)).aggregate([]).to_pylist():
        mask = pa.array(np.ones(table.num_rows, dtype=np.bool_))
        for name in names:
            mask = pc.and_(mask, pc.equal(table[name], values[name]))
        found.append((tuple(values[name] for name in names), table.filter(mask)))
    return found
