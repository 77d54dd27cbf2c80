"""What Prometheus sees of a job, through Ray: each node's agent serves what the workers of that node count.

Ray puts `ray_` before a name and `_total` behind a counter's: `sift_ray_rows` is scraped as
`ray_sift_ray_rows_total`. It adds labels for the node, the worker and the session. Labels of ours are slugs from
small sets and names of models, never ids, paths or texts. Workers count once a batch (a call of a language model
is long enough to be counted by itself). Outside Ray nothing is counted.

| series | kind | labels | what |
| --- | --- | --- | --- |
| `sift_ray_audio_seconds` | counter | `stage`, `language` | seconds of audio that were decoded, measured or aligned |
| `sift_ray_rows` | counter | `stage`, `status` | rows that a stage ended, by what became of them |
| `sift_ray_rejects` | counter | `stage`, `rule` | rows, in `instruct` pairs, that a stage refused, by reason |
| `sift_ray_unaligned` | counter | `language`, `reason` | good rows without word spans, by reason |
| `sift_ray_attempts` | counter | `model`, `rung` | attempts at requests: first, retry, fallback, template |
| `sift_ray_judge_calls` | counter | `model`, `outcome` | answers that were judged, by what came of it |
| `sift_ray_tokens` | counter | `model`, `kind` | tokens: prompt, cached (of the prompt), generated |
| `sift_ray_engine_starts` | counter | `model` | engines started; more than there are actors were restarts |
| `sift_ray_requests_in_flight` | gauge | `model` | calls that an engine holds, waiting or running |
| `sift_ray_queue_wait_seconds` | histogram | `model` | how long calls stood in the engine's queue; see below |
| `sift_ray_call_seconds` | histogram | `model` | from a call to its whole text |
| `sift_ray_waves` | gauge | `stage` | waves of the stage |
| `sift_ray_waves_done` | gauge | `stage` | finished waves, and the finished parts of those under way |
| `sift_ray_rows_done` | gauge | `stage` | rows in finished waves, and those done in the waves under way |

The queue is vLLM's own, from a request's arrival there to when it is first scheduled. Of a server (`engine: openai`)
it is only ours: calls that wait as `openai.concurrency` others are in flight; the server does not tell of its own.

`stage` is decode, measure, align or instruct where workers count, and the folder that a stage fills (annotations,
instructions) where the driver tells of waves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import pyarrow as pa
import ray

from sift_ray.config_instruct import TEMPLATE
from sift_ray.instruct.judging import FAILED, LOW, UNREADABLE
from sift_ray.schema import LANGUAGES

_WAITS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)


@dataclass(frozen=True)
class Series:
    """One metric: `name` as it is made, before Ray adds to it; `boundaries` are of a histogram's buckets, seconds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    boundaries: tuple[float, ...] = ()

    @property
    def scraped(self) -> tuple[str, ...]:
        """The names that Prometheus sees."""
        if self.kind == "histogram":
            return tuple(f"ray_{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}",)


AUDIO: Final = Series("sift_ray_audio_seconds", "counter", ("stage", "language"))
ROWS: Final = Series("sift_ray_rows", "counter", ("stage", "status"))
REJECTS: Final = Series("sift_ray_rejects", "counter", ("stage", "rule"))
UNALIGNED: Final = Series("sift_ray_unaligned", "counter", ("language", "reason"))
ATTEMPTS: Final = Series("sift_ray_attempts", "counter", ("model", "rung"))
JUDGE_CALLS: Final = Series("sift_ray_judge_calls", "counter", ("model", "outcome"))
TOKENS: Final = Series("sift_ray_tokens", "counter", ("model", "kind"))
ENGINE_STARTS: Final = Series("sift_ray_engine_starts", "counter", ("model",))
IN_FLIGHT: Final = Series("sift_ray_requests_in_flight", "gauge", ("model",))
QUEUE_WAIT: Final = Series("sift_ray_queue_wait_seconds", "histogram", ("model",), _WAITS_S)
CALL: Final = Series("sift_ray_call_seconds", "histogram", ("model",), _WAITS_S)
WAVES: Final = Series("sift_ray_waves", "gauge", ("stage",))
WAVES_DONE: Final = Series("sift_ray_waves_done", "gauge", ("stage",))
ROWS_DONE: Final = Series("sift_ray_rows_done", "gauge", ("stage",))

SERIES: Final = (
    AUDIO,
    ROWS,
    REJECTS,
    UNALIGNED,
    ATTEMPTS,
    JUDGE_CALLS,
    TOKENS,
    ENGINE_STARTS,
    IN_FLIGHT,
    QUEUE_WAIT,
    CALL,
    WAVES,
    WAVES_DONE,
    ROWS_DONE,
)
OTHER: Final = "other"
"""Stands for a label's value that is no slug, or that comes when a process has seen too many."""

_SLUG: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOST_SLUGS: Final = 200
_slugs: dict[str, set[str]] = defaultdict(set)


@cache
def _made(series: Series) -> Any:
    """Return Ray's metric, made once a process, when it is first needed."""
    from ray.util import metrics

    if series.kind == "histogram":
        return metrics.Histogram(series.name, boundaries=list(series.boundaries), tag_keys=series.labels)
    kind = metrics.Counter if series.kind == "counter" else metrics.Gauge
    return kind(series.name, tag_keys=series.labels)


def record(series: Series, value: float, *labels: str) -> None:
    """Add `value` to a counter, set a gauge to it or put it into a histogram; `labels` in the series' order."""
    if not ray.is_initialized() or (series.kind == "counter" and value <= 0):
        return
    tags = dict(zip(series.labels, labels, strict=True))
    metric = _made(series)
    match series.kind:
        case "counter":
            metric.inc(value, tags)
        case "gauge":
            metric.set(value, tags)
        case "histogram":
            metric.observe(value, tags)


