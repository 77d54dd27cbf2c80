"""What is counted, and that a node's agent serves it."""

import asyncio
import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
import soundfile as sf

from sift_ray.config import DecodeConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.instruct.engine import EngineDied, Generation, Prompt, RequestFailed
from sift_ray.pipeline import metrics
from sift_ray.pipeline.decoding import decode_batch
from sift_ray.pipeline.metered_engine import MeteredEngine
from sift_ray.pipeline.metrics import SERIES, Series, WaveGauges
from sift_ray.schema import UTTERANCES, conform

Told = dict[tuple[str, ...], float]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What was recorded, by series and labels: sums of counters, the last of gauges, the number of observations."""
    found: Told = defaultdict(float)

    def record(series: Series, value: float, *labels: str) -> None:
        assert len(labels) == len(series.labels)
        key = (series.name.removeprefix("sift_ray_"), *labels)
        match series.kind:
            case "counter":
                found[key] += value
            case "gauge":
                found[key] = value
            case "histogram":
                found[key] += 1

    monkeypatch.setattr(metrics, "record", record)
    return found


def clips(folder: Path, lengths: list[float | None]) -> pa.Table:
    """Return rows of `utterances` with a WAV each; None is one that is no audio."""
    uris = []
    for n, length in enumerate(lengths):
        path = folder / f"{n}.wav"
        if length is None:
            path.write_bytes(b"no audio")
        else:
            sf.write(path, 0.1 * np.sin(np.arange(int(length * 16_000)) * 0.05), 16_000)
        uris.append(str(path))
    number = len(lengths)
    table = pa.table(
        {
            "unit_id": list(range(number)),
            "utterance_id": [f"u{n}" for n in range(number)],
            "audio_uri": uris,
            "language": ["en", "de"] * (number // 2) + ["en"] * (number % 2),
            "status": ["ok"] * number,
            "gender_withheld": [False] * number,
            **{name: ["x"] * number for name in ("corpus", "data_source", "split")},
        }
    )
    return conform(table, UTTERANCES)


def test_the_table_of_the_docstring_is_what_is_made() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| .+ \|$", metrics.__doc__ or "", re.MULTILINE)
    written = [(name, kind, tuple(re.findall(r"\w+", labels))) for name, kind, labels in rows]
    assert written == [(series.name, series.kind, series.labels) for series in SERIES]
    made = {value for value in vars(metrics).values() if isinstance(value, Series)}
    assert made == set(SERIES)


def test_decoding_counts_audio_rows_and_why_rows_were_refused(told: Told, tmp_path: Path) -> None:
    done = decode_batch(clips(tmp_path, [1.0, 2.0, 0.5, 0.1, None]), DecodeConfig(), StorageConfig())
    reasons = [reason for reason in done.column("reject_reason").to_pylist() if reason]
    assert len(reasons) == 2
    assert told == {
        ("audio_seconds", "decode", "en"): 1.5,
        ("audio_seconds", "decode", "de"): 2.0,
        ("rows", "decode", "ok"): 3,
        ("rows", "decode", "rejected"): 2,
        **{("rejects", "decode", reason): 1 for reason in reasons},
    }


def test_a_row_that_came_refused_is_not_counted_again(told: Told) -> None:
    before = pa.table({"status": ["ok", "rejected", "ok"]})
    after = pa.table(
        {
            "status": ["ok", "rejected", "rejected"],
            "reject_reason": [None, "too_short", "silent"],
            "language": ["fr", "fr", "fr"],
        }
    )
    metrics.count_clips("measure", before, after, [3.0, None, 2.0])
    assert told == {
        ("audio_seconds", "measure", "fr"): 3.0,
        ("rows", "measure", "ok"): 1,
        ("rows", "measure", "rejected"): 1,
        ("rejects", "measure", "silent"): 1,
    }


def test_alignments_are_told_from_rows_without(told: Told) -> None:
    batch = pa.table(
        {
            "status": ["ok", "ok", "rejected", "ok"],
            "language": ["es", "it", "es", None],
            "alignment_reason": [None, "low_confidence", None, "no_model"],
        }
    )
    metrics.count_alignments(batch, [4.0, 2.0, None, 1.0])
    assert told == {
        ("audio_seconds", "align", "es"): 4.0,
        ("rows", "align", "aligned"): 1,
        ("rows", "align", "unaligned"): 2,
        ("unaligned", "it", "low_confidence"): 1,
        ("unaligned", "other", "no_model"): 1,
    }


def pair(attempt: int, reason: str | None, generator: str = "org/m", score: float | None = None) -> dict[str, Any]:
    return {
        "accepted": reason is None,
        "reason": reason,
        "generator": generator,
        "attempt": attempt,
        "score": score,
    }


def test_requests_are_counted_by_end_rule_rung_and_judgement(told: Told) -> None:
    rows = [
        {"task": "a", "model": "org/m", "pairs": [pair(0, None, score=8.0), pair(0, "judged_low", score=2.0)]},
        {"task": "a", "model": "org/m", "pairs": [pair(0, "false_claim"), pair(1, "judge_failed"), pair(2, None)]},
        {"task": "b", "model": "org/m", "pairs": [pair(0, "false_claim"), pair(1, None, "template")]},
        {"task": "b", "model": "template", "pairs": [pair(0, None, "template")]},
        {"task": "b", "model": "org/m", "pairs": [pair(0, "What was SAID here?")]},
    ]
    metrics.count_requests(rows, lambda task: "/models/Judge-7B" if task == "a" else None)
    assert told == {
        ("rows", "instruct", "answered"): 4,
        ("rows", "instruct", "unanswered"): 1,
        ("rejects", "instruct", "judged_low"): 1,
        ("rejects", "instruct", "false_claim"): 2,
        ("rejects", "instruct", "judge_failed"): 1,
        ("rejects", "instruct", "other"): 1,
        ("attempts", "org/m", "first"): 4,
        ("attempts", "org/m", "retry"): 2,
        ("attempts", "org/m", "fallback"): 1,
        ("attempts", "template", "template"): 1,
        ("judge_calls", "Judge-7B", "passed"): 1,
        ("judge_calls", "Judge-7B", "judged_low"): 1,
        ("judge_calls", "Judge-7B", "judge_failed"): 1,
    }


def test_a_label_has_few_values_and_no_paths() -> None:
    assert [metrics.slug("test_few", f"rule_{n}") for n in (0, 1, 0)] == ["rule_0", "rule_1", "rule_0"]
    values = {metrics.slug("test_few", f"rule_{n}") for n in range(5000)}
    assert len(values) == 201
    assert metrics.slug("test_few", "rule_0") == "rule_0"
    assert metrics.slug("test_other", "/data/a.wav") == "other"
    assert metrics.slug("test_other", None) == "unknown"
    assert metrics.model_label("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"
    for path in ("/home/someone/models/mine", "~/mine", "./mine", "s3://bucket/mine/", "a/b/mine"):
        assert metrics.model_label(path) == "mine"


class Scripted:
    """An engine that gives what it was made with, one after the other, after a moment."""

    name = "/models/tiny"

    def __init__(self, *outcomes: Generation | Exception) -> None:
        self.outcomes = list(outcomes)
        self.closed = False

    async def generate(self, prompt: Prompt) -> Generation:
        outcome = self.outcomes.pop(0)
        await asyncio.sleep(0.01)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self) -> None:
        self.closed = True


def test_calls_tokens_and_waits_are_counted_and_errors_pass(told: Told) -> None:
    engine = Scripted(
        Generation("a", "stop", 100, 80, 10), Generation("b", "stop", 50, 0, 5, 0.2), RequestFailed("too_long", "it is")
    )
    metered = MeteredEngine(engine)
    prompt = Prompt((), 0, 8)

    async def three() -> list[Generation | BaseException]:
        found = await asyncio.gather(*(metered.generate(prompt) for _ in range(3)), return_exceptions=True)
        await metered.close()
        return found

    first, _, third = asyncio.run(three())
    assert isinstance(first, Generation)
    assert first.text == "a"
    assert isinstance(third, RequestFailed)
    assert engine.closed
    assert told == {
        ("engine_starts", "tiny"): 1,
        ("requests_in_flight", "tiny"): 0,
        ("call_seconds", "tiny"): 2,
        ("queue_wait_seconds", "tiny"): 1,
        ("tokens", "tiny", "prompt"): 150,
        ("tokens", "tiny", "cached"): 80,
        ("tokens", "tiny", "generated"): 15,
    }


def test_a_dead_engine_holds_no_requests(told: Told) -> None:
    metered = MeteredEngine(Scripted(EngineDied("gone")))
    with pytest.raises(EngineDied):
        asyncio.run(metered.generate(Prompt((), 0, 8)))
    assert told["requests_in_flight", "tiny"] == 0


def test_what_is_in_flight_is_told_while_calls_run(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sift_ray.pipeline.metered_engine._TOLD_EVERY_S", 0.0)
    seen = []

    class Looking(Scripted):
        async def generate(self, prompt: Prompt) -> Generation:
            seen.append(told["requests_in_flight", "tiny"])
            return await super().generate(prompt)

    metered = MeteredEngine(Looking(*[Generation("a", "stop", 1, 0, 1)] * 3))

    async def three() -> None:
        await asyncio.gather(*(metered.generate(Prompt((), 0, 8)) for _ in range(3)))

    asyncio.run(three())
    assert seen == [1, 2, 3]
    assert told["requests_in_flight", "tiny"] == 0


def test_waves_are_told_with_the_part_of_the_one_under_way(told: Told) -> None:
    gauges = WaveGauges("annotations", 4)
    gauges.finished(100)
    gauges.under_way(25, 100)
    here = {("waves", "annotations"): 4, ("waves_done", "annotations"): 1.25, ("rows_done", "annotations"): 125}
    assert told == here
    gauges.under_way(7, 0)
    gauges.finished(100)
    assert told == here | {("waves_done", "annotations"): 2, ("rows_done", "annotations"): 200}


def test_outside_ray_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(metrics, "_made", lambda series: pytest.fail(f"{series.name} is made"))
    metrics.record(metrics.ROWS, 1, "decode", "ok")


def scraped(wanted: Callable[[str], bool]) -> str:
    """Return what the agent of this node serves, as soon as `wanted` finds all in it, else after a minute."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    text, until = "", time.monotonic() + 60
    while time.monotonic() < until:
        with urllib.request.urlopen(url, timeout=10) as reply:
            text = reply.read().decode()
        if wanted(text):
            break
        time.sleep(1)
    return text


