"""The faults themselves: each is struck at its moment, and makes sure that the moment has not passed meanwhile."""

from __future__ import annotations

import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..faulty_proxy import FaultyProxy
from ..ray_head import Head
from .build import Run
from .moments import Moment, after_mark
from .processes import freeze, of_session, runs_actor, runs_task, title

_TWIN_S = 120.0


@dataclass
class KillDriver:
    """SIGKILL of the command itself, at exactly the moment: it is frozen first, and looked at again."""

    name: str
    moment: Moment

    def try_on(self, run: Run) -> bool:
        if not run.at(self.moment):
            return False
        freeze(run.process.pid)
        if not run.at(self.moment):  # over before it could be frozen: wait for the next such moment
            os.kill(run.process.pid, signal.SIGCONT)
            return False
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.wait()
        return True


@dataclass
class KillWorker:
    """A signal to one worker of the job, while its title says that it does what `busy` asks for."""

    name: str
    moment: Moment
    busy: Callable[[str], bool] = runs_task
    number: signal.Signals = signal.SIGKILL
    dice: random.Random = field(default_factory=lambda: random.Random(0))

    def try_on(self, run: Run) -> bool:
        if not run.at(self.moment):
            return False
        found = sorted(pid for session in run.sessions() for pid in of_session(session) if self.busy(title(pid)))
        if not found:
            return False
        pid = self.dice.choice(found)
        with suppress(ProcessLookupError):
            freeze(pid)
            if self.busy(title(pid)):
                self.name += f" ({title(pid)})"
                os.kill(pid, self.number)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)  # (only SIGKILL reaches one that is frozen)
                return True
            os.kill(pid, signal.SIGCONT)
        return False


@dataclass
class KillNode:
    """SIGKILL of all processes of the cluster's oldest node that works for the job; another node may come later."""

    name: str
    moment: Moment
    head: Head
    busy: Callable[[str], bool] = lambda name: runs_task(name) or runs_actor(name)

    def try_on(self, run: Run) -> bool:
        if not run.at(self.moment):
            return False
        for node in self.head.nodes:
            if any(self.busy(title(pid)) for pid in of_session(node.session)):
                self.head.lose(node)
                return True
        return False


@dataclass
class AddNode:
    """Another node joins, `delay_s` after the strikes before it."""

    name: str
    moment: Moment
    head: Head
    cpus: int
    delay_s: float = 0.0
    _since: float | None = None

    def try_on(self, run: Run) -> bool:
        if self._since is None:
            if run.at(self.moment):
                self._since = time.monotonic()
            return False
        if time.monotonic() - self._since < self.delay_s:
            return False
        self.head.add_nodes(1, self.cpus)
        return True


@dataclass
class JumpClock:
    """From now on `time.time` is wrong by so much, in every process that imports the hook beside this file."""

    name: str
    moment: Moment
    file: Path
    shift_s: float

    def try_on(self, run: Run) -> bool:
        if not run.at(self.moment):
            return False
        self.file.write_text(f"{self.shift_s}")
        return True


@dataclass
class StoreAway:
    """The object store closes every connection for a while."""

    name: str
    moment: Moment
    proxy: FaultyProxy
    seconds: float

    def try_on(self, run: Run) -> bool:
        if not run.at(self.moment):
            return False
        self.proxy.down = True
        back = threading.Timer(self.seconds, setattr, [self.proxy, "down", False])
        back.daemon = True
        back.start()
        return True


@dataclass
class Twin:
    """The same command a second time: one of the two must be refused, by its exit code and in words; the other stays.

    Which one, where they are started together, is left open.
    """

    name: str
    moment: Moment

    def try_on(self, run: Run) -> bool:
        if not run.at(self.moment):
            return False
        nearly_done = run.at(after_mark("release"))
        log = run.build.log.with_suffix(".twin")
        log.unlink(missing_ok=True)
        other = Run(run.build, run.build.start(log), run.then)
        first = run.process
        deadline = time.monotonic() + _TWIN_S
        while first.poll() is None and other.process.poll() is None:
            assert time.monotonic() < deadline, f"two builds of one output run side by side:\n{run.build.tail()}"
            time.sleep(0.05)
        if other.process.poll() is None:  # the second has the lease: it is the build now
            refused, said = first, run.build.tail()
            run.process = other.process
            run.build.log.write_bytes(run.build.log.read_bytes() + log.read_bytes())
        else:
            refused, said = other.process, log.read_text(errors="replace")
        if nearly_done and first.poll() == 0 and refused.returncode == 0:  # over before there was a second
            self.name += " (too late)"
            return True
        assert refused.returncode == 1, said[-3000:]
        assert "another job is writing there" in said or "this job's lease" in said, said[-3000:]
        return True


@dataclass
class FillDisk:
    """The disk of the output has no byte left, until `empty`, or for so many seconds."""

    name: str
    moment: Moment
    ballast: Path
    seconds: float | None = None

    def try_on(self, run: Run) -> bool:
        if not run.at(self.moment):
            return False
        size = 1 << 20
        with self.ballast.open("ab", buffering=0) as stream:
            while size >= 1:
                try:
                    stream.write(b"\0" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
                    size //= 2
        if self.seconds is not None:
            again = threading.Timer(self.seconds, self.empty)
            again.daemon = True
            again.start()
        return True

    def empty(self) -> None:
        """Make room again."""
        self.ballast.unlink(missing_ok=True)
