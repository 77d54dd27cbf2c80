"""One job at a time on an output root: a lease that its holder renews, and that expires with it.

The lease is a file under the root. Who finds none, or one whose holder is gone, puts its own there, waits a moment and
reads it back: of several who do so at once, the last to write has it and the others stop. A holder that was too slow
to renew (or was stopped for a while) learns at its next renewal, and at the latest before it marks a wave as done,
that another has taken its place. No clocks of two machines are ever compared: a lease is dead when it has not changed
for its whole term while being watched.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from sift_ray.storage import OutputRoot, StorageError, put_json

log = logging.getLogger(__name__)

LEASE_NAME: Final = "_LEASE.json"
TERM_S: Final = 60.0
"""A lease that has not been renewed for so long is dead."""
_RENEWALS_A_TERM = 6
_LEAVING_S = 5.0
_SETTLING_S = 0.5  # between writing a lease and reading it back


class LeaseError(RuntimeError):
    """The output root belongs to another job that is running; the message says whose it is."""


class Lease:
    """The right to write under an output root; a context manager.

    Entering takes the lease, which may mean to watch a lease for up to its term, to see whether its holder lives.
    While held, a thread renews it. Leaving gives it back.
    """

    def __init__(
        self,
        root: OutputRoot,
        term_s: float = TERM_S,
        clock: Callable[[], float] = time.monotonic,
        on_loss: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the root, and what the renewing thread calls when it finds that the lease is lost."""
        self._root = root
        self._on_loss = on_loss
        self._term_s = term_s
        self._clock = clock
        self._me = {
            "holder": secrets.token_hex(8),
            "host": socket.gethostname(),
            "space": _process_space(),
            "boot": _boot(),
            "process": _process(os.getpid()),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "term_s": term_s,
        }
        self._beat = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost = ""  # why the lease is lost for good, whatever the file says

    def __enter__(self) -> Self:
        """Take the lease.

        Raises:
            LeaseError: another holds it and is alive.
        """
        other = self._read()
        if other is not None:
            self._outlive(other)
        self._put()
        self._stop.wait(min(_SETTLING_S, self._term_s / 10))
        self.check()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_LEAVING_S)  # (longer only where the store does not answer)
        try:
            mine = self._read()
            if mine is not None and mine.get("holder") == self._me["holder"]:
                self._root.delete(LEASE_NAME)
        except Exception as error:  # what the job did, or failed by, must not be hidden by this
            log.warning("the lease on %s is not given back and will expire: %s", self._root.uri, error)

    def check(self) -> None:
        """Make sure that the lease is still held; to be called before anything is marked as done.

        Raises:
            LeaseError: another has it, or it is gone.
        """
        found = self._read()
        if found is None or found.get("holder") != self._me["holder"]:
            self._lost = self._lost or ("is gone" if found is None else f"was taken by {_name(found)}")
        self.raise_if_lost()

    def raise_if_lost(self) -> None:
        """Do as `check` by what was last seen, without asking the store.

        Raises:
            LeaseError: another has it, or it is gone.
        """
        if self._lost:
            raise LeaseError(
                f"{self._root.uri}: this job's lease {self._lost}, so it stops. What it had marked as done stays done; "
                "run it again when no other runs"
            )

    def _outlive(self, other: dict[str, Any]) -> None:
        """Return if the holder of `other` is gone, else raise LeaseError."""
        near = all(other.get(name) == self._me[name] for name in ("host", "boot", "space"))
        if near and self._me["process"]:
            gone = _process(_pid(other)) != other.get("process")
        else:
            gone = self._falls_silent(other)
        if not gone:
            raise LeaseError(
                f"{self._root.uri}: another job is writing there: {_name(other)}, since {other.get('since')}. Wait for "
                f"it or stop it, or take another `output`; `sift-ray status` shows how far it is. (If it is gone all "
                f"the same, delete {LEASE_NAME} there.)"
            )
        log.warning("%s: the lease of %s is taken over: it is gone", self._root.uri, _name(other))

    def _falls_silent(self, other: dict[str, Any]) -> bool:
        """Watch a lease; return whether it stays as it is for its whole term, or is given back."""
        term_s = float(other.get("term_s", self._term_s))
        log.info("%s: waiting up to %.0f s to see whether %s still runs", self._root.uri, term_s, _name(other))
        end = self._clock() + term_s
        while self._clock() < end:
            self._stop.wait(term_s / _RENEWALS_A_TERM / 4)
            now = self._read()
            if now != other:
                return now is None
        return True

    def _keep(self) -> None:
        while not self._stop.wait(self._term_s / _RENEWALS_A_TERM):
            try:
                self.check()
                self._put()
            except LeaseError as error:
                log.error("%s", error)
                self._on_loss()  # the main thread is told now, and again before its next mark
                return
            except Exception as error:  # a store that is down for a while costs the lease only if another wants it
                log.warning("the lease on %s could not be renewed (tried again soon): %s", self._root.uri, error)

    def _put(self) -> None:
        self._beat += 1
        began = self._clock()
        try:
            put_json(self._root, LEASE_NAME, {**self._me, "beat": self._beat})
        finally:
            if self._clock() - began > self._term_s / 2:
                # while this hung another may have come, and this may now have been written over its lease
                self._lost = f"took {self._clock() - began:.0f} s to renew, and may have been another's meanwhile"

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._root.read(LEASE_NAME))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StorageError(
                f"{self._root.uri}/{LEASE_NAME} is no lease ({error}): delete it if no job runs there"
            ) from error
        return found if isinstance(found, dict) else {}


def _name(lease: dict[str, Any]) -> str:
    return f"process {_pid(lease)} on {lease.get('host', 'an unknown host')}"


def _pid(lease: dict[str, Any]) -> int:
    first = str(lease.get("process", "")).partition("@")[0]
    return int(first) if first.isdigit() else -1


def _process_space() -> str:
    """Return what tells containers of one machine apart, in each of which process ids begin anew."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _boot() -> str:
    """Return what tells this run of this machine from every other machine's; "" where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _process(pid: int) -> str:
    """Return what tells a process from every other since the machine's start: its id and when it began; "" if gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if Path("/proc/self").exists() or not _is_there(pid):
            return ""
        return str(pid)  # (no /proc: a later process of the same id passes for it, and its lease has to expire)
    fields = stat.rpartition(")")[2].split()
    if fields[0] == "Z":
        return ""  # dead, and only not yet buried
    return f"{pid}@{fields[19]}"


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
