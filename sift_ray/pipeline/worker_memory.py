"""Memory of Ray's workers, which live for days and do a little of everything."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa


def give_back() -> None:
    """Give the system the memory that is free in this process, at the end of a task that needed much.

    Arrow and the C library keep it for the next time, and a worker would end up with the most that each kind of task
    has ever taken, added up. Takes some hundredths of a second.
    """
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError):  # (only glibc has it)
        ctypes.CDLL(None).malloc_trim(0)
