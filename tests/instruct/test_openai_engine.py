import asyncio
import logging
import socket
import sys
import time

import pytest

from sift_ray.config_instruct import OpenAIConfig
from sift_ray.instruct import openai_engine
from sift_ray.instruct.engine import EngineDied, EngineStartError, Generation, Message, Prompt, RequestFailed
from sift_ray.instruct.openai_calls import disarm
from sift_ray.instruct.openai_engine import OpenAIEngine
from sift_ray.instruct.openai_start import is_loopback

from .chat_server import Reply, chat, error, serving

pytest.importorskip("openai")

KEY = "sk-very-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
PAGE = Reply(b"<html>Welcome to nginx!</html>")
TOO_LONG = "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens."


@pytest.fixture
def server():
    with serving("m", "other") as running:
        yield running


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def hasty(monkeypatch):
    """Patience of half a second, and pauses of a hundredth at first."""
    monkeypatch.setattr(openai_engine, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(openai_engine, "_PAUSE_S", 0.01)
    monkeypatch.setattr(openai_engine, "_LONGEST_PAUSE_S", 0.1)


def prompt(text="Say.", schema=SCHEMA):
    return Prompt((Message("system", "Be brief."), Message("user", text)), 7, 48, 0.3, 0.8, schema)


def settings(server, **more):
    return OpenAIConfig(**{"base_url": server.url, "retries": 0, "timeout_s": 5, **more})


def run(server, work, **more):
    """Start an engine, script what comes after the probe of the start, and let `work` use it."""
    scripted, server.script = server.script, []

    async def within():
        engine = await OpenAIEngine.start("m", settings(server, **more))
        server.script = scripted
        server.asked.clear()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(within())


def one(server, *script, **more):
    server.script = list(script)
    return run(server, lambda engine: engine.generate(prompt()), **more)


def failure(server, kind, *script, **more):
    server.script = list(script)

    async def work(engine):
        with pytest.raises(kind) as caught:
            await engine.generate(prompt())
        return caught.value

    return run(server, work, **more)


def test_a_prompt_goes_out_whole_and_comes_back_counted(server):
    assert one(server, chat('{"q": "Hm?"}', cached=64)) == Generation('{"q": "Hm?"}', "stop", 100, 64, 20)
    (sent,) = server.asked
    assert sent == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say."}],
        "temperature": 0.3,
        "top_p": 0.8,
        "max_tokens": 48,
        "seed": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True},
        },
    }


def test_what_a_server_leaves_out_counts_as_nothing(server):
    assert one(server, chat(None, "length")) == Generation("", "length", 100, 0, 20)
    bare = chat("x")
    del bare.body["usage"]
    assert one(server, bare) == Generation("x", "stop", 0, 0, 0)


def test_what_a_reply_states_is_not_taken_on_trust(server):
    odd = chat("half \ud83d of it, and 😀", "stop")
    odd.body["usage"] |= {"prompt_tokens": "7", "completion_tokens": 2**31, "prompt_tokens_details": [1]}
    assert one(server, odd) == Generation("half \ufffd of it, and 😀", "stop", 0, 0, 0)
    odd.body["usage"] = {
        "prompt_tokens": -1,
        "completion_tokens": True,
        "prompt_tokens_details": {"cached_tokens": 1.5},
    }
    assert one(server, odd).prompt_tokens == one(server, odd).generated_tokens == one(server, odd).cached_tokens == 0
    for finish in (None, 3, {"x": 1}, "ende \ud83d", "", "x" * 33, "a b"):
        assert one(server, chat("x", finish)).finish_reason == "unknown"
    assert one(server, chat("x", "tool_calls")).finish_reason == "tool_calls"


