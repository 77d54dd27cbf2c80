"""Turn the accepted pairs of instruction rows into samples, column by column with no loop over rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.schema import INSTRUCTIONS, MESSAGE, RELEASE

_PART = MESSAGE.field("content").type.value_type


def samples_of(instructions: pa.Table, task: str) -> pa.Table:
    """Return one row of `schema.RELEASE` for each accepted pair of `instructions`, which are all of `task`.

    The user's content is audio first, then text; a comparison holds both audios before the text; controllable
    generation holds the text alone, and its answer is the audio (Figure 1 of the reference leaves its form open).

    Raises:
        ValueError: a row is of another task.
    """
    rows = instructions.combine_chunks()
    if pc.any(pc.not_equal(rows["task"], task)).as_py():
        raise ValueError(f"rows of another task stand among those of {task}")
    lists = _one_array(rows["pairs"], INSTRUCTIONS.field("pairs").type)
    parents = pc.list_parent_indices(lists)
    pairs = pc.list_flatten(lists)
    starts = lists.offsets.take(parents)
    places = pc.subtract(pa.array(np.arange(len(pairs), dtype=np.int64)), pc.cast(starts, pa.int64()))
    accepted = pc.struct_field(pairs, "accepted")
    pairs, parents, places = pairs.filter(accepted), parents.filter(accepted), places.filter(accepted)
    rows = rows.take(parents).combine_chunks()
    count = rows.num_rows
    names = _one_array(rows["utterance_ids"], INSTRUCTIONS.field("utterance_ids").type)
    uris = _one_array(rows["audio_uris"], INSTRUCTIONS.field("audio_uris").type)
    sources = _one_array(rows["data_source"], pa.string())
    question = pc.struct_field(pairs, "question")
    nothing = pa.nulls(count, pa.string())
    audios = [
        audio_path(sources, pc.list_element(names, place), pc.list_element(uris, place))
        for place in range(2 if task == "closed_ended_comparison" else 1)
    ]
    if task == "controllable_generation":
        user = _content([(question, nothing)])
        assistant = _content([(nothing, audios[0])])
    else:
        user = _content([*((nothing, audio) for audio in audios), (question, nothing)])
        assistant = _content([(pc.struct_field(pairs, "answer"), nothing)])
    identity = pc.list_element(names, 0)
    if task == "closed_ended_comparison":
        identity = pc.binary_join_element_wise("comparison_", identity, "__", pc.list_element(names, 1), "")
    return pa.table(
        {
            "id": identity,
            "messages": _messages(user, assistant, count),
            "task": rows["task"],
            "data_source": rows["data_source"],
            "sample_id": sample_ids(rows["unit_id"], task, places),
            "language": rows["language"],
            "split": rows["split"],
            "generator": pc.struct_field(pairs, "generator"),
            "evidence": pc.struct_field(pairs, "evidence"),
            "utterance_ids": rows["utterance_ids"],
            "audio_uris": rows["audio_uris"],
        }
    ).cast(RELEASE)


def sample_ids(unit_ids: pa.ChunkedArray, task: str, places: pa.Array) -> pa.Array:
    """Return `<unit id in hex>-<task>-<place of the pair in its request>`: unique and the same in every run."""
    units = unit_ids.to_numpy().view(np.uint64)
    return pa.array(
        [f"{unit:016x}-{task}-{place}" for unit, place in zip(units, places.to_numpy(), strict=True)],
        pa.string(),
    )


# of an address, see corpora/audio_uri: the ending of a tar's member, else of the file
_ENDING = r"^(?:[^#]*#member=[^&]*|[^#]*)(?P<ending>\.[A-Za-z0-9]{1,5})(?:[#&].*)?$"


def audio_path(sources: pa.Array, utterance_ids: pa.Array, uris: pa.Array) -> pa.Array:
    """Return `<data source>/<utterance id>.<ending of the audio's file>`: clients find audio by its stem."""
    ending = pc.struct_field(pc.extract_regex(uris, _ENDING), "ending")
    ending = pc.if_else(pc.equal(ending, ".tar"), None, ending)
    return pc.binary_join_element_wise(sources, "/", utterance_ids, pc.fill_null(ending, ".wav"), "").cast(pa.string())


def _one_array(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """Return the column as a single array whose lists start at offset 0."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)


def _interleave(arrays: Sequence[pa.Array]) -> pa.Array:
    """Return a[0], b[0], …, a[1], b[1], … of arrays of one length."""
    rows = len(arrays[0])
    order = np.arange(rows * len(arrays)).reshape(len(arrays), rows).T.ravel()
    return pa.concat_arrays(arrays).take(pa.array(order))


def _lists(values: pa.Array, each: int) -> pa.Array:
    """Return `values` as lists of `each`."""
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, each, dtype=np.int32)), values)


def _content(parts: Sequence[tuple[pa.Array, pa.Array]]) -> pa.Array:
    """Return each row's list of parts, a part being its text and its audio path, one of them null."""
    texts = _interleave([_plain(text) for text, _ in parts])
    paths = _interleave([_plain(path) for _, path in parts])
    return _lists(pa.StructArray.from_arrays([texts, paths], fields=list(_PART)), len(parts))


def _plain(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _messages(user: pa.Array, assistant: pa.Array, rows: int) -> pa.Array:
    roles = _interleave([pa.array([role] * rows, pa.string()) for role in ("user", "assistant")])
    contents = _interleave([user, assistant])
    return _lists(pa.StructArray.from_arrays([roles, contents], fields=list(MESSAGE)), 2)
