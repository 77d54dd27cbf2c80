"""Read question-answer pairs out of what a model wrote: tolerant of its habits, never evaluating anything.

Accepted around and between the pairs: prose, code fences, arrays, wrapping objects; in a pair: keys `q`/`a` or
`question`/`answer`, further keys with plain values, single quotes, raw line breaks, a trailing comma. A cut-off
tail costs only the pair that it cuts. Linear in the text; nesting is not followed, so depth can't hurt.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Final, NamedTuple

MAX_TEXT: Final = 200_000
"""Characters that are looked at."""
MAX_PAIRS: Final = 64
MAX_QUESTION: Final = 600
MAX_ANSWER: Final = 1_700
"""Characters; a little above the most that verification lets through, which need not read what is longer."""

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Me"})
_BLANK = re.compile(
    "[\u034f\u0335-\u0338\u115f\u1160\u17b4\u17b5\u180b-\u180f\u20d0-\u20ff\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]|[\u0300-\u036f]{3}"
)
_MARKUP = re.compile(r"[*#\\]|&#?\w{1,32};")
_SYMBOLS: Final = frozenset("+−=±×÷°´¨\u02de")  # (the last: the hook of a rhotic vowel, in IPA)

# what nearly all texts are made of: no character of it is refused, and to say so for all at once is ten times as fast
_COMMON = re.compile("[A-Za-z0-9 .,;:!?'\"()%/À-ÖØ-öø-ÿŒœß«»“”„‘’¿¡…–—-]*+")

_KEYS: Final = {"q": "q", "question": "q", "a": "a", "answer": "a"}
_PROMPT_KEYS: Final = _KEYS | {"prompt": "q", "instruction": "q"}

# possessive quantifiers: a failed match is not tried in other ways, so no input makes these slow
_SPACE = re.compile(r"\s*+")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
# an apostrophe between letters ("what's", "l'audio") does not close the string
_SINGLE = re.compile(r"'((?:[^'\\]|\\.|(?<=\w)'(?=\w))*+)'", re.DOTALL)
_PLAIN = re.compile(r"-?\d[\d.eE+-]*+|true|false|null|True|False|None")
_ESCAPE = re.compile(r'\\.|"', re.DOTALL)
_JSON_ESCAPES = '"\\/bfnrtu'


class ParseResult(NamedTuple):
    """Pairs in the order written, and a slug for each thing that could not be read."""

    pairs: list[tuple[str, str]]
    problems: list[str]


class _Unreadable(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, problem: str | None) -> None:
        super().__init__(problem)
        self.problem = problem


def parse_pairs(text: str, *, answers: bool = True) -> ParseResult:
    """Return the question-answer pairs in `text`.

    With `answers` false the answer is not text (controllable generation answers with audio): what stands there
    is dropped, every answer is "", and the question's key may also be `prompt` or `instruction`.

    Problems: `no_pairs` (nothing that looks like one), `cut_off` (the text ends within a pair), `malformed`,
    `missing_key`, `not_text` (a question or answer that is no string), `empty_text`, `control_characters` (also what
    is unseen: zero-width, bidirectional, unassigned), `markup` (also pictures and other symbols that no prose has),
    `too_long`, `too_many`, `truncated_input` (more than `MAX_TEXT` characters). Whitespace within a text becomes
    single spaces.
    """
    pairs: list[tuple[str, str]] = []
    problems: list[str] = []
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT]
        problems.append("truncated_input")
    start = text.find("{")
    while start >= 0:
        if len(pairs) == MAX_PAIRS:
            problems.append("too_many")
            break
        try:
            fields, end = _read_object(text, start, _KEYS if answers else _PROMPT_KEYS)
            question = _clean(fields, "q", MAX_QUESTION)
            pairs.append((question, _clean(fields, "a", MAX_ANSWER) if answers else ""))
        except _Unreadable as unreadable:
            end = start + 1
            # a model can write thousands of braces: a few complaints tell as much
            if unreadable.problem is not None and len(problems) < MAX_PAIRS:
                problems.append(unreadable.problem)
        start = text.find("{", end)
    if not pairs and not problems:
        problems.append("no_pairs")
    return ParseResult(pairs, problems)


def _read_object(text: str, start: int, keys: dict[str, str]) -> tuple[dict[str, object], int]:
    """Read `{key: value, …}` at `start`; return its fields and where it ends."""
    fields: dict[str, object] = {}
    at = _skip(text, start + 1)
    while text[at : at + 1] != "}":
        key, at = _read_value(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise _Unreadable(_at(text, at, "malformed"))
        at = _skip(text, at + 1)
        if text[at : at + 1] in ("{", "["):
            raise _Unreadable(None)  # a wrapping object: what it holds is found on its own
        value, at = _read_value(text, at)
        name = keys.get(str(key).strip().casefold())
        if name is not None:
            fields.setdefault(name, value)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "}":
            raise _Unreadable(_at(text, at, "malformed"))
    return fields, at + 1


def _read_value(text: str, at: int) -> tuple[str | None, int]:
    """Read a string, or skip a plain value (None), at `at`."""
    for pattern in (_DOUBLE, _SINGLE):
        match = pattern.match(text, at)
        if match:
            return _unescape(match[1]), match.end()
    match = _PLAIN.match(text, at)
    if match:
        return None, match.end()
    quoted = text[at : at + 1] in ('"', "'")
    raise _Unreadable("cut_off" if quoted else _at(text, at, "malformed"))


def _unescape(raw: str) -> str:
    if "\\" not in raw:
        return raw
    try:
        return str(json.loads(f'"{_ESCAPE.sub(_repair, raw)}"', strict=False))
    except ValueError as error:
        raise _Unreadable("malformed") from error


def _repair(escape: re.Match[str]) -> str:
    """Make one escape, or a bare double quote of a single-quoted text, what JSON allows."""
    found = escape[0]
    if found == '"':
        return '\\"'
    return found if found[1] in _JSON_ESCAPES else found[1]


def _at(text: str, at: int, problem: str) -> str:
    return "cut_off" if at >= len(text) else problem


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _clean(fields: dict[str, object], key: str, limit: int) -> str:
    if key not in fields:
        raise _Unreadable("missing_key")
    value = fields[key]
    if not isinstance(value, str):
        raise _Unreadable("not_text")
    value = unicodedata.normalize("NFC", " ".join(value.split()))
    if not value:
        raise _Unreadable("empty_text")
    if len(value) > limit:
        raise _Unreadable("too_long")
    if _COMMON.fullmatch(value):
        return value
    categories = [(character, unicodedata.category(character)) for character in value]
    # (Cs is half of a surrogate pair, which no UTF-8 file can hold)
    if any(category in _UNSEEN for _, category in categories) or _BLANK.search(value):
        raise _Unreadable("control_characters")
    symbols = (character for character, category in categories if category in ("Sm", "So", "Sk"))
    if _MARKUP.search(value) or not _SYMBOLS.issuperset(symbols):
        raise _Unreadable("markup")
    return value
