"""What is asked of a server that speaks OpenAI's chat API before work is sent to it: is it there, will it do."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sift_ray.config_instruct import OpenAIConfig
from sift_ray.instruct.engine import EngineDied, EngineStartError, Message, Prompt, RequestFailed
from sift_ray.instruct.openai_calls import ChatCalls

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_NO_KEY: Final = "none"  # the client insists on a key, servers of one's own mostly want none
_CONNECT_S: Final = 30.0
_NAMES_SHOWN: Final = 10
_OF_ROLES: Final = re.compile(r"\bsystem\b|\broles?\b", re.IGNORECASE)

_PROBE_SCHEMA: Final = {
    "type": "object",
    "properties": {"a": {"enum": ["yes", "no"]}},
    "required": ["a"],
    "additionalProperties": False,
}
PROBE: Final = Prompt(  # the shape of all chats that will follow
    messages=(
        Message("system", "Reply with JSON only."),
        Message("user", "Say yes."),
        Message("assistant", '{"a": "yes"}'),
        Message("user", "Say no."),
    ),
    seed=0,
    max_tokens=16,
    schema=_PROBE_SCHEMA,
)


def client_of(config: OpenAIConfig) -> tuple[AsyncOpenAI, str]:
    """Return a client of the running asyncio loop, and its key: the environment variable's, "" where it is not set.

    Raises:
        EngineStartError: the client is not installed, or the key can't be one.
    """
    try:
        import openai
    except ImportError as error:
        raise EngineStartError(f"the client openai can't be imported ({error}); install sift-ray[openai]") from error
    key = os.environ.get(config.api_key_env, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise EngineStartError(
            f"the environment variable {config.api_key_env} holds characters that no key has; set it anew"
        )
    client = openai.AsyncOpenAI(
        api_key=key or _NO_KEY,
        base_url=config.base_url,
        max_retries=config.retries,
        timeout=openai.Timeout(config.timeout_s, connect=min(config.timeout_s, _CONNECT_S)),
        # a proxy that the environment names would look for the server on its own machine
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if is_loopback(config.base_url) else None,
    )
    return client, key


async def check_served(calls: ChatCalls) -> None:
    """Check that a server is there, and serves the model.

    Raises:
        EngineStartError: it is not, or does not.
    """
    import openai

    url = calls.config.base_url
    try:
        served = [model.id async for model in calls.client.models.list()]
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise EngineStartError(f"{url}: {_key_advice(calls)}; it says {calls.clean(error)}") from None
    except openai.APIConnectionError as error:
        raise EngineStartError(
            f"{url}: no server answers ({calls.cause(error)}); start one, such as `vllm serve {calls.name}`, or "
            "mend instruct.openai.base_url"
        ) from None
    except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
        # (the client takes whatever comes back for a list of models)
        raise EngineStartError(
            f"{url}: this is no server of OpenAI's API: {url.rstrip('/')}/models says {calls.clean(error)}; "
            "instruct.openai.base_url mostly ends with /v1"
        ) from None
    if calls.name not in served:
        names = ", ".join(served[:_NAMES_SHOWN]) + (", …" if len(served) > _NAMES_SHOWN else "")
        raise EngineStartError(
            f"{url}: the server does not serve the model {calls.name}, but {names or 'nothing'}; name one of "
            "them in instruct.models, or start the server with it"
        )


async def check_chat(calls: ChatCalls, max_tokens: int) -> None:
    """Check that the model takes chats as they will be sent, and find out whether with a turn of the system's.

    Raises:
        EngineStartError: it does not.
    """
    url, probe = calls.config.base_url, replace(PROBE, max_tokens=max_tokens)
    try:
        try:
            await calls.ask(probe)
        except RequestFailed as first:
            if first.reason != "engine_refused" or not _OF_ROLES.search(first.detail):
                raise
            # many templates, Mixtral's among them, take no system turn
            calls.system_turn = False
            await calls.ask(probe)
    except RequestFailed as error:
        if error.reason == "prompt_too_long":
            raise EngineStartError(
                f"{url}: {calls.name} has no room for instruct.sampling.max_tokens: {max_tokens}: {error.detail}; "
                "lower it, or serve the model with a longer context (vLLM: --max-model-len)"
            ) from None
        form = "a chat to be answered by a JSON schema" if calls.with_schemas else "a chat"
        raise EngineStartError(
            f"{url}: {calls.name} does not take {form}: {error.detail}; serve an instruction-tuned model, whose "
            "tokenizer has a chat template; if the schema is at fault, set instruct.openai.structured: none"
        ) from None
    except EngineDied as error:
        raise EngineStartError(str(error)) from None


def _key_advice(calls: ChatCalls) -> str:
    name = calls.config.api_key_env
    if calls.secret:
        return f"the server refuses the key in the environment variable {name}"
    return f"the server wants a key, and the environment variable {name} is not set where the actors run"


def is_loopback(url: str) -> bool:
    """Whether a server runs on this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False
