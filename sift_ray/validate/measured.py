"""What annotations and bins say, as hashes: which utterances there are, who speaks them, and every fact of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sift_ray.metadata.bins_file import read_bins
from sift_ray.metadata.mapping import fact_lists
from sift_ray.metadata.rulers import Rulers
from sift_ray.storage import OutputRoot, StorageError, read_manifest, wave_files
from sift_ray.validate.hashing import Hashes, joined, text_hashes
from sift_ray.validate.ids import flags
from sift_ray.validate.spill import HashSpill

BINS: Final = "bins.json"
_STAGE: Final = "annotations"
_ROWS_AT_ONCE: Final = 4096


class Known(NamedTuple):
    """Utterances by hash, sorted; `speakers` (uint64, 0 unknown) is as long as `utterances`."""

    utterances: Hashes
    speakers: Hashes
    partners: Hashes


def lead_hashes(source: pa.Array, utterance: pa.Array) -> Hashes:
    """Return what names the utterance that a row is about: its data source and id."""
    return joined(text_hashes(source), text_hashes(utterance))


def partner_hashes(language: pa.Array, utterance: pa.Array) -> Hashes:
    """Return what names a comparison's second utterance, whose data source the row does not tell."""
    return joined(text_hashes(language), text_hashes(utterance))


def fact_hashes(of: Hashes, facts: pa.StructArray, parents: NDArray[np.int64], audio: NDArray[np.int8]) -> Hashes:
    """Return a hash of each fact of an utterance.

    Args:
        of: hashes of utterances.
        facts: `schema.FACT`.
        parents: which of `of` each fact is about.
        audio: of each fact.
    """
    key, value = (text_hashes(pc.struct_field(facts, name)) for name in ("key", "value"))
    position = np.asarray(pc.struct_field(facts, "position")).astype(np.uint64)
    return joined(of[parents], key, value, position, audio.astype(np.uint64))


class Measured:
    """All accepted utterances of an annotated output.

    Memory: 24 bytes an utterance, and the buffer of the facts, which lie on disk (16 bytes each).
    """

    def __init__(self, root: OutputRoot, folder: Path, *, times: bool, held_bytes: int) -> None:
        """Read all finished waves.

        Args:
            root: the job's output.
            folder: a scratch folder that is there.
            times: whether evidence may hold when words start and end.
            held_bytes: what the facts may hold in memory.

        Raises:
            StorageError: there are no annotations, or no bins.
            BinsError: the bins can't be used.
        """
        self.facts = HashSpill(folder / "facts", held_bytes=held_bytes)
        rulers = _rulers(root)
        pieces: list[Known] = [Known(*(np.empty(0, np.uint64) for _ in Known._fields))]
        for table in _tables(root):
            pieces.append(self._take(table, rulers, times=times))
        utterances, speakers, partners = (np.concatenate(column) for column in zip(*pieces, strict=True))
        order = np.argsort(utterances, kind="stable")
        self.known = Known(utterances[order], speakers[order], np.unique(partners))

    def _take(self, table: pa.Table, rulers: Rulers, *, times: bool) -> Known:
        there = pc.and_(pc.equal(table["status"], "ok"), table["audio_uri"].is_valid())
        table = table.filter(there).combine_chunks()
        source, utterance, language, corpus, speaker = (
            _one(table[name]) for name in ("data_source", "utterance_id", "language", "corpus", "speaker_id")
        )
        leads, partners = lead_hashes(source, utterance), partner_hashes(language, utterance)
        lists = fact_lists(table, rulers, times=times)
        facts, parents = lists.flatten(), np.asarray(pc.list_parent_indices(lists))
        self._keep(fact_hashes(leads, facts, parents, np.zeros(len(facts), np.int8)))
        # (of a comparison's second utterance only what is said of it as a whole)
        whole = flags(pc.equal(pc.struct_field(facts, "position"), 0))
        second = facts.filter(pa.array(whole))
        self._keep(fact_hashes(partners, second, parents[whole], np.ones(len(second), np.int8)))
        who = np.where(flags(speaker.is_valid()), lead_hashes(corpus, speaker), np.uint64(0))
        return Known(leads, who, partners)

    def _keep(self, hashes: Hashes) -> None:
        self.facts.add(hashes, np.zeros(len(hashes), np.int64))


def among(hashes: Hashes, known: Hashes) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which hashes are known, and where among the known, which are sorted."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_), np.zeros(len(hashes), np.int64)
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return known[at] == hashes, at


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _rulers(root: OutputRoot) -> Rulers:
    try:
        text = root.read(BINS).decode()
    except FileNotFoundError:
        raise StorageError(
            f"{root.uri}: there is no {BINS}, so nothing tells what its measurements are called; name the output of a "
            "job that has bins"
        ) from None
    return read_bins(text, f"{root.uri}/{BINS}")


def _tables(root: OutputRoot) -> Iterator[pa.Table]:
    """Yield the annotations of all finished waves, some rows at a time."""
    waves = [int(name.removeprefix("wave=")) for name in root.names(_STAGE) if name.startswith("wave=")]
    manifests = [manifest for wave in waves if (manifest := read_manifest(root, _STAGE, wave)) is not None]
    if not manifests:
        raise StorageError(f"{root.uri}: no wave is annotated here; name the output of a job")
    for manifest in manifests:
        for path in wave_files(root, manifest):
            with root.filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE):
                    yield pa.Table.from_batches([batch])
