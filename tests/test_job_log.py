"""Lines as JSON, what is known of their place in them, and no transcript in any of them."""

import asyncio
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from sift_ray import job_log
from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.answering import answered
from sift_ray.instruct.requests import Request
from sift_ray.job_log import JsonFormatter, configure, place_of, runtime_env, wanted, where
from sift_ray.pipeline.progress import ProgressLines
from tests.human_speech import recordings

MARK = "xylotwigfrond"


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What this process logs; afterwards its loggers are as they were."""
    monkeypatch.setenv(job_log.VARIABLE, "")  # (so that it is put back)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in job_log._NOISY}
    root.handlers = []  # pytest's own, which `configure` would close
    yield io.StringIO()
    root.handlers = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object_with_all_that_is_known(stream: io.StringIO) -> None:
    configure(json=True, stream=stream)
    log = logging.getLogger("sift_ray.some")
    with where("annotations", 3):
        log.info("%d rows\nin two lines: é", 5)
        log.warning("mine", extra={"stage": "decode", "unit_id": 77})
    log.debug("too low")
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("it failed")
    first, second, third = told(stream)
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "sift_ray.some",
        "message": "5 rows\nin two lines: é",
        "stage": "annotations",
        "wave": 3,
    }
    assert (second["stage"], second["wave"], second["unit_id"]) == ("decode", 3, 77)
    assert set(third) == {"time", "level", "logger", "message", "error"}
    assert third["error"].endswith("ValueError: bad")


def test_what_json_has_no_form_for_does_not_end_the_job(stream: io.StringIO) -> None:
    configure(json=True, stream=stream)
    logging.getLogger("x").info("a", extra={"unit_id": np.int64(5)})
    logging.getLogger("x").info("b %s", "\udce9")
    assert [line["message"][0] for line in told(stream)] == ["a", "b"]


def test_without_json_lines_are_for_a_person(stream: io.StringIO) -> None:
    configure(stream=stream)
    logging.getLogger("x").info("5 rows")
    assert stream.getvalue().endswith(" 5 rows\n")
    assert runtime_env() is None
    assert not wanted()


@pytest.mark.parametrize("value", ["json", " JSON "])
def test_the_environment_chooses_too_and_workers_follow(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(job_log.VARIABLE, value)
    configure(stream=stream)
    logging.getLogger("x").info("5 rows")
    assert told(stream)[0]["message"] == "5 rows"
    environment = runtime_env()
    assert environment is not None
    module, _, name = environment["worker_process_setup_hook"].rpartition(".")
    assert getattr(sys.modules[module], name) is job_log.configure_worker
    assert environment["env_vars"] == {job_log.VARIABLE: "json"}


def test_debug_lines_are_told_where_asked_for(stream: io.StringIO) -> None:
    configure(json=True, debug=True, stream=stream)
    logging.getLogger("x").debug("low")
    logging.getLogger("botocore").debug("headers")
    assert [line["message"] for line in told(stream)] == ["low"]


def test_progress_lines_know_their_wave(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    ended = threading.Event()

    def watch(self: ProgressLines) -> None:
        record = logging.makeLogRecord({"msg": "a line"})
        seen.append(json.loads(JsonFormatter().format(record)))
        ended.set()

    monkeypatch.setattr(ProgressLines, "_watch", watch)
    with where("instructions", 9), ProgressLines("title", object()):
        assert ended.wait(10)
    assert (seen[0]["stage"], seen[0]["wave"]) == ("instructions", 9)


def test_the_place_of_an_error_says_nothing_of_its_text() -> None:
    try:
        int(MARK)
    except ValueError as error:
        text = place_of(error)
    assert text.startswith("ValueError at test_job_log.py:")
    assert MARK not in text
    assert place_of(KeyError(MARK)) == "KeyError"


def test_a_request_that_fails_by_a_fault_is_told_without_what_the_error_quotes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def name(self, task: str) -> str:
            return "broken"

        def prompt_hash(self, task: str, language: str) -> str:
            return "0"

        async def write(self, *_: object) -> Any:
            raise KeyError(f"no key for {MARK}")

    request = Request(
        unit_id=41,
        task="open_ended",
        language="en",
        split="train",
        data_source="mine_en",
        utterance_ids=("u",),
        audio_uris=("/u.wav",),
        engine="broken",
        facts=(),
        focus=(),
        pairs_wanted=1,
        seed=1,
    )
    caplog.set_level(logging.INFO)
    row = asyncio.run(answered(request, Broken(), None, InstructConfig()))
    assert MARK in row["pairs"][0]["answer"]  # which is where a person finds it
    (record,) = caplog.records
    assert "unit 41, open_ended: the request is refused: KeyError at test_job_log.py:" in record.getMessage()
    assert (record.unit_id, record.stage) == (41, "instruct")  # type: ignore[attr-defined]
    assert MARK not in JsonFormatter().format(record)
    assert MARK not in caplog.text


@pytest.mark.integration
def test_no_line_of_a_build_holds_text_of_a_transcript(tmp_path: Path) -> None:
    """A whole job, with a clip that is no audio: stderr, and all that Ray's processes wrote."""
    rows = ["id\taudio\tlanguage\ttranscript\tspeaker"]
    for n, clip in enumerate(recordings(3)):
        sf.write(tmp_path / f"{n}.wav", clip.samples, 16_000)
        rows.append(f"u{n}\t{n}.wav\t{clip.language}\t{MARK} {clip.transcript}\t{clip.speaker_id}")
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    rows.append(f"bad\tbad.wav\ten\t{MARK}\tnobody")
    (tmp_path / "clips.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "job.yaml").write_text(
        f"output: {tmp_path}/out\n"
        f"corpora: [{{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}]\n"
        "annotate: {error_budget: 0.5, align: {backend: none}, features: {quality: none, room: none}}\n"
        "bin: {min_count: 2}\n"
        "instruct: {engine: template}\n",
        encoding="utf-8",
    )
    logs = Path(tempfile.mkdtemp(prefix="sift-log-", dir="/tmp"))  # sockets' paths must be short
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sift_ray.cli", "build", str(tmp_path / "job.yaml")],
            env={**os.environ, job_log.VARIABLE: "json", "RAY_TMPDIR": str(logs)},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        files = {file: file.read_bytes() for file in logs.rglob("*") if file.is_file() and "logs" in file.parts}
        assert any("worker" in file.name for file in files)
        assert [str(file) for file, text in files.items() if MARK.encode() in text.lower()] == []
        assert MARK not in done.stderr.lower()
        assert MARK not in done.stdout.lower()
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    # it was there to be told
    shards = sorted((tmp_path / "out/annotations").rglob("*.parquet"))
    transcripts = [text for file in shards for text in pq.read_table(file, partitioning=None)["transcript"].to_pylist()]
    assert len(transcripts) == 13
    assert all(MARK in text for text in transcripts)


