"""The audio that a question is about, wherever it lies: in the row, at the row's address, or in a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sift_ray.audio.errors import DecodeError
from sift_ray.audio.isolate import IsolatedDecoder
from sift_ray.config import DecodeConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_uri import AudioUri
from sift_ray.evaluate.audio_folder import files_by_stem
from sift_ray.evaluate.samples import Sample, read_samples
from sift_ray.release.samples import AUDIO
from sift_ray.storage import OutputRoot
from sift_ray.validate.reading import Batch, read_batches
from sift_ray.validate.shards import Shard, known_language, list_release

_TWO: Final = "closed_ended_comparison"
_LENGTHS: Final = DecodeConfig(min_s=0.01, max_s=86_400.0)
_EMBEDDED_ROWS: Final = 16  # whose bytes are in memory at a time
_HELD: Final = 2  # decoded clips: the pairs of a request stand together and speak of the same audio
_STEPS: Final = 32768.0
_ADVICE: Final = "name the folder of the audio with --audio-root"


@dataclass(frozen=True, slots=True)
class Clip:
    """Where one audio of a row lies.

    Attributes:
        path: its `audio_path`, by whose stem clients find it.
        uri: where it was measured; None where the layout does not tell.
        content: the encoded file, where it is in the row.
    """

    path: str | None
    uri: str | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A sample with the clips that it asks about: two of a comparison, else one."""

    sample: Sample
    clips: tuple[Clip, ...]


def read_questions(
    root: OutputRoot, split: str, tasks: Collection[str], languages: Collection[str] = ()
) -> Iterator[Question]:
    """Yield the samples of `read_samples` with their audio, which is not read yet unless it is in the rows.

    Raises:
        StorageError: as `read_samples` does.
    """
    clips = _clips_of(root, split, tasks, languages)
    for sample in read_samples(root, split, tasks, languages):
        yield Question(sample, next(clips))


def count_rows(root: OutputRoot, split: str, task: str, languages: Collection[str] = ()) -> int:
    """Return how many samples a split has of a task."""
    return sum(len(batch) for shard in _shards(root, split, (task,), languages) for batch in read_batches(root, shard))


def _shards(root: OutputRoot, split: str, tasks: Collection[str], languages: Collection[str]) -> Iterator[Shard]:
    """Yield the files that `read_samples` reads, in its order."""
    for shard in list_release(root).shards:
        asked = shard.split == split and shard.task in tasks and (not languages or shard.language in languages)
        if asked and known_language(shard):
            yield shard


def _clips_of(
    root: OutputRoot, split: str, tasks: Collection[str], languages: Collection[str]
) -> Iterator[tuple[Clip, ...]]:
    for shard in _shards(root, split, tasks, languages):
        embedded = _embedded(root, shard)
        for batch in read_batches(root, shard):
            yield from _clips(batch, embedded)


def _embedded(root: OutputRoot, shard: Shard) -> Iterator[list[dict[str, Any]] | None]:
    """Yield the column `samples.AUDIO` of a file row by row; nothing where it has none."""
    if shard.kind != "parquet":
        return
    with root.filesystem.open_input_file(shard.location) as source, pq.ParquetFile(source) as file:
        names = file.schema_arrow.names
        if AUDIO.name not in names or file.schema_arrow.field(AUDIO.name).type != AUDIO.type:
            return
        for batch in file.iter_batches(_EMBEDDED_ROWS, columns=[AUDIO.name]):
            yield from batch.column(0).to_pylist()


def _clips(batch: Batch, embedded: Iterator[list[dict[str, Any]] | None]) -> Iterator[tuple[Clip, ...]]:
    rows = len(batch)
    wanted = 2 if batch.shard.task == _TWO else 1
    first, second = (paths.to_pylist() for paths in batch.said.audios)
    uris = batch.column("audio_uris").to_pylist() if batch.has("audio_uris") else [None] * rows
    for row in range(rows):
        paths = (first[row], second[row])[:wanted]
        inside = next(embedded, None) or ()
        addresses = uris[row] or ()
        yield tuple(
            Clip(
                path,
                addresses[place] if place < len(addresses) else None,
                inside[place]["bytes"] if place < len(inside) else None,
            )
            for place, path in enumerate(paths)
        )


