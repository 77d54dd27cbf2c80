"""Audio in the rows: the bytes of each file as it lies, read while a row group is written."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from sift_ray.audio.decode import DecodeError, decode
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_source import AudioSource, audio_source
from sift_ray.corpora.audio_uri import AudioUri, parse_audio_uri
from sift_ray.corpora.storage_errors import AudioUnavailableError
from sift_ray.release.files import Pieces
from sift_ray.release.samples import AUDIO
from sift_ray.schema import SAMPLE_RATE
from sift_ray.storage import StorageError

_MOST_PIECE: Final = 64_000_000
_PIECES_A_FILE: Final = 4
_LONGEST_S: Final = 86_400.0


def with_audio(storage: StorageConfig, file_bytes: int) -> Pieces:
    """Return what adds the column `samples.AUDIO` to samples, in pieces with little audio or of a single row.

    A file ends with a piece, and a piece is a row group: it is a quarter of a file at most, and 64 MB.

    Args:
        storage: how to speak to the store of the corpora.
        file_bytes: of a file.
    """
    most = min(_MOST_PIECE, file_bytes // _PIECES_A_FILE)

    def pieces(samples: pa.Table) -> Iterator[pa.Table]:
        source = audio_source(storage)
        start, size = 0, 0
        column: list[list[dict[str, Any]]] = []
        held: dict[str, dict[str, Any]] = {}  # of the row before: the pairs of a request speak of the same audio
        rows = zip(samples["audio_uris"].to_pylist(), samples["messages"].to_pylist(), strict=True)
        for number, (uris, messages) in enumerate(rows):
            paths = [part["audio_path"] for message in messages for part in message["content"] if part["audio_path"]]
            audios = [held.get(uri) or read_audio(uri, path, source) for uri, path in zip(uris, paths, strict=True)]
            held = dict(zip(uris, audios, strict=True))
            more = sum(len(audio["bytes"]) for audio in audios)
            if column and size + more > most:
                yield _joined(samples.slice(start, number - start), column)
                start, size, column = number, 0, []
            column.append(audios)
            size += more
        if column:
            yield _joined(samples.slice(start), column)

    return pieces


def _joined(samples: pa.Table, column: list[list[dict[str, Any]]]) -> pa.Table:
    return samples.append_column(AUDIO, pa.array(column, AUDIO.type))


def read_audio(uri: str, path: str, source: AudioSource) -> dict[str, Any]:
    """Return the bytes of a clip and what they are called.

    A whole file, a member of a tar and a cell of a Parquet file are given as they lie; of a span or a channel of a
    recording there is no such file, so that it is decoded to a FLAC of 16 kHz.

    Args:
        uri: where it lies.
        path: its `audio_path`.
        source: opens it.

    Raises:
        StorageError: it can't be had any more; the message names it.
        OSError: the store did not answer; it may be had another time.
    """
    try:
        address = parse_audio_uri(uri)
        if address.start_s is None and address.end_s is None and address.channel is None:
            return {"bytes": _whole(address, source), "path": path}
        return {"bytes": _cut(uri, source), "path": path}
    except (AudioUnavailableError, DecodeError, ValueError) as error:
        if getattr(error, "reason", "") == "storage_error":
            raise OSError(f"release.audio is embedded, and an audio can't be read now: {error}") from error
        raise StorageError(
            f"release.audio is embedded, and an audio that was measured can't be read any more: {error}"
        ) from error


def _whole(address: AudioUri, source: AudioSource) -> bytes:
    with source.open(address) as file:
        return Path(file).read_bytes() if isinstance(file, str) else file.read()


def _cut(uri: str, source: AudioSource) -> bytes:
    import soundfile

    clip = decode(uri, source, min_s=0.0, max_s=_LONGEST_S)
    encoded = BytesIO()
    soundfile.write(encoded, clip.samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return encoded.getvalue()
