"""The benchmarks run: what they measure is for a quiet machine to say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def test_planning() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.plan", "300", "900"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ +900 +[\d.]+", done.stdout, re.MULTILINE), done.stdout
    assert "greatest over least" in done.stdout
