"""The rates that an estimate goes by where no finished job tells them: those of the config, with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sift_ray.config import Config
from sift_ray.config_instruct import TEMPLATE
from sift_ray.report.estimate_terms import REQUESTS, Basis, Rate, Rates, Source, TaskRate
from sift_ray.schema import TASKS

_EPYC: Final = "a core of an AMD EPYC (Zen 4), 2026-11-22"
_SOURCES: Final[Mapping[str, tuple[Basis, str]]] = {
    "plan": ("measured", f"1,000,000 clips of Common Voice planned; {_EPYC}"),
    "decode": ("measured", f"Opus at 48 kHz, the slowest, through Ray; {_EPYC}"),
    "features": ("measured", f"with DNSMOS, through Ray; {_EPYC}"),
    "features_gpu": ("assumed", "of an L4; never measured"),
    "align": ("measured", f"viter, monophones, through Ray; {_EPYC}"),
    "align_train": ("measured", f"viter, monophones; {_EPYC}"),
    "bin": ("measured", f"1,000,000 annotations through Ray; {_EPYC}"),
    "requests": ("measured", "3,000 requests of six tasks, one turn; a core of an AMD EPYC, 2026-11-23"),
    "tokens": ("measured", "SmolLM2-135M in the demo, on two cores; an AMD EPYC (Zen 4), 2026-11-22"),
    "tokens_engine": ("assumed", "of Mixtral 8x7B on two GPUs of 80 GB; never measured"),
    "templates": ("measured", "10 million samples from templates, verified; a core of an AMD EPYC, 2026-11-24"),
    "verify": ("measured", f"2,400 labelled answers; {_EPYC}"),
    "release": ("measured", "5 million samples of templates; a core of an AMD EPYC, 2026-11-24"),
    "utterance_s": ("assumed", "between Multilingual LibriSpeech and Common Voice"),
    "accepted": ("assumed", "all utterances askable, 60 % of a model's pairs accepted, 60 tokens a pair"),
    "utterance_bytes": ("measured", "63 utterances of the demo, 2026-11-22"),
    "annotation_bytes": ("measured", "63 utterances of the demo, 2026-11-22"),
    "pair_bytes": ("assumed", "a pair of 60 tokens with its evidence"),
    "sample_bytes": ("assumed", "a pair of 60 tokens with its evidence"),
}
_OF_TASKS: Final = ("askable", "accepted", "pair_tokens")


def source_of(config: Config, name: str) -> Source:
    """Return where the key `name` of `estimate.rates` comes from."""
    given = config.estimate.rates.model_fields_set
    if name in given or (name == "accepted" and given.intersection(_OF_TASKS)):
        return Source("given", "the config, estimate.rates")
    return Source(*_SOURCES[name])


def default_rates(config: Config) -> Rates:
    """Return the rates of the config's section, for all that the job does."""
    table = {
        "utterances": "utterance_bytes",
        "annotations": "annotation_bytes",
        "instructions": "pair_bytes",
        "release": "sample_bytes",
    }
    rates = config.estimate.rates
    return Rates(
        steps={**_annotate_steps(config), **_instruct_steps(config)},
        tasks={task: rate for task in TASKS if (rate := default_task(config, task)).requests > 0},
        bytes={name: getattr(rates, key) for name, key in table.items()},
        sizes={name: source_of(config, key) for name, key in table.items()},
        utterance_s=rates.utterance_s,
        length=source_of(config, "utterance_s"),
        notes=_notes(config),
    )


def default_task(config: Config, task: str) -> TaskRate:
    """Return what a task comes to by the config alone."""
    section, rates = config.instruct.task(task), config.estimate.rates
    by_model = 0.0 if config.instruct.engine == TEMPLATE else section.engine_share
    return TaskRate(
        requests=section.fraction * rates.askable,
        by_model=by_model,
        pairs=section.pairs,
        tokens=section.pairs * by_model * rates.pair_tokens,
        accepted=section.pairs * (by_model * rates.accepted + 1.0 - by_model),
        accepted_by_model=section.pairs * by_model * rates.accepted,
        source=source_of(config, "accepted"),
    )


def _annotate_steps(config: Config) -> dict[str, Rate]:
    rates, annotate = config.estimate.rates, config.annotate
    audio = "s of audio"
    steps = {
        "plan": Rate(rates.plan, "utterances", source_of(config, "plan")),
        "decode": Rate(rates.decode, audio, source_of(config, "decode")),
    }
    if annotate.features.pool.num_gpus:
        source = source_of(config, "features_gpu")
        steps["features"] = Rate(rates.features_gpu, audio, source, gpu=True)
    else:
        source = source_of(config, "features")
        if source.basis == "measured" and not _measured_as(config):
            source = Source("assumed", f"{source.where}; never measured with these models")
        steps["features"] = Rate(rates.features, audio, source)
    if annotate.align.backend != "none":
        source = source_of(config, "align")
        if annotate.align.backend != "viter" and source.basis == "measured":
            source = Source("assumed", f"as viter; {annotate.align.backend} was never measured")
        steps["align"] = Rate(rates.align, audio, source, gpu=annotate.align.pool.num_gpus > 0)
        steps["align_train"] = Rate(rates.align_train, audio, source_of(config, "align_train"))
    return steps


def _measured_as(config: Config) -> bool:
    features = config.annotate.features
    return features.quality == "dnsmos" and features.room == "signal" and not features.labels


def _instruct_steps(config: Config) -> dict[str, Rate]:
    rates, instruct = config.estimate.rates, config.instruct
    steps = {
        "bin": Rate(rates.bin, "utterances", source_of(config, "bin")),
        "requests": Rate(rates.requests, REQUESTS, source_of(config, "requests")),
    }
    if instruct.engine == "vllm" and instruct.pool.num_gpus:
        by_gpu = rates.tokens_engine / instruct.pool.num_gpus
        steps["instruct"] = Rate(by_gpu, "tokens", source_of(config, "tokens_engine"), gpu=True)
    elif instruct.engine == "vllm":
        steps["instruct"] = Rate(rates.tokens, "tokens", source_of(config, "tokens"))
    return {
        **steps,
        "templates": Rate(rates.templates, REQUESTS, source_of(config, "templates")),
        "verify": Rate(rates.verify, "pairs", source_of(config, "verify")),
        "release": Rate(rates.release, "samples", source_of(config, "release")),
    }


def _notes(config: Config) -> tuple[str, ...]:
    notes = []
    if config.instruct.engine == "openai":
        notes.append("What the server at instruct.openai.base_url takes for its tokens is not counted.")
    if config.instruct.judge is not None:
        notes.append("What the judge generates and refuses is not counted.")
    return tuple(notes)
