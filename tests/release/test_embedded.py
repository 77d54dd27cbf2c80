import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from sift_ray.config_release import ReleaseConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_source import AudioSource
from sift_ray.corpora.audio_uri import AudioUri
from sift_ray.corpora.storage_errors import AudioUnavailableError
from sift_ray.release import embedded
from sift_ray.release.embedded import read_audio, with_audio
from sift_ray.release.samples import AUDIO, samples_of
from sift_ray.storage import StorageError

from .test_samples import pair, row, table

TONE = (0.3 * np.sin(np.arange(16_000) * 0.1)).astype(np.float32)


class AwaySource(AudioSource):
    """Stands for a store that is out of order."""

    @contextmanager
    def open(self, uri: AudioUri, *, whole: bool = True) -> Iterator[str | BinaryIO]:
        if uri.file:
            raise AudioUnavailableError("storage_error", "x: it is away")
        yield ""


def comparison(*uris: str) -> pa.Table:
    one = row(1, [pair("q", True), pair("r", True)], "a", "b")
    one["audio_uris"] = list(uris)
    return samples_of(table("closed_ended_comparison", one), "closed_ended_comparison", ReleaseConfig(audio="embedded"))


def audios(samples: pa.Table) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = pa.concat_tables(with_audio(StorageConfig(), 10**9)(samples))[
        "audio"
    ].to_pylist()
    return found


def test_files_are_given_byte_for_byte_under_their_names(tmp_path: Path) -> None:
    for name in ("x.flac", "y.wav"):
        soundfile.write(tmp_path / name, TONE, 16_000)
    samples = comparison(f"{tmp_path}/x.flac", f"{tmp_path}/y.wav")
    expected = [
        {"bytes": (tmp_path / "x.flac").read_bytes(), "path": "vctk_en/a.flac"},
        {"bytes": (tmp_path / "y.wav").read_bytes(), "path": "vctk_en/b.wav"},
    ]
    assert audios(samples) == [expected, expected]


def test_a_span_is_cut_out_as_flac(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", TONE, 16_000, subtype="PCM_16")
    (first, second), _ = audios(comparison(f"{tmp_path}/x.wav#t=0.25,0.75", f"{tmp_path}/x.wav"))
    assert first["path"] == "vctk_en/a.flac"
    samples, rate = soundfile.read(io.BytesIO(first["bytes"]), dtype="int16")
    assert rate == 16_000
    whole, _ = soundfile.read(tmp_path / "x.wav", dtype="int16")
    assert np.array_equal(samples, whole[4_000:12_000])
    assert second["path"] == "vctk_en/b.wav"


def test_audio_bears_the_name_that_messages_say(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", TONE, 16_000)
    one = row(1, [pair("q", True)], "a.b", "c.d")
    one["audio_uris"] = [f"{tmp_path}/x.wav#t=0.25,0.75", f"{tmp_path}/x.wav#channel=0"]
    task = "closed_ended_comparison"
    samples = samples_of(table(task, one), task, ReleaseConfig(audio="embedded"))
    (user, _) = samples["messages"][0].as_py()
    said = [part["audio_path"] for part in user["content"] if part["audio_path"]]
    assert [audio["path"] for audio in audios(samples)[0]] == said == ["vctk_en/a.b.flac", "vctk_en/c.d.flac"]


@pytest.mark.parametrize("part", ["", "#t=0,1"])
def test_a_store_that_does_not_answer_is_worth_another_try(part: str) -> None:
    with pytest.raises(OSError, match="can't be read now: storage_error: x: it is away"):
        read_audio(f"s3://b/x.wav{part}", "d/x.wav", AwaySource(StorageConfig()))


@pytest.mark.parametrize("bounded_by", ["its file", "what a row group may have"])
def test_a_piece_ends_before_its_audio_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounded_by: str
) -> None:
    soundfile.write(tmp_path / "x.wav", TONE, 16_000)
    size = (tmp_path / "x.wav").stat().st_size
    file_bytes = 4 * 3 * size
    if bounded_by != "its file":
        monkeypatch.setattr(embedded, "_MOST_PIECE", 3 * size)
        file_bytes *= 10
    rows = [row(n, [pair("q", True)], "a") | {"audio_uris": [f"{tmp_path}/x.wav"]} for n in range(7)]
    samples = samples_of(table("open_ended", *rows), "open_ended")
    pieces = list(with_audio(StorageConfig(), file_bytes)(samples))
    assert [piece.num_rows for piece in pieces] == [3, 3, 1]
    assert pa.concat_tables(pieces).drop_columns(["audio"]).equals(samples)
    assert all(piece.schema.field("audio") == AUDIO for piece in pieces)


@pytest.mark.parametrize("uri", ["gone.wav", "empty.wav", "x.wav#t=9,8"])
def test_an_audio_that_is_gone_is_named(tmp_path: Path, uri: str) -> None:
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "x.wav", TONE, 16_000)
    with pytest.raises(StorageError, match=rf"can't be read any more: .*{uri.partition('#')[0]}"):
        audios(comparison(f"{tmp_path}/x.wav", f"{tmp_path}/{uri}"))
