"""What a job will take: core-hours, GPU-hours, time, storage and money, by arithmetic alone.

Hours are those of busy cores and GPUs. Machines are taken to be full for as long as a step lasts: what a cluster
costs while it starts, waits or loses a node comes on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from sift_ray.config import Config
from sift_ray.config_estimate import MachineConfig, Step
from sift_ray.config_instruct import TEMPLATE
from sift_ray.config_sections import PoolConfig
from sift_ray.report.estimate_terms import HOUR_S, REQUESTS, Corpus, Estimate, EstimateError, Line, Rate, Rates

_TB: Final = 1e12


def estimate(corpus: Corpus, rates: Rates, config: Config) -> Estimate:
    """Return what the job of `config` takes for `corpus`.

    Raises:
        EstimateError: there is no audio, or a step's actors fit on no machine that is priced.
    """
    if corpus.utterances <= 0 or corpus.seconds <= 0:
        raise EstimateError("there is no audio to estimate for")
    requests = {task: corpus.utterances * rate.requests for task, rate in rates.tasks.items()}
    written = {task: requests[task] * rate.pairs for task, rate in rates.tasks.items()}
    accepted = {task: requests[task] * rate.accepted for task, rate in rates.tasks.items()}
    tokens = sum(requests[task] * rate.tokens for task, rate in rates.tasks.items())
    trained = _trained_hours(corpus, config)
    amounts = {
        "plan": corpus.utterances,
        "align_train": sum(trained.values()) * HOUR_S,
        "decode": corpus.seconds,
        "features": corpus.seconds,
        "align": corpus.seconds,
        "annotate": corpus.seconds,
        "bin": corpus.utterances,
        "requests": sum(requests.values()),
        "instruct": tokens,
        "templates": sum(requests[task] * (1.0 - rate.by_model) for task, rate in rates.tasks.items()),
        "verify": sum(written[task] * rate.by_model for task, rate in rates.tasks.items()),
        "release": sum(accepted.values()),
    }
    at_once = _at_once(rates, config, trained, sum(number > 0 for number in accepted.values()) * len(corpus.hours))
    lines = {}
    for step in (step for step in get_args(Step) if step in rates.steps):
        rate = rates.steps[step]
        # (a finished job without a model generated no tokens: what its templates took goes by requests)
        amount = amounts["requests" if step == "instruct" and rate.unit == REQUESTS else step]
        if amount > 0:
            beside = step == "verify" and "instruct" in rates.steps and rates.steps["instruct"].gpu
            lines[step] = _line(step, amount, rate, at_once.get(step), None if beside else config)
    stored = {
        "utterances": corpus.utterances,
        "annotations": corpus.seconds,
        "instructions": sum(written.values()),
        "release": sum(accepted.values()),
    }
    storage = {table: stored[table] * rates.bytes[table] for table in stored}
    section = config.estimate
    return Estimate(
        corpus=corpus,
        rates=rates,
        lines=lines,
        storage=storage,
        storage_money=sum(storage.values()) / _TB * section.storage_per_tb_month * section.months,
        currency=section.currency,
        requests=sum(requests.values()),
        tokens=tokens,
        pairs=sum(written.values()),
        accepted=accepted,
        accepted_by_model=sum(requests[task] * rate.accepted_by_model for task, rate in rates.tasks.items()),
        notes=rates.notes,
    )


def _trained_hours(corpus: Corpus, config: Config) -> dict[str, float]:
    """Return the hours of audio that each language's aligner is trained on, of those that have no model."""
    align = config.annotate.align
    if align.backend != "viter":
        return {}
    return {
        language: min(hours, align.train_hours)
        for language, hours in corpus.hours.items()
        if align.model(language) is None
    }


