"""What each stage's result depends on, and how much of it may be rejected.

A fingerprint holds what changes the result, and only that: numbers of workers, batch sizes and devices are left
out, so that a job can move to a larger cluster in the middle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sift_ray.config import Config, FeaturesConfig
from sift_ray.config_align import AlignConfig
from sift_ray.features.published import BROUHAHA, SQUIM
from sift_ray.features.speaker_labels import label_identity
from sift_ray.pipeline.counts import count_annotations, count_instructions, count_utterances
from sift_ray.pipeline.waves import Budget, Stage
from sift_ray.schema import ANNOTATIONS, INSTRUCTIONS, UTTERANCES
from sift_ray.storage import Counts

# Raised by hand when the code of a room changes what it makes of the same input.
READING_VERSION = 3
MEASURING_VERSION = 5
WRITING_VERSION = 5

# Rejects by a rule of ours, of rows that nothing is wrong with: they say nothing about a wave's health.
NO_ERRORS = ("plan/speaker_in_two_splits",)

_HOW_NOT_WHAT = {
    "pool",
    "threads",
    "device",
    "batch_s",
    "error_budget",
    "fault_budget",
    "concurrent_batches",
    "model_cache",
    # of vLLM
    "gpu_memory_utilization",
    "tensor_parallel_size",
    "enforce_eager",
    "cpu_kvcache_gib",
    "cpu_threads",
    "max_num_seqs",
}


def _content(section: BaseModel) -> dict[str, Any]:
    """Return a config section as JSON values, without the keys that only say how it is run."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if key not in _HOW_NOT_WHAT}
        return value

    content: dict[str, Any] = strip(section.model_dump(mode="json"))
    return content


def plan_stage(config: Config) -> Stage:
    """The stage that writes `utterances/`."""
    return Stage(
        name="utterances",
        schema=UTTERANCES,
        ingredients={
            "corpora": {corpus.name: _content(corpus) for corpus in config.corpora},
            "plan": _content(config.plan),
            "reading_version": READING_VERSION,
        },
        summarise=count_utterances,
    )


def annotate_stage(config: Config, utterances: str, models: Mapping[str, str]) -> Stage:
    """The stage that writes `annotations/`.

    `utterances` is the digest of the plan's rows; `models` maps a language to its alignment model's fingerprint.
    """
    annotate = _content(config.annotate)
    annotate["features"] = _measuring(config.annotate.features)
    annotate["align"] = _aligning(config.annotate.align)
    return Stage(
        name="annotations",
        schema=ANNOTATIONS,
        ingredients={
            "annotate": annotate,
            "alignment_models": dict(models),
            "measuring_version": MEASURING_VERSION,
            "utterances": utterances,
        },
        summarise=count_annotations,
        budgets=(Budget("annotate.error_budget", config.annotate.error_budget, _rejected),),
    )


def _aligning(config: AlignConfig) -> dict[str, Any]:
    """Return what alignments depend on beside the models, whose fingerprints stand for how they were made."""
    content = _content(config)
    for key in ("models", "train_hours", "min_train_s", "seed", "recipe"):
        content.pop(key)
    for backend in {"ctc", "mfa"} - {config.backend}:
        content.pop(backend)
    for key, path_of in (("dictionaries", config.dictionary), ("g2p", config.g2p_model)):
        for language in content[key]:
            path = path_of(language)
            if path is not None:  # (else it is a name)
                content[key][language] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return content


def _measuring(config: FeaturesConfig) -> dict[str, Any]:
    """Return what measurements depend on: paths of models become what tells their weights, unused ones go."""
    content = _content(config)
    content.pop("engine")  # both are held to give the same; which one did is in the rows
    if config.quality != "dnsmos":
        content.pop("dnsmos_windows")
    content["squim_model"] = SQUIM.identity(config.squim_model) if config.quality == "squim" else None
    content["brouhaha_model"] = BROUHAHA.identity(config.brouhaha_model) if config.room == "brouhaha" else None
    for label, section in zip(config.labels, content["labels"], strict=True):
        section["model"] = label_identity(label)
        section.pop("revision")  # which is in the identity
    content["labels"].sort(key=lambda section: section["column"])
    return content


def instruct_stage(
    config: Config, annotations: str, bins: str, data_files: Mapping[str, str], revisions: Mapping[str, str]
) -> Stage:
    """The stage that writes `instructions/`.

    `data_files` maps prompts, templates and phrases to their hashes, `revisions` models to what tells their weights.
    """
    return Stage(
        name="instructions",
        schema=INSTRUCTIONS,
        ingredients={
            "instruct": _content(config.instruct.settled()),
            "data_files": dict(data_files),
            "revisions": dict(revisions),
            "writing_version": WRITING_VERSION,
            "annotations": annotations,
            "bins": bins,
        },
        summarise=count_instructions,
        keyed_by_task=True,
        budgets=(
            # (first: it tells more)
            Budget("instruct.fault_budget", config.instruct.fault_budget, _faulty, "failed by a fault", "faults"),
            Budget("instruct.error_budget", config.instruct.error_budget, _unanswered),
        ),
    )


def _rejected(counts: Counts) -> float:
    status = counts.get("status", {})
    rows = sum(status.values())
    left_out = sum(counts.get("rejects", {}).get(reason, 0) for reason in NO_ERRORS)
    return (status.get("rejected", 0) - left_out) / rows if rows else 0.0


def _unanswered(counts: Counts) -> float:
    requests = counts.get("requests", {})
    rows = requests.get("all", 0)
    return 1 - requests.get("answered", 0) / rows if rows else 0.0


def _faulty(counts: Counts) -> float:
    rows = counts.get("requests", {}).get("all", 0)
    return sum(counts.get("faults", {}).values()) / rows if rows else 0.0
