"""release: accepted pairs become samples in the reference's folders, a new version of them beside the old.

The same instructions give the same files, row for row: waves are appended in order, and a wave's samples are sorted
by identity. Readers get a version when its pointer is put, after all its files; `release.json` follows and is the job's
own mark, and older versions are deleted after it, by the next run if need be. What a lost process or node leaves behind
is deleted, and the release is written anew.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow.fs as pafs

from sift_ray.config import Config
from sift_ray.config_release import Format
from sift_ray.pipeline.bin import shared_out
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.release_card import card_facts
from sift_ray.pipeline.release_flow import LOST, Flow, Outcome, Surveyed
from sift_ray.pipeline.release_tasks import WaveFiles
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import LostRowsError, finished_waves, raise_stale
from sift_ray.release import versions
from sift_ray.release.card import dataset_card
from sift_ray.release.versions import FOLDER, base_of
from sift_ray.storage import OutputRoot, WaveManifest, fingerprint, put_json, read_json, read_manifest, wave_files

log = logging.getLogger(__name__)

RELEASE_NAME = "release.json"
RELEASING_VERSION = 3
_LASTING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors that no other try goes better after: the disk is full, or may not be written to."""


def run_release(session: RaySession, config: Config, root: OutputRoot, plan: Plan) -> dict[str, Any]:
    """Write the release, or return the record of the one there is.

    Raises:
        StaleOutputError: the release there was made from other instructions or options.
        StorageError: a wave of instructions is missing, or the folder holds what no job has put there.
        LeakError: two splits share an audio or a speaker.
        LostRowsError: what was written is not what the manifests say was accepted.
    """
    manifests = finished_waves(root, "instructions", plan.waves, "sift-ray instruct")
    ingredients = {
        "release": config.release.model_dump(mode="json"),
        "instructions": manifests[0].fingerprint,
        "releasing_version": RELEASING_VERSION,
    }
    mark, waves = fingerprint(ingredients), _as_they_lie(manifests)
    formats = config.release.formats
    done = read_json(root, RELEASE_NAME)
    if done is not None and done["complete"]:
        if done["fingerprint"] != mark:
            raise_stale(root, FOLDER, done["ingredients"], ingredients)
        if done.get("waves") == waves and versions.is_published(root, done["version"], formats, empty=not done["rows"]):
            versions.retire(root, done["version"], formats)
            return done
        log.warning("release: its folders or the instructions are not those of the last run; it is written anew")
    record: dict[str, Any] = {"complete": False, "fingerprint": mark, "ingredients": ingredients, "waves": waves}
    put_json(root, RELEASE_NAME, record)
    session.ensure(FOLDER)
    started = time.monotonic()
    version, surveyed, outcome = _written(session, config, root, manifests, mark)
    record |= _told(config, version, surveyed, outcome)
    record["seconds"] = round(time.monotonic() - started, 3)
    session.check()
    record["complete"] = True
    facts = card_facts(config, root, record, manifests)
    cards = {
        base_of(form, formats): (dataset_card(facts, form), dataset_card(facts, form, version)) for form in formats
    }
    versions.publish(root, version, cards)
    put_json(root, RELEASE_NAME, record)
    versions.retire(root, version, formats)
    log.info("release: %s samples in %s/%s", f"{sum(record['rows'].values()):,}", root.uri, FOLDER)
    return record


def _written(
    session: RaySession, config: Config, root: OutputRoot, manifests: Sequence[WaveManifest], mark: str
) -> tuple[str, Surveyed, Outcome]:
    """Write a version, from the start again where a process or node was lost; return its name and what it holds."""
    flow = Flow(root, list(_files(root, manifests)), config.release, config.ray, config.reading_from)
    surveyed = flow.survey(_shares(manifests))
    _check_accepted(manifests, surveyed)
    log.info("release: %s pairs are left out, as another task asks the same", f"{surveyed.repeated.total():,}")
    log.info("release: %s; no other split holds any of them", _held_out_text(surveyed.held_out))
    for left in reversed(range(config.ray.max_task_retries + 1)):
        session.check()
        try:
            version = versions.begin(root, mark, config.release.formats)
            outcome = flow.write(version, surveyed)
            _check_files(root, config.release.formats, version, outcome)
        except LOST as error:
            if not left or getattr(error, "errno", None) in _LASTING:
                raise
            log.warning("release: it is written anew, as this went wrong: %s", error)
        else:
            return version, surveyed, outcome
    raise AssertionError


