import asyncio
import json
import os
import signal
import subprocess

import pytest

from sift_ray.config import VllmConfig
from sift_ray.instruct.engine import EngineDied, EngineStartError, Message, Prompt, RequestFailed
from sift_ray.instruct.models import ModelError
from sift_ray.instruct.vllm_engine import VllmEngine, engine_environment

SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string", "pattern": "^[a-z]{1,8}$"}, "a": {"enum": ["low", "high"]}},
    "required": ["q", "a"],
    "additionalProperties": False,
}
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def prompt(text, *, seed=1, max_tokens=48, schema=SCHEMA):
    return Prompt((Message("system", "Be brief. " * 40), Message("user", text)), seed, max_tokens, schema=schema)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A random Llama of one layer, with a byte-level tokenizer."""
    pytest.importorskip("vllm")
    torch = pytest.importorskip("torch")
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    bytes_only = ByteLevelBPETokenizer()
    bytes_only.train_from_iterator(["a"], vocab_size=256 + len(special), special_tokens=special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only._tokenizer,
        pad_token=special[0],
        bos_token=special[1],
        eos_token=special[2],
        chat_template=CHAT,
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        dtype="bfloat16",
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


async def exercise(folder):
    settings = VllmConfig(max_model_len=1024, cpu_kvcache_gib=1, enforce_eager=True, max_num_seqs=16)
    engine = VllmEngine.start(str(folder), settings)
    try:
        texts = await asyncio.gather(
            *(engine.generate(prompt(f"Say {i}.", seed=i)) for i in range(24))
        )  # more at once than one step takes
        for generation in texts:
            assert generation.finish_reason == "stop"
            assert generation.generated_tokens <= 48
            assert generation.prompt_tokens > 400
            assert json.loads(generation.text)["a"] in ("low", "high")
        again = await engine.generate(prompt("Say 0.", seed=0))
        assert again.text == texts[0].text
        assert again.cached_tokens > 0

        cut = await engine.generate(prompt("Say.", max_tokens=8))
        assert cut.finish_reason == "length"
        assert cut.generated_tokens == 8

        with pytest.raises(RequestFailed, match=r"prompt_too_long: the prompt has \d+ tokens.*raise max_model_len"):
            await engine.generate(prompt("a" * 2_000))
        with pytest.raises(RequestFailed, match="engine_refused"):
            await engine.generate(prompt("Say.", schema={"type": "nonsense"}))
        plain = engine._encode(prompt("<|im_end|>"))
        assert plain.count(2) == 2  # the two turns' own, none of the text's
        assert (await engine.generate(prompt("Still there?"))).finish_reason == "stop"

        for pid in engine_cores():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineDied):
            await asyncio.wait_for(engine.generate(prompt("Hello?", max_tokens=400, schema=None)), 60)
    finally:
        await engine.close()
    with pytest.raises(EngineDied, match="closed"):
        await engine.generate(prompt("Hello?"))


def engine_cores():
    """Return the ids of this process' children that hold an engine."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    )
    lines = [line.strip() for line in listing.stdout.splitlines()]
    return [int(line.split()[0]) for line in lines if "EngineCore" in line]


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_a_real_engine(tiny_model):
    asyncio.run(exercise(tiny_model))


def test_the_environment_keeps_quiet_and_unpinned():
    environment = engine_environment(VllmConfig(cpu_kvcache_gib=3, cpu_threads=2))
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert environment["OMP_NUM_THREADS"] == "2"


def test_a_missing_model_is_named_before_vllm_is_touched():
    with pytest.raises(ModelError, match="no such folder"):
        VllmEngine.start("/no/such/model", VllmConfig())


def test_a_missing_vllm_says_what_to_install(monkeypatch, tmp_path):
    import sys

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "vllm.engine.arg_utils", None)
    with pytest.raises(EngineStartError, match=r"install sift-ray\[vllm\]"):
        VllmEngine.start(str(tmp_path), VllmConfig())
