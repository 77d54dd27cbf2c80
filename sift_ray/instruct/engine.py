"""What a language model is to this package: a prompt in, a text and its counts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; `role` is system, user or assistant."""

    role: str
    content: str


def without_system(turns: Sequence[Message]) -> Sequence[Message]:
    """Return the turns with the system's put before the first user's, for chat templates that take none."""
    if len(turns) < 2 or turns[0].role != "system":
        return turns
    return (Message(turns[1].role, f"{turns[0].content}\n\n{turns[1].content}"), *turns[2:])


@dataclass(frozen=True, slots=True)
class Prompt:
    """One chat to be continued.

    Attributes:
        messages: the turns, the last of them the user's.
        seed: of the sampler; the same prompt, seed and engine version repeat.
        max_tokens: bound on what is generated.
        temperature: 0 is greedy.
        top_p: nucleus of the sampler, in (0, 1].
        schema: JSON schema that the text must follow; None leaves it free.
    """

    messages: tuple[Message, ...]
    seed: int
    max_tokens: int
    temperature: float = 0.7
    top_p: float = 0.9
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What an engine wrote. Counts are tokens; `finish_reason` is stop, length, or an engine's own word.

    `waited_s` is how long the call stood in a queue before it was worked at, seconds; None where that is not told.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    waited_s: float | None = field(default=None, compare=False)


class EngineError(Exception):
    """Base of what an engine raises."""


class RequestFailed(EngineError):  # noqa: N818 - it reads as the event that it is
    """One prompt could not be served; the engine goes on. `reason` is a slug to count by."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class EngineDied(EngineError):  # noqa: N818 - as above
    """The engine is gone and serves nothing more; whoever holds it must be replaced."""


class EngineStartError(EngineError):
    """The engine could not be started; the message says why and what to do."""


class Engine(Protocol):
    """A language model that serves concurrent calls."""

    name: str
    """Name of the model, as it stands in `generator` and `model`."""

    async def generate(self, prompt: Prompt) -> Generation:
        """Continue `prompt`.

        Raises:
            RequestFailed: this prompt can't be served (too long, refused); others can.
            EngineDied: nothing can be served any more.
        """
        ...

    async def close(self) -> None:
        """Free the model; a second call does nothing."""
        ...
