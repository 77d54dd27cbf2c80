"""Whether the cluster can ever hold what a stage needs at once, asked before work begins instead of waiting for ever.

What the present nodes hold, runs. Where they are short, it counts who may still add nodes: Ray's autoscaler (v2) is
asked by its own means whether its node types and limits suffice; on a cluster that has none, a shortage is final; and
where nobody can tell (autoscaler v1, a platform with one of its own), it is a warning.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import ray

from sift_ray.config import Config
from sift_ray.config_instruct import TEMPLATE
from sift_ray.config_sections import PoolConfig

log = logging.getLogger(__name__)

TEMPLATE_CPUS: Final = 0.5
"""Of a task that answers from templates."""
WAVES_CPUS: Final = 1.05
"""Of each way through a stage: one cuts waves into pieces, and the steps that read and write take next to none."""
# To judge whether actors find places together takes seconds at most; more of them, or of nodes, are not judged
_WAYS_TRIED, _MOST_ACTORS, _MOST_NODES = 5_000, 400, 64
_WHOLE: Final = 10_000
"""A CPU or GPU in Ray's own steps."""

_Room = tuple[tuple[int, ...], int]
"""What is free of a node: of each of its GPUs, and of its CPUs."""

_ANSWER_S: Final = 30.0  # the autoscaler looks up every 5 s
_STAGE_KEYS: Final = {
    "annotations": "annotate.decode.pool, annotate.features.pool and annotate.align.pool",
    "instructions": "instruct.pool",
}


class ClusterError(RuntimeError):
    """The cluster can't run the config; the message says what is short."""


