"""What each stage's result depends on, and what of it is counted.

A fingerprint holds what changes the result, and only that: numbers of workers, batch sizes and devices are left
out, so that a job can move to a larger cluster in the middle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from sift_ray.config import Config, FeaturesConfig
from sift_ray.config_align import AlignConfig
from sift_ray.features.published import BROUHAHA, SQUIM
from sift_ray.features.speaker_labels import label_identity
from sift_ray.pipeline.waves import Stage
from sift_ray.schema import ANNOTATIONS, CLIPPED_FROM, INSTRUCTIONS, UTTERANCES
from sift_ray.storage import Counts

# Raised by hand when the code of a room changes what it makes of the same input.
READING_VERSION = 3
MEASURING_VERSION = 5
WRITING_VERSION = 2

# Rejects by a rule of ours, of rows that nothing is wrong with: they say nothing about a wave's health.
NO_ERRORS = ("plan/speaker_in_two_splits",)

_HOW_NOT_WHAT = {
    "pool",
    "threads",
    "device",
    "batch_s",
    "error_budget",
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
        summarise=summarise_utterances,
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
        summarise=summarise_annotations,
        reject_share=_rejected,
        error_budget=config.annotate.error_budget,
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
            "instruct": _content(config.instruct),
            "data_files": dict(data_files),
            "revisions": dict(revisions),
            "writing_version": WRITING_VERSION,
            "annotations": annotations,
            "bins": bins,
        },
        summarise=summarise_instructions,
        keyed_by_task=True,
        reject_share=_unanswered,
        error_budget=config.instruct.error_budget,
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


def _tally(
    labels: Sequence[pa.ChunkedArray | pa.Array], weights: pa.ChunkedArray | None = None
) -> dict[str, int | float]:
    """Sum `weights` (or count rows) by the labels joined with `/`; a null label reads `unknown`."""
    filled = [pc.fill_null(label, "unknown") for label in labels]
    table = pa.table(
        {
            "label": pc.binary_join_element_wise(*filled, "/"),
            "weight": weights if weights is not None else pa.array(np.ones(len(filled[0]), dtype=np.int64)),
        }
    )
    sums = table.group_by("label").aggregate([("weight", "sum")])
    return {
        label: weight
        for label, weight in zip(sums["label"].to_pylist(), sums["weight_sum"].to_pylist(), strict=True)
        if weight is not None
    }


def summarise_utterances(table: pa.Table) -> Counts:
    """Count utterances and hours by corpus, language and split, and rejects by reason."""
    ok = table.filter(pc.equal(table["status"], "ok"))
    bad = table.filter(pc.equal(table["status"], "rejected"))
    where = [ok["corpus"], ok["language"], ok["split"]]
    return {
        "status": _tally([table["status"]]),
        "utterances": _tally(where),
        "hours": _tally(where, pc.divide(ok["duration_s"], 3600.0)),
        "rejects": _tally([bad["reject_stage"], bad["reject_reason"]]),
    }


def summarise_annotations(table: pa.Table) -> Counts:
    """Count what was measured, what was aligned and what was not, and unknown values, by reason."""
    ok = table.filter(pc.equal(table["status"], "ok"))
    aligned = pc.is_null(ok["alignment_reason"])
    unaligned = ok.filter(pc.invert(aligned))
    nulls = pc.list_flatten(ok["null_reasons"])
    return {
        **summarise_utterances(table),
        "aligned": _tally([ok.filter(aligned)["language"]]),
        "unaligned": _tally([unaligned["language"], unaligned["alignment_reason"]]),
        "unknown": _tally([nulls]),
        "flags": {"clipped": pc.sum(pc.greater_equal(ok["clipping_ratio"], CLIPPED_FROM)).as_py() or 0},
        "pitched": _tally([ok.filter(pc.is_valid(ok["pitch_median_hz"]))["corpus"]]),
        "lexicon": _lexical(ok),
    }


def _lexical(ok: pa.Table) -> dict[str, int | float]:
    """Count by language the words of transcripts, those that no dictionary has, and those that nothing can say."""
    spaces = pc.count_substring(ok["phonemes"], " ")
    said = pc.fill_null(pc.add(spaces, 1), 0)  # `phonemes` has one part for each word but the unpronounced
    words = pc.add(said, ok["unpronounced_words"])
    numbers = {"words": words, "oov": ok["oov_words"], "unpronounced": ok["unpronounced_words"]}
    return {
        f"{language}/{name}": count
        for name, column in numbers.items()
        for language, count in _tally([ok["language"]], column).items()
    }


def summarise_instructions(table: pa.Table) -> Counts:
    """Count pairs by task, language, generator and fate, rejects by task and rule, and tokens."""
    parents = pc.list_parent_indices(table["pairs"])
    pairs = pc.list_flatten(table["pairs"])
    rows = table.select(["task", "language"]).take(parents)
    accepted = pc.struct_field(pairs, "accepted")
    fate = pc.if_else(accepted, "accepted", "rejected")
    refused = pc.invert(accepted)
    attempt = pc.cast(pc.struct_field(pairs, "attempt"), pa.string())
    answered = pc.sum(pc.is_in(pa.array(range(table.num_rows)), value_set=pc.unique(parents.filter(accepted)))).as_py()
    tokens = {name: pc.sum(table[f"{name}_tokens"]).as_py() or 0 for name in ("prompt", "cached", "generated")}
    generator = pc.struct_field(pairs, "generator")
    return {
        "requests": {"all": table.num_rows, "answered": answered or 0},
        "asked": _tally([table["task"], table["model"]]),
        "pairs": _tally([rows["task"], rows["language"], generator, fate]),
        "rejects": _tally([rows["task"].filter(refused), pc.struct_field(pairs, "reason").filter(refused)]),
        "attempts": _tally([rows["task"], attempt, fate]),
        "finish": _tally([table["finish_reason"]]),
        "tokens": tokens,
    }
