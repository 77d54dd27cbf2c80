"""A cluster of several nodes on this machine that loses nodes, and notices it in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..ray_head import Head, ray_head

NODE_CPUS: Final = 3
HOOKS: Final = Path(__file__).with_name("hooks")


def clock_environment(clock: Path) -> dict[str, str]:
    """Return the variables with which a process takes the time as the file `clock` says it is wrong."""
    return {"PYTHONPATH": hooks_path(), "SHIFTED_CLOCK": str(clock)}


def hooks_path() -> str:
    """Return the PYTHONPATH of a process that loads the hooks."""
    return os.pathsep.join([str(HOOKS), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def chaos_cluster(clock: Path, nodes: int = 2) -> Iterator[Head]:
    """Run a head without work and `nodes` nodes with it; `clock`: see `clock_environment`."""
    environment = {
        **clock_environment(clock),
        "RAY_WITHOUT_DASHBOARD": "1",
        "RAY_prestart_worker_first_driver": "0",  # each is seconds of imports, and most are never used
        "RAY_worker_niceness": "0",  # else workers get next to nothing where other tests run at the same time
        # a node that is silent for 10 s is lost: less would take a busy machine for a lost one, and Ray waits for 30
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "10",
    }
    with ray_head("--num-cpus=0", "--include-dashboard=false", environment=environment) as head:
        head.add_nodes(nodes, NODE_CPUS)
        yield head