def _as_they_lie(manifests: Sequence[WaveManifest]) -> str:
    """Return what differs where a wave was made again from the same ingredients, as models need not repeat themselves.

    It is no part of the release's own fingerprint: the same instructions make the same release whenever they were made.
    """
    return fingerprint(
        {str(m.wave): [m.rows, m.id_digest, [file.bytes for file in m.files], m.started_at] for m in manifests}
    )


def _files(root: OutputRoot, manifests: Sequence[WaveManifest]) -> Iterator[WaveFiles]:
    for manifest in manifests:
        annotated = read_manifest(root, "annotations", manifest.wave)
        speakers = [] if annotated is None else wave_files(root, annotated)
        yield WaveFiles(wave_files(root, manifest), speakers)


def _shares(manifests: Sequence[WaveManifest]) -> list[list[int]]:
    """Return the waves that each task of the first look goes over."""
    shares = shared_out([[str(place)] for place in range(len(manifests))], sum(m.rows for m in manifests))
    return [[int(place) for (place,) in share] for share in shares]


def _check_accepted(manifests: Sequence[WaveManifest], found: Surveyed) -> None:
    """Compare the pairs that the waves hold with those that their manifests counted as accepted."""
    counted: dict[tuple[str, str], int] = {}
    for manifest in manifests:
        for label, count in manifest.counts.get("pairs", {}).items():
            task, language, *_, fate = label.split("/")
            if fate == "accepted":
                counted[task, language] = counted.get((task, language), 0) + int(count)
    there: dict[tuple[str, str], int] = dict(found.repeated)
    for group, count in found.accepted.items():
        there[group.task, group.language] = there.get((group.task, group.language), 0) + count
    for pair in sorted({*counted, *there}):
        if counted.get(pair, 0) != there.get(pair, 0):
            raise LostRowsError(
                f"release: {counted.get(pair, 0):,} pairs of {' in '.join(pair)} were accepted by the manifests of "
                f"instructions, and {there.get(pair, 0):,} are there; make them again with --restart-from instruct"
            )


def _check_files(root: OutputRoot, formats: Sequence[Format], version: str, outcome: Outcome) -> None:
    """Compare the files that lie there with those that the writers closed: nobody else may have written."""
    for form in formats:
        folder = root.locate(f"{base_of(form, formats)}/{version}")
        infos = root.filesystem.get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
        there = [info.size for info in infos if info.type == pafs.FileType.File]
        closed = [written for (of, _), written in outcome.folders.items() if of == form]
        if (len(there), sum(there)) != (sum(w.files for w in closed), sum(w.bytes for w in closed)):
            raise LostRowsError(
                f"release: {len(there):,} files of {sum(there):,} bytes lie in {folder}, and others were written; run "
                "again, and see that no other job writes there"
            )


def _told(config: Config, version: str, surveyed: Surveyed, outcome: Outcome) -> dict[str, Any]:
    formats = config.release.formats
    return {
        "version": version,
        "folders": {form: f"{base_of(form, formats)}/{version}" for form in formats},
        "rows": {group.label: count for group, count in sorted(surveyed.rows.items())},
        "generators": outcome.generators,
        "data_sources": outcome.data_sources,
        "files": {
            form: {
                "files": sum(w.files for (of, _), w in outcome.folders.items() if of == form),
                "bytes": sum(w.bytes for (of, _), w in outcome.folders.items() if of == form),
                "largest_bytes": max((w.largest for (of, _), w in outcome.folders.items() if of == form), default=0),
            }
            for form in formats
        },
        "held_out": surveyed.held_out,  # distinct ones; none stands in another split
        "accepted": sum(surveyed.accepted.values()),  # pairs but repeats; the others were beyond a quota
        "repeated": surveyed.repeated.total(),  # pairs whose question another task asks of the utterance
        "most_frequent_labels": surveyed.labels,
    }


def _held_out_text(held_out: dict[str, dict[str, int]]) -> str:
    parts = [f"{count:,} {kind}s in {split}" for kind, of in held_out.items() for split, count in of.items()]
    return ", ".join(parts) or "nothing is held out"
