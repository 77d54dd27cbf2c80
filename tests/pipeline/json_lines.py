"""Reads back what a logger writes as JSON lines."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sift_ray.job_log import JsonFormatter


@contextmanager
def json_lines(logger: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Give what returns the lines that a logger has written in the block, as a worker's handler would write them."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger(logger).addHandler(handler)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        logging.getLogger(logger).removeHandler(handler)
