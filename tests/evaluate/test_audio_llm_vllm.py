"""A real audio language model, tiny and random, that vLLM runs: in this process, and as a server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from sift_ray.cli_predict import predicting
from sift_ray.config_instruct import VllmConfig
from sift_ray.evaluate.audio_llm import audio_prompt
from sift_ray.evaluate.audio_llm_vllm import VllmAudioLLM
from sift_ray.evaluate.decoding_settings import NGRAM_PROCESSOR, decoding_settings
from sift_ray.evaluate.predictions import read_predictions
from sift_ray.instruct.engine import EngineDied, RequestFailed
from sift_ray.instruct.vllm_engine import engine_environment

from .made_release import write_release
from .tiny_audio_llm import save_tiny_audio_llm

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

START_S = 600
SETTINGS = VllmConfig(max_model_len=2048, cpu_kvcache_gib=1, enforce_eager=True, max_num_seqs=8)
GREEDY = decoding_settings("greedy", max_tokens=60, no_repeat_ngram=3)
FREE = decoding_settings("greedy", max_tokens=60)

APP = typer.Typer()
predicting(APP)


@APP.command()
def other() -> None:
    """A second command, as the real program has."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    pytest.importorskip("vllm")
    return save_tiny_audio_llm(tmp_path_factory.mktemp("model"))


def noise(seed, seconds=1.0):
    return np.random.default_rng(seed).normal(0.0, 0.1, round(seconds * 16_000)).astype(np.float32)


async def asked(model, *audios, question="What is it?", settings=GREEDY, one_audio=False):
    return await model.generate(audio_prompt(question, audios, settings, one_audio=one_audio))


def overhear(model):
    """Return a list to which the token ids of every answer are added."""
    tokens, generate = [], model._llm.generate

    async def listened(*arguments):
        last = None
        async for output in generate(*arguments):
            last = output
            yield output
        tokens.append(list(last.outputs[0].token_ids))

    model._llm.generate = listened
    return tokens


def repeated(tokens, size=3):
    grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return len(grams) - len(set(grams))


async def exercise(tiny):
    model = await VllmAudioLLM.start(str(tiny), SETTINGS, GREEDY, one_audio=False)
    try:
        assert model.notes == {}
        tokens = overhear(model)
        a, b = noise(1), 3 * noise(2)
        one, again, another, two = await asyncio.gather(
            asked(model, a), asked(model, a), asked(model, b), asked(model, a, b)
        )
        assert one.text == again.text
        assert one.text != another.text  # it hears
        assert one.prompt_tokens == another.prompt_tokens
        # 25 tokens a second, and of the second part its two marks and a line's end
        assert two.prompt_tokens == one.prompt_tokens + 25 + 3
        together = await asked(model, a, b, one_audio=True)
        assert together.prompt_tokens == one.prompt_tokens + 50
        assert one.generated_tokens <= 60
        assert not any(repeated(answer) for answer in tokens)

        tokens.clear()
        model._settings = FREE  # the same model repeats itself when it is let
        await asked(model, a, settings=FREE)
        assert repeated(tokens[0]) > 0

        with pytest.raises(RequestFailed, match="prompt_too_long"):
            await asked(model, a, question="a" * 3_000)
        with pytest.raises(RequestFailed, match="engine_refused"):
            await asked(model, a, b, a)
        assert (await asked(model, a)).generated_tokens > 0

        for process in model._processes:
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EngineDied):
            await asyncio.wait_for(asked(model, a), 60)
    finally:
        await model.close()
    with pytest.raises(EngineDied, match="closed"):
        await asked(model, a)


def test_a_model_in_this_process(tiny):
    asyncio.run(exercise(tiny))


def test_the_command_loads_a_model_and_refuses_another_before_it_is_loaded(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    release = write_release(tmp_path, "embedded")
    vllm = json.dumps(SETTINGS.model_dump(exclude_defaults=True))
    corpus = f"{{type: demo, name: demo, path: {tmp_path}/corpora}}"
    (tmp_path / "job.yaml").write_text(f"output: {tmp_path}/out\ncorpora: [{corpus}]\ninstruct: {{vllm: {vllm}}}\n")
    command = ["predict", str(release), "--model", str(tiny), "--config", "job.yaml", "--max-tokens", "16"]
    done = CliRunner().invoke(APP, command)
    assert done.exit_code == 0, done.output
    assert len(read_predictions("predictions.jsonl")) == 9
    decisive = json.loads((tmp_path / "predictions.jsonl.meta.json").read_text())["decisive"]
    assert decisive["decoding.no_repeat_ngram"] == 3
    assert decisive["revision"]
    before = (tmp_path / "predictions.jsonl").read_bytes()
    started = time.monotonic()
    # another model is refused before minutes are spent on loading it
    other = save_tiny_audio_llm(tmp_path / "other", seed=1)
    done = CliRunner().invoke(APP, [*command[:3], str(other), *command[4:]])
    assert done.exit_code == 1
    assert "revision" in done.output
    assert time.monotonic() - started < 30
    assert (tmp_path / "predictions.jsonl").read_bytes() == before


@pytest.fixture
def served(tiny, tmp_path):
    """The address of a server of the model; killed at the end."""
    pytest.importorskip("openai")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny)]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
    command += ["--max-model-len", "2048", "--max-num-batched-tokens", "4096", "--no-enable-chunked-prefill"]
    command += ["--logits-processors", NGRAM_PROCESSOR, "--limit-mm-per-prompt", '{"audio": 1}']
    environment = {**os.environ, **engine_environment(SETTINGS)}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until = time.monotonic() + START_S
        while True:
            assert process.poll() is None, log.read_text(errors="replace")[-4000:]
            assert time.monotonic() < until, log.read_text(errors="replace")[-4000:]
            try:
                with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (URLError, OSError):
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_model_that_takes_one_audio_in_a_server(served, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    release = write_release(tmp_path)
    command = ["predict", str(release), "--url", served, "--max-tokens", "16"]
    done = CliRunner().invoke(APP, command)
    assert done.exit_code == 1
    rejected = [json.loads(line) for line in (tmp_path / "predictions.jsonl.rejects.jsonl").read_text().splitlines()]
    assert {row["task"] for row in rejected} == {"closed_ended_comparison"}
    assert all("--one-audio" in row["detail"] for row in rejected)
    assert len(read_predictions("predictions.jsonl")) == 6

    done = CliRunner().invoke(APP, [*command, "--one-audio", "--out", "joined.jsonl"])
    assert done.exit_code == 0, done.output
    assert len(read_predictions("joined.jsonl")) == 9
    meta = json.loads((tmp_path / "joined.jsonl.meta.json").read_text())
    # it is vLLM, and has the processor: all that was asked for is applied
    assert meta["told"]["decoding_notes"] == {}
    assert meta["decisive"]["decoding.no_repeat_ngram"] == 3
    assert meta["decisive"]["decoding.repetition_penalty"] == 1.1
