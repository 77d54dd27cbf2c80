"""Turn the accepted pairs of instruction rows into samples, column by column with no loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.config_release import ReleaseConfig
from sift_ray.schema import MESSAGE, RELEASE

_PART = MESSAGE.field("content").type.value_type
_COMPARISON: Final = "closed_ended_comparison"
_GENERATION: Final = "controllable_generation"
REQUEST_COLUMNS: Final = (
    "unit_id",
    "task",
    "language",
    "split",
    "data_source",
    "utterance_ids",
    "audio_uris",
)
"""The columns of instructions that samples are made of, beside `pairs`."""

PAIR_FIELDS: Final = ("question", "answer", "evidence", "generator")
"""What of a pair is in its sample."""

FLAT: Final = (pa.field("question", pa.string()), pa.field("answer", pa.string()))
"""The columns that `release.flat` adds; the answer is null where it is the audio."""

AUDIO: Final = pa.field("audio", pa.list_(pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])))
"""The column that `release.audio: embedded` adds: of each audio the file as it lies, and its `audio_path`."""


def release_schema(config: ReleaseConfig) -> pa.Schema:
    """Return the columns of a release: those of `schema.RELEASE`, then those that the config adds."""
    fields = [*RELEASE, *(FLAT if config.flat else ()), *((AUDIO,) if config.audio == "embedded" else ())]
    return pa.schema(fields)


class _Part(NamedTuple):
    """A part of a message's content, one column of it for all rows: a text or the path of an audio."""

    text: pa.Array | None = None
    path: pa.Array | None = None


def samples_of(instructions: pa.Table, task: str, config: ReleaseConfig | None = None) -> pa.Table:
    """Return one row of `schema.RELEASE` (and `FLAT`) for each accepted pair of `instructions`, which are of `task`.

    The user's content is audio first, then text; a comparison holds both audios before the text, or after it as the
    config says; controllable generation holds the text alone, and its answer is the audio (Figure 1 of the reference
    leaves its form open).

    Raises:
        ValueError: a row is of another task.
    """
    config = config or ReleaseConfig()
    requests = named(instructions, task, config)
    return compose(accepted_pairs(instructions, task, requests=requests), task, config)


def named(instructions: pa.Table, task: str, config: ReleaseConfig) -> pa.Table:
    """Return of each row what its samples share: `REQUEST_COLUMNS`, `id`, and the audio paths `path_0` and `path_1`."""
    rows = instructions.combine_chunks()
    names, uris = _one_array(rows["utterance_ids"]), _one_array(rows["audio_uris"])
    sources = _one_array(rows["data_source"])
    identity = pc.list_element(names, 0)
    if task == _COMPARISON:
        identity = pc.binary_join_element_wise("comparison_", identity, "__", pc.list_element(names, 1), "")
    columns = {name: rows[name] for name in REQUEST_COLUMNS} | {"id": identity}
    for place in range(_audios(task)):
        uri = pc.list_element(uris, place)
        if config.audio == "absolute":
            path = uri
        else:
            path = audio_path(sources, pc.list_element(names, place), uri, cut=config.audio == "embedded")
        columns[f"path_{place}"] = path
    return pa.table(columns)


def _audios(task: str) -> int:
    return 2 if task == _COMPARISON else 1


