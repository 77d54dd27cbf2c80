"""Faults of vLLM's start, forged: the real ones are in `test_vllm_engine`."""

import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from sift_ray.instruct.engine import EngineStartError
from sift_ray.instruct.vllm_start import end_processes, start_llm

CORE = "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"


class Starts:
    """Fails with each fault in turn, then starts; notes the ports that it was given."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.ports = []

    def __call__(self):
        self.ports.append(os.environ.get("VLLM_PORT"))
        if self.faults:
            raise self.faults.pop(0)
        return "llm"


@pytest.fixture
def pauses(monkeypatch):
    found = []
    monkeypatch.setattr("sift_ray.instruct.vllm_start.time.sleep", found.append)
    return found


PASSING = [
    OSError(98, "Address already in use"),
    RuntimeError("DistNetworkError: The server socket has failed to listen: EADDRINUSE"),
    RuntimeError("Could not find open port after 1000 attempts starting from port 5000"),
    ValueError(
        "Free memory on device cuda:0 (1.0/80.0 GiB) on startup is less than desired GPU memory utilization (0.9)"
    ),
    AssertionError("Error in memory profiling. Initial free memory 3, current free memory 5."),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    TimeoutError("Timed out waiting for engine core processes to start."),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: str(fault)[:20])
def test_what_passes_is_tried_again(fault, pauses, monkeypatch):
    monkeypatch.delenv("VLLM_PORT", raising=False)
    starts = Starts(fault, fault)
    assert start_llm(starts, "m", 3) == ("llm", [])
    assert starts.ports == [None] * 3  # the kernel gives another each time
    first, second = pauses
    assert 1 <= first <= 3
    assert 2 <= second <= 6


def test_each_attempt_takes_another_port(pauses, monkeypatch):
    monkeypatch.setenv("VLLM_PORT", "5000")
    starts = Starts(*PASSING[:3])
    start_llm(starts, "m", 4)
    ports = [int(port) for port in starts.ports]
    assert ports[0] == 5000
    assert ports == sorted(set(ports))
    assert os.environ["VLLM_PORT"] == "5000"


@pytest.mark.parametrize("first", [1024, 64_000, 65_500, 65_535])
def test_other_ports_leave_room_within_the_range(first, pauses, monkeypatch):
    monkeypatch.setenv("VLLM_PORT", str(first))
    starts = Starts(*PASSING[:1] * 9)
    start_llm(starts, "m", 10)
    ports = [int(port) for port in starts.ports]
    assert len(set(ports)) == 10
    assert all(1024 <= port <= 65_535 - 64 for port in ports[1:])


def test_attempts_are_bounded(pauses):
    starts = Starts(*PASSING[:1] * 9)
    with pytest.raises(EngineStartError, match=r"model m: .*\(tried 3 times\): OSError: .*in use; free the ports"):
        start_llm(starts, "m", 3)
    assert len(starts.faults) == 6
    assert len(pauses) == 2


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (
            ValueError("User-specified max_model_len (9) is greater than the derived max_model_len (8)"),
            "lower instruct",
        ),
        (ValueError("Model architectures ['X'] are not supported for now."), "the installed vLLM knows"),
        (ValueError("No available memory for the cache blocks."), "gpu_memory_utilization"),
        (KeyError("rope"), "see the lines above"),
        (AssertionError(), "see the lines above"),
    ],
)
def test_what_does_not_pass_is_said_at_once(fault, advice, pauses):
    starts = Starts(fault)
    said = rf"model m: vLLM does not start: {type(fault).__name__}: .*{advice}"
    with pytest.raises(EngineStartError, match=said) as caught:
        start_llm(starts, "m", 3)
    assert caught.value.__cause__ is fault  # with its traceback
    assert len(starts.ports) == 1
    assert not pauses


CAUSE = "(Worker pid=7) ERROR 11-23 02:42:42 [executor.py:944] torch.DistNetworkError: port 5000: EADDRINUSE"
POINTER = "(EngineCore pid=5) Exception: WorkerProc failed. See stack trace for root cause."


def says(*lines):
    """Return a start that fails in a child process, which says why on its stderr."""

    def start():
        code = "import sys; sys.stderr.write(sys.stdin.read())"
        subprocess.run([sys.executable, "-c", code], input="\n".join(lines), text=True, check=True)
        raise RuntimeError(CORE)

    return start


def test_a_child_process_is_listened_to(capfd):
    with pytest.raises(EngineStartError, match="does not start: RuntimeError: Engine core initialization failed"):
        start_llm(says(CAUSE, POINTER, "x" * 200_000), "m", 1)  # only the end is kept
    with pytest.raises(EngineStartError, match="DistNetworkError: port 5000: EADDRINUSE; free the ports"):
        start_llm(says("x" * 200_000, CAUSE, POINTER), "m", 1)
    print("after", file=sys.stderr)
    time.sleep(0.2)
    heard = capfd.readouterr().err
    assert CAUSE in heard  # it is passed on
    assert heard.endswith("after\n")
    assert len(heard) > 400_000


def test_what_nobody_takes_is_still_drained():
    code = """
import os, subprocess, sys
from sift_ray.instruct.vllm_start import start_llm

reading, writing = os.pipe()
os.dup2(writing, 2)
os.close(writing)
os.close(reading)  # as when whoever kept the log has gone
wide = "import sys; [sys.stderr.write('x' * 4096) for _ in range(256)]; sys.stderr.flush(); print('written')"
print(start_llm(lambda: subprocess.run([sys.executable, "-c", wide]).returncode, "m", 1))
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["written", "(0,", "[])"]


def _linger():
    time.sleep(600)


def test_no_process_is_left_of_a_failed_attempt(pauses):
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=_linger)
    other.start()

    def start():
        context.Process(target=_linger).start()
        raise PASSING[0]

    try:
        with pytest.raises(EngineStartError):
            start_llm(start, "m", 2)
        assert multiprocessing.active_children() == [other]
    finally:
        end_processes([other])
    assert not multiprocessing.active_children()


def test_what_was_started_is_handed_over():
    def start():
        process = multiprocessing.get_context("spawn").Process(target=_linger)
        process.start()
        return process

    process, processes = start_llm(start, "m", 1)
    assert processes == [process]
    end_processes(processes)
    assert not process.is_alive()
