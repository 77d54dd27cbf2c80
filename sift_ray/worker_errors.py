"""The sentence that a worker's error says, out of the tracebacks that Ray wraps it in."""

from __future__ import annotations

import re
from typing import Final

_EXCEPTION: Final = re.compile(r"^(?P<name>[A-Za-z_][\w.]*(?:Error|Exception|Died|Exit|Interrupt)): (?P<text>.+)$")
_WRAPPERS: Final = ("UserCodeException", "RayTaskError", "ActorDiedError", "RayActorError")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def sentence_of(error: BaseException) -> str:
    """Return "Type: message" of the error that a person can do something about.

    Ray gives a worker's error as text: a chain of tracebacks, each ending with a line "Type: message", and around it
    its own, which only say that a task failed. The last such line that is not Ray's is what the worker raised.
    """
    whole = f"{type(error).__name__}: {error}"
    if not type(error).__module__.startswith("ray."):
        return whole
    found = [match for line in _COLOUR.sub("", str(error)).splitlines() if (match := _EXCEPTION.match(line))]
    own = [match for match in found if match["name"].rpartition(".")[2] not in _WRAPPERS]
    if own:
        return f"{own[-1]['name'].rpartition('.')[2]}: {own[-1]['text']}"
    cause = getattr(error, "cause", None)
    return whole if cause is None else f"{type(cause).__name__}: {cause}"
