"""Rulers from elsewhere (`bin.frozen`): reading them, whether they fit the job, and what they lack for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from sift_ray.config import BinConfig, Config
from sift_ray.metadata.bins_file import BinsError, read_bins
from sift_ray.metadata.rulers import Group, Rulers
from sift_ray.schema import GENDERS
from sift_ray.storage import StorageError, fingerprint, open_root

log = logging.getLogger(__name__)

_SETTINGS: Final = {
    "quality": "annotate.features.quality",
    "room": "annotate.features.room",
    "speaking_rate": "annotate.align.backend",
}
"""What of `measured_by` follows from which setting."""


class UnreadableError(BinsError):
    """The frozen bins are not there, or can't be reached."""


class FrozenBins(NamedTuple):
    """Rulers from elsewhere.

    Attributes:
        rulers: as the file has them, but for those that the config refuses.
        outlier_std: attribute → k that they were made with; None where the file does not say.
        mark: fingerprint of the file's text.
    """

    rulers: Rulers
    outlier_std: Mapping[str, float] | None
    mark: str


def read_frozen(config: Config) -> FrozenBins:
    """Read the config's rulers from elsewhere. They settle all but one thing: who of unknown gender is judged.

    Raises:
        BinsError: the file can't be read or used, or its rulers are of other backends than the job's.
    """
    text = _text(config)
    rulers = read_bins(text, str(config.bin.frozen))
    document = json.loads(text)
    raise_if_measured_otherwise(config, document)
    if config.bin.unknown_gender == "refuse":
        rulers = rulers.without_everyone()
    return FrozenBins(rulers, document.get("outlier_std"), _mark(text))


def frozen_mark(config: Config, made_from: Mapping[str, Any]) -> str | None:
    """Return the fingerprint of the frozen bins' text, None where the config names none.

    bins.json holds a copy, so a file that can't be read any more is not missed: its fingerprint is then the one in
    `made_from`, the ingredients that bins.json records, if they name the same path.

    Raises:
        BinsError: the file can't be read, and bins.json was not made from it.
    """
    if config.bin.frozen is None:
        return None
    try:
        return _mark(_text(config))
    except UnreadableError as error:
        settings, recorded = made_from.get("bin"), made_from.get("frozen")
        if not isinstance(settings, Mapping) or settings.get("frozen") != config.bin.frozen or recorded is None:
            raise
        log.info("%s; the copy in bins.json is used", error)
        return str(recorded)


def _mark(text: str) -> str:
    return fingerprint({"text": text})


def _text(config: Config) -> str:
    path = str(config.bin.frozen)
    try:
        if "://" in path:
            folder, _, name = path.rpartition("/")
            data = open_root(folder, config.storage).read(name)
        else:
            data = Path(path).read_bytes()
    except (OSError, StorageError, BotoCoreError, ClientError) as error:
        raise UnreadableError(
            f"{path}: the frozen bins can't be read ({type(error).__name__}: {error}): put the file back, name another "
            "in bin.frozen, or leave bin.frozen out, so that the job makes rulers of its own"
        ) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BinsError(f"{path}: not a bins.json: not UTF-8: {error}") from error


def measured_by(config: Config) -> dict[str, str]:
    """Return the backends whose numbers have units of their own: a ruler of one says nothing about another."""
    features = config.annotate.features
    aligned = config.annotate.align.backend != "none"
    return {"quality": features.quality, "room": features.room, "speaking_rate": "aligned" if aligned else "g2p"}


def raise_if_measured_otherwise(config: Config, document: Mapping[str, Any]) -> None:
    """Compare the backends that frozen bins record with the job's.

    Raises:
        BinsError: they differ, or the file does not say.
    """
    here, there = measured_by(config), document.get("measured_by") or {}
    if unsaid := [key for key in here if key not in there]:
        raise BinsError(
            f"{config.bin.frozen}: measured_by: it does not say which backend measured {', '.join(unsaid)}; make "
            "these bins again, with `sift-ray build CONFIG --restart-from bin` of their own job"
        )
    differing = [
        f"{key}: {there[key]} (this job: {here[key]}, by {_SETTINGS[key]})" for key in here if there[key] != here[key]
    ]
    if differing:
        raise BinsError(
            f"{config.bin.frozen}: its rulers are of other backends: {', '.join(differing)}; set the same, or freeze "
            "bins of this job's backends"
        )


def gaps(rulers: Rulers, config: BinConfig, outlier_std: Mapping[str, float] | None) -> Iterator[str]:
    """Yield what rulers from elsewhere lack for the data set that they have counted, and for what the config asks.

    Args:
        rulers: with the counts of the data set.
        config: what is asked; a setting counts only where it was set, not by its default.
        outlier_std: as in `FrozenBins`.
    """
    yield from _judged_from_afar(rulers)
    for attribute, reasons in rulers.unknown.items():
        if "no_ruler" in reasons:
            yield f"no ruler for {reasons['no_ruler']:,} values of {attribute}: they have no category"
        if "unknown_gender" in reasons and config.unknown_gender == "all_speakers":
            yield f"no ruler of all speakers for {attribute}: those of unknown gender have no category"
    yield from _languages_lacking(rulers, config)
    asked = config.model_fields_set
    for name, mine, theirs in (
        ("method", config.method, rulers.method),
        ("min_count", config.min_count, rulers.min_count),
    ):
        if name in asked and mine != theirs:
            yield f"bin.{name} {mine} is not followed: that of these rulers is {theirs}"
    if config.method == "equal_width":
        for attribute, k in config.outlier_std.items():
            made_with = "unknown" if outlier_std is None else outlier_std.get(attribute, "none")
            if k != made_with:
                yield f"bin.outlier_std {k:g} of {attribute} is not followed: that of these rulers is {made_with}"


def _judged_from_afar(rulers: Rulers) -> Iterator[str]:
    """Yield for each corpus what is judged by rulers of all corpora: for want of its own, or as they rest on few."""
    known = {(group.attribute, group.corpus) for group in rulers.rulers}
    lacking: dict[str, dict[str, None]] = {}  # (of each corpus, names in order, once)
    few: dict[str, dict[str, None]] = {}
    for group in rulers.counts:
        judge = rulers.judge(group)
        if judge is None or judge.corpus == group.corpus:
            continue
        own = rulers.rulers.get(group) or rulers.rulers.get(group._replace(language=None))
        cases = lacking if own is None else few
        name = _named(group) if (group.attribute, group.corpus) in known else group.attribute
        cases.setdefault(group.corpus, {})[name] = None
    for corpus, names in lacking.items():
        yield f"no rulers of corpus {corpus} for {', '.join(names)}: those of all corpora judge it"
    for corpus, names in few.items():
        yield (
            f"the rulers of corpus {corpus} for {', '.join(names)} rest on fewer values than min_count "
            f"({rulers.min_count:,}): those of all corpora judge it"
        )


def _named(group: Group) -> str:
    parts = [group.attribute, group.language, group.gender if group.gender in GENDERS else None]
    return " ".join(part for part in parts if part)


def _languages_lacking(rulers: Rulers, config: BinConfig) -> Iterator[str]:
    made = {(group.attribute, group.language) for group in rulers.rulers if group.language is not None}
    for attribute in config.by_language:
        if attribute not in {key for key, _ in made}:
            yield f"no rulers by language for {attribute}, which bin.by_language asks for: one judges all languages"
            continue
        held = dict.fromkeys(group.language for group in rulers.counts if group.attribute == attribute)
        if others := [language for language in held if language and (attribute, language) not in made]:
            yield f"no ruler of {', '.join(others)} for {attribute}: one of all languages judges them"
