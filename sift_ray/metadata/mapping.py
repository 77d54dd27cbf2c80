"""From annotation rows to facts: a column of lists, made column by column with no loop over rows or words."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.metadata.accents import display_accents
from sift_ray.metadata.categories import (
    ATTRIBUTES,
    CONTENT_KEYS,
    KEYS,
    TIME_KEYS,
    VALUES,
    WORD_ATTRIBUTES,
    WORD_KEY,
    labels_of,
    ordinal_of,
)
from sift_ray.schema import DOUBTED_TRANSCRIPT, FACT

_Places = npt.NDArray[np.int32]

_COLUMNS: Final = {"age_category": "age"}  # of keys whose column has another name
_OF_THE_TRANSCRIPT: Final = ("transcript", "phonemes")
_A_WORD: Final = r"[\p{L}\p{N}]"

_UTTERANCE_KEYS: Final = (*ATTRIBUTES, *CONTENT_KEYS)
_WORD_KEYS: Final = (WORD_KEY, *WORD_ATTRIBUTES)
_WORD_CODES: Final = np.array([KEYS.index(key) for key in (*_WORD_KEYS, *TIME_KEYS)], np.int8)

# every closed set of values, one after another: a fact's value is a place among these and the free texts after them
_LABELS: Final = [(key, label) for key in KEYS for label in labels_of(key)]
_ORDINALS: Final = np.array(
    [-1 if (place := ordinal_of(*label)) is None else place for label in _LABELS] + [-1],  # (the last: free text)
    np.int8,
)


class OrdinalSource(Protocol):
    """What `fact_lists` needs of `metadata.rulers.Rulers`."""

    def ordinals(self, attribute: str, values: Any, corpus: Any, gender: Any, language: Any) -> npt.NDArray[np.int8]:
        """Return each value's ordinal, -1 where unknown."""
        ...


def fact_lists(annotations: pa.Table, rulers: OrdinalSource, *, times: bool = False) -> pa.ListArray:
    """Return what is known of every row of an annotations table, as lists of `schema.FACT`; null is absent.

    A transcript that the alignment says is not what is heard is not known, nor are its phonemes; nor is one without
    a word, such as "...", of which nothing can be asked and nothing quoted. A value outside its closed set is not
    known, nor is an accent that is no name. Words are judged by their utterance's rulers.

    Order within a row: acoustic keys, content keys (the reference's order), then the words in their order, each with
    its categories. A row's facts depend on the row and the rulers alone.

    Args:
        annotations: `schema.ANNOTATIONS`, of one wave: facts, and the characters of each kind of text, must stay
            below 2^31. Columns may be chunked, sliced or dictionary-encoded.
        rulers: turns measurements into ordinals.
        times: whether words come with their start and end, in seconds.

    Returns:
        As long as `annotations`, no list null; `audio` is 0 everywhere.

    Raises:
        pyarrow.ArrowInvalid: the table holds more text than an array can.
    """
    group = _Group(*(_text(annotations[name]).dictionary_encode() for name in _Group._fields))
    texts = [pa.array([label for _, label in _LABELS], pa.string())]
    utterance = np.empty((annotations.num_rows, len(_UTTERANCE_KEYS)), np.int32)
    doubted = _flags(pc.is_in(_text(annotations["alignment_reason"]), value_set=pa.array(sorted(DOUBTED_TRANSCRIPT))))
    for rank, key in enumerate(_UTTERANCE_KEYS):
        if key in ATTRIBUTES:
            ordinals = rulers.ordinals(key, annotations[ATTRIBUTES[key].column], *group)
            utterance[:, rank] = _placed(key, ordinals)
            continue
        text = _text(annotations[_COLUMNS.get(key, key)])
        if key in VALUES:
            found = pc.index_in(text, value_set=pa.array(VALUES[key], pa.string()))
            utterance[:, rank] = _placed(key, found.fill_null(-1).to_numpy())
            continue
        if key == "accent":
            text = display_accents(text)
        known = _flags(pc.greater(pc.binary_length(text), 0))
        if key in _OF_THE_TRANSCRIPT:
            known &= ~doubted
        if key == "transcript":
            known &= _flags(pc.match_substring_regex(text, _A_WORD))
        utterance[:, rank] = np.where(known, _appended(texts, text), -1)
    words, word_rows, positions = _words(annotations, rulers, group, texts, times=times)
    return _lists(utterance, words, word_rows, positions, pa.concat_arrays(texts))


