"""A real vLLM engine in a Ray actor that dies, finds no model, or has no room: every request still has its row."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sift_ray.config_file import parse_config
from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.requests import ACOUSTIC, Request
from sift_ray.metadata.record import Fact
from sift_ray.pipeline import instruct
from sift_ray.pipeline.progress import Progress, RowCounter
from sift_ray.pipeline.wave_pieces import WAVE, piece_of
from sift_ray.schema import INSTRUCTIONS, REQUESTS
from sift_ray.worker_errors import sentence_of

from ..conftest import template_config
from ..instruct.tiny_llm import save_tiny_llm

pytestmark = [pytest.mark.integration, pytest.mark.timeout(540)]

ROWS = 60


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("vllm")
    return save_tiny_llm(tmp_path_factory.mktemp("tiny"), positions=8192)


def answers(
    tmp_path: Path, model: Path, rows: int, progress: Progress, max_model_len: int = 8192, **settings: Any
) -> Any:
    """Return the dataset of the pipeline that asks `model` about `rows` utterances."""
    import ray.data

    config = parse_config(template_config(tmp_path, tmp_path), "job.yaml")
    section = InstructConfig.model_validate(
        {
            "models": {"default": str(model)},
            "retries": 0,
            "sampling": {"max_tokens": 48},
            "vllm": {"max_model_len": max_model_len, "cpu_kvcache_gib": 1, "enforce_eager": True, "max_num_seqs": 8},
            "pool": {"actors": (1, 1), "num_gpus": 0, "batch_rows": 10},
            "concurrent_batches": 2,
            **settings,
        },
        context={"check_paths": False},  # as where a model is on the driver's disk and not on the workers'
    )
    facts = (Fact("speaking_rate", "very slowly"), Fact("transcript", "one two three"))
    asked = [
        Request(i, ACOUSTIC, "en", "train", "x", (f"u{i}",), (f"/{i}.wav",), "vllm", facts, ("speaking_rate",), 1, i)
        for i in range(rows)
    ]
    table = pa.Table.from_pylist([request.to_row() for request in asked], schema=REQUESTS)
    config = config.model_copy(update={"instruct": section})
    pieces = pa.concat_tables(piece_of(0, table.slice(start, 10)) for start in range(0, rows, 10))
    dataset = ray.data.from_arrow(pieces).repartition(pieces.num_rows)
    return instruct.answers(dataset, progress, config, str(model))


def rows_of(dataset: Any) -> Any:
    table = pa.concat_tables(dataset.iter_batches(batch_format="pyarrow", batch_size=None)).drop_columns([WAVE])
    assert table.schema.equals(INSTRUCTIONS)
    return table.to_pylist()


def own_engine_cores() -> set[int]:
    """Return the ids of engine processes under this one, however deep."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    processes = [line.split(maxsplit=2) for line in listing.splitlines()]
    under = {str(os.getpid())}
    while more := {pid for pid, parent, *_ in processes if parent in under} - under:
        under |= more
    return {int(pid) for pid, _, *args in processes if pid in under and args and "EngineCore" in args[0]}


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_killed_engine_costs_no_row(local_ray: None, tiny_model: Path, tmp_path: Path) -> None:
    import ray

    counter = ray.remote(RowCounter).remote()
    seen: list[int] = []
    done = threading.Event()

    def kill_the_first() -> None:
        while not done.wait(0.2):
            seen.extend(own_engine_cores() - set(seen))
            if len(seen) == 1 and ray.get(counter.rows.remote("instruct")) >= 5:
                os.kill(seen[0], signal.SIGKILL)
                break
        while not done.wait(0.5):
            seen.extend(own_engine_cores() - set(seen))

    watcher = threading.Thread(target=kill_the_first)
    watcher.start()
    try:
        rows = rows_of(answers(tmp_path, tiny_model, ROWS, Progress("instruct", counter)))
    finally:
        done.set()
        watcher.join()
    assert len(seen) == 2, "one engine was killed and another took its place"
    assert sorted(row["unit_id"] for row in rows) == list(range(ROWS))
    assert all(row["pairs"] for row in rows)
    assert all(row["generated_tokens"] > 0 for row in rows)
    give_up = time.monotonic() + 60
    while any(map(is_running, seen)) and time.monotonic() < give_up:
        time.sleep(0.5)
    assert not any(map(is_running, seen)), "an engine outlives its actor"


def test_a_model_that_is_not_there_ends_the_job(local_ray: None, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(Exception, match="no such folder") as caught:
        rows_of(answers(tmp_path, tmp_path / "nowhere", ROWS, Progress()))
    assert sentence_of(caught.value).startswith(f"ModelError: model {tmp_path / 'nowhere'}: no such folder; give")
    assert time.monotonic() - start < 120


def test_prompts_without_room_are_counted_and_fall_back(local_ray: None, tiny_model: Path, tmp_path: Path) -> None:
    rows = rows_of(answers(tmp_path, tiny_model, 20, Progress(), max_model_len=256, fallback="template"))
    assert sorted(row["unit_id"] for row in rows) == list(range(20))
    pairs = [pair for row in rows for pair in row["pairs"]]
    assert Counter(pair["reason"] for pair in pairs) == {"prompt_too_long": 20, None: 20}
    assert {row["finish_reason"] for row in rows} == {"error"}
    refused = next(pair for pair in pairs if not pair["accepted"])
    assert "raise max_model_len" in refused["answer"]
    assert {pair["generator"] for pair in pairs if pair["accepted"]} == {"template"}
