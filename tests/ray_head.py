"""A Ray cluster with a job server, in processes of its own, that is started and stopped apart from all others."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.2"
"""Loopback; a client would take 127.0.0.1 for another name of the machine's outer address, where no one listens."""
PATIENCE_S = 120
RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Head:
    """A head node that runs."""

    address: str
    dashboard: str
    folder: Path
    environment: Mapping[str, str]

    def ray(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run Ray's command-line tool; its output stands in `stdout`."""
        return subprocess.run(
            [str(RAY), *arguments],
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )


@contextmanager
def ray_head(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Head]:
    """Start a head node with further arguments of `ray start`, and end every process of it afterwards.

    Args:
        arguments: such as `--num-cpus=6`.
        environment: variables beside those of the tests, for the cluster and for tools that speak to it.
    """
    # under its own short name: the paths of sockets in there may have 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    kept["PATH"] = f"{RAY.parent}{os.pathsep}{kept.get('PATH', '')}"
    try:
        yield _started(folder, arguments, {**kept, **(environment or {})})
    finally:
        _end(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]) -> Head:
    """Start a head; again if it fails, as Ray gives a node 30 s to come up, too few where all tests run at once."""
    for attempt in range(3):
        gcs, dashboard, agent, metrics = _free_ports(4)
        command = [
            *(str(RAY), "start", "--head", "--block", f"--node-ip-address={HOST}", f"--port={gcs}"),
            *(f"--dashboard-host={HOST}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
            *(f"--metrics-export-port={metrics}", "--min-worker-port=0", "--max-worker-port=0"),
            *(f"--temp-dir={folder}", "--disable-usage-stats", *arguments),
        ]
        log = folder / f"start-{attempt}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, stdout=stream, stderr=stream, env=dict(environment), start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            if "--block" in log.read_text(errors="replace"):
                return Head(f"{HOST}:{gcs}", f"http://{HOST}:{dashboard}", folder, environment)
            time.sleep(0.2)
        _end(folder)
        process.wait()
    raise AssertionError(log.read_text(errors="replace")[-3000:])


def _end(folder: Path) -> None:
    """End every process of a head: by its own `ray start` if it lives, then whatever is left."""
    for number, grace_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 3.0)):
        for pid in _processes_of(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + grace_s
        while _processes_of(folder) and time.monotonic() < end:
            time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _processes_of(folder: Path) -> list[int]:
    """Return the processes whose command line names the cluster's folder."""
    name = os.fsencode(folder)
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                if any(name + end in (process / "cmdline").read_bytes() for end in (b"/", b"\0", b" ")):
                    found.append(int(process.name))
    return found