@dataclass(frozen=True)
class Ask:
    """What each of several actors (or tasks) wants of the one node that it runs on, in logical CPUs and GPUs."""

    what: str
    """The key of the config that asks for it, or what it does."""
    cpus: float
    gpus: float = 0.0
    count: int = 1
    """So many run at once, at the least."""

    def fit(self, node: dict[str, float]) -> int:
        """Return how many of it an empty node of these resources holds, if nothing else runs there."""
        room = [self.count]
        if self.cpus:
            room.append(_units(node.get("CPU", 0.0)) // max(_units(self.cpus), 1))
        if self.gpus >= 1:
            room.append(int(node.get("GPU", 0.0) // self.gpus))
        elif self.gpus:  # (a part of one of them)
            room.append(sum(device // max(_units(self.gpus), 1) for device in _devices(node)))
        return min(room)

    def bundle(self) -> dict[str, float]:
        """Return its resources by Ray's names, without those it has no need of."""
        return {name: each for name, each in (("CPU", self.cpus), ("GPU", self.gpus)) if each > 0}

    def __str__(self) -> str:
        each = " and ".join(f"{amount:g} {name}{'' if amount == 1 else 's'}" for name, amount in self.bundle().items())
        return f"{self.what}: {self.count} with {each}" + (" each" if self.count > 1 else "")


def asks(config: Config, stage: str) -> list[Ask]:
    """Return what a stage (by its folder's name) needs at once, at its smallest pools."""
    models = config.instruct.models_asked() if stage == "instructions" else []
    cpus = WAVES_CPUS if stage in _STAGE_KEYS else 1.0
    needed = [Ask("reading and writing", cpus, count=max(1, len(models)))]
    if stage == "annotations":
        needed.append(Ask("annotate.decode.pool", config.annotate.decode.pool.num_cpus))
        needed.append(_pool("annotate.features.pool", config.annotate.features.pool))
        needed.append(_pool("annotate.align.pool", config.annotate.align.pool))
    if TEMPLATE in models:
        needed.append(Ask("answers from templates", TEMPLATE_CPUS))
        models.remove(TEMPLATE)
    if models:
        needed.append(_pool("instruct.pool", config.instruct.pool, len(models)))
    return needed


def _pool(key: str, pool: PoolConfig, times: int = 1) -> Ask:
    return Ask(key, pool.num_cpus, pool.num_gpus, pool.actors[0] * times)


def needs(config: Config, stage: str) -> tuple[float, float]:
    """Return the logical CPUs and GPUs that a stage needs at once, at its smallest pools."""
    needed = asks(config, stage)
    return sum(ask.cpus * ask.count for ask in needed), sum(ask.gpus * ask.count for ask in needed)


def short_of(needed: Sequence[Ask], nodes: Sequence[dict[str, float]]) -> list[str]:
    """Return what nodes of these resources lack, as parts of a sentence; nothing if all may run there at once.

    Sums are looked at, how many of one kind fit on the nodes one by one, and last whether all find their places
    together; where too many ways would have to be tried to know, that passes here.
    """
    lacking = []
    for name, unit in (("CPU", 0), ("GPU", 1)):
        want = sum((ask.cpus, ask.gpus)[unit] * ask.count for ask in needed)
        have = sum(node.get(name, 0.0) for node in nodes)
        if want > have + 1e-9:
            lacking.append(f"{want:g} {name}s, and the cluster has {have:g}")
    for ask in needed:
        if (fit := sum(ask.fit(node) for node in nodes)) < ask.count:
            lacking.append(f"nodes for {ask}, and of those the present nodes, each taken alone, hold {fit}")
    if not lacking and _find_places(needed, nodes) is False:
        every = "; ".join(map(str, needed))
        lacking.append(f"nodes that hold all of these at once, which are enough in sum but cut up otherwise: {every}")
    return lacking


def _find_places(needed: Sequence[Ask], nodes: Sequence[dict[str, float]]) -> bool | None:
    """Return whether all actors can be spread over empty nodes at once; None where it would take too long to know."""
    actors = [(_units(ask.gpus), _units(ask.cpus)) for ask in needed for _ in range(ask.count)]
    if len(actors) > _MOST_ACTORS or len(nodes) > _MOST_NODES:
        return None
    actors.sort(reverse=True)  # (those that are hardest to place first)
    free = tuple(sorted((_devices(node), _units(node.get("CPU", 0.0))) for node in nodes))
    tried: set[tuple[int, tuple[_Room, ...]]] = set()
    ways = [(0, free)]
    while ways:
        placed, free = ways.pop()
        if placed == len(actors):
            return True
        if (placed, free) in tried:
            continue
        tried.add((placed, free))
        if len(tried) > _WAYS_TRIED:
            return None
        gpus, cpus = actors[placed]
        for devices, room in sorted(set(free), reverse=True):  # (the fullest node comes last, and is tried first)
            if room < cpus:
                continue
            rest = list(free)
            rest.remove((devices, room))
            for left in _without(devices, gpus):
                ways.append((placed + 1, tuple(sorted([*rest, (left, room - cpus)]))))
    return False


def _devices(node: dict[str, float]) -> tuple[int, ...]:
    """Return what is free of each GPU of a node, the least first."""
    gpus = _units(node.get("GPU", 0.0))
    whole, part = divmod(gpus, _WHOLE)
    return (*((part,) if part else ()), *([_WHOLE] * whole))


def _without(devices: tuple[int, ...], gpus: int) -> list[tuple[int, ...]]:
    """Return what may be left of a node's GPUs: a part is of one of them, and more than one are whole."""
    if not gpus:
        return [devices]
    if gpus >= _WHOLE:
        whole = gpus // _WHOLE
        return [devices[:-whole]] if devices[-whole:] == (_WHOLE,) * whole else []
    found = []
    for device in sorted(set(devices), reverse=True):  # (the fullest is tried first)
        if device >= gpus:
            rest = list(devices)
            rest.remove(device)
            found.append(tuple(sorted([*rest, device - gpus])))
    return found


def _units(amount: float) -> int:
    """Return an amount in Ray's own steps."""
    return round(amount * _WHOLE)


def check(config: Config, stage: str, *, joined: bool) -> None:
    """Stop now if the cluster can never run a stage; warn if it may have to grow first, or nobody can tell.

    Args:
        config: the job.
        stage: by its folder's name.
        joined: the cluster is not of this machine alone: it may have an autoscaler.

    Raises:
        ClusterError: no node that there is, or that may be added, has room for an actor, or all together have not.
    """
    needed = asks(config, stage)
    lacking = short_of(needed, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    if not lacking:
        return
    message = f"{stage} needs at least {'; '.join(lacking)}"
    lower = f"lower num_cpus, num_gpus or the least number of actors in {_STAGE_KEYS.get(stage, 'the config')}"
    if not joined:
        raise ClusterError(f"{message}: {_locally(needed, lower)}")
    can_grow = _can_grow(needed)
    if can_grow is None:
        log.warning("%s: the job waits until nodes are added. (If none will be, stop it and %s)", message, lower)
    elif can_grow:
        log.warning("%s: the job waits for the autoscaler, whose node types have room for it", message)
    else:
        raise ClusterError(
            f"{message}, and it will not grow to hold them: it has no autoscaler, or one without a node type that an "
            f"actor fits on, or whose max_workers are too few. Add nodes, a node type or workers, or {lower}"
        )


def _locally(needed: Sequence[Ask], lower: str) -> str:
    have = ray.cluster_resources().get("GPU", 0.0)
    if sum(ask.gpus * ask.count for ask in needed) > have:
        return f"{lower} (num_gpus: 0 uses no GPU, where device is not cuda), or join a cluster by ray.address"
    return f"{lower}, or raise ray.num_cpus"


def _can_grow(needed: Sequence[Ask]) -> bool | None:
    """Return whether the cluster may get room for all of this at once; None: nobody can tell."""
    try:
        from ray.autoscaler.v2.utils import is_autoscaler_v2

        if is_autoscaler_v2(fetch_from_server=True):
            return _autoscaler_says(needed)
        return False if _has_no_autoscaler() else None
    except Exception as error:  # these ways into Ray are not all public, and a check must not stop a job that can run
        log.debug("the autoscaler can't be asked: %s", error)
        return None


def _autoscaler_says(needed: Sequence[Ask]) -> bool | None:
    """Ask autoscaler v2 to make room, and return whether it can; None: it gave no answer.

    It would make the same room when the stage's actors come, so nothing is started in vain; a request that it can't
    satisfy starts nothing. The request is withdrawn before returning.
    """
    from ray.autoscaler.sdk import request_resources
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
    from ray.experimental.internal_kv import internal_kv_get_gcs_client

    gcs = internal_kv_get_gcs_client()

    def status() -> GetClusterStatusReply:
        return GetClusterStatusReply.FromString(gcs.get_cluster_status(timeout_s=10))

    request_resources(bundles=[ask.bundle() for ask in needed for _ in range(ask.count)])
    try:
        asked = status().cluster_resource_state.cluster_resource_state_version
        end = time.monotonic() + _ANSWER_S
        while time.monotonic() < end:
            state = status().autoscaling_state
            if state.last_seen_cluster_resource_state_version > asked:  # it has seen the request
                return not state.infeasible_cluster_resource_constraints
            time.sleep(0.5)
        return None
    finally:
        request_resources(bundles=[])


def _has_no_autoscaler() -> bool:
    """Return whether the cluster's nodes were started by hand, as far as autoscaler v1 or its stand-in reports it."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    status = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    if not status:
        return False
    kinds = set(json.loads(status).get("autoscaler_report", {}).get("active_nodes", {}))
    # without an autoscaler each node is a kind of its own, named after its id
    return bool(kinds) and kinds <= {f"node_{node['NodeID']}" for node in ray.nodes()}
