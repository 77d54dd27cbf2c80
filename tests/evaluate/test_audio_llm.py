"""What is sent to an audio language model in a server, and what comes of what the server does."""

from __future__ import annotations

import asyncio
import base64
import io

import numpy as np
import pytest
import soundfile

from sift_ray.config_instruct import OpenAIConfig
from sift_ray.evaluate.audio_llm import audio_prompt, joined
from sift_ray.evaluate.audio_llm_server import ServedAudioLLM
from sift_ray.evaluate.decoding_settings import decoding_settings
from sift_ray.instruct import openai_engine
from sift_ray.instruct.engine import EngineDied, EngineStartError, RequestFailed

from ..instruct.chat_server import Reply, chat, error, serving
from .made_release import tone

pytest.importorskip("openai")

PAPER = decoding_settings("paper", max_tokens=40, seed=9)
KEY = "sk-very-secret-0123456789"
NGRAM_REFUSED = error(400, "`ngram_size` must be a whole number of 2 or more, not 0")
WITH_NGRAMS = (NGRAM_REFUSED, chat("yes"), chat("yes"))  # to the impossible size, the true one, and audio
VLLM = Reply({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}]})


@pytest.fixture
def server():
    with serving("m") as running:
        running.models = VLLM
        yield running


@pytest.fixture
def stranger():
    """A server that does not say that it is vLLM."""
    with serving("m") as running:
        yield running


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(openai_engine, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(openai_engine, "_PAUSE_S", 0.01)
    monkeypatch.setattr(openai_engine, "_LONGEST_PAUSE_S", 0.05)


def clip(number):
    return tone(number).astype(np.float32) / np.float32(32768)


def start(server, work, *, name="m", settings=PAPER, at_start=WITH_NGRAMS, script=(), **more):
    """Start the model while the server says `at_start`, then let `work` use it while it says `script`."""
    config = OpenAIConfig(**{"base_url": server.url, "retries": 0, "timeout_s": 5, **more})
    server.script = list(at_start)

    async def within():
        model = await ServedAudioLLM.serve(name, config, settings)
        server.started, server.asked, server.script = server.asked, [], list(script)
        try:
            return await work(model)
        finally:
            await model.close()

    return asyncio.run(within())


def ask(server, audios=(0,), *, one_audio=False, settings=PAPER, **more):
    prompt = audio_prompt("Who speaks?", [clip(number) for number in audios], settings, one_audio=one_audio)
    return start(server, lambda model: model.generate(prompt), settings=settings, **more)


def heard(part):
    assert part["type"] == "input_audio"
    assert part["input_audio"]["format"] == "wav"
    content = base64.b64decode(part["input_audio"]["data"], validate=True)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert (file.format, file.subtype, file.samplerate, file.channels) == ("WAV", "PCM_16", 16_000, 1)
        return file.read(dtype="int16")


def parts(server):
    (sent,) = server.asked
    (turn,) = sent["messages"]
    assert turn["role"] == "user"
    return turn["content"]


def test_the_audio_comes_first_and_is_what_was_heard(server):
    generation = ask(server, [1], script=[chat("A man.")])
    assert (generation.text, generation.finish_reason) == ("A man.", "stop")
    first, second = parts(server)
    assert np.array_equal(heard(first), tone(1))
    assert second == {"type": "text", "text": "Who speaks?"}


def test_two_audios_are_two_parts_before_the_text(server):
    ask(server, [0, 2])
    first, second, third = parts(server)
    assert np.array_equal(heard(first), tone(0))
    assert np.array_equal(heard(second), tone(2))
    assert third["type"] == "text"


def test_for_a_model_of_one_audio_there_is_exactly_a_second_of_silence_between(server):
    ask(server, [0, 2], one_audio=True)
    first, _ = parts(server)
    expected = np.concatenate([tone(0), np.zeros(16_000, np.int16), tone(2)])
    assert np.array_equal(heard(first), expected)


def test_one_audio_alone_is_left_as_it_is():
    assert np.array_equal(joined([clip(0)]), clip(0))
    assert joined([clip(0), clip(1)]).dtype == np.float32


def test_full_scale_survives_the_way_there(server):
    loudest = np.array([-32768, 32767, 1, -1, 0], np.int16)
    prompt = audio_prompt("?", [loudest.astype(np.float32) / np.float32(32768)], PAPER, one_audio=False)
    start(server, lambda model: model.generate(prompt))
    assert np.array_equal(heard(parts(server)[0]), loudest)


def test_the_settings_reach_the_request(server):
    ask(server)
    (sent,) = server.asked
    del sent["messages"]
    assert sent == {
        "model": "m",
        "temperature": 0.1,
        "top_p": 0.95,
        "max_tokens": 40,
        "seed": 9,
        "repetition_penalty": 1.1,
        "top_k": -1,
        "min_p": 0.0,
        "vllm_xargs": {"ngram_size": 3, "window_size": 40},
    }


def test_a_server_without_the_processor_is_told_of_and_sent_no_ngrams(server):
    async def work(model):
        await model.generate(audio_prompt("?", [clip(0)], PAPER, one_audio=False))
        return model.notes

    notes = start(server, work, at_start=[chat("yes"), chat("yes"), chat("yes")])
    assert set(notes) == {"no_repeat_ngram"}
    assert "not applied" in notes["no_repeat_ngram"]
    assert "--logits-processors sift_ray.evaluate.audio_llm_ngrams:NoRepeatNGrams" in notes["no_repeat_ngram"]
    assert "vllm_xargs" not in server.asked[0]


def test_a_server_that_refuses_something_else_does_not_count_as_one_with_the_processor(server):
    async def work(model):
        return model.notes

    assert "no_repeat_ngram" in start(server, work, at_start=[error(400, "no field vllm_xargs")])
    assert "no_repeat_ngram" in start(server, work, at_start=[error(500, "ngram_size broke me")])
    # one that refuses the size that is wanted as well knows no such key at all
    unknown = error(400, "extra keys are not permitted: vllm_xargs.ngram_size")
    assert "no_repeat_ngram" in start(server, work, at_start=[unknown, unknown])


def test_greedy_asks_for_no_ngrams_and_does_not_probe_for_them(server):
    ask(server, settings=decoding_settings("greedy"), at_start=[chat("yes")])
    assert len(server.started) == 1
    assert "vllm_xargs" not in server.asked[0]
    assert server.asked[0]["temperature"] == 0.0


def test_whether_it_is_vllm_is_found_out(server, stranger):
    async def work(model):
        return model.notes

    assert start(server, work) == {}
    assert "does not say that it is vLLM" in start(stranger, work, at_start=[])["repetition_penalty"]


def test_a_server_that_does_not_say_that_it_is_vllm_is_sent_nothing_of_vllms(stranger):
    async def work(model):
        await model.generate(audio_prompt("?", [clip(0)], PAPER, one_audio=False))
        return model.notes

    notes = start(stranger, work, at_start=[])
    assert set(notes) == {"repetition_penalty", "no_repeat_ngram"}
    standard = {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    # (one question about audio at the start, and that of the work)
    assert [set(sent) for sent in (*stranger.started, *stranger.asked)] == [standard, standard]


@pytest.mark.parametrize("fault", [429, 500, 503])
def test_what_passes_is_tried_again(server, fault):
    server.always = chat("At last.")
    assert ask(server, script=[error(fault, "later"), error(503, "still")]).text == "At last."
    assert len(server.asked) >= 3


def test_the_client_tries_again_by_itself(server):
    busy = error(429, "slow down", **{"retry-after-ms": "10"})
    assert (
        ask(server, script=[busy, error(500, "x", **{"retry-after-ms": "10"}), chat("Yes.")], retries=2).text == "Yes."
    )
    assert len(server.asked) == 3
    assert len({str(sent) for sent in server.asked}) == 1  # the same each time


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (error(400, "At most 1 audio(s) may be provided in one prompt."), "engine_refused"),
        (error(413, "Payload too large"), "engine_refused"),
        (error(400, "This model's maximum context length is 2048 tokens."), "prompt_too_long"),
        (Reply(b'{"choices": [', headers={"Content-Type": "application/json"}), "engine_unreadable"),
        (Reply(b"<html>Bad</html>"), "engine_silent"),
        (Reply({"choices": []}), "engine_silent"),
    ],
)
def test_a_refusal_or_a_broken_reply_is_the_failure_of_one_question(server, reply, reason):
    # a broken reply is asked about again, between chats that the server takes
    with pytest.raises(RequestFailed) as caught:
        ask(server, script=[reply, chat("yes"), reply, chat("yes"), reply])
    assert caught.value.reason == reason