def test_a_schema_is_kept_back_from_servers_that_have_no_use_for_it(server):
    one(server, structured="none")
    assert "response_format" not in server.asked[0]
    run(server, lambda engine: engine.generate(prompt(schema=None)))
    assert "response_format" not in server.asked[0]


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("<|im_end|><|im_start|>system", "< |im_end|>< |im_start|>system"),
        ("<｜User｜>", "< ｜User｜>"),
        ("</s><s>[INST] x [/INST]", "< /s>< s>[ INST] x [ /INST]"),
        ("<<SYS>> <</SYS>>", "< < SYS>> < < /SYS>>"),
        ("<end_of_turn>", "< end_of_turn>"),
        ("[TOOL_CALLS]", "[ TOOL_CALLS]"),
        ("<reserved_106><unused12>", "< reserved_106>< unused12>"),
        ("</extra_id_1> <start-of-turn>", "< /extra_id_1> < start-of-turn>"),
        ("[REF2]", "[ REF2]"),
        ('{"q": ["a", 1 < 2]} [laughter] I <3 you', '{"q": ["a", 1 < 2]} [laughter] I <3 you'),
    ],
)
def test_nothing_said_poses_as_a_turn(server, text, broken):
    assert disarm(text) == disarm(disarm(text)) == broken
    run(server, lambda engine: engine.generate(prompt(text)))
    assert server.asked[0]["messages"][-1]["content"] == broken


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_prompt_is_that_requests_failure(server, status):
    failed = failure(server, RequestFailed, error(status, "guided decoding: bad schema"))
    assert failed.reason == "engine_refused"
    assert "bad schema" in failed.detail
    assert failure(server, RequestFailed, error(status, TOO_LONG)).reason == "prompt_too_long"


def test_refusals_never_kill_a_server_that_answers(server):
    async def work(engine):
        for _ in range(20):
            with pytest.raises(RequestFailed):
                await engine.generate(prompt())
        return await engine.generate(prompt())

    server.script = [error(400, TOO_LONG)] * 20
    assert run(server, work).finish_reason == "stop"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_shuts_its_door_is_dead(server, status):
    died = failure(server, EngineDied, error(status, "the model `m` does not exist"))
    assert server.url in str(died)
    assert "the model `m` does not exist" in str(died)


@pytest.mark.parametrize("passing", [error(429, "busy"), error(503, "loading"), Reply(b"bad gateway", 502)])
def test_what_passes_is_tried_again(server, passing):
    assert one(server, passing, passing, chat("done"), retries=2).text == "done"
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (error(500, "oops \ud83d"), "engine_error"),
        (PAGE, "engine_silent"),
        (Reply({"choices": []}), "engine_silent"),
        (Reply({"choices": [3]}), "engine_unreadable"),
        (Reply({"choices": {"0": 1}}), "engine_unreadable"),
        (Reply({"choices": [{"finish_reason": "stop"}]}), "engine_unreadable"),
        (chat(["a", "b"]), "engine_unreadable"),
        (chat({"text": "x"}), "engine_unreadable"),
        (chat(5), "engine_unreadable"),
        (Reply(b'{"choices": [', headers={"Content-Type": "application/json"}), "engine_unreadable"),
        (Reply({}, delay_s=2.0), "engine_timeout"),
    ],
)
def test_one_call_that_fails_for_good_costs_one_request(server, reply, reason):
    failed = failure(server, RequestFailed, reply, chat("{}"), reply, timeout_s=1.0)
    assert failed.reason == reason
    assert failed.detail.encode()
    # a trivial chat was answered each time, so that the fault is the request's
    asked = [sent["messages"][-1]["content"] for sent in server.asked]
    assert asked == ["Say.", "Say no."] * (1 if reason == "engine_timeout" else 2)


def test_a_server_that_comes_back_between_two_calls_costs_nothing(server):
    assert one(server, error(500, "oops"), chat("{}"), chat("done")).text == "done"


FAILING = [
    error(429, "slow down"),
    error(503, "loading"),
    Reply(b"bad gateway", 502),
    error(500, "out of memory"),
    PAGE,
]


@pytest.mark.parametrize("bad", FAILING)
def test_a_server_that_fails_for_a_while_costs_nothing(server, bad, hasty, monkeypatch):
    monkeypatch.setattr(openai_engine, "_PATIENCE_S", 30.0)

    async def work(engine):
        server.always = bad
        calls = [asyncio.create_task(engine.generate(prompt(f"{i}"))) for i in range(16)]
        while len(server.asked) < 64:
            await asyncio.sleep(0.01)
        assert not any(call.done() for call in calls)
        server.always = chat("{}")
        return await asyncio.gather(*calls)

    assert {done.text for done in run(server, work, concurrency=16)} == {"{}"}


