"""The JSON schema that an engine's text must follow.

`json` asks for pairs of bounded length. `value` is for models too weak to follow instructions: the grammar also makes
the asked value occur. The verifier knows nothing of either and judges what was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.instruct.items import Dice
from sift_ray.instruct.requests import CONTROLLABLE, OPEN_ENDED, WORD_ALIGN, Request
from sift_ray.instruct.template_engine import items_of

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
_LETTER: Final = "[A-Za-zÀ-ÖØ-öø-ÿœŒ']"
_OWN_QUESTION: Final = rf"¿?{_LETTER}{{2,12}}( {_LETTER}{{1,14}}){{3,10}} ?\?"
_OWN_WORDS: Final = rf" ({_LETTER}{{1,14}} ){{0,3}}"
_ABOUT_A_WORD: Final = rf"¿?{_LETTER}{{2,12}}( {_LETTER}{{1,14}}){{2,8}} {{word}}( {_LETTER}{{1,14}}){{0,4}} ?\?"
_QUOTED: Final = re.compile(r"[“„«\"].*[”“»\"]")
_SPECIAL: Final = re.compile(r"[\\.^$*+?{}\[\]|()]")


def _valued(request: Request) -> dict[str, Any] | None:
    """Return schemas of a question and an answer about the first thing that the seed chooses to ask.

    The answer holds a subject and the asked value, as the templates word them, and few words between them; those
    words, and the question, are the model's own. A synthesis prompt is made like an answer.
    """
    items = items_of(request, Dice(request.seed, "grammar"))
    if request.task == WORD_TIMES:
        items = [item for item in items if item.slots]
    if not items or not items[0].slots:
        return None
    slots = items[0].slots
    joined = _pattern(_OWN_WORDS.join(_any(slot) for slot in slots) + r"\.")
    if request.task == CONTROLLABLE:
        return {"q": joined, "a": {"const": ""}}
    if request.task == WORD_TIMES:
        # (few words may stand beside times: a question in words of its own would be refused)
        return {"q": _pattern(_any(items[0].questions)), "a": joined}
    question = _pattern(_OWN_QUESTION)
    if request.task == WORD_ALIGN and (word := _QUOTED.search(slots[0][0])):
        # without the word the question could not be told from others
        question = _pattern(_ABOUT_A_WORD.replace("{word}", _literal(word[0])))
    return {"q": question, "a": joined}


def _any(texts: Sequence[str]) -> str:
    return f"({'|'.join(_literal(text) for text in texts)})"


def _literal(text: str) -> str:
    """Return the pattern of `text` as it stands within a JSON string."""
    return _SPECIAL.sub(r"\\\g<0>", json.dumps(text, ensure_ascii=False)[1:-1])


def _pattern(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{pattern}$"}
