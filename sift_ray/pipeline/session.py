"""One Ray session for all stages: joined or started, its limits set, its resources checked before work begins."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, NoReturn, Self

import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from sift_ray import job_log
from sift_ray.config import Config, RayConfig
from sift_ray.pipeline import preflight
from sift_ray.pipeline.progress import RowCounter

log = logging.getLogger(__name__)

_START_ATTEMPTS = 3
_IDLE_WORKER_MS = 60_000
_TRIES_TO_REACH = 4
_UNREACHABLE_MS = {"delay_base": 3_000, "max_delay": 30_000}  # before an actor is tried again: 3 s, 6 s, 12 s …
_FEW_CPUS = 4
_LAST_STAGES = ("instructions", "release")  # none after them needs more than they do


class RaySession:
    """The cluster of a job: joined, or started on this machine (loopback only), when a stage first needs it.

    A job with nothing left to do thus never waits for Ray. A session that was open before (a test's, a notebook's) is
    used as it is and left open. While it is entered, and not after, SIGTERM raises SystemExit, so that a job which is
    told to stop leaves its other contexts too.
    """

    def __init__(self, config: Config, check: Callable[[], None] = lambda: None, *, whole: bool = False) -> None:
        """Prepare a session.

        Args:
            config: the job.
            check: raises an error when this job must not mark anything as done any more.
            whole: all stages run in it, so that one which never can is told of before the first begins.
        """
        self._config = config
        self._whole = whole
        self.check = check
        self._opened = False
        self._counter: Any = None
        self._on_sigterm: Any = None  # what it did before

    def __enter__(self) -> Self:
        self._on_sigterm = signal.getsignal(signal.SIGTERM)
        stop_on_sigterm()
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened:
            ray.shutdown()
        # (told to stop, the process goes on to ignore more of it until it is gone)
        if self._on_sigterm is not None and signal.getsignal(signal.SIGTERM) is _stop:
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def row_counter(self) -> Any:
        """Return the actor that counts finished rows for progress lines; one serves all stages."""
        if self._counter is None:
            self._counter = ray.remote(num_cpus=0)(RowCounter).remote()
        return self._counter

    def cores(self) -> list[int]:
        """Return the CPUs of each node; of a Ray on this machine, where logical ones may be more, the real ones."""
        counts = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        return counts if _address(self._config) else [min(count, os.cpu_count() or 1) for count in counts]

    def busy_tasks(self, least_cpus: float) -> tuple[float, int | None]:
        """Return the CPUs to ask for a task that keeps a core busy, and how many such may run at once, if bounded.

        Twice as many busy processes as cores do a quarter less than as many, as each has its own dictionaries in the
        cache. So a task gets a whole CPU of a cluster; where all nodes together have few, `least_cpus`, or steps that
        only wait would leave none. A Ray on this machine may have more CPUs than there are cores, which are the bound.
        """
        cores = sum(self.cores())
        if _address(self._config) is None:
            return least_cpus, cores
        return (least_cpus if 0 < cores < _FEW_CPUS else 1.0), None

    def ensure(self, stage: str) -> None:
        """Make sure that Ray is there, limited as the config says, and large enough for `stage`.

        Raises:
            ClusterError: it can never hold the smallest pools of a stage together.
        """
        # `ray_remote_args_fn` goes in Ray 2.64, before which pyproject stops; nothing else sets an actor's restarts
        warnings.filterwarnings("ignore", category=RayDeprecationWarning)
        # (of steps that get fewer blocks than they may work on at once)
        warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks", category=UserWarning)
        if not ray.is_initialized():
            _connect(self._config)
            self._opened = True
            stop_on_sigterm()  # (Ray has put its own in place, which ends the process before this session is left)
        joined = _address(self._config) is not None
        preflight.check(self._config, stage, joined=joined)
        if self._whole and stage not in _LAST_STAGES:
            preflight.check(self._config, _LAST_STAGES[0], joined=joined)
            self._whole = False
        _limit(self._config.ray)


def stop_on_sigterm() -> None:
    """Turn SIGTERM into SystemExit, so that a job that is told to stop gives back what it holds; exit code 143.

    Only the main thread can do so; elsewhere this does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut short the leaving
    log.warning("told to stop; run the same command to go on from here")
    raise SystemExit(128 + number)


def _address(config: Config) -> str | None:
    return config.ray.address or os.environ.get("RAY_ADDRESS") or None


def _connect(config: Config) -> None:
    # Ray, which waits 0.1 s at first, has used up a task's retries before it knows that the actor's node is lost
    for name, milliseconds in _UNREACHABLE_MS.items():
        os.environ.setdefault(f"RAY_task_actor_unavailable_retry_{name}_ms", str(milliseconds))
    address = _address(config)
    quiet = {"logging_level": logging.WARNING, "log_to_driver": True, "runtime_env": job_log.runtime_env()}
    if address:
        ray.init(address=address, **quiet)
        return
    # workers inherit these; every actor is one process of several on the machine, so none takes all its cores
    for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray ends workers that wait for a second if there are more than CPUs; on few CPUs, where actors count too, each
    # burst of tasks would start its processes anew, for seconds each
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(_IDLE_WORKER_MS))
    cpus = config.ray.num_cpus or max(
        os.cpu_count() or 1,
        *(math.ceil(preflight.needs(config, stage)[0]) for stage in ("annotations", "instructions")),
    )
    store, started = config.ray.object_store_gib, time.monotonic()
    for left in reversed(range(_START_ATTEMPTS)):
        try:
            ray.init(
                num_cpus=cpus,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",  # else Ray's servers listen on every interface
                object_store_memory=None if store is None else int(store * 2**30),
                **quiet,
            )
        except Exception as error:  # (Ray has no class of its own for this)
            if "timed out" not in str(error) or not left:
                raise
            log.warning("Ray did not start in time on this busy machine; once more")
            ray.shutdown()
        else:
            log.info("Ray: started in %.1f s, with %d CPUs", time.monotonic() - started, cpus)
            return


def _limit(config: RayConfig) -> None:
    context = ray.data.DataContext.get_current()
    terminal = sys.stderr.isatty()
    context.enable_progress_bars = terminal
    context.enable_rich_progress_bars = terminal
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    context.execution_no_progress_timeout_s = config.no_progress_timeout_s
    # Ray Data sets resources aside for the steps in order, and the last go without where they run out; but the first
    # wait for waves to end. So little beyond what each needs is set aside.
    context.op_resource_reservation_ratio = 0.02
    # (it advises to ask for memory in a call that is ours, not the user's)
    context.issue_detectors_config.high_memory_detector_config.detection_time_interval_s = -1
    if not terminal:
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        # (it would advise to turn on the bars that were just turned off)
        logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def actor_limits(config: RayConfig) -> Callable[[], dict[str, int]]:
    """Return what gives actors their restart and retry limits: Ray's own default retries a crashing clip for ever."""
    # (until a lost node is known to be lost, each try to reach its actor costs a retry, with a wait before it: see
    # `_connect`; with these, a minute and more)
    retries = config.max_task_retries
    return partial(dict, max_restarts=config.max_actor_restarts, max_task_retries=retries and retries + _TRIES_TO_REACH)


def task_limits(config: RayConfig) -> Callable[[], dict[str, int]]:
    """Return what gives plain tasks their retry limit."""
    return partial(dict, max_retries=config.max_task_retries)
