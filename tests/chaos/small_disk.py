"""A real file system of a few megabytes, to fill."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class NoSmallDiskError(RuntimeError):
    """This machine does not let its users mount anything, even for themselves."""


@dataclass(frozen=True)
class SmallDisk:
    """A file system that only some processes see.

    Attributes:
        prefix: a command that runs a command among them.
        folder: where they see it.
        seen: where others see it.
    """

    prefix: tuple[str, ...]
    folder: Path
    seen: Path


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """Mount a tmpfs in a name space of its own, which needs no right to mount and leaves nothing behind.

    Raises:
        NoSmallDiskError: user name spaces are turned off, or `unshare` and `nsenter` are missing.
    """
    folder.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size={mebibytes}m none "$0" && echo mounted && exec sleep infinity'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(folder)]
    try:
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError as error:
        raise NoSmallDiskError("there is no `unshare`") from error
    assert holder.stdout is not None
    assert holder.stderr is not None
    try:
        if holder.stdout.readline() != "mounted\n":
            raise NoSmallDiskError(holder.stderr.read())
        prefix = ("nsenter", "--preserve-credentials", "--user", "--mount", f"--target={holder.pid}")
        yield SmallDisk(prefix, folder, Path(f"/proc/{holder.pid}/root{folder}"))
    finally:
        holder.kill()
        holder.wait()
