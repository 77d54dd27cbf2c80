"""`sift-ray predict` from its command line to its files, against a server of this process."""

from __future__ import annotations

import asyncio
import json
import re
import signal as signals
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from sift_ray import cli_predict
from sift_ray.cli_predict import predicting
from sift_ray.evaluate.decoding_settings import decoding_settings
from sift_ray.evaluate.predict import Asked, _without_audio, header_of, predict, release_digest
from sift_ray.evaluate.predict_file import PredictionFile
from sift_ray.evaluate.predict_outcome import Outcome
from sift_ray.evaluate.predictions import read_predictions
from sift_ray.evaluate.samples import ANSWERED, read_samples
from sift_ray.instruct import openai_engine
from sift_ray.instruct.engine import EngineDied, Generation, RequestFailed
from sift_ray.storage import open_root
from sift_ray.validate.shards import list_release

from ..instruct.chat_server import Reply, chat, error, serving
from .made_release import CLOSED, OPEN, SPOKEN, TWO, write_release

pytest.importorskip("openai")

APP = typer.Typer()
predicting(APP)


SCRIPT = """
import typer
from sift_ray.cli_predict import predicting

APP = typer.Typer()
predicting(APP)
APP.callback()(lambda: None)
"""


@APP.command()
def other() -> None:
    """A second command, as the real program has."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(openai_engine, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(openai_engine, "_PAUSE_S", 0.01)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server():
    with serving("m") as running:
        running.always = chat("So it is.")
        yield running


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path)


def run(release, server, *options):
    return CliRunner().invoke(APP, ["predict", str(release), "--url", server.url, "--preset", "greedy", *options])


def questions(server):
    """The texts of all that was asked about audio, less the one of the start."""
    turns = [sent["messages"][-1]["content"] for sent in server.asked]
    return [turn[-1]["text"] for turn in turns if isinstance(turn, list)][1:]


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rejects(path):
    return rows_of(path / "predictions.jsonl.rejects.jsonl")


def test_every_question_is_asked_once_and_its_answer_kept(release, server, tmp_path):
    done = run(release, server)
    assert done.exit_code == 0, done.output
    rows = rows_of(tmp_path / "predictions.jsonl")
    expected = {sample.sample_id: sample for sample in read_samples(open_root(str(release)), "test", ANSWERED)}
    assert sorted(row["sample_id"] for row in rows) == sorted(expected)
    assert sorted(questions(server)) == sorted(sample.question for sample in expected.values())
    for row in rows:
        assert row["prediction"] == "So it is."
        assert (row["task"], row["model"]) == (expected[row["sample_id"]].task, "m")
        assert (row["finish_reason"], row["prompt_tokens"], row["generated_tokens"]) == ("stop", 100, 20)
    assert set(read_predictions(tmp_path / "predictions.jsonl")) == set(expected)
    assert "9 of 9 predictions" in done.output
    assert f"3 samples of {SPOKEN} skipped" in done.output
    assert not (tmp_path / "predictions.jsonl.rejects.jsonl").exists()


def test_what_was_applied_stands_beside_it(release, server, tmp_path):
    # (the server takes an impossible n-gram size, so it has no processor for them)
    done = run(release, server, "--preset", "paper", "--seed", "3")
    assert done.exit_code == 0, done.output
    meta = json.loads((tmp_path / "predictions.jsonl.meta.json").read_text())
    assert meta["decisive"]["model"] == "m"
    assert meta["decisive"]["decoding.temperature"] == 0.1
    assert meta["decisive"]["decoding.seed"] == 3
    assert meta["decisive"]["decoding.no_repeat_ngram"] == 0
    assert meta["decisive"]["decoding.repetition_penalty"] is None  # it does not say that it is vLLM
    assert meta["told"]["decoding_asked"]["no_repeat_ngram"] == 3
    assert "not applied" in meta["told"]["decoding_notes"]["no_repeat_ngram"]
    assert "no_repeat_ngram: not applied" in done.output


def test_an_interrupted_run_is_gone_on_with(release, server, tmp_path):
    assert run(release, server, "--limit", "1").exit_code == 0
    assert len(read_predictions(tmp_path / "predictions.jsonl")) == 3  # of each of three tasks
    with (tmp_path / "predictions.jsonl").open("a") as file:
        file.write('{"sample_id": "cut sh')
    server.asked.clear()
    done = run(release, server)
    assert done.exit_code == 0, done.output
    assert len(questions(server)) == 6
    assert "3 of them were there before" in done.output
    assert len(read_predictions(tmp_path / "predictions.jsonl")) == 9
    server.asked.clear()
    assert run(release, server).exit_code == 0
    assert not questions(server)


@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGKILL", -9)])
def test_a_run_that_is_killed_loses_nothing(release, server, tmp_path, signal, code):
    server.always = Reply(chat("So it is.").body, delay_s=0.3)
    command = [sys.executable, "-c", f"{SCRIPT}APP()", "predict", str(release), "--url", server.url]
    path = tmp_path / "predictions.jsonl"
    with subprocess.Popen([*command, "--preset", "greedy", "--concurrency", "1"]) as process:
        until = time.monotonic() + 60
        while not path.exists() or path.read_bytes().count(b"\n") < 2:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(getattr(signals, signal))
        assert process.wait(30) == code
    kept = read_predictions(path)
    assert 2 <= len(kept) < 9
    server.always = chat("So it is.")
    server.asked.clear()
    assert run(release, server).exit_code == 0
    assert len(questions(server)) == 9 - len(kept)
    assert list(read_predictions(path))[: len(kept)] == list(kept)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--temperature", "0.7"], "decoding.temperature: 0.0 there, 0.7 now"),
        (["--one-audio"], "one_audio: false there, true now"),
        (["--model", "n"], 'model: "m" there, "n" now'),
    ],
)
def test_a_file_of_another_model_or_setting_is_refused(release, server, tmp_path, options, said):
    assert run(release, server, "--limit", "1").exit_code == 0
    before = (tmp_path / "predictions.jsonl").read_bytes()
    server.models = Reply({"object": "list", "data": [{"id": m, "object": "model"} for m in ("m", "n")]})
    done = run(release, server, "--model", "m", *options)
    assert done.exit_code == 1
    assert said in done.output
    assert "--out" in done.output
    assert (tmp_path / "predictions.jsonl").read_bytes() == before
    assert run(release, server, "--out", "other.jsonl", "--model", "m", *options).exit_code == 0


def test_a_release_that_changed_is_another(release, server):
    assert run(release, server, "--limit", "1").exit_code == 0
    root = open_root(str(release))
    before = release_digest(root, "test")
    write_release(release.parent, clips=4)
    assert release_digest(root, "test") != before
    done = run(release, server)
    assert done.exit_code == 1
    assert re.search(r"release: \"\w{16}\" there, \"\w{16}\" now", done.output)


@pytest.mark.parametrize("form", ["uris", "jsonl", "embedded"])
def test_a_release_that_changed_in_the_middle_of_a_file_is_another(tmp_path, form):
    (file,) = (write_release(tmp_path, form, clips=3) / "EvalSIFT" / "open_ended" / "en").iterdir()
    noise = np.random.default_rng(0).bytes(1 << 18).hex()
    if form == "jsonl":
        file.write_text("".join(f"{json.dumps({**row, 'data_source': noise})}\n" for row in rows_of(file)))
        middle = file.stat().st_size // 2
    else:
        table = pq.read_table(file)
        at = table.schema.get_field_index("data_source")
        noises = pa.array([noise[place:] for place in range(len(table))])
        pq.write_table(table.set_column(at, "data_source", noises), file, compression="none")
        metadata = pq.read_metadata(file).row_group(0)
        column = next(c for c in map(metadata.column, range(99)) if c.path_in_schema == "data_source")
        middle = column.data_page_offset - column.total_compressed_size // 2
    root = open_root(str(tmp_path / "release"))
    before = release_digest(root, "test")
    content = bytearray(file.read_bytes())
    assert min(middle, len(content) - middle) > 1 << 17
    content[middle] ^= 1
    file.write_bytes(content)
    assert release_digest(root, "test") != before


def test_of_audio_in_the_rows_the_digest_reads_no_bytes(tmp_path, monkeypatch):
    write_release(tmp_path, "embedded", clips=40)
    root = open_root(str(tmp_path / "release"))
    shards = [shard.location for shard in list_release(root).shards]
    read = 0
    for location in shards:
        with root.filesystem.open_input_file(location) as file:
            size = file.size()
            parts = list(_without_audio(file, size))
        assert parts == sorted(parts)
        assert parts[-1][1] == size
        read += sum(end - start for start, end in parts)
    assert read < 0.2 * sum(Path(location).stat().st_size for location in shards)


def test_a_release_that_was_moved_is_the_same(release, server, tmp_path):
    assert run(release, server, "--limit", "1").exit_code == 0
    assert run(release.rename(tmp_path / "moved"), server).exit_code == 0


def test_a_row_that_fails_costs_no_other_and_is_told_of(release, server, tmp_path):
    lost = tmp_path / "clips" / "c1.wav"
    content = lost.read_bytes()
    lost.unlink()
    (tmp_path / "clips" / "c2.wav").write_bytes(b"RIFF and no more")
    done = run(release, server)
    assert done.exit_code == 1
    told = {row["sample_id"]: row for row in rejects(tmp_path)}
    assert set(told) == {f"s-{task}-{number}" for task in (CLOSED, OPEN) for number in (1, 2)} | {
        f"s-{TWO}-{number}" for number in range(3)
    }
    assert told[f"s-{OPEN}-1"]["reason"] == "missing_audio"
    assert "c1.wav" in told[f"s-{OPEN}-1"]["detail"]
    assert told[f"s-{OPEN}-1"]["task"] == OPEN
    assert set(read_predictions(tmp_path / "predictions.jsonl")) == {f"s-{CLOSED}-0", f"s-{OPEN}-0"}
    assert "2 of 9 predictions" in done.output
    assert "missing: missing_audio" in done.output

    lost.write_bytes(content)
    soundfile.write(tmp_path / "clips" / "c2.wav", soundfile.read(lost)[0], 16_000)
    done = run(release, server)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "predictions.jsonl.rejects.jsonl").exists()


def test_progress_is_told_once_for_so_many_questions_whatever_becomes_of_them(release, server, monkeypatch):
    monkeypatch.setattr(cli_predict, "_EVERY", 3)
    server.script = [chat("yes"), *(chat("a") for _ in range(3)), *(error(400, "no") for _ in range(3))]
    done = run(release, server, "--concurrency", "1")
    assert [line for line in done.output.splitlines() if re.match(r"\d+ predictions", line)] == [
        "3 predictions",
        "3 predictions, 3 questions failed",
        "6 predictions, 3 questions failed",
    ]


def test_what_the_server_refuses_is_told_of(release, server, tmp_path):
    server.script = [chat("yes"), error(400, "At most 1 audio(s) may be provided in one prompt.")]
    done = run(release, server, "--concurrency", "1")
    assert done.exit_code == 1
    (row,) = rejects(tmp_path)
    assert row["reason"] == "engine_refused"
    assert "At most 1 audio" in row["detail"]
    assert "8 of 9 predictions" in done.output


def test_a_server_that_dies_ends_the_run_and_what_it_said_is_kept(release, server, tmp_path):
    server.script = [chat("yes"), chat("a"), chat("b")]
    server.always = error(503, "down")
    done = run(release, server, "--concurrency", "1", "--config", _impatient(tmp_path))
    assert done.exit_code == 1
    assert "nothing has succeeded" in done.output
    assert len(read_predictions(tmp_path / "predictions.jsonl")) == 2


def _impatient(folder):
    path = folder / "job.yaml"
    corpus = f"{{type: demo, name: demo, path: {folder}/corpora}}"
    path.write_text(f"output: {folder}/out\ncorpora: [{corpus}]\ninstruct: {{openai: {{retries: 0}}}}\n")
    return str(path)


def test_only_what_is_asked_for(release, server, tmp_path):
    done = run(release, server, "--task", TWO, "--language", "en", "--split", "test")
    assert done.exit_code == 0, done.output
    assert {row.split("-")[1] for row in read_predictions(tmp_path / "predictions.jsonl")} == {TWO}
    assert SPOKEN not in done.output


def test_audio_in_a_folder_of_ones_own(tmp_path, server):
    release = write_release(tmp_path, "jsonl")
    assert run(release, server, "--limit", "1").exit_code == 1
    assert "--audio-root" in rejects(tmp_path)[0]["detail"]
    done = run(release, server, "--audio-root", str(tmp_path / "clips"))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "papr"], "no preset 'papr'"),
        (["--no-repeat-ngram", "1"], "no_repeat_ngram is 1"),
        (["--split", "tset"], "no split 'tset'"),
        (["--task", "closed"], "--task closed: there is no such task"),
        (["--task", SPOKEN], "its answers are audio"),
        (["--language", "xx"], "--language xx"),
        (["--audio-root", "gone"], "--audio-root gone: no such folder"),
        (["--set", "instruct.openai.retries=1"], "name its file"),
        (["--url", "ftp://x"], "must begin with http"),
        (["--out", "release"], "--out release: that is a folder"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_is_asked(release, server, options, said):
    done = run(release, server, *options)
    assert done.exit_code == 2
    assert said in done.output
    assert not server.asked


def test_a_model_or_a_server_must_be_named(release):
    done = CliRunner().invoke(APP, ["predict", str(release)])
    assert done.exit_code == 2
    assert "--url" in done.output


def test_rows_that_are_not_there_are_no_success(release, server):
    done = run(release, server, "--language", "de")
    assert done.exit_code == 1
    assert "has no samples" in done.output
    assert run(release, server, "--split", "train").exit_code == 1


def test_two_samples_of_one_name_are_not_mixed_up(release, server):
    of_open, of_closed = (
        next((release / "EvalSIFT").glob(f"{folder}/en/*")) for folder in ("open_ended", "closed_ended/acoustic_level")
    )
    table = pq.read_table(of_open)
    names = pq.read_table(of_closed)["sample_id"]
    pq.write_table(table.set_column(table.schema.get_field_index("sample_id"), "sample_id", names), of_open)
    done = run(release, server)
    assert done.exit_code == 1
    assert "two samples are called" in done.output


class Scripted:
    """A model that answers after a moment, and counts."""

    name = "scripted"

    def __init__(self, fails=()):
        self.notes = {}
        self.fails = list(fails)
        self.in_flight = self.most = self.asked = 0

    async def generate(self, prompt):
        self.asked += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(0.05)
        self.in_flight -= 1
        if self.fails:
            raise self.fails.pop(0)
        return Generation(f"{len(prompt.audios)}", "length", 5, 0, 7)

    async def close(self):
        pass


def scripted(release, path, model, **more):
    asked = Asked(open_root(str(release)), "test", decoding_settings("greedy"), **more)
    with PredictionFile(path, header_of(asked, model.name, model.notes)) as file:
        return asyncio.run(predict(asked, model, file, concurrency=4))


def test_so_many_questions_are_in_flight_and_cut_answers_are_counted(release, tmp_path):
    model = Scripted()
    outcome = scripted(release, tmp_path / "p.jsonl", model)
    assert model.most == 4
    assert outcome == Outcome(asked=9, predicted=9, cut=9, skipped=3)
    assert outcome.complete
    told = read_predictions(tmp_path / "p.jsonl")
    assert {name: one.prediction for name, one in told.items()} == {name: "2" if TWO in name else "1" for name in told}


def test_one_audio_of_two_is_joined(release, tmp_path):
    scripted(release, tmp_path / "p.jsonl", Scripted(), one_audio=True)
    assert {one.prediction for one in read_predictions(tmp_path / "p.jsonl").values()} == {"1"}


def test_a_dead_engine_stops_all_and_costs_no_answer(release, tmp_path):
    model = Scripted([RequestFailed("engine_refused", "no"), EngineDied("gone")])
    with pytest.raises(EngineDied):
        scripted(release, tmp_path / "p.jsonl", model)
    assert model.asked < 9
    model.fails = []
    outcome = scripted(release, tmp_path / "p.jsonl", model)
    assert outcome.complete
    assert outcome.before + outcome.predicted == 9
