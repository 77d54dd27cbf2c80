"""A spot node that goes in the middle of a wave, and another that comes late, change nothing in the result."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import Job, template_config
from ..ray_head import HOST, RAY, Head, ray_head
from .test_resume import content_by_id

pytestmark = pytest.mark.integration

PATIENCE_S = 400
NODE_CPUS = 4


@pytest.fixture
def head() -> Iterator[Head]:
    """A head without work: every task and actor of the job runs on other nodes."""
    with ray_head("--num-cpus=0", "--include-dashboard=false") as started:
        yield started


def add_node(head: Head) -> subprocess.Popen[bytes]:
    command = [
        *(str(RAY), "start", "--block", f"--address={head.address}", f"--node-ip-address={HOST}"),
        *("--dashboard-agent-listen-port=0", f"--num-cpus={NODE_CPUS}", "--min-worker-port=0", "--max-worker-port=0"),
        "--disable-usage-stats",
    ]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=dict(head.environment), stdout=quiet, stderr=quiet, start_new_session=True)
