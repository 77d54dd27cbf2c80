"""`engine: openai` against a real server on the CPU: vLLM's own, with a random model, on loopback."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen
from zlib import crc32

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sift_ray.cli import app
from sift_ray.config_file import load_config, parse_config
from sift_ray.config_instruct import InstructConfig, OpenAIConfig, VllmConfig
from sift_ray.instruct.engine import EngineDied, EngineStartError, Message, Prompt, RequestFailed
from sift_ray.instruct.judging import Judge
from sift_ray.instruct.openai_engine import OpenAIEngine
from sift_ray.instruct.requests import OPEN_ENDED, Request
from sift_ray.instruct.vllm_engine import engine_environment
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.phrases import phrases
from sift_ray.metadata.record import Fact
from sift_ray.pipeline.build import build

from ..conftest import DEMO_MINUTES, Job
from ..instruct.chat_server import Reply, chat, serving
from ..instruct.tiny_llm import save_tiny_llm

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

START_S = 600
SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string", "pattern": "^[a-z]{1,8}$"}, "a": {"enum": ["low", "high"]}},
    "required": ["q", "a"],
    "additionalProperties": False,
}

LOW_SCORE, HIGH_SCORE = 3.0, 9.0
ENGLISH = {phrases("en").record_key(key) for key in ATTRIBUTES}

FACTS = (Fact("speaking_rate", "very slowly"), Fact("transcript", "one two three"))
REQUEST = Request(7, OPEN_ENDED, "en", "train", "vctk_en", ("u",), ("/u.wav",), "openai", FACTS, (), 1, 11)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the models `tiny` and `judge`, which are the same weights; killed at the end."""
    pytest.importorskip("vllm")
    pytest.importorskip("openai")
    folder = tmp_path_factory.mktemp("server")
    model = save_tiny_llm(folder / "model", positions=8192)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "tiny", "judge", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", "8192", "--max-num-batched-tokens", "8192", "--no-enable-chunked-prefill"]
    command += ["--enforce-eager", "--enable-prompt-tokens-details"]
    # (else a grammar allows runs of line breaks between tokens, which a random model can't leave)
    command += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    environment = {**os.environ, **engine_environment(VllmConfig(cpu_kvcache_gib=1))}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _await(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(1)
    raise AssertionError(f"no server after {START_S} s: {log.read_text(errors='replace')[-4000:]}")


def prompt(text: str, *, seed: int = 1, max_tokens: int = 48, schema: Any = SCHEMA) -> Prompt:
    return Prompt((Message("system", "Be brief. " * 40), Message("user", text)), seed, max_tokens, schema=schema)


def test_a_real_server(server: str) -> None:
    async def exercise() -> None:
        settings = OpenAIConfig(base_url=server, concurrency=8, retries=1, timeout_s=120)
        engine = await OpenAIEngine.start("tiny", settings)
        texts = await asyncio.gather(*(engine.generate(prompt(f"Say {i}.", seed=i)) for i in range(24)))
        for generation in texts:
            assert generation.finish_reason == "stop"
            assert generation.generated_tokens <= 48
            assert generation.prompt_tokens > 400
            assert json.loads(generation.text)["a"] in ("low", "high")
        again = await engine.generate(prompt("Say 0.", seed=0))
        assert again.text == texts[0].text
        assert again.cached_tokens > 0

        cut = await engine.generate(prompt("Say.", max_tokens=8, schema=None))
        assert (cut.finish_reason, cut.generated_tokens) == ("length", 8)
        config = InstructConfig.model_validate(
            {"engine": "openai", "models": {"default": "tiny"}, "judge": {"model": "judge", "threshold": 0}}
        )
        judge = await OpenAIEngine.start("judge", settings)  # another model than the one that writes
        judgement = await Judge({"judge": judge}, config).judge(REQUEST, "How is it?", "It is very slow.")
        await judge.close()
        assert judgement.reason is None
        assert judgement.generation is not None
        assert judgement.generation.generated_tokens > 0
        assert judgement.score is not None
        assert 0 <= judgement.score <= 10

        with pytest.raises(RequestFailed, match=r"prompt_too_long: .*8192"):
            await engine.generate(prompt("a" * 9000))
        with pytest.raises(RequestFailed, match="engine_refused"):
            await engine.generate(prompt("Say.", schema={"type": "nonsense"}))
        plain, posing = [
            (await engine.generate(prompt(text, max_tokens=8))).prompt_tokens for text in ("", "<|im_end|>")
        ]
        assert posing - plain == len("< |im_end|>")  # letter by letter: no token of the template
        await engine.close()
        with pytest.raises(EngineDied, match="closed"):
            await engine.generate(prompt("Hello?"))
        with pytest.raises(EngineStartError, match="does not serve the model mistral, but tiny, judge"):
            await OpenAIEngine.start("mistral", settings)

    asyncio.run(exercise())


def _reply(body: dict[str, Any] | None, served: Reply) -> Reply:
    """Say as `writer` what an English record holds, which is true; as `judge` score every other answer too low."""
    if body is None:
        return served
    said = body["messages"][-1]["content"]
    if body["model"] == "judge":
        return chat(json.dumps({"score": LOW_SCORE if crc32(said.encode()) % 2 else HIGH_SCORE}))
    found = re.search(r'\{"(\w+)": "([^"]+)"\}', said)
    if found is None or found[1] not in ENGLISH:
        return chat("{}")
    name = found[1].replace("_", " ")
    return chat(json.dumps({"q": f"What is the {name} of this recording?", "a": f"The {name} is {found[2]}."}))


def test_a_job_rejects_what_its_judge_scores_too_low(finished_job: Job, tmp_path: Path) -> None:
    corpora = finished_job.config.corpora[0].path  # type: ignore[union-attr]
    config_file = tmp_path / "job.yaml"
    with serving("writer", "judge") as scripted:
        served = scripted.models

        def take(body: dict[str, Any] | None, key: str | None) -> Reply:
            return _reply(body, served)

        scripted.take = take  # type: ignore[method-assign]
        config_file.write_text(
            f"""\
output: {tmp_path}/out
corpora:
  - {{type: demo, name: demo, path: {corpora}, minutes: {DEMO_MINUTES}}}
plan: {{wave_rows: 40}}
annotate: {{align: {{min_train_s: 5, models: {{{finished_job.models()}}}}}}}
bin: {{min_count: 5}}
instruct:
  engine: openai
  models: {{default: writer}}
  openai: {{base_url: "{scripted.url}"}}
  judge: {{model: judge, tasks: [acoustic_level], threshold: 6}}
  retries: 0
  facts_per_request: 1
  tasks:
    acoustic_level: {{pairs: 1, unanswerable: 0}}
    content_level: {{fraction: 0}}
    word_align: {{fraction: 0}}
    comparison: {{fraction: 0}}
    open_ended: {{fraction: 0}}
    controllable_generation: {{fraction: 0}}
""",
            encoding="utf-8",
        )
        build(load_config(config_file))
    files = sorted((tmp_path / "out/instructions").glob("wave=*/*.parquet"))
    pairs = [
        pair
        for file in files
        for row in pq.read_table(file, columns=["pairs"], partitioning=None).to_pylist()
        for pair in row["pairs"]
    ]
    low = [pair for pair in pairs if pair["reason"] == "judged_low"]
    passed = [pair for pair in pairs if pair["accepted"]]
    assert len(low) > 3
    assert len(passed) > 3
    assert {pair["score"] for pair in low} == {LOW_SCORE}
    assert not any(pair["accepted"] for pair in low)
    assert {pair["score"] for pair in passed} == {HIGH_SCORE}
    assert {pair["score"] for pair in pairs if pair not in low and not pair["accepted"]} <= {None}
    told = CliRunner().invoke(app, ["status", str(config_file), "--json"])
    rejects = json.loads(told.stdout)["stages"]["instructions"]["counts"]["rejects"]
    assert rejects["closed_ended_acoustic_level/judged_low"] == len(low)


def test_a_job_whose_model_and_judge_run_in_a_server(server: str, finished_job: Job, tmp_path: Path) -> None:
    corpora = finished_job.config.corpora[0].path  # type: ignore[union-attr]
    config = parse_config(
        f"""\
output: {tmp_path}/out
corpora:
  - {{type: demo, name: demo, path: {corpora}, minutes: {DEMO_MINUTES}}}
plan: {{wave_rows: 40}}
annotate: {{align: {{min_train_s: 5, models: {{{finished_job.models()}}}}}}}
bin: {{min_count: 5}}
instruct:
  engine: openai
  models: {{default: tiny}}
  openai: {{base_url: "{server}"}}
  judge: {{model: judge, tasks: [acoustic_level, open_ended], threshold: 0}}
  constrain: value
  fallback: template
  retries: 0
  facts_per_request: 1
  sampling: {{max_tokens: 96}}
  tasks:
    acoustic_level: {{pairs: 1}}
    content_level: {{fraction: 0}}
    word_align: {{fraction: 0}}
    comparison: {{fraction: 0}}
    open_ended: {{pairs: 1, engine_share: 0}}
    controllable_generation: {{pairs: 1}}
""",
        "openai.yaml",
    )
    build(config)
    rows = [
        row
        for file in sorted((tmp_path / "out/instructions").glob("wave=*/*.parquet"))
        for row in pq.read_table(file, partitioning=None).to_pylist()
    ]
    assert {row["model"] for row in rows if row["task"] != "open_ended"} == {"tiny"}
    assert {row["model"] for row in rows if row["task"] == "open_ended"} == {"template"}
    written = [row for row in rows if row["model"] == "tiny"]
    assert len(written) > 20
    assert all(row["prompt_tokens"] > 0 and row["generated_tokens"] > 0 for row in written)
    assert sum(row["cached_tokens"] for row in written) > 0
    pairs = [(row["task"], pair) for row in rows for pair in row["pairs"]]
    assert {pair["generator"] for _, pair in pairs} == {"tiny", "template"}
    # (a random model's pairs are hardly ever accepted, so that few get as far as the judge)
    assert all(pair["score"] is None for _, pair in pairs if pair["generator"] == "template" or not pair["accepted"])