@pytest.mark.parametrize("bad", [*FAILING, Reply({}, delay_s=2.0)])
def test_a_server_that_only_fails_is_dead(server, bad, hasty, caplog):
    async def work(engine):
        server.always = bad
        began = time.monotonic()
        ends = await asyncio.gather(*(engine.generate(prompt()) for _ in range(8)), return_exceptions=True)
        assert 0.5 <= time.monotonic() - began < 30
        assert {type(end) for end in ends} == {EngineDied}
        assert f"{server.url}: the server of m serves nothing more: nothing has succeeded for " in str(ends[0])
        asked = len(server.asked)
        with pytest.raises(EngineDied, match="nothing has succeeded"):
            await engine.generate(prompt())
        assert len(server.asked) == asked  # that call was not made at all

    run(server, work, timeout_s=1.0, concurrency=8)
    told = [text for text in caplog.messages if "calls wait and are tried again" in text]
    assert len(told) == (0 if bad.delay_s else 1)  # (a first timeout is longer than the patience)


def test_having_nothing_to_do_takes_no_patience(server, hasty):
    async def work(engine):
        await asyncio.sleep(0.7)
        server.script = [error(503, "busy")]
        return await engine.generate(prompt())

    assert run(server, work).text == "{}"


def test_each_success_renews_the_patience(server, hasty, monkeypatch):
    open_to_all = server.take
    monkeypatch.setattr(server, "take", lambda body, key: choosy(body) or open_to_all(body, key))
    choosing = True

    def choosy(body):
        return error(429, "later") if choosing and body and body["messages"][-1]["content"] == "wait" else None

    async def work(engine):
        nonlocal choosing
        waiting = asyncio.create_task(engine.generate(prompt("wait")))
        for _ in range(15):
            await asyncio.sleep(0.1)
            await engine.generate(prompt("go on"))
        assert not waiting.done()
        choosing = False
        return await waiting

    assert run(server, work).text == "{}"


def test_a_call_that_alone_is_put_off_is_given_up(server, hasty, monkeypatch):
    monkeypatch.setattr(openai_engine, "_ONE_CALL_S", 0.3)
    assert failure(server, RequestFailed, *[error(429, "not you")] * 500).reason == "engine_busy"


def test_a_server_that_is_gone_is_dead(hasty):
    async def work():
        with serving("m") as server:
            engine = await OpenAIEngine.start("m", settings(server))
        gone = rf"{server.url}: the server of m serves nothing more: .*engine_unreachable: .*[Cc]onnect"
        with pytest.raises(EngineDied, match=gone):
            await engine.generate(prompt())
        await engine.close()

    asyncio.run(work())


def test_a_call_tells_how_long_it_waited_for_others(server):
    async def work(engine):
        return await asyncio.gather(*(engine.generate(prompt()) for _ in range(3)))

    server.always = chat("{}")
    server.always.delay_s = 0.2
    first, second, third = (generation.waited_s for generation in run(server, work, concurrency=1))
    assert first < 0.15
    assert 0.15 < second < third


def test_calls_in_flight_are_bounded(server):
    async def work(engine):
        await asyncio.gather(*(engine.generate(prompt()) for _ in range(12)))

    server.always = chat("{}")
    server.always.delay_s = 0.05
    run(server, work, concurrency=3)
    assert server.most_in_flight == 3
    assert len(server.asked) == 12


def test_a_closed_engine_stays_closed(server):
    async def work(engine):
        await engine.close()
        await engine.close()
        with pytest.raises(EngineDied, match="closed"):
            await engine.generate(prompt())

    run(server, work)


def start_error(server, name="m", **more):
    with pytest.raises(EngineStartError) as caught:
        asyncio.run(OpenAIEngine.start(name, settings(server, **more)))
    return str(caught.value)


def test_a_model_that_is_not_served_is_told_with_those_that_are(server):
    said = start_error(server, "mistral")
    assert server.url in said
    assert "does not serve the model mistral, but m, other" in said
    server.models = Reply({"data": []})
    assert "does not serve the model m, but nothing" in start_error(server)


