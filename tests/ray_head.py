"""A Ray cluster with a job server, in processes of its own, that is started and stopped apart from all others."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from .chaos.processes import kill_all

HOST = "127.0.0.2"
"""Loopback; a client would take 127.0.0.1 for another name of the machine's outer address, where no one listens."""
FIRST_NODE = 3
"""Nodes are at 127.0.0.3 and on."""
AGENT_PORTS = {
    "dashboard_agent_listen_port": "dashboard-agent-listen-port",
    "metrics_agent_port": "dashboard-agent-grpc-port",
    "runtime_env_agent_port": "runtime-env-agent-port",
    "metrics_export_port": "metrics-export-port",
}
"""The files in which a node's agents tell where they listen, and the option that says it to them."""
ATTEMPTS = 3
PATIENCE_S = 120
RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Node:
    """A node without the head's servers: all its processes are of one session."""

    process: subprocess.Popen[bytes]

    @property
    def session(self) -> int:
        """The session's number."""
        return self.process.pid


@dataclass(frozen=True)
class Head:
    """A head node that runs, and the nodes that have joined it."""

    address: str
    dashboard: str
    folder: Path
    environment: Mapping[str, str]
    nodes: list[Node] = field(default_factory=list)
    _joined: Iterator[int] = field(default_factory=lambda: count(FIRST_NODE))

    def ray(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run Ray's command-line tool; its output stands in `stdout`.

        Raises:
            AssertionError: it takes longer than `timeout` seconds; with what it had said by then.
        """
        try:
            return subprocess.run(
                [str(RAY), *arguments],
                env=dict(self.environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode(errors="replace")
            raise AssertionError(
                f"ray {' '.join(arguments)}: not over after {timeout:.0f} s:\n{said[-3000:]}"
            ) from error

    def add_nodes(self, nodes: int, cpus: int) -> None:
        """Start nodes, each on a loopback address of its own, one after the other, and wait until they have joined.

        Raises:
            AssertionError: one does not join.
        """
        options = [f"--address={self.address}", f"--num-cpus={cpus}"]
        for number in islice(self._joined, nodes):
            process = _started(f"127.0.0.{number}", self.folder / f"{number}", self.environment, lambda: options)
            self.nodes.append(Node(process))

    def lose(self, node: Node) -> None:
        """Kill all processes of a node, as when its machine is taken away."""
        kill_all([node.session])
        node.process.wait()
        if node in self.nodes:
            self.nodes.remove(node)


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
    kept |= environment or {}
    nodes: list[Node] = []
    ports: list[int] = []

    def options() -> list[str]:
        ports[:] = _free_ports(HOST, 2)
        servers = [f"--port={ports[0]}", f"--dashboard-host={HOST}", f"--dashboard-port={ports[1]}"]
        return ["--head", *servers, *arguments]

    try:
        _started(HOST, folder, kept, options)
        yield Head(f"{HOST}:{ports[0]}", f"http://{HOST}:{ports[1]}", folder, kept, nodes)
    finally:
        for node in nodes:
            kill_all([node.session])
            node.process.wait()
        _end(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _started(
    host: str, folder: Path, environment: Mapping[str, str], options: Callable[[], list[str]]
) -> subprocess.Popen[bytes]:
    """Start a node, and wait until it says that it is there; again if it fails.

    Raises:
        AssertionError: it fails for good; with what it said.
    """
    folder.mkdir(exist_ok=True)
    log = folder / "start.log"
    for _ in range(ATTEMPTS):
        node_id, ports = secrets.token_hex(28), dict(zip(AGENT_PORTS, _free_ports(host, len(AGENT_PORTS)), strict=True))
        command = [
            *(str(RAY), "start", "--block", f"--node-ip-address={host}", f"--temp-dir={folder}"),
            *(f"--{option}={ports[name]}" for name, option in AGENT_PORTS.items()),
            *("--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats", *options()),
        ]
        known = {**environment, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node_id}
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=stream, env=known, start_new_session=True)
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            _tell_ports(folder, node_id, ports)
            if "--block" in log.read_text(errors="replace"):
                return process
            time.sleep(0.1)
        kill_all([process.pid])
        process.wait()
    raise AssertionError(log.read_text(errors="replace")[-3000:])


def _tell_ports(folder: Path, node_id: str, ports: Mapping[str, int]) -> None:
    """Write what a node's agents write once they listen, as soon as its folder is there.

    A node waits 15 s for it and then gives up, which is too little for Python's imports where all tests run at once.
    """
    for session in folder.glob("session_2*"):
        for name, port in ports.items():
            file = session / f"{name}_{node_id}"
            if not file.exists():
                file.write_text(f"{port}")


def _end(folder: Path) -> None:
    """End every process of a head: by its own `ray start` if it lives, then whatever is left."""
    for number, grace_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 3.0)):
        for pid in _processes_of(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + grace_s
        while _processes_of(folder) and time.monotonic() < end:
            time.sleep(0.2)


def _free_ports(host: str, count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((host, 0))
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
