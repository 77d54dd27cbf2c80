"""Python imports this at its start, where this folder is on PYTHONPATH: what a test has to change in each process.

SHIFTED_CLOCK names a file that holds by how many seconds `time.time` is wrong; no file: by none.
RAY_WITHOUT_DASHBOARD makes Ray as it is installed without its `default` extra: its nodes start in half the time.
"""

import os
import sys
import time

_file = os.environ.get("SHIFTED_CLOCK")
_true_s, _true_ns = time.time, time.time_ns


def _shift_s() -> float:
    try:
        with open(_file) as stream:  # noqa: PTH123 (pathlib would be imported into every process)
            return float(stream.read() or 0)
    except (OSError, ValueError):
        return 0.0


def _shifted_s() -> float:
    return _true_s() + _shift_s()


def _shifted_ns() -> int:
    return _true_ns() + int(_shift_s() * 1e9)


if _file:
    for _name, _shifted in (("time", _shifted_s), ("time_ns", _shifted_ns)):
        # as of `time` itself, where pickle will look for it
        _shifted.__module__, _shifted.__name__, _shifted.__qualname__ = "time", _name, _name
        setattr(time, _name, _shifted)

if os.environ.get("RAY_WITHOUT_DASHBOARD"):
    sys.modules["ray.dashboard.optional_deps"] = None
