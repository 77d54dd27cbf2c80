"""The rates of a job that has run, perhaps a small one: by its manifests, without a look at its rows.

What was busy is not known, only what was held: all CPUs (and GPUs) that the job had, for as long as its waves took.
The start of workers, a minute or less for each wave, is in it, so a job of a few short waves looks slower than it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sift_ray.config import Config
from sift_ray.config_instruct import TEMPLATE, InstructConfig, TaskConfig
from sift_ray.report.estimate_rates import default_rates
from sift_ray.report.estimate_terms import HOUR_S, REQUESTS, EstimateError, Rate, Rates, Source, TaskRate
from sift_ray.report.state import manifests_of
from sift_ray.report.yields import pairs_told
from sift_ray.storage import Counts, OutputRoot, WaveManifest, add_counts, read_json

HELD = "held"
"""The table of a manifest's counts that tells `cpu_s` and `gpu_s`: CPUs and GPUs there were, times seconds."""

_BY_MODEL = ("first", "retry")


def rates_of_job(root: OutputRoot, config: Config, cpus: float | None = None, gpus: float | None = None) -> Rates:
    """Return `default_rates` with all that the job in `root` tells put in their place.

    Args:
        root: the output of that job; of each stage the finished waves count.
        config: of the job to be estimated.
        cpus: that the job had, where its manifests do not say.
        gpus: likewise.

    Raises:
        EstimateError: no wave of a later stage is finished there, or nobody says how many CPUs it had.
    """
    planned, annotated, written = (manifests_of(root, s) for s in ("utterances", "annotations", "instructions"))
    if not annotated:
        raise EstimateError(f"{root.uri}: no wave of annotations is finished there, so it tells no rate")
    rates = default_rates(config)
    source = Source("measured", f"{root.uri}, {_first_day(annotated)}")
    steps, notes = dict(rates.steps), list(rates.notes)
    plan = read_json(root, "plan.json")
    if plan is not None and plan["seconds"] > 0:
        steps["plan"] = Rate(plan["rows"] / plan["seconds"], "utterances", source)
    counts = _counts(annotated)
    seconds = sum(counts.get("hours", {}).values()) * HOUR_S
    usable = sum(counts.get("utterances", {}).values())
    cpu_s, gpu_s = _held(annotated, root, cpus, gpus)
    notes += _annotated(steps, source, seconds, cpu_s, gpu_s)
    sizes = {"utterances": _bytes(planned) / max(sum(m.rows for m in planned), 1), "annotations": 0.0}
    if seconds > 0:
        sizes["annotations"] = _bytes(annotated) / seconds
    tasks = dict(rates.tasks)
    if written:
        waves = {manifest.wave for manifest in written}
        utterances = sum(_counts([m for m in annotated if m.wave in waves]).get("utterances", {}).values())
        outcome = _counts(written)
        cpu_s, gpu_s = _held(written, root, cpus, gpus)
        notes += _written(steps, config, source, outcome, cpu_s, gpu_s)
        measured, strange = _tasks(root, config, outcome, utterances, source)
        tasks |= measured
        notes += strange
        sizes["instructions"] = _bytes(written) / max(sum(pairs.number for pairs in pairs_told(outcome)), 1)
        release = read_json(root, "release.json")
        if release is not None and release["complete"]:
            sizes["release"] = _released_bytes(release, config) / max(sum(release["rows"].values()), 1)
    told = seconds > 0 and usable > 0
    sizes = {table: size for table, size in sizes.items() if size > 0}
    return Rates(
        steps=steps,
        tasks={task: tasks[task] for task in tasks if tasks[task].requests > 0},
        bytes={**rates.bytes, **sizes},
        sizes={**rates.sizes, **dict.fromkeys(sizes, source)},
        utterance_s=seconds / usable if told else rates.utterance_s,
        length=source if told else rates.length,
        notes=(*notes, f"Rates of {root.uri} count all CPUs that it held, the start of its workers included."),
    )


def _counts(manifests: Sequence[WaveManifest]) -> Counts:
    return add_counts(manifest.counts for manifest in manifests)


def _bytes(manifests: Sequence[WaveManifest]) -> int:
    return sum(file.bytes for manifest in manifests for file in manifest.files)


def _first_day(manifests: Sequence[WaveManifest]) -> str:
    return min(manifest.started_at for manifest in manifests)[:10]


def _held(
    manifests: Sequence[WaveManifest], root: OutputRoot, cpus: float | None, gpus: float | None
) -> tuple[float, float]:
    """Return CPUs times seconds and GPUs times seconds over some waves."""
    seconds = sum(manifest.seconds for manifest in manifests)
    told = [manifest.counts.get(HELD, {}) for manifest in manifests]
    if cpus is None and not all(held.get("cpu_s") for held in told):
        raise EstimateError(
            f"{root.uri}: the manifests of {manifests[0].stage} do not say how many CPUs the job had: add --cpus, "
            f"and --gpus if it had any"
        )
    cpu_s = seconds * cpus if cpus is not None else float(sum(held["cpu_s"] for held in told))
    gpu_s = seconds * gpus if gpus is not None else float(sum(held.get("gpu_s", 0.0) for held in told))
    return cpu_s, gpu_s


