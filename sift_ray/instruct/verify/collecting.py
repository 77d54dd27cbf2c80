"""How often Python looks for garbage while pairs are verified."""

from __future__ import annotations

import gc
from typing import Final

_NEW_OBJECTS: Final = 50_000
_ROUNDS: Final = 20


def collect_rarely() -> None:
    """Have this process look for cyclic garbage after tens of thousands of new objects, not after Python's hundreds.

    What is kept of texts lives long, and comes and goes all the time: a third of the verifier's time went into looking
    through it. Hardly any of what a pair leaves behind is in cycles.
    """
    gc.set_threshold(_NEW_OBJECTS, _ROUNDS, _ROUNDS)
