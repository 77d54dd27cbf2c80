"""One call to a server that speaks OpenAI's chat API: what is sent, and what comes back or went wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sift_ray.config_instruct import OpenAIConfig
from sift_ray.instruct.engine import EngineDied, Generation, Prompt, RequestFailed, without_system

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TIMEOUT: Final = "engine_timeout"
"""The reason of a call that got no reply in time."""

_DETAIL: Final = 500
_MOST_TOKENS: Final = 1 << 24  # more than any context has; the counts of a hundred calls are added up as int32

_TOO_LONG: Final = re.compile(r"context.?length|context window|too long|too many tokens", re.IGNORECASE)
_REFUSED: Final = (400, 413, 422)
_SHUT: Final = (401, 403, 404)
_BUSY: Final = (429, 502, 503, 504)  # as proxies say of a server that restarts

_CONTROL: Final = re.compile(
    r"(?<=<)(?=[|｜]|/?[A-Za-z_][\w-]{0,39}>|</?[A-Z]{1,40}>>)|(?<=\[)(?=/?[A-Z_][A-Z0-9_]{2,39}\])"
)
"""Where a space breaks up what may be a control token: `<|im_end|>`, `</s>`, `<unused12>`, `<<SYS>>`, `[INST]`."""

_LONE: Final = re.compile("[\ud800-\udfff]")  # halves of a character, which no file takes
_FINISH: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")


class CallFailing(RequestFailed):
    """A call failed by what may pass; `servers` where that is surely no fault of what was asked."""

    def __init__(self, reason: str, detail: str, *, servers: bool) -> None:
        super().__init__(reason, detail)
        self.servers = servers


class ChatCalls:
    """Calls of one model of one server. `system_turn` says whether its chat template takes such a turn."""

    def __init__(self, name: str, config: OpenAIConfig, client: AsyncOpenAI, secret: str) -> None:
        """Take a client of the running asyncio loop; `secret` is its key, to be kept out of all messages."""
        self.name = name
        self.config = config
        self.client = client
        self.secret = secret
        self.with_schemas = config.structured == "json_schema"
        self.system_turn = True

    async def ask(self, prompt: Prompt, *, retries: bool = True) -> Generation:
        """Make one call, with the client's own retries unless told otherwise.

        Raises:
            CallFailing: it failed, and the fault may be the server's.
            RequestFailed: the server refuses the prompt.
            EngineDied: the server refuses everything.
        """
        import openai

        client = self.client if retries else self.client.with_options(max_retries=0)
        try:
            return _generation(await client.chat.completions.create(**self._arguments(prompt)))
        except openai.APITimeoutError:
            raise CallFailing(TIMEOUT, f"no reply within {self.config.timeout_s:g} s", servers=False) from None
        except openai.APIConnectionError as error:
            raise CallFailing("engine_unreachable", self.cause(error), servers=True) from None
        except openai.APIStatusError as error:
            raise self._of_status(error.status_code, self.clean(error)) from None
        except (openai.OpenAIError, ValueError) as error:  # (a ValueError is of its JSON reader)
            raise CallFailing("engine_unreadable", self.clean(error), servers=False) from None

    def _arguments(self, prompt: Prompt) -> dict[str, Any]:
        turns = prompt.messages if self.system_turn else without_system(prompt.messages)
        arguments: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": turn.role, "content": disarm(turn.content)} for turn in turns],
            "temperature": prompt.temperature,
            "top_p": prompt.top_p,
            "max_tokens": prompt.max_tokens,
            "seed": prompt.seed,
        }
        if prompt.schema is not None and self.with_schemas:
            form = {"name": "reply", "schema": dict(prompt.schema), "strict": True}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        return arguments

    def _of_status(self, status: int, said: str) -> RequestFailed | EngineDied:
        """Return what an error status means, after all retries."""
        if status in _REFUSED:
            return RequestFailed("prompt_too_long" if _TOO_LONG.search(said) else "engine_refused", said)
        if status in _SHUT:
            return EngineDied(self.gone(f"it says {said}"))
        return CallFailing("engine_busy" if status in _BUSY else "engine_error", said, servers=status in _BUSY)

    def gone(self, why: str) -> str:
        """Return what to say of a server that serves nothing more."""
        return f"{self.config.base_url}: the server of {self.name} serves nothing more: {why}"

    def clean(self, error: BaseException) -> str:
        """Return what an error says, without the key, which a server may repeat."""
        text = _LONE.sub("\ufffd", str(error) or type(error).__name__)
        return (text.replace(self.secret, "[key]") if self.secret else text)[:_DETAIL]

    def cause(self, error: Exception) -> str:
        """Return why a connection failed; the client's own error only says that it did."""
        cause = error.__cause__
        if cause is None or not str(cause):
            return self.clean(error)
        return f"{type(cause).__name__}: {self.clean(cause)}"


def disarm(text: str) -> str:
    """Break up what may be control tokens of a chat template, which a transcript may hold to pose as another turn.

    The server's tokenizer is not known here, so this goes by the forms that such tokens have.
    """
    return _CONTROL.sub(" ", text)


def _generation(reply: Any) -> Generation:
    """Return what a reply holds, of which the client checks nothing.

    Raises:
        CallFailing: it holds no text.
    """
    choices, usage = getattr(reply, "choices", None), getattr(reply, "usage", None)
    if not choices:
        raise CallFailing("engine_silent", "the server's reply holds no choice", servers=False)
    choice = choices[0] if isinstance(choices, list) else None
    message, finish = getattr(choice, "message", None), getattr(choice, "finish_reason", None)
    text = getattr(message, "content", None) or ""
    if message is None or not isinstance(text, str):
        raise CallFailing("engine_unreadable", "the content of the server's reply is no text", servers=False)
    return Generation(
        text=_LONE.sub("\ufffd", text),
        finish_reason=finish if isinstance(finish, str) and _FINISH.fullmatch(finish) else "unknown",
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(getattr(usage, "prompt_tokens_details", None), "cached_tokens"),
        generated_tokens=_count(usage, "completion_tokens"),
    )


def _count(usage: Any, name: str) -> int:
    """Return a count of tokens; 0 where there is none that can be."""
    count = getattr(usage, name, None)
    return count if type(count) is int and 0 <= count < _MOST_TOKENS else 0
