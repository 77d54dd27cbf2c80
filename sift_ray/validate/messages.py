"""The messages of rows as columns: question, answer, audio, and the shape that they came in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_Mask = NDArray[np.bool_]
_Indices = NDArray[np.int64]

# a message is its role and then its parts, each a digit; so a row's shape is a number
_BITS: Final = 3
_LONGEST: Final = 64 // _BITS
_AUDIO, _TEXT, _BOTH, _NEITHER, _USER, _ASSISTANT, _OTHER = range(1, 8)
_TOLD: Final = {
    _AUDIO: "audio",
    _TEXT: "text",
    _BOTH: "audio and text in one part",
    _NEITHER: "an empty part",
    _USER: "user:",
    _ASSISTANT: "assistant:",
    _OTHER: "another role:",
}


def _shape(*digits: int) -> int:
    return sum(digit << (_BITS * place) for place, digit in enumerate(digits))


ABOUT_ONE: Final = _shape(_USER, _AUDIO, _TEXT, _ASSISTANT, _TEXT)
ABOUT_TWO: Final = _shape(_USER, _AUDIO, _AUDIO, _TEXT, _ASSISTANT, _TEXT)
ABOUT_TWO_TEXT_FIRST: Final = _shape(_USER, _TEXT, _AUDIO, _AUDIO, _ASSISTANT, _TEXT)
SPOKEN: Final = _shape(_USER, _TEXT, _ASSISTANT, _AUDIO)

SHAPES: Final = {
    "closed_ended_comparison": (ABOUT_TWO, ABOUT_TWO_TEXT_FIRST),
    "controllable_generation": (SPOKEN,),
}
"""The shapes that a task's messages may have, where it is not `ABOUT_ONE`."""


class Said(NamedTuple):
    """What the messages of some rows hold; each as long as the rows.

    Attributes:
        question: the first text of the user, null where there is none.
        answer: the first text of the assistant.
        audios: the paths of the first and the second audio of either.
        shape: uint64, 0 for messages of more parts than any may have.
    """

    question: pa.Array
    answer: pa.Array
    audios: tuple[pa.Array, pa.Array]
    shape: NDArray[np.uint64]


def read_messages(messages: pa.Array) -> Said:
    """Take the messages apart.

    Args:
        messages: lists of `schema.MESSAGE`.
    """
    rows = len(messages)
    told = pc.list_flatten(messages)
    row_of_message = _numbers(pc.list_parent_indices(messages))
    content = pc.struct_field(told, "content")
    parts = pc.list_flatten(content)
    message_of = _numbers(pc.list_parent_indices(content))
    row_of = row_of_message[message_of]
    text, audio = pc.struct_field(parts, "text"), pc.struct_field(parts, "audio_path")
    has_text, has_audio = _mask(text.is_valid()), _mask(audio.is_valid())
    kinds = np.where(has_audio, np.where(has_text, _BOTH, _AUDIO), np.where(has_text, _TEXT, _NEITHER))
    named = pc.index_in(pc.struct_field(told, "role"), value_set=pa.array(["user", "assistant"]))
    roles = np.array([_USER, _ASSISTANT, _OTHER])[_numbers(pc.fill_null(named, 2))]
    by_user, by_assistant = (roles[message_of] == role for role in (_USER, _ASSISTANT))
    first, second = _nth(row_of, has_audio, rows, 2)
    return Said(
        question=text.take(_nth(row_of, has_text & by_user, rows, 1)[0]),
        answer=text.take(_nth(row_of, has_text & by_assistant, rows, 1)[0]),
        audios=(audio.take(first), audio.take(second)),
        shape=_shapes(rows, (row_of_message, roles), (row_of, message_of, kinds)),
    )


def shape_text(shape: int) -> str:
    """Return a shape in words."""
    digits = []
    while shape:
        digits.append(_TOLD[shape % (1 << _BITS)])
        shape >>= _BITS
    return " ".join(digits) or "no messages, or too many parts"


def _nth(row_of: _Indices, wanted: _Mask, rows: int, count: int) -> list[pa.Array]:
    """Return for each row the indices of its first `count` wanted parts, null where there are fewer."""
    places = np.flatnonzero(wanted)
    before = np.searchsorted(row_of[places], np.arange(rows + 1))
    made = []
    for number in range(count):
        at = before[:-1] + number
        there = at < before[1:]
        found = places[np.minimum(at, max(len(places) - 1, 0))] if len(places) else np.zeros(rows, np.int64)
        made.append(pa.array(found, pa.int64(), mask=~there))
    return made


def _shapes(
    rows: int,
    messages: tuple[_Indices, _Indices],
    parts: tuple[_Indices, _Indices, _Indices],
) -> NDArray[np.uint64]:
    """Return each row's shape from its messages (row, role) and parts (row, message, kind), all in order."""
    row_of_message, roles = messages
    row_of, message_of, kinds = parts
    parts_before = np.searchsorted(message_of, np.arange(len(roles)))
    digits = np.empty(len(roles) + len(kinds), np.uint64)
    owners = np.empty(len(digits), np.int64)
    at_messages = np.arange(len(roles)) + parts_before
    at_parts = np.arange(len(kinds)) + message_of + 1
    digits[at_messages], digits[at_parts] = roles, kinds
    owners[at_messages], owners[at_parts] = row_of_message, row_of
    starts = np.searchsorted(owners, np.arange(rows + 1))
    place = np.arange(len(digits)) - starts[owners]
    fits = place < _LONGEST
    shapes = np.zeros(rows, np.uint64)
    np.add.at(shapes, owners[fits], digits[fits] << (_BITS * place[fits]).astype(np.uint64))
    shapes[np.diff(starts) > _LONGEST] = 0
    return shapes


def _numbers(array: pa.Array) -> _Indices:
    made: _Indices = array.to_numpy(zero_copy_only=False).astype(np.int64)
    return made


def _mask(array: pa.Array) -> _Mask:
    return np.asarray(array.to_numpy(zero_copy_only=False), np.bool_)


def any_of(shape: NDArray[np.uint64], allowed: Sequence[int]) -> _Mask:
    """Return which of the shapes are allowed."""
    made: _Mask = np.isin(shape, np.array(allowed, np.uint64))
    return made