def accepted_pairs(
    instructions: pa.Table, task: str, order: NDArray[np.int64] | None = None, requests: pa.Table | None = None
) -> pa.Table:
    """Return one row for each accepted pair: the columns of its request but `pairs`, its own, and `place` in the list.

    Args:
        instructions: `schema.INSTRUCTIONS`, or some of its columns, `task` and `pairs` with `accepted` among them.
        task: that all rows are of, or all of `order`.
        order: the rows whose pairs are wanted, as they are to come; None: all, as they stand.
        requests: what each row of `order` gives to its pairs; None: its other columns.

    Raises:
        ValueError: a row is of another task.
    """
    rows = instructions.combine_chunks()
    if order is None:
        order = np.arange(rows.num_rows)
    if requests is None:
        requests = rows.drop_columns(["pairs"]).take(pa.array(order))
    if pc.any(pc.not_equal(requests["task"], task)).as_py():
        raise ValueError(f"rows of another task stand among those of {task}")
    lists = _one_array(rows["pairs"])
    pairs, offsets = lists.values, lists.offsets.to_numpy().astype(np.int64)
    # (from where they lie to where they go in one step: of all that is done here, moving lists of facts costs most)
    starts, lengths = offsets[:-1][order], np.diff(offsets)[order]
    parents = np.repeat(np.arange(len(order)), lengths)
    places = np.arange(len(parents)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    wanted = starts[parents] + places
    accepted = pairs.field("accepted").to_numpy(zero_copy_only=False)[wanted]
    chosen = pa.array(wanted[accepted])
    table = requests.take(pa.array(parents[accepted])).combine_chunks()
    for name in (field.name for field in pairs.type if field.name in PAIR_FIELDS):
        table = table.append_column(name, pairs.field(name).take(chosen))
    return table.append_column("place", pa.array(places[accepted]))


def compose(pairs: pa.Table, task: str, config: ReleaseConfig) -> pa.Table:
    """Return the samples of `accepted_pairs` of `named` rows, in their order; a column `audio` is not among them."""
    question, answer = _one_array(pairs["question"]), _one_array(pairs["answer"])
    audios = [_Part(path=_one_array(pairs[f"path_{place}"])) for place in range(_audios(task))]
    if task == _GENERATION:
        user, assistant = [_Part(text=question)], audios
        answer = pa.nulls(pairs.num_rows, pa.string())
    else:
        text_first = task == _COMPARISON and config.comparison == "text_first"
        user = [_Part(text=question), *audios] if text_first else [*audios, _Part(text=question)]
        assistant = [_Part(text=answer)]
    columns = {name: pairs[name] for name in RELEASE.names if name in pairs.column_names}
    columns |= {
        "messages": _messages(user, assistant, pairs.num_rows),
        "sample_id": sample_ids(pairs["unit_id"], task, pairs["place"]),
    }
    fields = list(RELEASE)
    if config.flat:
        columns |= {"question": question, "answer": answer}
        fields += FLAT
    return pa.table([columns[field.name] for field in fields], names=[field.name for field in fields]).cast(
        pa.schema(fields)
    )


_HEX: Final = np.array([f"{byte:02x}" for byte in range(256)], dtype="S2")


def sample_ids(unit_ids: pa.ChunkedArray, task: str, places: pa.ChunkedArray) -> pa.Array:
    """Return `<unit id in hex>-<task>-<place of the pair in its request>`: unique and the same in every run."""
    # (byte by byte through a table: Python's own formatting would take a tenth of the stage)
    units = unit_ids.to_numpy().astype(">i8").view(np.uint8)
    texts = pa.Array.from_buffers(pa.binary(16), len(unit_ids), [None, pa.py_buffer(_HEX[units])]).cast(pa.binary())
    ids = pc.binary_join_element_wise(texts.cast(pa.string()), task, pc.cast(_one_array(places), pa.string()), "-")
    return ids.cast(pa.string())


def sample_hashes(unit_ids: NDArray[np.int64], task_salt: int, places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a number for each sample, the same in every run, that has nothing to do with what the sample says.

    The finaliser of splitmix64 (Steele et al. 2014) over unit, task and place.
    """
    mixed = unit_ids.view(np.uint64) ^ np.uint64(task_salt & 0xFFFFFFFFFFFFFFFF)
    mixed = mixed + (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return hashed


# of an address, see corpora/audio_uri: the ending of a tar's member, else of the file
_ENDING = r"^(?:[^#]*#member=[^&]*|[^#]*)(?P<ending>\.[A-Za-z0-9]{1,5})(?:[#&].*)?$"
_LONGEST_ENDING: Final = 6  # characters, with the dot


# a span or a channel of a recording
_CUT: Final = r"#(?:[^#]*&)?(?:t|channel)="


def audio_path(sources: pa.Array, utterance_ids: pa.Array, uris: pa.Array, *, cut: bool = False) -> pa.Array:
    """Return `<data source>/<utterance id>.<ending of the audio's file>`: clients find audio by its stem.

    With `cut` the ending of spans and channels is `.flac`: what they are when they are cut out of their recording.
    """
    ending = _endings(uris)
    ending = pc.if_else(pc.equal(ending, ".tar"), None, ending)
    if cut:
        ending = pc.if_else(pc.match_substring_regex(uris, _CUT), ".flac", ending)
    return pc.binary_join_element_wise(sources, "/", utterance_ids, pc.fill_null(ending, ".wav"), "").cast(pa.string())


def _endings(uris: pa.Array) -> pa.Array:
    """Return the ending of each address, null where it has none."""
    if pc.any(pc.match_substring_regex(uris, "[#&]")).as_py():
        return pc.struct_field(pc.extract_regex(uris, _ENDING), "ending")
    # (of plain files, which are most: ten times as fast as to go over each address with an expression)
    tails = pc.utf8_slice_codeunits(uris, -_LONGEST_ENDING, None).dictionary_encode()
    return pc.struct_field(pc.extract_regex(tails.dictionary, _ENDING), "ending").take(tails.indices)


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return the column as a single array whose lists start at offset 0."""
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _interleave(columns: Sequence[pa.Array | None], rows: int) -> pa.Array:
    """Return a[0], b[0], …, a[1], b[1], … of string arrays of one length; None stands for nulls."""
    # (each value is moved once, to where it ends up: moving strings and lists is most of what a release costs)
    there = [column for column in columns if column is not None]
    if not there:
        return pa.nulls(rows * len(columns), pa.string())
    start = 0
    order = np.zeros((rows, len(columns)), np.int64)
    absent = np.array([column is None for column in columns])
    for place in np.flatnonzero(~absent):
        order[:, place] = np.arange(start, start + rows)
        start += rows
    places = pa.array(order.ravel(), mask=np.tile(absent, rows))
    return pa.concat_arrays(there).take(places)


def _messages(user: Sequence[_Part], assistant: Sequence[_Part], rows: int) -> pa.Array:
    """Return the messages of each row: the user's with its parts, then the assistant's with its own."""
    parts = [*user, *assistant]
    texts = _interleave([part.text for part in parts], rows)
    paths = _interleave([part.path for part in parts], rows)
    leaves = pa.StructArray.from_arrays([texts, paths], fields=list(_PART))
    starts = np.arange(rows)[:, None] * len(parts) + np.array([0, len(user)])
    ends = np.append(starts.ravel(), rows * len(parts)).astype(np.int32)
    contents = pa.ListArray.from_arrays(pa.array(ends), leaves)
    roles = pa.array(["user", "assistant"], pa.string()).take(pa.array(np.arange(2 * rows) % 2))
    both = pa.StructArray.from_arrays([roles, contents], fields=list(MESSAGE))
    return pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * rows + 1, 2, dtype=np.int32)), both)
