"""How a job tells what it does: lines for a person, or one JSON object a line for a log store.

JSON is chosen by `SIFT_RAY_LOG=json` in the environment. Each object has `time` (UTC, ISO 8601), `level`, `logger` and
`message`; `stage`, `wave` and `unit_id` where they are known; `error` with a traceback where there is one. Lines at
info level and above hold no text of a transcript: what an exception says may quote one, so where it may, only
`place_of` the exception is told, and the whole of it at debug level.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

VARIABLE: Final = "SIFT_RAY_LOG"
JSON: Final = "json"
CONTEXT: Final = ("stage", "wave", "unit_id")

_NOISY: Final = ("botocore", "boto3", "urllib3", "s3transfer", "phonemizer", "numba", "asyncio")
_where: ContextVar[tuple[str, int | None] | None] = ContextVar("sift_ray_where", default=None)


@contextmanager
def where(stage: str, wave: int | None = None) -> Iterator[None]:
    """Name the stage and the wave in all lines that the block logs; not in threads that it starts."""
    token = _where.set((stage, wave))
    try:
        yield
    finally:
        _where.reset(token)


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object without a line break."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object; `extra={"unit_id": …}` of a call, and `stage` and `wave`, stand above those of `where`."""
        stage, wave = _where.get() or (None, None)
        known: dict[str, Any] = {"stage": stage, "wave": wave, "unit_id": None}
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in CONTEXT:
            value = getattr(record, name, known[name])
            if value is not None:
                told[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


def wanted(flag: bool = False) -> bool:
    """Whether lines are to be JSON: by the command's `flag`, or by the environment."""
    return flag or os.environ.get(VARIABLE, "").strip().lower() == JSON


def configure(json: bool = False, *, debug: bool = False, stream: TextIO | None = None) -> None:
    """Send all lines of this process to `stream`, stderr by default, in place of where they went before.

    With `json` the choice is put into the environment, so that `runtime_env` and a local Ray's workers follow it.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    if wanted(json):
        os.environ[VARIABLE] = JSON
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def runtime_env() -> dict[str, Any] | None:
    """Return what `ray.init` must give workers so that they log as this process does; None where all stays Ray's."""
    if not wanted():
        return None
    return {"env_vars": {VARIABLE: JSON}, "worker_process_setup_hook": "sift_ray.job_log.configure_worker"}


def configure_worker() -> None:
    """Set up a worker's lines, before its first task. Ray brings its stderr to the driver, with a mark before it."""
    configure(json=True)


def place_of(error: BaseException) -> str:
    """Return the type of an error and where it was raised, and nothing of what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno} in {last.name}"
