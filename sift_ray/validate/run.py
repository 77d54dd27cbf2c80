"""Going through a release once, with every rule."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.storage import OutputRoot
from sift_ray.validate.against import Against
from sift_ray.validate.balance import Balance
from sift_ray.validate.duplicates import Duplicates, Explain
from sift_ray.validate.evidence import EvidenceForm, told
from sift_ray.validate.findings import Example, Finding, Findings, shown
from sift_ray.validate.ids import Ids
from sift_ray.validate.languages import SourceLanguage, TextLanguage
from sift_ray.validate.measured import Measured
from sift_ray.validate.reading import Batch, place_of, read_batches, row_at
from sift_ray.validate.rules import RULES
from sift_ray.validate.shards import Listing, list_release
from sift_ray.validate.structure import Structure, check_listing
from sift_ray.validate.texts import Texts

log = logging.getLogger(__name__)

TEXTS: Final = 200
"""How many texts of each batch (some thousand rows of a file) are looked at for their language, if it has more."""

HELD_BYTES: Final = 32 << 20
"""What each table of hashes holds in memory before it goes to disk."""

_TOLD_EVERY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Validation:
    """What was looked at, and what was found.

    Attributes:
        path: of the release.
        against: the output that it was held against, None where it was not.
        files, rows: how many were read.
        languages: in the order of the names, of the files.
        verified: whether its rows bear evidence (our layout).
        others: releases beside it that were not looked at.
        findings: worst first.
        seconds: that it took.
    """

    path: str
    against: str | None
    files: int
    rows: int
    languages: tuple[str, ...]
    verified: bool
    others: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float


def validate(
    root: OutputRoot,
    against: OutputRoot | None = None,
    *,
    texts: int = TEXTS,
    held_bytes: int = HELD_BYTES,
    scratch: Path | None = None,
) -> Validation:
    """Look at a release with every rule.

    Args:
        root: of the release, or of the job that made it.
        against: of a job with annotations and bins: what the release must agree with.
        texts: of each batch of a file are looked at for their language.
        held_bytes: of each table of hashes before it goes to disk.
        scratch: where hashes go that are more than that; None: the system's folder for such. 16 bytes for each
            sample, row, audio, fact of evidence and, with `against`, fact that was measured.

    Raises:
        StorageError: there is no release, or nothing to hold it against.
    """
    started = time.monotonic()
    listing = list_release(root)
    found = Findings(RULES)
    check_listing(listing, found)
    with tempfile.TemporaryDirectory(prefix="sift-ray-validate-", dir=scratch) as temporary:
        folder = Path(temporary)
        duplicates = Duplicates(folder, listing.shards, held_bytes=held_bytes, speakers_by_id=against is None)
        held_against = None
        if against is not None:
            times = any(shard.task == WORD_TIMES for shard in listing.shards)
            measured = Measured(against, folder, times=times, held_bytes=held_bytes)
            held_against = Against(measured, folder, held_bytes=held_bytes)
        rows, verified = _read(root, listing, found, texts, duplicates, held_against)
        explain = _explaining(root, listing)
        duplicates.finish(found, explain)
        if held_against is not None:
            held_against.finish(found, explain)
    return Validation(
        path=f"{root.uri}/{listing.folder}".rstrip("/"),
        against=None if against is None else against.uri,
        files=len(listing.shards),
        rows=rows,
        languages=tuple(sorted({shard.language for shard in listing.shards})),
        verified=verified,
        others=listing.others,
        findings=tuple(found.settle(rows, verified=verified)),
        seconds=time.monotonic() - started,
    )


def _read(
    root: OutputRoot,
    listing: Listing,
    found: Findings,
    texts: int,
    duplicates: Duplicates,
    against: Against | None,
) -> tuple[int, bool]:
    """Show every row to every rule; return how many rows there are, and whether any bears evidence."""
    structure, balance, language = Structure(), Balance(), TextLanguage(texts)
    looks: tuple[Callable[[Batch, Findings], None], ...] = (
        structure.look,
        Ids().look,
        SourceLanguage().look,
        Texts().look,
        EvidenceForm().look,
    )
    rows, verified = 0, False
    last = time.monotonic()
    for shard in listing.shards:
        for batch in read_batches(root, shard, found.add):
            rows += len(batch)
            verified |= batch.has("evidence")
            for look in looks:
                look(batch, found)
            language.look(batch)
            balance.look(batch)
            duplicates.look(batch)
            if against is not None:
                against.look(batch, duplicates, found)
        language.leave(found)
        if time.monotonic() - last > _TOLD_EVERY_S:
            last = time.monotonic()
            log.info("%s of %s files, %s rows", shard.number + 1, len(listing.shards), f"{rows:,}")
    structure.finish(found)
    balance.finish(found)
    return rows, verified


def _explaining(root: OutputRoot, listing: Listing) -> Explain:
    def explain(rule: str, place: int, other: int | None) -> Example:
        number, row = place_of(place)
        shard = listing.shards[number]
        batch = row_at(root, shard, row)
        says = "" if batch is None else _says(rule, batch)
        if other is not None and other != place:
            first, first_row = place_of(other)
            says += f"; first in {listing.shards[first].path}, row {first_row}"
        return Example(shard.path, row, says)

    return explain


def _says(rule: str, batch: Batch) -> str:
    identity = shown(batch.column("id")[0].as_py())
    if rule == "evidence_not_measured":
        return f"{identity}: {told(batch.column('evidence')[0])}"
    if rule == "duplicate_sample_id":
        return shown(batch.column("sample_id")[0].as_py())
    question: pa.Scalar = batch.said.question[0]
    return (
        identity
        if rule.endswith("two_splits") and not rule.startswith("row")
        else f"{identity}: {shown(question.as_py())}"
    )
