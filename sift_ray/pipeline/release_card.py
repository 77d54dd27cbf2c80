"""What a release's dataset card tells, gathered from the job's config, manifests and bins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sift_ray.config import Config
from sift_ray.config_instruct import TEMPLATE, InstructConfig
from sift_ray.instruct.engines import models_for
from sift_ray.instruct.models import BUNDLED
from sift_ray.pipeline.counts import ACCEPTED
from sift_ray.pipeline.labelling import FROM_CORPUS
from sift_ray.release.card import NOT_STATED, CardFacts
from sift_ray.release.samples import release_schema
from sift_ray.schema import TASKS
from sift_ray.storage import OutputRoot, WaveManifest, add_counts, fingerprint, read_json, read_manifest

_KNOWN_LICENSES: Final = {
    "mls": "CC BY 4.0",
    "common_voice": "CC0 1.0",
    "vctk": "CC BY 4.0",
    "demo": "CC0 1.0 (synthetic speech)",
}
_OWN_LICENSE: Final = "Apache-2.0"
_TOOL_LICENSES: Final[Mapping[str, str]] = {
    "dnsmos": "DNSMOS, MIT",
    "squim": "TorchAudio-SQUIM, weights CC BY 4.0",
    "brouhaha": "Brouhaha, weights OpenRAIL as their publisher words it",
    "viter": "viter, MIT; its models trained on these corpora",
    "mfa": "Montreal Forced Aligner, MIT; its models as their publishers say",
}
"""What measures and aligns that somebody else has made; others are of this pipeline, or a checkpoint of the user's."""
_RULERS_SHOWN: Final = 60


def card_facts(
    config: Config, root: OutputRoot, record: Mapping[str, Any], manifests: Sequence[WaveManifest]
) -> CardFacts:
    """Gather what the card of a written release tells.

    Args:
        config: the job.
        root: of the job.
        record: what `release.json` will hold.
        manifests: of the waves of instructions.
    """
    rows = {(split, task, language): count for label, count in record["rows"].items()
            for split, task, language in [label.split("/")]}  # fmt: skip
    annotated = [read_manifest(root, "annotations", manifest.wave) for manifest in manifests]
    measured = add_counts(manifest.counts for manifest in annotated if manifest is not None)
    hours = {tuple(label.split("/")): number for label, number in measured.get("hours", {}).items()}
    made: Mapping[str, Any] = (read_json(root, "instructions/_STAGE.json") or {}).get("ingredients", {})
    return CardFacts(
        name=config.release.name,
        rows=rows,
        generators=record["generators"],
        licenses=corpus_licenses(config),
        details=_details(config, record, manifests[0], made),
        models=tuple(_models(config, made.get("revisions", {}))),
        hours={(where[0], where[1], where[2]): number for where, number in hours.items() if len(where) == 3},
        yields=_yields(manifests),
        bins=tuple(_bins(read_json(root, "bins.json") or {})),
        held_out=record["held_out"],
        labels=record["most_frequent_labels"],
        columns=tuple(release_schema(config.release).names),
        audio=config.release.audio,
    )


def _details(config: Config, record: Mapping[str, Any], first: WaveManifest, made: Mapping[str, Any]) -> dict[str, str]:
    features, files = config.annotate.features, made.get("data_files", {})
    prompts = fingerprint({name: text for name, text in files.items() if name.startswith("prompts.")})
    return {
        "pipeline": f"sift-ray {first.versions.get('sift-ray', '')}".strip(),
        "fingerprint": f"`{record['fingerprint']}`",
        "instructions' fingerprint": f"`{first.fingerprint}`",
        "quality and distortion": _licensed(features.quality),
        "noise and reverberation": _licensed(features.room),
        **{
            f"{label.column} where the corpus gives none": _given(config, label.model)
            for label in features.labels
            if label.column in FROM_CORPUS
        },
        "alignment": _aligner(config),
        # (frozen bins bring their own method)
        "bins": config.bin.method if config.bin.frozen is None else f"frozen, {config.bin.frozen}",
        "left out as repeats": f"{record['repeated']:,} pairs that ask what another task asks of the same utterance",
        "language models": ", ".join(_names(config.instruct)) or "none",
        "prompts and templates": f"of this version of sift-ray, {_OWN_LICENSE}"
        + (f"; prompts `{prompts}`" if files else ""),
    }


def _licensed(tool: str) -> str:
    return f"{tool} ({_TOOL_LICENSES[tool]})" if tool in _TOOL_LICENSES else tool


def _given(config: Config, model: str) -> str:
    """Return a model that the user has brought, with the licence that the user gives for it."""
    return f"{model} ({config.release.model_licenses.get(model, 'licence ' + NOT_STATED)})"


def _aligner(config: Config) -> str:
    align = config.annotate.align
    if align.backend != "ctc":
        return _licensed(align.backend)
    return f"ctc: {', '.join(_given(config, model) for model in sorted(set(align.models.values())))}"


def _names(config: InstructConfig) -> list[str]:
    """Return the names of all models that wrote or judged."""
    if config.engine == TEMPLATE:
        return []
    return sorted({name for model in config.models.values() for name in models_for(model, config)})


def _models(config: Config, revisions: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    known = {BUNDLED: _OWN_LICENSE, **config.release.model_licenses}
    for name in _names(config.instruct):
        yield name, revisions.get(name, ""), known.get(name, NOT_STATED)


def _yields(manifests: Sequence[WaveManifest]) -> dict[str, tuple[int, int]]:
    pairs: dict[str, list[int]] = {}
    for label, count in add_counts(manifest.counts for manifest in manifests).get("pairs", {}).items():
        task, *_, fate = label.split("/")
        both = pairs.setdefault(task, [0, 0])
        both[0] += int(count)
        both[1] += int(count) if fate == ACCEPTED else 0
    return {task: (pairs[task][0], pairs[task][1]) for task in TASKS if task in pairs}


def _bins(document: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    """Yield the rulers with the most values: attribute, whose, values, and the inner edges."""
    rulers = sorted(document.get("rulers", ()), key=lambda ruler: -ruler["count"])[:_RULERS_SHOWN]
    for ruler in sorted(rulers, key=lambda r: (r["attribute"], r["corpus"], r["language"] or "", r["gender"] or "")):
        corpus = "all corpora" if ruler["corpus"] == "*" else ruler["corpus"]
        whose = ", ".join(part for part in (corpus, ruler["language"], ruler["gender"]) if part)
        yield ruler["attribute"], whose, ruler["count"], ", ".join(f"{edge:.4g}" for edge in ruler["edges"][1:-1])


def corpus_licenses(config: Config) -> dict[str, str]:
    """Return each corpus's licence: the config's word, else that of its publisher, else `not stated`."""
    return {
        corpus.name: getattr(corpus, "license", None) or _KNOWN_LICENSES.get(corpus.type, NOT_STATED)
        for corpus in config.corpora
    }