def _annotated(steps: dict[str, Rate], source: Source, seconds: float, cpu_s: float, gpu_s: float) -> list[str]:
    """Put the job's rates in the place of decode, features and align; return what there is to say of it."""
    on_gpu = [step for step in ("features", "align") if step in steps and steps[step].gpu]
    if seconds <= 0:
        return [f"{source.where} tells no rate of annotate: it holds no audio that is of use."]
    if on_gpu and gpu_s <= 0:
        return [f"{source.where} tells no rate of annotate: it had no GPU, and this job measures on GPUs."]
    # what ran on GPUs went beside what ran on cores, for the same seconds
    kept = {"features": Rate(seconds / gpu_s, "s of audio", source, gpu=True)} if "features" in on_gpu else {}
    if "align" in on_gpu and not kept:
        kept = {"align": Rate(seconds / gpu_s, "s of audio", source, gpu=True)}
    for step in ("decode", "features", "align"):
        steps.pop(step, None)
    steps["annotate"] = Rate(seconds / cpu_s, "s of audio", source)
    steps.update(kept)
    return []


def _written(
    steps: dict[str, Rate], config: Config, source: Source, counts: Counts, cpu_s: float, gpu_s: float
) -> list[str]:
    """Put the job's rate in the place of all steps of instruct; return what there is to say of it."""
    requests = counts.get("requests", {}).get("all", 0)
    tokens = sum(number for label, number in counts.get("tokens", {}).items() if label.endswith("/generated"))
    instruct = config.instruct
    on_gpu = instruct.engine == "vllm" and instruct.pool.num_gpus > 0
    if (tokens > 0) != (instruct.engine != "template"):
        who = "a language model" if tokens else "templates"
        return [f"{source.where} tells no rate of instruct: there, {who} wrote."]
    if requests <= 0 or (on_gpu and gpu_s <= 0):
        return [f"{source.where} tells no rate of instruct: it had no {'GPU' if requests else 'requests'}."]
    for step in ("requests", "instruct", "templates", "verify"):
        steps.pop(step, None)
    amount, unit = (tokens, "tokens") if tokens else (requests, REQUESTS)
    steps["instruct"] = Rate(amount / (gpu_s if on_gpu else cpu_s), unit, source, gpu=on_gpu)
    return []


def _tasks(
    root: OutputRoot, config: Config, counts: Counts, utterances: float, source: Source
) -> tuple[dict[str, TaskRate], list[str]]:
    """Return what tasks came to in the job, brought to this config's fractions and pairs, and what there is to say."""
    then = _tasks_of(root)
    asked: defaultdict[str, float] = defaultdict(float)
    by_model: defaultdict[str, float] = defaultdict(float)
    for label, number in counts.get("asked", {}).items():
        task, _, model = label.partition("/")
        asked[task] += number
        by_model[task] += number if model != TEMPLATE else 0.0
    written, accepted, own = (defaultdict[str, float](float) for _ in range(3))
    for pairs in pairs_told(counts):
        written[pairs.task] += pairs.number
        accepted[pairs.task] += pairs.number if pairs.accepted else 0.0
        own[pairs.task] += pairs.number if pairs.accepted and pairs.rung in _BY_MODEL else 0.0
    rates, scaled = {}, []
    for task, number in asked.items():
        now = config.instruct.task(task)
        before = now if then is None else then.get(task, InstructConfig().task(task))
        if not before.fraction or not utterances or not number:
            continue
        if (now.fraction, now.pairs) != (before.fraction, before.pairs):
            scaled.append(task)
        each = now.pairs / before.pairs / number
        rates[task] = TaskRate(
            requests=number / utterances * now.fraction / before.fraction,
            by_model=by_model[task] / number,
            pairs=written[task] * each,
            tokens=counts.get("tokens", {}).get(f"{task}/generated", 0.0) * each,
            accepted=accepted[task] * each,
            accepted_by_model=own[task] * each,
            source=source,
        )
    notes = []
    if then is None:
        notes.append(f"{source.where} does not say what its tasks were: they are taken to be this config's.")
    if scaled:
        notes.append(f"Asked otherwise there, and brought to this config in proportion: {', '.join(scaled)}.")
    return rates, notes


def _tasks_of(root: OutputRoot) -> dict[str, TaskConfig] | None:
    """Return the tasks that the job was made with; None where that is not told, or not as this version does."""
    record: Mapping[str, Any] = read_json(root, "instructions/_STAGE.json") or {}
    tasks = record.get("ingredients", {}).get("instruct", {}).get("tasks")
    try:
        return None if tasks is None else {task: TaskConfig.model_validate(section) for task, section in tasks.items()}
    except ValidationError:
        return None


def _released_bytes(release: Mapping[str, Any], config: Config) -> int:
    """Return the bytes of this config's formats in the job's release; 0 where it does not have all of them."""
    files, formats = release["files"], config.release.formats
    return sum(files[form]["bytes"] for form in formats) if all(form in files for form in formats) else 0
