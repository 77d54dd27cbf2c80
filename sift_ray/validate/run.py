"""Going through a release once, with every rule; in each of its formats."""

from __future__ import annotations

import itertools
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.storage import OutputRoot
from sift_ray.validate.against import Against
from sift_ray.validate.balance import Balance
from sift_ray.validate.duplicates import Duplicates, Explain
from sift_ray.validate.evidence import EvidenceForm, told
from sift_ray.validate.findings import Example, Finding, Findings, shown, worst_first
from sift_ray.validate.formats import Held, report_missing
from sift_ray.validate.ids import Ids
from sift_ray.validate.languages import SourceLanguage, TextLanguage
from sift_ray.validate.measured import Measured
from sift_ray.validate.reading import Batch, place_of, read_batches, row_at
from sift_ray.validate.rules import RULES
from sift_ray.validate.shards import Listing, list_releases
from sift_ray.validate.structure import Structure, check_listing
from sift_ray.validate.texts import Texts

log = logging.getLogger(__name__)

TEXTS: Final = 200
"""How many texts of each batch (some thousand rows of a file) are looked at for their language, if it has more."""

HELD_BYTES: Final = 32 << 20
"""What each table of hashes holds in memory before it goes to disk."""

_TOLD_EVERY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Looked:
    """What was looked at in one format.

    Attributes:
        form: the format.
        path: of the release.
        files, rows: how many were read.
        languages: in the order of the names, of the files.
        verified: whether its rows bear evidence (our layout).
    """

    form: str
    path: str
    files: int
    rows: int
    languages: tuple[str, ...]
    verified: bool


@dataclass(frozen=True, slots=True)
class Validation:
    """What was looked at, and what was found.

    Attributes:
        against: the output that it was held against, None where it was not.
        looked: at each format.
        others: releases beside it that were not looked at.
        findings: worst first.
        seconds: that it took.
    """

    against: str | None
    looked: tuple[Looked, ...]
    others: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def rows(self) -> int:
        """How many rows were read, of all formats."""
        return sum(of.rows for of in self.looked)


def validate(
    root: OutputRoot,
    against: OutputRoot | None = None,
    *,
    form: str | None = None,
    texts: int = TEXTS,
    held_bytes: int = HELD_BYTES,
    scratch: Path | None = None,
) -> Validation:
    """Look at a release with every rule; where it is there in several formats, at each, one after the other.

    Args:
        root: of the release, or of the job that made it.
        against: of a job with annotations and bins: what the release must agree with.
        form: the one format to look at; None: every one.
        texts: of each batch of a file are looked at for their language.
        held_bytes: of each table of hashes before it goes to disk.
        scratch: where hashes go that are more than that; None: the system's folder for such. 16 bytes for each
            sample, row, audio, fact of evidence and, with `against`, fact that was measured; of each format.

    Raises:
        StorageError: there is no release, or none in that format, or nothing to hold it against.
    """
    started = time.monotonic()
    listings = list_releases(root, form)
    with tempfile.TemporaryDirectory(prefix="sift-ray-validate-", dir=scratch) as temporary:
        folder = Path(temporary)
        measured = None
        if against is not None:
            times = any(shard.task == WORD_TIMES for listing in listings for shard in listing.shards)
            measured = Measured(against, folder, times=times, held_bytes=held_bytes)
        looks = [_look(root, listing, measured, folder / listing.form, texts, held_bytes) for listing in listings]
        for look, other in itertools.permutations(looks, 2):
            report_missing(look.held, other.held, look.found, look.explain)
    settled = (found.settle(of.form, of.rows, verified=of.verified) for of, found, *_ in looks)
    return Validation(
        against=None if against is None else against.uri,
        looked=tuple(look.looked for look in looks),
        others=listings[0].others,
        findings=worst_first(itertools.chain.from_iterable(settled)),
        seconds=time.monotonic() - started,
    )


class _Look(NamedTuple):
    """One format when it has been read: of its tables of hashes that of its rows is kept for the other's sake."""

    looked: Looked
    found: Findings
    held: Held
    explain: Explain


def _look(
    root: OutputRoot, listing: Listing, measured: Measured | None, folder: Path, texts: int, held_bytes: int
) -> _Look:
    """Look at one format; its hashes go to a folder that is not there yet."""
    folder.mkdir()
    found = Findings(RULES)
    check_listing(listing, found)
    duplicates = Duplicates(folder, listing.shards, held_bytes=held_bytes, speakers_by_id=measured is None)
    against = None if measured is None else Against(measured, folder, held_bytes=held_bytes)
    rows, verified = _read(root, listing, found, texts, duplicates, against)
    explain = _explaining(root, listing)
    duplicates.finish(found, explain)
    if against is not None:
        against.finish(found, explain)
    looked = Looked(
        form=listing.form,
        path=f"{root.uri}/{listing.folder}".rstrip("/"),
        files=len(listing.shards),
        rows=rows,
        languages=tuple(sorted({shard.language for shard in listing.shards})),
        verified=verified,
    )
    return _Look(looked, found, Held(listing.shards, duplicates.rows), explain)


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