@pytest.mark.integration
def test_a_nodes_agent_serves_what_its_workers_and_the_driver_count(local_ray: None, tmp_path: Path) -> None:
    batch = clips(tmp_path, [1.0, 2.0, 0.5, None])

    def work() -> None:
        decode_batch(batch, DecodeConfig(), StorageConfig())
        metrics.count_requests([{"task": "a", "model": "m", "pairs": [pair(0, None)]}], lambda _: None)
        asyncio.run(MeteredEngine(Scripted(Generation("b", "stop", 50, 20, 5, 0.2))).generate(Prompt((), 0, 8)))

    ray.get(ray.remote(work).remote())
    gauges = WaveGauges("test_metrics", 2)
    gauges.finished(10)
    wanted = {
        ("ray_sift_ray_audio_seconds_total", 'stage="decode"', 'language="en"'): 1.5,
        ("ray_sift_ray_audio_seconds_total", 'stage="decode"', 'language="de"'): 2.0,
        ("ray_sift_ray_rows_total", 'stage="decode"', 'status="rejected"'): 1.0,
        ("ray_sift_ray_attempts_total", 'model="m"', 'rung="first"'): 1.0,
        ("ray_sift_ray_tokens_total", 'model="tiny"', 'kind="cached"'): 20.0,
        ("ray_sift_ray_queue_wait_seconds_count", 'model="tiny"'): 1.0,
        ("ray_sift_ray_queue_wait_seconds_bucket", 'model="tiny"', 'le="0.25"'): 1.0,
        ("ray_sift_ray_waves", 'stage="test_metrics"'): 2.0,
        ("ray_sift_ray_waves_done", 'stage="test_metrics"'): 1.0,
        ("ray_sift_ray_rows_done", 'stage="test_metrics"'): 10.0,
    }

    def found(text: str) -> dict[tuple[str, ...], float]:
        lines = text.splitlines()
        return {
            parts: sum(
                float(line.rpartition(" ")[2])
                for line in lines
                if line.startswith(f"{parts[0]}{{") and all(label in line for label in parts[1:])
            )
            for parts in wanted
        }

    text = scraped(lambda text: all(value > 0 for value in found(text).values()))
    served = found(text)
    # other tests of this session may have counted as well
    assert {parts: served[parts] >= value for parts, value in wanted.items()} == dict.fromkeys(wanted, True), served
    ours = [line for line in text.splitlines() if line.startswith("ray_sift_ray")]
    assert not [line for line in ours if str(tmp_path) in line or "/models/" in line]