def _at_once(rates: Rates, config: Config, trained: Mapping[str, float], groups: int) -> dict[str, float]:
    """Return how many cores (or GPUs, where the step's rate is a GPU's) work on each step at most, where it is bound.

    Args:
        rates: of all steps.
        config: with the pools.
        trained: hours by language; each is trained by one core.
        groups: tasks times languages; each is released by one core.
    """
    features, align, instruct = config.annotate.features.pool, config.annotate.align.pool, config.instruct.pool
    aligning = config.annotate.align.backend != "none"

    def most(pool: PoolConfig, step: str) -> float:
        gpu = step in rates.steps and rates.steps[step].gpu
        return pool.actors[1] * (pool.num_gpus if gpu else pool.num_cpus)

    bound = {
        "plan": 1.0,
        "align_train": sum(trained.values()) / max(trained.values(), default=1.0) or 1.0,
        "features": most(features, "features"),
        "align": most(align, "align"),
        "annotate": most(features, "annotate") + (most(align, "annotate") if aligning else 0.0),
        "requests": 1.0,  # a wave's are planned by one task, while the rest waits
        "instruct": most(instruct, "instruct"),
        "verify": float(instruct.actors[1]),  # an actor verifies in the one thread of its loop
        "release": float(max(groups, 1)),
    }
    if config.instruct.engine == TEMPLATE:  # plain tasks, as many as there is room for
        del bound["instruct"]
    return bound


def _line(step: str, amount: float, rate: Rate, at_once: float | None, config: Config | None) -> Line:
    """Return the line of a step; without a config it is done on cores that another step's machines bring."""
    hours = amount / rate.per_second / HOUR_S
    machine = None if config is None else _cheapest(step, hours, rate, config)
    machine_hours, speed = 0.0, 1.0
    if config is not None and machine is not None:
        machine_hours = _machine_hours(step, hours, rate, machine, config)
        speed = 1.0 if rate.gpu else machine.core_speed
    return Line(
        amount=amount,
        rate=rate,
        core_hours=0.0 if rate.gpu else hours,
        gpu_hours=hours if rate.gpu else 0.0,
        wall_hours=None if at_once is None else hours / at_once / speed,
        machine=None if machine is None else machine.name,
        machine_hours=machine_hours,
        money=None if machine is None else machine_hours * machine.price_per_hour,
    )


def _cheapest(step: str, hours: float, rate: Rate, config: Config) -> MachineConfig | None:
    """Return the machine that the config gives the step, else the one that does it for the least money.

    Raises:
        EstimateError: machines are priced, but none that could do it.
    """
    section = config.estimate
    if not section.machines:
        return None
    named = {str(key): name for key, name in section.use.items()}.get(step)
    there = [machine for machine in section.machines if named in (None, machine.name)]
    fitting = [machine for machine in there if _fits(step, rate, machine, config)]
    if not fitting:
        pool = _gpu_pool(step, config)
        raise EstimateError(
            f"{step}: an actor takes {pool.num_gpus:g} GPUs and {pool.num_cpus:g} cores, and "
            f"{named or 'no machine of estimate.machines'} has not as many; add one that has"
        )
    return min(fitting, key=lambda machine: _machine_hours(step, hours, rate, machine, config) * machine.price_per_hour)


def _fits(step: str, rate: Rate, machine: MachineConfig, config: Config) -> bool:
    pool = _gpu_pool(step, config)
    return not rate.gpu or (machine.gpus > 0 and machine.gpus >= pool.num_gpus and machine.cores >= pool.num_cpus)


def _machine_hours(step: str, hours: float, rate: Rate, machine: MachineConfig, config: Config) -> float:
    """Return how long one machine takes for so many hours of a core or a GPU, all of it busy."""
    if not rate.gpu:
        return hours / (machine.cores * machine.core_speed)
    pool = _gpu_pool(step, config)
    return hours * max(1.0 / machine.gpus, pool.num_cpus / pool.num_gpus / machine.cores)


def _gpu_pool(step: str, config: Config) -> PoolConfig:
    """Return the pool whose actors do a step that goes by a GPU's rate."""
    pools = {"features": config.annotate.features.pool, "align": config.annotate.align.pool}
    return pools.get(step, config.instruct.pool)
