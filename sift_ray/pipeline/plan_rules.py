"""What is decided over all rows of the corpora: which of a repeated id stands, who speaks in which split, how many
hours are taken.

Each rule goes through the rows in the plan's order, table by table, and holds no row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.config import Config, DemoConfig
from sift_ray.pipeline.plan_rows import ORDER, SPOOLED, mask_of, rejected, renamed, usable
from sift_ray.pipeline.spool import SortedSpool
from sift_ray.storage import stable_id

log = logging.getLogger(__name__)

_MOST_HELD_OUT_FIRST: Final = ("test", "dev", "train")


class PlanError(RuntimeError):
    """The corpora can't be planned; the message says why."""


class RepeatedIds:
    """Of rows with one id one stands, and the others are rejected: usable rows stand before rejected ones, then those
    of a more held-out split (a clip that is in test must not be trained on), then those that were read first.

    Those rows wait on disk: a list that was appended to itself has as many of them as of others.
    """

    COLUMNS: Final = (*ORDER, "corpus", "utterance_id", "split", "speaker", "status", "where")
    """What `add` must be given of the rows."""

    def __init__(self, folder: Path, units: NDArray[np.int64]) -> None:
        """Take a scratch folder that is not there yet, and the `unit_id` of every row, sorted."""
        folder.mkdir()
        self._units = np.unique(units[1:][units[1:] == units[:-1]])
        found = [SPOOLED.field(name) for name in self.COLUMNS]
        rest = [SPOOLED.field(name) for name in ORDER]
        self._found = SortedSpool(
            folder / "found", pa.schema([*found, ("after", pa.int64())]), ("unit_id", "after", "number")
        )
        self._others = SortedSpool(
            folder / "others", pa.schema([*rest, ("own_id", pa.int64()), ("detail", pa.string())]), ORDER
        )
        self._stream: Iterator[pa.Table] = iter(())
        self._waiting = pa.table({})

    def add(self, table: pa.Table) -> pa.Table:
        """Take rows in any order; return those whose id no other row has."""
        mask = _among(table["unit_id"].to_numpy(), self._units)
        if mask.any():
            places = pc.index_in(table["split"], value_set=pa.array(_MOST_HELD_OUT_FIRST))
            places = pc.fill_null(places, len(_MOST_HELD_OUT_FIRST) - 1).to_numpy()
            after = pa.array(places.astype(np.int64) + len(_MOST_HELD_OUT_FIRST) * ~usable(table))
            self._found.add(
                table.select(self.COLUMNS).append_column("after", after).filter(pa.array(mask)).cast(self._found.schema)
            )
            return table.filter(pa.array(~mask))
        return table

    def settle(self) -> Iterator[pa.Table]:
        """Yield the rows that stand, once all were added; `mark` then knows the others.

        Raises:
            PlanError: rows that share a hash are different utterances. At 6 million rows the odds are one in a
                million; giving a corpus another `version` changes its hashes.
        """
        carried = self._found.schema.empty_table()  # the row that stands of the id that the last table ended with
        for table in self._found.tables():
            rows = pa.concat_tables([carried, table]).combine_chunks()
            units = rows["unit_id"].to_numpy()
            begins = np.append(True, units[1:] != units[:-1])
            firsts = np.flatnonzero(begins)
            standing = rows.take(firsts[np.cumsum(begins) - 1])
            _check_same(rows, standing)
            yield rows.take(firsts[carried.num_rows :])
            self._reject(rows, standing, pa.array(~begins))
            carried = rows.slice(int(firsts[-1]), 1)
        self._stream = self._others.tables()
        self._waiting = self._others.schema.empty_table()

    def _reject(self, rows: pa.Table, standing: pa.Table, mask: pa.Array) -> None:
        others, standing = rows.filter(mask), standing.filter(mask)
        pairs = zip(others["unit_id"].to_pylist(), others["number"].to_pylist(), strict=True)
        detail = pc.binary_join_element_wise(others["where"], ": ", standing["where"], " has the same id", "")
        columns = {
            **{name: others[name] for name in ORDER},
            "own_id": pa.array((stable_id("repeated", str(unit), str(number)) for unit, number in pairs), pa.int64()),
            "detail": detail,
        }
        self._others.add(pa.table(columns, schema=self._others.schema))

    def mark(self, table: pa.Table) -> pa.Table:
        """Return the table, which must come in the plan's order, with the rows that do not stand rejected."""
        while not self._waiting.num_rows or _place(self._waiting) < _place(table):
            more = next(self._stream, None)
            if more is None:
                break
            self._waiting = pa.concat_tables([self._waiting, more])
        if not self._waiting.num_rows:
            return table
        mask = np.isin(table["number"].to_numpy(), self._waiting["number"].to_numpy())
        here = self._waiting.slice(0, int(mask.sum())).combine_chunks()
        self._waiting = self._waiting.slice(here.num_rows)
        if not here.num_rows:
            return table
        table = renamed(table, mask, here["own_id"].combine_chunks())
        return rejected(table, mask, "duplicate_id", here["detail"].combine_chunks())