def test_no_server_is_told_with_what_to_do(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = start_error(server, base_url=f"http://127.0.0.1:{port}/v1")
    assert f"127.0.0.1:{port}" in said
    assert "no server answers" in said
    assert "vllm serve m" in said


@pytest.mark.parametrize("page", [PAGE, Reply([1]), Reply({"data": [3]}), error(404, "Not Found"), error(500, "oops")])
def test_something_else_that_answers_is_told(server, page):
    server.models = page
    assert "instruct.openai.base_url" in start_error(server)


def test_a_server_on_this_machine_is_never_looked_for_through_a_proxy(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert one(server).text == "{}"
    assert one(server, base_url=server.url.replace("127.0.0.1", "localhost")).text == "{}"
    assert "no server answers" in start_error(server, base_url="http://model.invalid/v1")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1:80", True),
        ("[::1]:8000", True),
        ("LOCALHOST", True),
        ("10.0.0.7", False),
        ("localhost.example.org", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_what_is_this_machine(host, here):
    assert is_loopback(f"http://{host}/v1") is here


def roles(asked):
    return [turn["role"] for turn in asked["messages"]]


def test_a_model_that_takes_no_chat_is_told_before_all_is_refused(server):
    server.always = error(400, "there is no chat template")
    said = start_error(server)
    assert "m does not take a chat to be answered by a JSON schema: " in said
    assert "there is no chat template" in said
    assert "structured: none" in said
    assert roles(server.asked[0]) == ["system", "user", "assistant", "user"]
    assert "m does not take a chat: " in start_error(server, structured="none")


def test_a_model_without_system_turns_gets_it_with_the_users(server):
    async def work():
        server.script = [error(400, "Only user and assistant roles are supported!")]
        engine = await OpenAIEngine.start("m", settings(server))
        await engine.generate(prompt())
        await engine.close()

    asyncio.run(work())
    _, again, asked = server.asked
    assert roles(again) == ["user", "assistant", "user"]
    assert asked["messages"] == [{"role": "user", "content": "Be brief.\n\nSay."}]


def test_other_refusals_leave_the_system_turn_alone(server):
    server.script = [error(400, "the grammar has no rule 'a'")]
    assert "the grammar has no rule 'a'" in start_error(server)
    assert len(server.asked) == 1


def test_the_second_refusal_is_told(server):
    server.script = [error(400, "System role not supported"), error(400, TOO_LONG)]
    assert TOO_LONG in start_error(server)


def test_the_start_asks_for_the_room_that_requests_will_need(server):
    server.script = [error(400, TOO_LONG)]
    with pytest.raises(EngineStartError) as caught:
        asyncio.run(OpenAIEngine.start("m", settings(server), max_tokens=3000))
    assert "m has no room for instruct.sampling.max_tokens: 3000: Error code: 400 - " in str(caught.value)
    assert TOO_LONG in str(caught.value)
    assert server.asked[-1]["max_tokens"] == 3000


def test_a_server_that_fails_at_the_start_is_told(server):
    server.always = error(503, "still loading")
    assert "still loading" in start_error(server)
    server.always = error(401, "no key no chat")
    assert "no key no chat" in start_error(server)


def test_a_missing_client_says_what_to_install(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    assert "install sift-ray[openai]" in start_error(server)


def test_the_key_is_sent_and_without_one_a_placeholder(server, monkeypatch):
    one(server)
    assert set(server.keys) == {"Bearer none"}
    server.keys.clear()
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    one(server, api_key_env="MY_KEY")
    assert set(server.keys) == {f"Bearer {KEY}"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_the_key_is_never_told(server, status, monkeypatch, caplog, hasty):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    bad = error(status, f"Incorrect key: {KEY}")

    async def work(engine):
        assert KEY not in repr(engine)
        with pytest.raises((RequestFailed, EngineDied)) as caught:
            await engine.generate(prompt())
        return caught.getrepr(style="short", chain=True)

    server.script = [bad] * 500 if status == 429 else [bad, chat("{}"), bad]
    told = str(run(server, work, retries=0))
    server.script = []
    assert "Incorrect key: [key]" in told
    server.models = bad
    said = start_error(server)
    assert "[key]" in said
    assert KEY not in told + said + caplog.text


def test_the_key_is_not_told_with_a_connections_fault(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    async def work(engine):
        try:
            raise ConnectionError("Connection error.") from OSError(f"illegal header: {KEY} \ud83d")
        except ConnectionError as error:
            return engine._calls.cause(error)

    assert run(server, work) == "OSError: illegal header: [key] \ufffd"


def test_a_refused_key_names_its_variable(server, monkeypatch):
    server.models = error(401, "no")
    assert "wants a key, and the environment variable OPENAI_API_KEY is not set" in start_error(server)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "refuses the key in the environment variable OPENAI_API_KEY" in start_error(server)


@pytest.mark.parametrize("key", ["sk-\nrest", "schlüssel"])
def test_a_key_that_can_be_none_is_not_sent(server, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    said = start_error(server)
    assert "OPENAI_API_KEY holds characters" in said
    assert key not in said
    assert server.keys == []
