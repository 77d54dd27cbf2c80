"""Start vLLM: again where the fault may pass, at once an error that says what to do where it can't.

What goes wrong in vLLM's child processes is told only on their stderr, so that is listened to meanwhile.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import Any, Final

from sift_ray.instruct.engine import EngineStartError

log = logging.getLogger(__name__)

_PASSING: Final = re.compile(
    r"address (?:is )?already in use|EADDRINUSE|DistNetworkError|could not find open port"
    r"|is less than desired (?:GPU|CPU) memory utilization|error in memory profiling|out of memory"
    r"|timed out waiting for engine core|did not receive response from front-end|TimeoutError",
    re.IGNORECASE,
)
_ADVICE: Final = (
    (r"max_model_len .* is greater than the derived", "lower instruct.vllm.max_model_len to what the model takes"),
    (
        r"KV cache|cache blocks",
        "raise instruct.vllm.gpu_memory_utilization (on a CPU cpu_kvcache_gib), or lower max_model_len",
    ),
    (
        r"architectures? .*not supported|does not recognize|no model architectures|unrecognized (model|configuration)",
        "name a model that the installed vLLM knows, or install a newer vLLM",
    ),
    (
        r"SafetensorError|deserializing header|HeaderTooLarge",
        "a weight file is broken: delete it and fetch the model again",
    ),
    (
        r"address (?:is )?already in use|EADDRINUSE|DistNetworkError|open port",
        "free the ports, or unset VLLM_PORT so that any free one is taken",
    ),
    (
        r"memory utilization|memory profiling|out of memory",
        "stop what else uses the memory, or lower instruct.vllm.gpu_memory_utilization or max_model_len",
    ),
    (
        r"timed out|TimeoutError|did not receive response",
        "raise VLLM_ENGINE_READY_TIMEOUT_S, or see what loads so slowly",
    ),
)
_RAISED: Final = re.compile(r"(?m)^(?:\([^)\n]*\)\s*)?(?:ERROR[^\]\n]*\]\s*)?([\w.]*(?:Error|Exception)): (\S.*)$")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_POINTS_ELSEWHERE: Final = "See root cause above"

_KEPT = 64 * 1024  # bytes of stderr
_DETAIL = 600  # characters of an error
_PAUSE_S = 2.0
_END_S = 5.0
_PORTS = 64  # an attempt looks for its ports this far from the one before
_LAST_PORT = 65535


def start_llm(
    make: Callable[[], Any], what: str, attempts: int, pause_s: float = _PAUSE_S
) -> tuple[Any, list[BaseProcess]]:
    """Return what `make` makes and the processes that it started, tried again while it fails by what may pass.

    Between attempts lies a random pause that doubles, and each takes other ports: without `VLLM_PORT` the kernel's
    choice, with it ones further up, or down where the range ends. A failed attempt's processes are gone before the next
    begins.

    Args:
        make: starts vLLM; called in this process.
        what: names the model in errors.
        attempts: how often at most; at least 1.
        pause_s: the first pause is between half of it and one and a half of it.

    Raises:
        EngineStartError: it does not start; says why and what to do. Its cause is what `make` raised last.
    """
    port = os.environ.get("VLLM_PORT")
    before = {child.pid for child in multiprocessing.active_children()}

    def started() -> list[BaseProcess]:
        return [child for child in multiprocessing.active_children() if child.pid not in before]

    try:
        for attempt in range(1, attempts + 1):
            with _overheard() as heard:
                try:
                    return make(), started()
                except Exception as error:
                    # of any class: vLLM's own configuration, zmq, torch, and whatever a broken model file causes
                    said = _cause(error, heard)
                    failure: Exception | None = error
            end_processes(started())
            if attempt == attempts or not _PASSING.search(said):
                tries = f" (tried {attempt} times)" if attempt > 1 else ""
                raise EngineStartError(
                    f"model {what}: vLLM does not start{tries}: {said}; {_advice(said)}"
                ) from failure
            failure = None  # its traceback holds what was half made
            pause = pause_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - parts actors, hides nothing
            log.warning("model %s: vLLM does not start: %s; again in %.1f s", what, said, pause)
            time.sleep(pause)
            if port is not None and port.isdecimal():
                os.environ["VLLM_PORT"] = str(_other_port(int(port), attempt))
        raise ValueError(f"attempts is {attempts}, and must be 1 or more")
    finally:
        if port is not None:
            os.environ["VLLM_PORT"] = port


def _other_port(port: int, attempt: int) -> int:
    """Return where an attempt after the first looks for ports; it goes on upwards from there."""
    step = _PORTS * attempt + random.randrange(_PORTS)  # noqa: S311 - parts actors, hides nothing
    return port + step if port + step + _PORTS <= _LAST_PORT else port - step


def end_processes(processes: list[BaseProcess]) -> None:
    """End these child processes and wait until they are gone; vLLM's workers end when their parent does."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_END_S)
        if process.is_alive():
            process.kill()
            process.join(_END_S)


@contextmanager
def _overheard() -> Iterator[bytearray]:
    """Yield the end of what this process and those that it starts write to stderr; all of it is passed on.

    The processes started meanwhile keep writing through here for as long as they live.
    """
    own = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    heard = bytearray()

    def pass_on() -> None:
        while chunk := os.read(reading, 1 << 16):
            heard.extend(chunk)
            del heard[:-_KEPT]
            # whoever writes must never wait or fail because nobody takes what is passed on
            with suppress(OSError):
                written = 0
                while written < len(chunk):
                    written += os.write(own, chunk[written:])
        os.close(reading)
        os.close(own)

    threading.Thread(target=pass_on, name="vllm-stderr", daemon=True).start()
    try:
        yield heard
    finally:
        os.dup2(own, 2)


def _cause(error: Exception, heard: bytearray) -> str:
    """Return "Type: message" of what went wrong: `error`, or what a child process said if `error` points there."""
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}"
    if _POINTS_ELSEWHERE in text:
        time.sleep(0.2)  # its last words are in the pipe, if not yet here
        lines = _COLOUR.sub("", heard.decode("utf-8", "replace"))
        raised = [m for m in _RAISED.finditer(lines) if _POINTS_ELSEWHERE not in m[2] and "root cause" not in m[2]]
        if raised:
            said = f"{raised[-1][1].rpartition('.')[2]}: {raised[-1][2].strip()}"
    return said[:_DETAIL]


def _advice(said: str) -> str:
    for pattern, advice in _ADVICE:
        if re.search(pattern, said, re.IGNORECASE):
            return advice
    return "see the lines above it, and the settings under instruct.vllm"
