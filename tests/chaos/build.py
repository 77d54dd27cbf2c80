"""The command of a build, started again and again until it ends well, while faults strike it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sift_ray.storage import OutputRoot

from .content import paths_of
from .moments import Moment, Paths
from .processes import kill_all

_POLL_S = 0.01
ENTRY = Path(__file__).parents[2] / "jobs/build.py"


@dataclass
class Build:
    """What a person would type again after a failure.

    Attributes:
        config: the job's YAML file.
        root: its output, as the test sees it: never through a faulty proxy.
        log: what the command says is appended to it.
        environment: variables beside those of the test; None takes one away.
        prefix: a command that runs the command, such as `nsenter`.
        options: such as `--set`.
        sessions: gives the sessions in which the cluster's workers run; None: they are the command's own.
    """

    config: Path
    root: OutputRoot
    log: Path
    environment: Mapping[str, str | None] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    sessions: Callable[[], list[int]] | None = None

    def start(self, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start the command in a session of its own."""
        merged = {**os.environ, **self.environment}
        environment = {name: value for name, value in merged.items() if value is not None}
        command = [*self.prefix, sys.executable, str(ENTRY), str(self.config), *self.options]
        with (log or self.log).open("ab") as stream:
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)

    def tail(self, characters: int = 3000) -> str:
        """Return the end of what it said."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""

    def complaint(self) -> str:
        """Return the last sentence in which it said why it gave up; "" if there is none."""
        lines = [line for line in self.tail(20_000).splitlines() if line.startswith("sift-ray: ")]
        return lines[-1] if lines else ""


@dataclass
class Run:
    """A build's command while it runs."""

    build: Build
    process: subprocess.Popen[bytes]
    then: Paths  # the files that were there when it was started

    def at(self, moment: Moment) -> bool:
        """Whether it is that moment."""
        return moment(paths_of(self.build.root), self.then)

    def sessions(self) -> list[int]:
        """Return the sessions of the workers."""
        return [self.process.pid] if self.build.sessions is None else self.build.sessions()

    def end(self) -> None:
        """End it and all it started."""
        kill_all([self.process.pid])
        self.process.wait()


class Strike(Protocol):
    """A fault that waits for its moment."""

    @property
    def name(self) -> str:
        """What it does, and when."""

    def try_on(self, run: Run) -> bool:
        """Strike, if it is time; return whether it did."""


@dataclass
class Outcome:
    """How a build came to its end.

    Attributes:
        exits: the exit code of each time the command was run; minus the signal's number where one ended it.
        complaints: what it said each time it gave up by itself.
        struck: (the number of the run, seconds since the first one began, the strike's name).
        seconds: how long all took.
    """

    exits: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    struck: list[tuple[int, float, str]] = field(default_factory=list)
    seconds: float = 0.0

    def told(self) -> str:
        """Return it for a person."""
        lines = [f"  run {run}, {second:5.0f} s: {name}" for run, second, name in self.struck]
        return "\n".join([*lines, f"  exits {self.exits} in {self.seconds:.0f} s", *self.complaints])


def survive(build: Build, strikes: Sequence[Strike], *, runs: int, patience_s: float, all_fall: bool = True) -> Outcome:
    """Run the command until it exits with 0, again after each other exit, while strikes fall on it.

    Args:
        build: the command.
        strikes: each falls once, at its moment, after those before it.
        runs: how often the command may be run.
        patience_s: how long one run may take.
        all_fall: whether a build that ends before each strike had its moment is an error.

    Raises:
        AssertionError: it takes too long or too many runs, ends with 0 before the job is complete, or otherwise
            without a word why; or the moment of a strike did not come.
    """
    began = time.monotonic()
    outcome, waiting = Outcome(), list(strikes)
    for number in range(1, runs + 1):
        run = Run(build, build.start(), paths_of(build.root))
        deadline = time.monotonic() + patience_s
        try:
            while run.process.poll() is None:
                if waiting and waiting[0].try_on(run):
                    outcome.struck.append((number, time.monotonic() - began, waiting.pop(0).name))
                assert time.monotonic() < deadline, f"still running after {patience_s:.0f} s:\n{build.tail()}"
                time.sleep(_POLL_S)
        finally:
            run.end()
        code = run.process.returncode
        outcome.exits.append(code)
        outcome.seconds = time.monotonic() - began
        complete = "release.json" in paths_of(build.root)
        if code == 0:
            assert complete, f"exit code 0, and there is no release:\n{build.tail()}"
            assert not (waiting and all_fall), (
                f"over before {', '.join(s.name for s in waiting)}:\n{outcome.told()}\n{build.tail()}"
            )
            return outcome
        if code != -signal.SIGKILL:
            outcome.complaints.append(build.complaint())
            assert outcome.complaints[-1], f"exit code {code}, and not a word why:\n{build.tail()}"
    raise AssertionError(f"not done after {runs} runs:\n{outcome.told()}\n{build.tail()}")