def _place(table: pa.Table) -> tuple[int, ...]:
    return tuple(table[name][-1].as_py() for name in ORDER)


def _check_same(rows: pa.Table, standing: pa.Table) -> None:
    differ = pc.or_(*(pc.not_equal(rows[name], standing[name]) for name in ("corpus", "utterance_id")))
    place = pc.index(differ, True).as_py()
    if place >= 0:
        one, other = (f"{t['corpus'][place]}/{t['utterance_id'][place]}" for t in (rows, standing))
        raise PlanError(f"{one} and {other} have one hash: set `version` of either corpus")


class HeldOutSpeakers:
    """A speaker with usable rows in one split of a corpus is taken out of its less held-out splits.

    Of all speakers the hashes of those in dev and test are held. Rows without a speaker can't be looked at.
    """

    COLUMNS: Final = ("speaker", "split", "status")
    """What `add` must be given of the rows."""

    def __init__(self) -> None:
        self._speakers = {split: np.empty(0, dtype=np.int64) for split in _MOST_HELD_OUT_FIRST[:-1]}

    def add(self, table: pa.Table) -> None:
        """Take rows in any order."""
        for split, known in self._speakers.items():
            mask = pc.and_(pc.equal(table["split"], split), pc.equal(table["status"], "ok"))
            found = np.unique(table["speaker"].filter(mask).drop_null().to_numpy())
            new = found[~_among(found, known)]
            if new.size:
                self._speakers[split] = np.union1d(known, new)

    def mark(self, table: pa.Table) -> pa.Table:
        """Return the table with the rows rejected whose speaker is held out."""
        speakers = pc.fill_null(table["speaker"], 0).to_numpy()
        known = mask_of(pc.is_valid(table["speaker"]))
        for rank, (split, held_out) in enumerate(self._speakers.items()):
            less = pc.is_in(table["split"], value_set=pa.array(_MOST_HELD_OUT_FIRST[rank + 1 :]))
            mask = known & _among(speakers, held_out) & mask_of(less) & usable(table)
            if mask.any():
                rows = table.select(["where", "speaker_id", "split"]).filter(pa.array(mask)).combine_chunks()
                says = (rows["where"], ": speaker ", rows["speaker_id"], " of ", rows["split"], f" is also in {split}")
                details = pc.binary_join_element_wise(*says, "").combine_chunks()
                table = rejected(table, mask, "speaker_in_two_splits", details)
        return table