class ClipReader:
    """Reads clips one after the other, in a process of its own: a file that kills its decoder costs only itself.

    A clip is looked for in `audio_root` if that is given, else in the row, at the row's address, and at an absolute
    `audio_path`, in this order.
    """

    def __init__(self, audio_root: Path | None, storage: StorageConfig | None = None) -> None:
        """Take the folder of the audio, None where the release says itself where it is, and how to speak to a store."""
        self._root = None if audio_root is None else audio_root.resolve()
        self._decoder = IsolatedDecoder(storage or StorageConfig(), _LENGTHS)
        self._stems: dict[str, list[str]] | None = None
        self._held: dict[str | bytes, NDArray[np.float32]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder's process."""
        self._decoder.close()

    def read(self, clip: Clip) -> NDArray[np.float32]:
        """Return float32 [n], mono at 16 kHz, in [-1, 1).

        Raises:
            DecodeError: it is not there or can't be read.
            DecoderStartError: no process can be started to decode in.
        """
        inside = self._root is None and clip.content is not None
        key: str | bytes = clip.content if inside and clip.content is not None else self._address(clip)
        if key not in self._held:
            samples = self._decoded(key, clip)
            while len(self._held) >= _HELD:
                del self._held[next(iter(self._held))]
            self._held[key] = samples
        return self._held[key]

    def _decoded(self, key: str | bytes, clip: Clip) -> NDArray[np.float32]:
        if isinstance(key, str):
            try:
                samples = self._decoder.decode(key).samples
            except DecodeError as error:
                if error.reason != "missing_audio" or self._root is not None:
                    raise
                raise DecodeError(error.reason, f"{error.detail}; {_ADVICE}") from error
        else:
            with tempfile.NamedTemporaryFile(suffix=Path(clip.path or "").suffix) as file:
                file.write(key)
                file.flush()
                try:
                    samples = self._decoder.decode(file.name).samples
                except DecodeError as error:
                    named = error.detail.replace(file.name, f"the audio {clip.path} in the row")
                    raise DecodeError(error.reason, named) from error
        return samples.astype(np.float32) / np.float32(_STEPS)

    def _address(self, clip: Clip) -> str:
        """Return where a clip that is not in its row lies.

        Raises:
            DecodeError: that is not known.
        """
        if self._root is not None:
            return str(AudioUri(self._below(self._root, clip)))
        if clip.uri is not None:
            return clip.uri
        if clip.path is None:
            raise DecodeError("no_audio", "the row's messages hold no audio where its task has one")
        if not clip.path.startswith("/"):
            raise DecodeError("missing_audio", f"{clip.path}: it is not there; {_ADVICE}")
        return str(AudioUri(clip.path))

    def _below(self, root: Path, clip: Clip) -> str:
        """Return the file of a clip under `root`: at its relative path, else the only one of its stem."""
        if clip.path is None:
            raise DecodeError("no_audio", "the row's messages hold no audio where its task has one")
        direct = (root / clip.path.lstrip("/")).resolve()
        if direct.is_relative_to(root) and direct.is_file():
            return str(direct)
        if self._stems is None:
            self._stems = files_by_stem(root)
        stem = Path(clip.path).stem
        found = self._stems.get(stem, [])
        if not found:
            raise DecodeError("missing_audio", f"{clip.path}: no audio of the name {stem} lies in {root}")
        if len(found) > 1:
            more = ", ".join(islice(found, 2))
            raise DecodeError(
                "ambiguous_audio", f"{clip.path}: {len(found)} files in {root} are called {stem}, such as {more}"
            )
        return found[0]
