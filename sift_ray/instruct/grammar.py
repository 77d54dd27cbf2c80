"""The JSON schema that an engine's text must follow.

`json` asks for pairs of bounded length. `value` is for models too weak to follow instructions: the grammar also makes
the asked value occur. The verifier knows nothing of either and judges what was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sift_ray.instruct.requests import ACOUSTIC, COMPARISON, CONTENT, CONTROLLABLE, OPEN_ENDED, Request
from sift_ray.instruct.template_engine import Dice, items_of

_QUESTION: Final = 300
_ANSWER: Final[Mapping[str, int]] = {OPEN_ENDED: 1500, CONTROLLABLE: 0}
_CLOSED_ANSWER: Final = 500


def pair_schema(request: Request, constrain: str) -> dict[str, Any]:
    """Return the schema for `request`: one object for one pair, else a list of up to `pairs_wanted`.

    With `value`, question and answer are drawn from the grammar of `_valued`, if anything is known to speak of.
    """
    properties: dict[str, Any] = {
        "q": {"type": "string", "minLength": 1, "maxLength": _QUESTION},
        "a": {"type": "string", "maxLength": _ANSWER.get(request.task, _CLOSED_ANSWER)},
    }
    if constrain == "value":
        properties = _valued(request) or properties
    pair = {
        "type": "object",
        "properties": properties,
        "required": ["q", "a"],
        "additionalProperties": False,
    }
    if request.pairs_wanted == 1:
        return pair
    return {"type": "array", "items": pair, "minItems": 1, "maxItems": request.pairs_wanted}


# bounds count words, not letters: a bound on letters cuts the last word short
_OWN_QUESTION: Final = r"[A-Z][a-z']{1,9}( [a-z']{1,12}){3,10}\?"
_OWN_WORDS: Final = r" ([a-z']{1,12} ){0,3}"
_OWN_QUESTIONS: Final = (ACOUSTIC, CONTENT, COMPARISON, OPEN_ENDED)
_FEW: Final = 3
"""Phrasings that a model chooses among: each makes the grammar larger."""
_SPECIAL: Final = re.compile(r"[\\.^$*+?{}\[\]|()]")


def _valued(request: Request) -> dict[str, Any] | None:
    """Return schemas of a question and an answer about the first thing that the seed chooses to ask.

    Where the language's templates have `own_words` the model writes most questions itself, and joins the parts of an
    answer. Elsewhere it chooses, by its own lights, among a few phrasings of the templates.
    """
    dice = Dice(request.seed, "grammar")
    items = items_of(request, dice)
    if not items:
        return None
    item = items[0]
    questions = {"enum": _some(item.questions, dice)}
    answers = {"enum": _some(item.answers, dice)}
    if not item.slots:
        return {"q": questions, "a": answers}
    joined = _pattern(_OWN_WORDS.join(_any(slot) for slot in item.slots) + r"\.")
    if request.task == CONTROLLABLE:
        return {"q": joined, "a": answers}
    own = request.task in _OWN_QUESTIONS
    return {"q": _pattern(_OWN_QUESTION) if own else questions, "a": joined}


def _some(texts: Sequence[str], dice: Dice) -> list[str]:
    """Return a few of `texts`, the shorter ones of those that the dice put first: a weak model is a slow one too."""
    return sorted(dice.shuffled(texts)[: 2 * _FEW], key=len)[:_FEW]


def _any(texts: Sequence[str]) -> str:
    return f"({'|'.join(_literal(text) for text in texts)})"


def _literal(text: str) -> str:
    """Return the pattern of `text` as it stands within a JSON string."""
    return _SPECIAL.sub(r"\\\g<0>", json.dumps(text, ensure_ascii=False)[1:-1])


def _pattern(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{pattern}$"}
