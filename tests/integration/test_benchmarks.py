"""The benchmarks run: what they measure is for a quiet machine to say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.integration


def benchmark(*arguments: str, status: int = 0) -> str:
    """Run a benchmark in its own process; return what it prints."""
    command = [sys.executable, "-m", f"tests.benchmarks.{arguments[0]}", *arguments[1:]]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def test_planning() -> None:
    printed = benchmark("plan", "300", "900")
    assert re.search(r"^ +900 +[\d.]+", printed, re.MULTILINE), printed
    assert "greatest over least" in printed


def test_trackers_of_pitch() -> None:
    printed = benchmark("pitch", "--quick")
    assert re.search(r"^ours, torch +\d", printed, re.MULTILINE), printed


def test_the_feature_stage() -> None:
    printed = benchmark("features", "--quick")
    assert re.search(r"^the stage +\d", printed, re.MULTILINE), printed
    assert "two workers over twice one" in printed


def test_aligning() -> None:
    printed = benchmark("align", "--quick")
    assert re.search(r"^the aligner, monophone +\d", printed, re.MULTILINE), printed
    assert "of which viter itself" in printed
    assert "two workers over twice one" in printed


def test_the_score_of_alignments() -> None:
    printed = benchmark("align_confidence", "--quick")
    assert re.search(r"^\| all \| 12 \| [\d.]+ % \|", printed, re.MULTILINE), printed
    assert re.search(r"^\| swapped \| 12 \| [\d.]+ % \|", printed, re.MULTILINE), printed


def test_metadata() -> None:
    printed = benchmark("metadata", "--quick")
    assert re.search(r"^facts +[\d,]+ +\d", printed, re.MULTILINE), printed
    assert re.search(r"^2 +\d", printed, re.MULTILINE), printed


def test_the_verifier() -> None:
    printed = benchmark("verifier", "--language", "it", "--seconds", "1")
    assert re.search(r"^\| all \|", printed, re.MULTILINE), printed


def test_the_instruct_stage(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    measured = tmp_path / "measured.json"
    one = ("--tasks", "closed_ended_acoustic_level", "--languages", "en", "--requests", "4", "--arms", "stage")
    printed = benchmark("instruct", *one, "--json", str(measured))
    assert re.search(r"^\| stage \| 4 \| [\d,]+ \| [\d.]+ \|", printed, re.MULTILINE), printed
    of = json.loads(measured.read_text("utf-8"))["tasks"]["stage"]["closed_ended_acoustic_level"]
    assert of["requests"] == 4
    assert of["accepted"] <= 4
    assert 0 < of["cached_tokens"] < of["prompt_tokens"]  # what stands before the metadata was computed once


def test_releasing() -> None:
    printed = benchmark("release", "--quick")
    assert re.search(r"^ +60,000 +[\d,]+/s +[\d,]+/s +[\d.]+ ", printed, re.MULTILINE), printed


def test_validating() -> None:
    printed = benchmark("validate", "--quick")
    for layout in ("Parquet", "Parquet, --against", "published JSON lines"):
        assert re.search(rf"^ +4,\d+ {layout} +[\d,]+ ", printed, re.MULTILINE), printed


def test_batches_on_a_device() -> None:
    assert "times real time in batches of 10 s" in benchmark("gpu", "--device", "cpu", "--seconds", "10")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_without_a_gpu_nothing_is_claimed() -> None:
    assert benchmark("gpu", status=2) == ""