def test_a_server_that_is_gone_ends_the_run(server):
    async def work(model):
        server.always = error(503, "down")
        with pytest.raises(EngineDied, match="nothing has succeeded"):
            await model.generate(audio_prompt("?", [clip(0)], PAPER, one_audio=False))

    start(server, work)


def test_a_model_that_takes_no_audio_is_refused_at_the_start(server):
    with pytest.raises(EngineStartError, match=r"does not take a question about audio.*At most 0 audio"):
        ask(server, at_start=[*WITH_NGRAMS[:2], error(400, "At most 0 audio(s) may be provided in one prompt.")])
    assert [part["type"] for part in server.asked[-1]["messages"][0]["content"]] == ["input_audio", "text"]


def test_the_only_model_is_taken_and_of_several_one_must_be_named(server):
    async def work(model):
        return model.name

    assert start(server, work, name=None) == "m"
    with pytest.raises(EngineStartError, match="does not serve the model n"):
        start(server, work, name="n")
    with serving("m", "n") as more, pytest.raises(EngineStartError, match=r"2 models \(m, n\); name one with --model"):
        start(more, work, name=None)
    with pytest.raises(EngineStartError, match="no server answers"):
        start(more, work, name=None)  # (it is closed by now)


def test_the_key_is_the_environments_and_is_never_said(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ask(server)
    assert set(server.keys) == {f"Bearer {KEY}"}
    with pytest.raises(RequestFailed) as caught:
        ask(server, script=[error(400, f"the key {KEY} may not do this")])
    assert KEY not in str(caught.value)
    assert "[key]" in caught.value.detail


def test_at_most_so_many_calls_are_in_flight(server):
    async def work(model):
        server.always = Reply(chat("x").body, delay_s=0.05)
        await asyncio.gather(*(model.generate(audio_prompt("?", [clip(0)], PAPER, one_audio=False)) for _ in range(9)))

    start(server, work, concurrency=3)
    assert server.most_in_flight == 3


def test_control_tokens_in_a_question_are_broken_up(server):
    prompt = audio_prompt("Hm <|im_end|>?", [clip(0)], PAPER, one_audio=False)
    start(server, lambda model: model.generate(prompt))
    assert "<|im_end|>" not in parts(server)[-1]["text"]
