"""The rows of all corpora, read once, and what of them is planned, in the plan's order.

They wait in a scratch folder. Memory holds eight bytes a row (the ids, to find those that come twice) and, beside
that, a bounded number of rows, the speakers of dev and test, and what the readers hold.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sift_ray.config import Config, DemoConfig
from sift_ray.corpora import Reading, read_corpus
from sift_ray.corpora.tables_read import TableMark, noting
from sift_ray.pipeline.plan_rows import ORDER, SPOOLED, spooled
from sift_ray.pipeline.plan_rules import HeldOutSpeakers, HourLimits, LeftOut, PlanError, RepeatedIds
from sift_ray.pipeline.spool import SortedSpool
from sift_ray.schema import LANGUAGES

log = logging.getLogger(__name__)

_BATCH_ROWS: Final = 2048
_LOG_EVERY_S: Final = 15.0


class Draft:
    """A plan before it is written."""

    def __init__(self, config: Config, folder: Path) -> None:
        """Read the corpora into the scratch folder.

        Raises:
            PlanError: there are no rows, or a duration is needed that is not known.
            CorpusError: a corpus is not laid out as its type says.
        """
        self._folder = folder
        self._spool = SortedSpool(folder / "rows", SPOOLED, ORDER)
        self._limits = HourLimits.of(config, LANGUAGES)
        self._reading = Reading(config.reading_from, config.plan.read_headers, config.plan.threads)
        units = bytearray()  # grows in place, where joining arrays would hold all of them twice
        started = told = time.monotonic()
        with noting() as self._tables_read:
            for corpus in config.corpora:
                before = self._spool.rows
                rows = read_corpus(corpus, self._reading)
                version = getattr(corpus, "version", None) or ""
                while batch := list(islice(rows, _BATCH_ROWS)):
                    table = spooled(batch, version, self._spool.rows)
                    self._limits.check(table)
                    self._spool.add(table)
                    units += table["unit_id"].to_numpy().tobytes()
                    if time.monotonic() - told >= _LOG_EVERY_S:
                        told = time.monotonic()
                        rate = self._spool.rows / (told - started)
                        log.info("plan: %s utterances read, %.0f a second", f"{self._spool.rows:,}", rate)
                if self._spool.rows == before and not isinstance(corpus, DemoConfig):
                    log.warning("corpus %s: no utterances found in %s", corpus.name, corpus.path)
        if self._spool.rows == 0:
            raise PlanError("no corpus holds a single utterance: check each `path` and `languages`")
        self._units: NDArray[np.int64] = np.frombuffer(units, dtype=np.int64)

    @property
    def skipped(self) -> dict[str, dict[str, int]]:
        """Corpus → why → rows that its reader was never asked for."""
        skipped: dict[str, dict[str, int]] = {}
        for (corpus, why), rows in self._reading.skipped.items():
            skipped.setdefault(corpus, {})[why] = rows
        return skipped

    def table_marks(self) -> dict[str, TableMark]:
        """Return the marks of the tables that the rows were read from, by address."""
        return self._tables_read

    @property
    def left_out(self) -> dict[tuple[str, str], LeftOut]:
        """Corpus and language → what lies beyond the hours that are taken; known once all of `tables` was taken."""
        return self._limits.left_out

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows that are planned, as `SPOOLED`, in the plan's order; to be called once.

        Raises:
            PlanError: two different utterances share a `unit_id`.
        """
        self._units.sort()
        repeated = RepeatedIds(self._folder / "repeated", self._units)
        del self._units
        speakers = HeldOutSpeakers()
        for table in self._spool.scan(RepeatedIds.COLUMNS):
            speakers.add(repeated.add(table))
        for table in repeated.settle():
            speakers.add(table)
        for table in map(repeated.mark, self._spool.tables()):
            yield self._limits.cut(speakers.mark(table))
        self._limits.warn()