class _Group(NamedTuple):
    """What tells which ruler judges a row; strings, dictionary-encoded."""

    corpus: pa.DictionaryArray
    gender: pa.DictionaryArray
    language: pa.DictionaryArray


def _words(
    annotations: pa.Table, rulers: OrdinalSource, group: _Group, texts: list[pa.Array], *, times: bool
) -> tuple[_Places, npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the place of every word's value of each key, and the words' rows and positions.

    Keys are `_WORD_KEYS` and, with `times`, `TIME_KEYS`.
    """
    column = _array(annotations["words"])
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    rows = np.repeat(np.arange(len(column)), lengths)
    words = pc.list_flatten(column)
    text = _text(pc.struct_field(words, "word"))
    places = np.empty((len(words), len(_WORD_KEYS) + (len(TIME_KEYS) if times else 0)), np.int32)
    places[:, 0] = _appended(texts, text)
    mine = [encoded.take(pa.array(rows)) for encoded in group]
    for rank, key in enumerate(WORD_ATTRIBUTES, 1):
        values = pc.struct_field(words, ATTRIBUTES[key].word_column)
        places[:, rank] = _placed(key, rulers.ordinals(key, values, *mine))
    if times:
        for rank, key in enumerate(TIME_KEYS, len(_WORD_KEYS)):
            measured = pc.cast(pc.struct_field(words, key), pa.float64())
            known = pc.if_else(pc.is_finite(measured), measured, None)  # (nan is no decimal)
            seconds = pc.cast(pc.round(known, 2), pa.decimal128(12, 2))
            places[:, rank] = np.where(_flags(pc.is_valid(seconds)), _appended(texts, seconds.cast(pa.string())), -1)
    return places, rows, pc.struct_field(words, "position").to_numpy()


def _lists(
    utterance: _Places,
    words: _Places,
    word_rows: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int32],
    texts: pa.Array,
) -> pa.ListArray:
    """Put the facts of utterances (rows × keys) and of words (words × keys) together, row by row.

    Entries are places in `texts`, -1 where nothing is known.
    """
    own_row, own_key = np.nonzero(utterance >= 0)
    word, word_key = np.nonzero(words >= 0)
    word_row = word_rows[word]
    own_counts, word_counts = (np.bincount(of, minlength=len(utterance)) for of in (own_row, word_row))
    # both come sorted by row, so a fact's place is its own among its kind, and before it those of the other kind:
    # of earlier rows' words, and of the utterances up to its own row
    words_before = np.cumsum(word_counts) - word_counts
    own_at = np.arange(len(own_row)) + words_before[own_row]
    word_at = np.arange(len(word)) + np.cumsum(own_counts)[word_row]

    size = len(own_row) + len(word)
    key, value, position = np.empty(size, np.int8), np.empty(size, np.int32), np.zeros(size, np.int32)
    key[own_at], key[word_at] = own_key, _WORD_CODES[word_key]
    value[own_at], value[word_at] = utterance[own_row, own_key], words[word, word_key]
    position[word_at] = positions[word]
    ordinal = _ORDINALS[np.minimum(value, len(_LABELS))]
    facts = pa.StructArray.from_arrays(
        [
            pa.array(KEYS, pa.string()).take(pa.array(key)),
            texts.take(pa.array(value)),
            pa.array(ordinal, mask=ordinal < 0),
            pa.array(np.zeros(size, np.int8)),
            pa.array(position),
        ],
        fields=list(FACT),
    )
    offsets = np.concatenate([[0], np.cumsum(own_counts + word_counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), facts, type=pa.list_(FACT))


def _placed(key: str, ordinals: npt.NDArray[Any]) -> _Places:
    """Return the places of labels of `key` among `_LABELS`, -1 staying -1."""
    first = _LABELS.index((key, labels_of(key)[0]))
    return np.where(ordinals >= 0, ordinals.astype(np.int32) + first, -1)


def _appended(texts: list[pa.Array], text: pa.StringArray) -> _Places:
    """Append `text` to `texts`; return the places of its values among all of them."""
    first = sum(map(len, texts))
    texts.append(text)
    return np.arange(first, first + len(text), dtype=np.int32)


def _flags(mask: pa.BooleanArray) -> npt.NDArray[np.bool_]:
    return np.asarray(mask.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def _text(column: pa.Array | pa.ChunkedArray) -> pa.StringArray:
    return _array(column).cast(pa.string())


def _array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
