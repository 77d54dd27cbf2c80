"""Processes by what they say of themselves in /proc: those of a session, those that run a task of Ray's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_IDLE = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::RuntimeEnvSetup")
MAP_WORKERS = ("MapWorker", "_MapWorker")
WORKING_ACTORS = (*MAP_WORKERS, "GroupWriters")
"""Classes of the job's actors that hold rows."""
WATCHING_ACTORS = ("RowCounter", "WaveGate")
"""Those of the job that hold none: it goes on without the one, and the other stays on the driver's node."""
_RAYS_OWN_ACTORS = ("ActorLocationTracker", "_AutoscalingCoordinatorActor", "_StatsActor", "JobSupervisor")
_STOPPED_S = 5.0


def of_session(session: int) -> list[int]:
    """Return the processes of a session, which is all that its first process and its descendants started."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _stat(int(process.name))[3:4] == [str(session)]:
            found.append(int(process.name))
    return found


def kill_all(sessions: Iterable[int]) -> None:
    """End every process of sessions at once, as when a machine goes."""
    for session in sessions:
        while living := [pid for pid in of_session(session) if _stat(pid)[:1] != ["Z"]]:
            for pid in living:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def title(pid: int) -> str:
    """Return what a process is called; Ray calls a worker by what it runs."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def runs_task(name: str) -> bool:
    """Whether a process of this title is a worker in the middle of a task that is no actor's."""
    return name.startswith("ray::") and not name.startswith(_IDLE) and not _is_actor(name)


def runs_actor(name: str) -> bool:
    """Whether a process of this title is an actor that works on rows of the job."""
    return _is_one_of(name, WORKING_ACTORS)


def runs_map_worker(name: str) -> bool:
    """Whether a process of this title is an actor of a pool, which Ray Data restarts."""
    return _is_one_of(name, MAP_WORKERS)


def _is_actor(name: str) -> bool:
    return _is_one_of(name, (*WORKING_ACTORS, *WATCHING_ACTORS)) or any(own in name for own in _RAYS_OWN_ACTORS)


def _is_one_of(name: str, classes: Iterable[str]) -> bool:
    return name.startswith(tuple(f"ray::{one}" for one in classes))


def freeze(pid: int) -> None:
    """Stop a process where it is, and wait until it stands."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + _STOPPED_S
    while _stat(pid)[:1] not in (["T"], ["Z"], []) and time.monotonic() < end:
        time.sleep(0.001)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: state, parent, group, session; [] if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