def slug(label: str, value: str | None) -> str:
    """Return `value` as it may stand in the label `label`; `other` where it is no slug or one of too many."""
    if value is None:
        return "unknown"
    known = _slugs[label]
    if value not in known:
        if len(known) >= _MOST_SLUGS or not _SLUG.fullmatch(value):
            return OTHER
        known.add(value)
    return value


def model_label(model: str) -> str:
    """Return a model's name as a label: a path is known by its last part, a name of the hub by all of it."""
    name = model.rstrip("/")
    is_path = "://" in name or name.startswith(("/", ".", "~")) or name.count("/") > 1
    return name.rpartition("/")[2] if is_path else name


def count_clips(stage: str, before: pa.Table, after: pa.Table, seconds: Sequence[float | None]) -> None:
    """Count what a stage made of the good rows of a batch of clips.

    Args:
        stage: `decode` or `measure`.
        before: the batch as it came: `status`.
        after: the same rows as they leave: `status`, `reject_reason`, `language`.
        seconds: of audio in each row, None where there is none.
    """
    audio: dict[str, float] = defaultdict(float)
    rows: dict[str, int] = defaultdict(int)
    rules: dict[str, int] = defaultdict(int)
    columns = (after.column(name).to_pylist() for name in ("status", "reject_reason", "language"))
    came = before.column("status").to_pylist()
    for was, length, status, reason, language in zip(came, seconds, *columns, strict=True):
        if was != "ok":
            continue
        if status == "ok":
            rows["ok"] += 1
            audio[_language(language)] += length or 0.0
        else:
            rows["rejected"] += 1
            rules[slug("rule", reason)] += 1
    _add(AUDIO, audio, stage)
    _add(ROWS, rows, stage)
    _add(REJECTS, rules, stage)


def count_alignments(batch: pa.Table, seconds: Sequence[float | None]) -> None:
    """Count the good rows of a batch of `annotations` that have word spans, and why the others have none."""
    audio: dict[str, float] = defaultdict(float)
    rows: dict[str, int] = defaultdict(int)
    unaligned: dict[tuple[str, str], int] = defaultdict(int)
    columns = (batch.column(name).to_pylist() for name in ("status", "language", "alignment_reason"))
    for length, status, language, reason in zip(seconds, *columns, strict=True):
        if status != "ok":
            continue
        if reason is None:
            rows["aligned"] += 1
            audio[_language(language)] += length or 0.0
        else:
            rows["unaligned"] += 1
            unaligned[_language(language), slug("reason", reason)] += 1
    _add(AUDIO, audio, "align")
    _add(ROWS, rows, "align")
    for labels, count in unaligned.items():
        record(UNALIGNED, count, *labels)


def count_requests(rows: Iterable[Mapping[str, Any]], judge_of: Callable[[str], str | None]) -> None:
    """Count rows of `instructions`: how they ended, which rules refused pairs, attempts, and the judge's calls.

    `judge_of` gives the model that judges a task.
    """
    status: dict[str, int] = defaultdict(int)
    rules: dict[str, int] = defaultdict(int)
    attempts: dict[tuple[str, str], int] = defaultdict(int)
    judged: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        pairs, judge = row["pairs"], judge_of(row["task"])
        status["answered" if any(pair["accepted"] for pair in pairs) else "unanswered"] += 1
        for generator, attempt in {(pair["generator"], pair["attempt"]) for pair in pairs}:
            attempts[model_label(row["model"]), _rung(row["model"], generator, attempt)] += 1
        for pair in pairs:
            reason = pair["reason"]
            if reason is not None:
                rules[slug("rule", reason)] += 1
            if judge is not None and (pair["score"] is not None or reason in (FAILED, UNREADABLE)):
                outcome = reason if reason in (LOW, FAILED, UNREADABLE) else "passed"
                judged[model_label(judge), outcome] += 1
    _add(ROWS, status, "instruct")
    _add(REJECTS, rules, "instruct")
    for labels, count in attempts.items():
        record(ATTEMPTS, count, *labels)
    for labels, count in judged.items():
        record(JUDGE_CALLS, count, *labels)


class WaveGauges:
    """Tells how far the driver has come with the waves of a stage."""

    def __init__(self, stage: str, waves: int) -> None:
        """Take the stage by its folder's name, and how many waves it has."""
        self._stage, self._waves = stage, waves
        self._done = self._rows = 0

    def finished(self, rows: int) -> None:
        """One more wave, of so many rows, is finished, now or before."""
        self._done += 1
        self._rows += rows
        self.under_way(0, 0)

    def under_way(self, done: int, rows: int) -> None:
        """Of waves of about `rows` rows, 0 while that is not known, `done` rows are done and in no finished wave."""
        part = min(done / rows, self._waves - self._done) if rows else 0.0
        record(WAVES, self._waves, self._stage)
        record(WAVES_DONE, self._done + part, self._stage)
        record(ROWS_DONE, self._rows + (done if rows else 0), self._stage)


def _add(series: Series, counts: Mapping[str, float], stage: str) -> None:
    for label, count in counts.items():
        record(series, count, stage, label)


def _language(language: str | None) -> str:
    return language if language in LANGUAGES else OTHER


def _rung(model: str, generator: str, attempt: int) -> str:
    if model == TEMPLATE:
        return TEMPLATE
    if generator == TEMPLATE:
        return "fallback"
    return "first" if attempt == 0 else "retry"