def _among(values: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the values are in `known`, which is sorted."""
    if not known.size:
        return np.zeros(values.shape, dtype=np.bool_)
    return np.asarray(known[np.minimum(np.searchsorted(known, values), known.size - 1)] == values, dtype=np.bool_)


@dataclass
class LeftOut:
    """What a corpus has of a language beyond the hours that are taken: all its rows, and the hours of the usable."""

    utterances: int = 0
    hours: float = 0.0


@dataclass
class _Taken:
    most_s: float
    seconds: float = 0.0
    last_key: int | None = None  # that of the row which reached the hours: the rest of its block is taken too


@dataclass
class HourLimits:
    """Of each corpus and language the first rows in the plan's order are taken, until their hours are reached.

    So a greater number takes all that a smaller one takes, from all splits alike.
    """

    most: Mapping[str, Mapping[str, float]]  # corpus → language → hours
    named: frozenset[tuple[str, str]] = frozenset()  # corpus and language that the config names with hours of its own
    left_out: dict[tuple[str, str], LeftOut] = field(default_factory=dict)
    _taken: dict[tuple[str, str], _Taken] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, languages: tuple[str, ...]) -> HourLimits:
        """Return the limits that the corpora's `hours` give."""
        return cls(
            {
                corpus.name: {
                    language: hours for language in languages if (hours := corpus.most_hours(language)) is not None
                }
                for corpus in config.corpora
                if not isinstance(corpus, DemoConfig) and corpus.hours is not None
            },
            frozenset(
                (corpus.name, str(language))
                for corpus in config.corpora
                if not isinstance(corpus, DemoConfig) and isinstance(corpus.hours, Mapping)
                for language in corpus.hours
            ),
        )

    def check(self, table: pa.Table) -> None:
        """Raise PlanError where a usable row that is to be counted has no duration."""
        for corpus, of_language in self.most.items():
            mask = usable(table) & mask_of(pc.is_null(table["duration_s"])) & _rows_of(table, corpus, [*of_language])
            if mask.any():
                where = table["where"][int(np.argmax(mask))]
                raise PlanError(
                    f"{where}: its duration is not known, and corpus {corpus} is cut by `hours`: set "
                    "plan.read_headers: true, give durations in the corpus's table, or take `hours` away"
                )

    def cut(self, table: pa.Table) -> pa.Table:
        """Return the rows that are taken of the table, which must come in the plan's order."""
        keep = np.ones(table.num_rows, dtype=np.bool_)
        counted = table.select(["key", "status", "duration_s"])
        for corpus, of_language in self.most.items():
            for language, hours in of_language.items():
                rows = np.flatnonzero(_rows_of(table, corpus, [language]))
                if rows.size:
                    keep[rows] = self._cut(counted.take(rows), (corpus, language), hours)
        return table if keep.all() else table.filter(pa.array(keep))

    def _cut(self, table: pa.Table, name: tuple[str, str], hours: float) -> NDArray[np.bool_]:
        taken = self._taken.setdefault(name, _Taken(hours * 3600))
        keys = table["key"].to_numpy()
        seconds = np.where(usable(table), pc.fill_null(table["duration_s"], 0.0).to_numpy(), 0.0)
        if taken.last_key is None:
            # one after the other, whatever the size of the tables: the sums must not depend on it
            sums = np.cumsum(np.append(taken.seconds, seconds))[1:]
            reached = int(np.searchsorted(sums, taken.most_s))
            taken.seconds = float(sums[-1])
            if reached == sums.size:
                return np.ones(keys.shape, dtype=np.bool_)
            taken.last_key = int(keys[reached])
        keep = np.asarray(keys <= taken.last_key, dtype=np.bool_)
        if not keep.all():
            left = self.left_out.setdefault(name, LeftOut())
            left.utterances += int((~keep).sum())
            left.hours += float(seconds[~keep].sum()) / 3600
        return keep

    def warn(self) -> None:
        """Say, once all rows went through, which corpora hold less than is asked for."""
        for corpus, language in sorted(self.named - self._taken.keys()):
            log.warning("corpus %s: `hours` asks for %s, and there is none", corpus, language)
        for (corpus, language), taken in self._taken.items():
            if taken.last_key is None:
                hours, most = taken.seconds / 3600, taken.most_s / 3600
                log.warning(
                    "corpus %s: %.2f hours of %s are usable, `hours` asks for %g", corpus, hours, language, most
                )


def _rows_of(table: pa.Table, corpus: str, languages: list[str]) -> NDArray[np.bool_]:
    of_language = pc.is_in(table["language"], value_set=pa.array(languages, pa.string()))
    return mask_of(pc.and_(pc.equal(table["corpus"], corpus), of_language))
