"""The first work of `annotate` on one batch: fetch and decode, in an order in which each shard is read once."""

from __future__ import annotations

import faulthandler
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sift_ray.config import DecodeConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_uri import block_of, parse_audio_uri
from sift_ray.pipeline import metrics
from sift_ray.pipeline.attempts import is_retry
from sift_ray.pipeline.audio_batches import AUDIO, Rejects, ragged
from sift_ray.schema import SAMPLE_RATE
from sift_ray.storage import OutputRoot, read_table

if TYPE_CHECKING:
    from sift_ray.audio.decode import DecodedClip
    from sift_ray.audio.isolate import IsolatedDecoder

log = logging.getLogger(__name__)

_LONGEST_DECODING_S = 180.0  # fetching included
_ARMED_S = 10.0  # so long the watch on decoding is left as it is: to set it for each clip would take 3 % of the time


def read_blocks(root: OutputRoot, files: Sequence[str], blocks: int) -> tuple[pa.Table, ...]:
    """Return the rows of `files` as `blocks` tables of like size.

    Rows whose audio is best read together (a row group, a window of a tar) stay in one table, in the order in which
    they lie there, so that one task reads each such part once, from its start to its end.
    """
    table = pa.concat_tables(read_table(root, file) for file in files)
    order, starts = address_order(table.column("audio_uri").to_pylist())
    wanted = np.linspace(0, table.num_rows, blocks + 1).astype(int)
    bounds = np.append(starts, table.num_rows)[np.searchsorted(starts, wanted)]
    # (a slice would carry the whole table along when it is sent)
    return tuple(table.take(pa.array(order[a:b])) for a, b in pairwise(bounds))


def address_order(uris: Sequence[str | None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (the rows in the order in which their audio is best read, the places there at which they may be parted).

    Rows of one block (see `AudioUri.block`) come together where the first of them stood; the others stay.
    """
    firsts: dict[str, int] = {}
    keys: list[tuple[int, tuple[float, ...]]] = []
    for row, uri in enumerate(uris):
        block = block_of(uri)
        if uri is None or block is None:
            keys.append((row, ()))
        else:
            address = parse_audio_uri(uri)
            place = address.row or address.bytes or (address.start_s or 0.0,)
            keys.append((firsts.setdefault(block, row), place))
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    groups = np.array([keys[row][0] for row in order], dtype=np.int64)
    return order, np.flatnonzero(np.diff(groups, prepend=-1)).astype(np.int64)


def decode_batch(batch: pa.Table, config: DecodeConfig, storage: StorageConfig) -> pa.Table:
    """Add `audio`, list<int16> at 16 kHz mono, null where the row is rejected, and `clipping_ratio`.

    `duration_s` is taken from the samples. A clip that was cut loses its transcript, which says more than is heard.
    In a task that was begun before, on a worker that died, each clip is decoded in a process of its own: what kills
    that one too is rejected.
    """
    from sift_ray.audio.errors import DecodeError, DecoderStartError

    came, rejects = batch, Rejects(batch)
    clips: list[NDArray[np.int16] | None] = []
    changed = {name: batch.column(name).to_pylist() for name in ("duration_s", "audio_uri", "transcript")}
    clipping: list[float | None] = []
    with _decoder(config, storage) as decode:
        unit_ids = batch.column("unit_id").to_pylist()
        for row, uri in enumerate(batch.column("audio_uri").to_pylist()):
            samples = ratio = None
            if rejects.ok(row):
                try:
                    clip = decode(uri)
                except DecodeError as error:
                    rejects.add(row, "decode", error.reason, error.detail)
                except DecoderStartError:
                    raise
                except Exception as error:
                    # what no decoder should raise: one clip must not cost its wave, and the budget bounds how many may
                    log.exception("%s: decoding failed", uri, extra={"stage": "decode", "unit_id": unit_ids[row]})
                    rejects.add(row, "decode", "decoder_error", f"{uri}: {type(error).__name__}: {error}")
                else:
                    samples, ratio = clip.samples, clip.clipping_ratio
                    changed["duration_s"][row] = samples.size / SAMPLE_RATE
                    if clip.cut:
                        changed["audio_uri"][row] = _shortened(uri, config.max_s)
                        changed["transcript"][row] = None
            clips.append(samples)
            clipping.append(ratio)
    for name, values in changed.items():
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, batch.schema.field(index), pa.array(values, batch.schema.field(index).type))
    batch = batch.append_column("clipping_ratio", pa.array(clipping, pa.float32()))
    batch = rejects.apply(batch)
    metrics.count_clips("decode", came, batch, [None if clip is None else clip.size / SAMPLE_RATE for clip in clips])
    return batch.append_column("audio", ragged(clips, AUDIO))


@contextmanager
def _decoder(config: DecodeConfig, storage: StorageConfig) -> Iterator[Callable[[str], DecodedClip]]:
    """Give what decodes one clip, in this process or, where that was tried before, in a child of its own."""
    if is_retry():
        yield _isolated(storage, config).decode
        return
    from sift_ray.audio.decode import decode
    from sift_ray.corpora.audio_source import audio_source

    source = audio_source(storage)

    armed = -math.inf

    def watched(uri: str) -> DecodedClip:
        # a decoder that never returns ends this worker; the task's next attempt finds which clip it is
        nonlocal armed
        if (now := time.monotonic()) - armed > _ARMED_S:
            faulthandler.dump_traceback_later(_LONGEST_DECODING_S, exit=True)
            armed = now
        return decode(uri, source, min_s=config.min_s, max_s=config.max_s, long_clips=config.long_clips)

    try:
        yield watched
    finally:
        faulthandler.cancel_dump_traceback_later()


@lru_cache(maxsize=1)
def _isolated(storage: StorageConfig, config: DecodeConfig) -> IsolatedDecoder:
    # one child serves all batches of this process; it ends when this process does
    from sift_ray.audio.isolate import IsolatedDecoder

    return IsolatedDecoder(storage, config)


def _shortened(uri: str, seconds: float) -> str:
    address = parse_audio_uri(uri)
    start = address.start_s or 0.0
    return str(replace(address, start_s=start, end_s=start + seconds))
