from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def test_the_benchmark_of_the_report_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "tests.benchmarks.report", "--rows", "20000", "--page", str(page)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^20,000 utterances and requests: [\d.]+ s .* [\d.]+ MB, \d+ MiB", done.stdout), done.stdout
    assert page.read_text(encoding="utf-8").count("<audio") > 30
    # most of a page is clips and drawings of samples, of which more rows bring no more
    assert page.stat().st_size < 20e6, done.stdout