@pytest.mark.integration
def test_workers_of_a_ray_write_json_lines(tmp_path: Path) -> None:
    """The hook and the variable, on a Ray of its own; what a worker wrote is in its own log."""
    logs = Path(tempfile.mkdtemp(prefix="sift-log-", dir="/tmp"))
    script = tmp_path / "job.py"
    script.write_text(
        "import logging, ray\n"
        "from sift_ray import job_log\n"
        "job_log.configure(json=True)\n"
        "ray.init(num_cpus=1, include_dashboard=False, logging_level='WARNING', runtime_env=job_log.runtime_env())\n"
        "@ray.remote\n"
        "def work():\n"
        "    with job_log.where('annotations', 4):\n"
        "        logging.getLogger('sift_ray.x').info('from a worker', extra={'unit_id': 8})\n"
        "ray.get(work.remote())\n",
        encoding="utf-8",
    )
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "RAY_TMPDIR": str(logs)},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        lines = [
            line
            for file in logs.rglob("worker*.err")
            if not file.is_symlink()
            for line in file.read_text(encoding="utf-8").splitlines()
            if "from a worker" in line
        ]
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    found = json.loads(lines[0])
    assert (found["stage"], found["wave"], found["unit_id"], found["level"]) == ("annotations", 4, 8, "info")
