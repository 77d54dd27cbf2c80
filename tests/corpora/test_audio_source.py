from __future__ import annotations

import errno
import os
import random
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import audio_source as module
from sift_ray.corpora.audio_source import AudioSource, audio_source
from sift_ray.corpora.audio_uri import TAR_WINDOW, AudioUri
from sift_ray.corpora.header import header_duration
from sift_ray.corpora.shard_parts import FilePart
from sift_ray.corpora.storage_errors import AudioUnavailableError, explained, raise_if_storage_failed
from sift_ray.corpora.utterance import CorpusError

from .object_server import ObjectServer, object_server

Tone = Callable[..., Path]


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


def local() -> AudioSource:
    return AudioSource(StorageConfig())


def content(source: AudioSource, uri: AudioUri, **options: Any) -> bytes:
    with source.open(uri, **options) as file:
        assert not isinstance(file, str)
        return file.read()


def reason(source: AudioSource, uri: AudioUri, **options: Any) -> str:
    with pytest.raises(AudioUnavailableError) as caught, source.open(uri, **options) as file:
        assert isinstance(file, str) or file.read() is not None
    assert uri.file in caught.value.detail
    return caught.value.reason


# files


def test_a_local_file_is_handed_on_as_its_path(tmp_path: Path, write_tone: Tone) -> None:
    path = write_tone(tmp_path / "a.flac")
    for whole in (True, False):
        with local().open(AudioUri(str(path), start_s=0.5), whole=whole) as file:
            assert file == str(path)
    assert local().size(AudioUri(str(path))) == path.stat().st_size


def test_local_files_that_cant_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for ever
    expected = {
        "none.wav": "missing_audio",
        "file/below.wav": "missing_audio",
        "folder.wav": "missing_audio",
        "pipe.wav": "missing_audio",
        "circle": "missing_audio",
        "x" * 300: "missing_audio",
        "empty.wav": "empty_audio",
    }
    assert {name: reason(local(), AudioUri(str(tmp_path / name))) for name in expected} == expected
    with pytest.raises(AudioUnavailableError, match="missing_audio"), local().open(AudioUri(f"{tmp_path}/a\0b")):
        pass
    with pytest.raises(AudioUnavailableError, match="empty_audio"):
        local().size(AudioUri(str(tmp_path / "empty.wav")))
    monkeypatch.setattr(os, "access", lambda *_: False)  # (root may read everything)
    with pytest.raises(AudioUnavailableError, match=r"missing_audio.*permission denied"):
        local().open(AudioUri(str(tmp_path / "file"))).__enter__()


def test_nothing_is_read_from_other_places() -> None:
    assert reason(local(), AudioUri("ftp://host/a.wav")) == "missing_audio"
    assert reason(local(), AudioUri("ftp://host/a.tar", bytes=(0, 5))) == "missing_audio"
    assert reason(local(), AudioUri("https://host/a.parquet", row=(0, 0))) == "missing_audio"


def test_audio_on_the_web_is_fetched_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def fetch(url: str, most_bytes: int) -> bytes:
        asked.append((url, most_bytes))
        return b"audio"

    monkeypatch.setattr("sift_ray.corpora.web.fetch", fetch)
    assert content(local(), AudioUri("https://host/a.wav", start_s=3.0)) == b"audio"
    assert asked == [("https://host/a.wav", module.MOST_BYTES)]


def test_a_process_has_one_source_for_a_store() -> None:
    assert audio_source(StorageConfig()) is audio_source(StorageConfig())
    assert audio_source(StorageConfig(region="x")) is not audio_source(StorageConfig())


# objects


def test_an_object_is_read_whole_in_one_request(server: ObjectServer) -> None:
    server.objects["b/a b/ü.wav"] = blob = os.urandom(3_000_000)
    source = AudioSource(server.storage)
    uri = AudioUri("s3://b/a b/ü.wav")
    assert content(source, uri) == blob
    assert server.ranges == [(0, len(blob))]


def test_of_a_header_or_a_span_of_a_large_object_only_ranges_are_read(
    server: ObjectServer, tmp_path: Path, write_tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_HELD", 1 << 20)
    path = write_tone(tmp_path / "a.flac", seconds=1)
    rng = np.random.default_rng(0)
    sf.write(path, 0.1 * rng.standard_normal(16_000 * 200), 16_000)
    server.objects["b/a.flac"] = path.read_bytes()
    source, uri = AudioSource(server.storage), AudioUri("s3://b/a.flac")
    with source.open(uri, whole=False) as file:
        assert header_duration(file, "a") == 200
    assert server.fetched < 100_000
    server.forget()
    for span in (AudioUri(uri.file, start_s=150.0, end_s=152.0), AudioUri(uri.file, end_s=2.0)):
        with source.open(span) as file, sf.SoundFile(file) as sound:
            start = round((span.start_s or 0.0) * 16_000)
            sound.seek(start)
            expected, _ = sf.read(path, start=start, frames=32_000)
            np.testing.assert_array_equal(sound.read(32_000), expected)
    assert server.fetched < len(server.objects["b/a.flac"]) / 2
    assert server.opened == 1


@pytest.mark.parametrize("format", ["FLAC", "MP3"])
def test_spans_of_one_recording_cost_one_read_of_it(server: ObjectServer, format: str) -> None:
    file = BytesIO()
    sf.write(file, 0.1 * np.random.default_rng(0).standard_normal(16_000 * 100), 16_000, format=format)
    server.objects["b/a"] = server.objects["b/b"] = blob = file.getvalue()
    source = AudioSource(server.storage)
    for second in range(98, -1, -1):
        uri = AudioUri("s3://b/a", start_s=float(second), end_s=second + 1.0)
        with source.open(uri) as span, sf.SoundFile(span) as sound:
            sound.seek(second * 16_000)
            assert len(sound.read(16_000)) == 16_000
    assert server.ranges == [(0, len(blob))]
    assert server.opened == 1
    assert content(source, AudioUri("s3://b/b", start_s=1.0)) == blob  # another one takes its place
    assert content(source, AudioUri("s3://b/a", start_s=1.0)) == blob
    assert server.opened == 3


def test_spans_of_a_recording_on_the_web_cost_one_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sift_ray.corpora.web.fetch", lambda url, most: asked.append(url) or b"audio")
    source = local()
    for second in range(5):
        assert content(source, AudioUri("https://host/a.wav", start_s=float(second))) == b"audio"
    assert asked == ["https://host/a.wav"]


def test_a_span_whose_store_failed_is_read_anew(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.objects["b/a.wav"] = blob = os.urandom(1000)
    source, uri = AudioSource(server.storage), AudioUri("s3://b/a.wav", start_s=1.0)
    for most in (1 << 20, 10):  # held whole, and in ranges
        monkeypatch.setattr(module, "_MOST_HELD", most)
        server.fail = (403, "AccessDenied")
        assert reason(source, uri) == "storage_error"
        server.fail = None
        assert content(source, uri) == blob
        source = AudioSource(server.storage)


def test_objects_that_cant_be_had(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.objects["b/empty.wav"] = b""
    server.objects["b/a.wav"] = b"x" * 100
    source = AudioSource(server.storage)
    for whole in (True, False):
        assert reason(source, AudioUri("s3://b/none.wav"), whole=whole) == "missing_audio"
        assert reason(source, AudioUri("s3://b/empty.wav"), whole=whole) == "empty_audio"
        assert reason(source, AudioUri("s3://b"), whole=whole) == "missing_audio"
    assert reason(source, AudioUri("s3://b/none.tar", bytes=(0, 5))) == "missing_audio"
    assert reason(source, AudioUri("s3://b/none.parquet", row=(0, 0))) == "missing_audio"
    monkeypatch.setattr(module, "MOST_BYTES", 99)
    server.forget()
    assert reason(source, AudioUri("s3://b/a.wav")) == "too_large"
    assert server.answers == 0
    assert content(source, AudioUri("s3://b/a.wav", start_s=1.0)) == b"x" * 100  # a span need not be read whole


@pytest.mark.parametrize(
    ("failure", "expected", "tries"),
    [
        ((503, "SlowDown"), "storage_error", 3),
        ((403, "AccessDenied"), "storage_error", 1),
        ((404, "NoSuchKey"), "missing_audio", 1),  # deleted since its size was asked for
    ],
)
@pytest.mark.parametrize("part", [{}, {"bytes": (0, 50)}, {"row": (0, 0)}], ids=["file", "tar", "parquet"])
def test_a_store_that_fails(
    server: ObjectServer, failure: tuple[int, str], expected: str, tries: int, part: dict[str, Any]
) -> None:
    server.objects["b/a"] = parquet([b"x" * 100])
    source = AudioSource(server.storage)
    server.fail = failure
    assert reason(source, AudioUri("s3://b/a", **part)) == expected
    assert server.answers >= tries
    server.fail = None
    assert content(source, AudioUri("s3://b/a", **part))  # nothing of it sticks


def test_a_store_that_fails_while_a_header_is_read(server: ObjectServer, tmp_path: Path, write_tone: Tone) -> None:
    server.objects["b/a.flac"] = write_tone(tmp_path / "a.flac", seconds=30).read_bytes()
    server.fail = (403, "AccessDenied")
    source = AudioSource(server.storage)
    # libsndfile calls back from C and would see the failure as a file without a header
    with (
        pytest.raises(AudioUnavailableError, match=r"storage_error.*ACCESS_DENIED"),
        source.open(AudioUri("s3://b/a.flac"), whole=False) as file,
    ):
        header_duration(file, "a")


# tar shards


def members(sizes: list[int]) -> tuple[bytes, list[tuple[int, int]]]:
    """Return bytes, and where in them members of these sizes lie, a header between each two."""
    places, at = [], 0
    for size in sizes:
        places.append((at + 512, size))
        at += 512 + size
    return random.Random(0).randbytes(at), places


def test_members_of_a_local_tar(tmp_path: Path) -> None:
    blob, places = members([1000, 1, 70_000, 300])
    path = tmp_path / "a.tar"
    path.write_bytes(blob)
    source = local()
    for start, size in [*places, *reversed(places)]:
        assert content(source, AudioUri(str(path), member="x", bytes=(start, size))) == blob[start : start + size]


def test_members_in_order_cost_one_request_a_window(server: ObjectServer) -> None:
    blob, places = members([900_000] * 40)  # two windows and a bit
    server.objects["b/a.tar"] = blob
    source = AudioSource(server.storage)
    for start, size in places:
        assert content(source, AudioUri("s3://b/a.tar", bytes=(start, size))) == blob[start : start + size]
    windows = -(-len(blob) // TAR_WINDOW)
    # (one more for each member that lies across the windows' border)
    assert len(server.ranges) <= 2 * windows - 1
    assert server.fetched < len(blob) + 2 * 900_000


def test_members_that_cant_be_had(tmp_path: Path, server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = os.urandom(2000)
    path = tmp_path / "a.tar"
    path.write_bytes(blob)
    server.objects["b/a.tar"] = blob
    for source, file in ((local(), str(path)), (AudioSource(server.storage), "s3://b/a.tar")):
        assert reason(source, AudioUri(file, bytes=(1500, 501))) == "truncated_shard"
        assert reason(source, AudioUri(file, bytes=(2000, 1))) == "truncated_shard"
        assert reason(source, AudioUri(file, bytes=(99_999, 1))) == "truncated_shard"
        assert reason(source, AudioUri(file, bytes=(100, 0))) == "empty_audio"
        assert reason(source, AudioUri(file, bytes=(0, module.MOST_BYTES + 1))) == "too_large"
        assert content(source, AudioUri(file, bytes=(1500, 500))) == blob[1500:]
    assert reason(local(), AudioUri(str(tmp_path), bytes=(0, 1))) == "missing_audio"
    assert reason(local(), AudioUri(str(path), member="a.flac")) == "missing_audio"


@pytest.mark.parametrize("format", ["FLAC", "WAV", "MP3", "OGG"])
def test_of_a_member_only_its_header_is_read(server: ObjectServer, tmp_path: Path, format: str) -> None:
    file = BytesIO()
    with sf.SoundFile(file, "w", 16_000, 1, format=format) as sound:
        for second in range(200):  # (libsndfile ends the process where it is given much Vorbis at a time)
            sound.write(0.1 * np.random.default_rng(second).standard_normal(16_000))
    clip = file.getvalue()
    server.objects["b/a.tar"] = blob = (bytes(512) + clip) * 20
    path = tmp_path / "a.tar"
    path.write_bytes(blob)
    for name, source in (("s3://b/a.tar", AudioSource(server.storage)), (str(path), local())):
        for number in range(20):
            uri = AudioUri(name, member="x", bytes=(512 + number * (512 + len(clip)), len(clip)))
            with source.open(uri, whole=False) as member:
                assert header_duration(member, "x") == pytest.approx(200)
        for start, size, expected in (
            (len(blob) - 9, 10, "truncated_shard"),
            (2 * len(blob), 1, "truncated_shard"),
            (5, 0, "empty_audio"),
        ):
            assert reason(source, AudioUri(name, bytes=(start, size)), whole=False) == expected
    assert server.opened == 1
    assert server.fetched <= 20 * (3 << 16)
    assert server.fetched < len(blob) / 4


# Parquet shards


def parquet(values: list[bytes | None], group: int = 100, kind: str = "struct", **options: Any) -> bytes:
    column = (
        pa.array(
            [None if value is None else {"bytes": value, "path": "a.flac"} for value in values],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        )
        if kind == "struct"
        else pa.array(values, getattr(pa, kind)())
    )
    file = BytesIO()
    table = pa.table({"id": list(range(len(values))), "audio": column, "other": [b"other"] * len(values)})
    pq.write_table(table, file, row_group_size=group, use_dictionary=False, write_statistics=False, **options)
    return file.getvalue()


def values(count: int, size: int = 3000) -> list[bytes]:
    rng = random.Random(1)
    return [rng.randbytes(rng.randrange(size // 2, size)) for _ in range(count)]


@pytest.mark.parametrize("kind", ["struct", "binary", "large_binary"])
def test_rows_in_any_order(tmp_path: Path, kind: str) -> None:
    expected = values(250)
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    paths[0].write_bytes(parquet(expected, kind=kind))
    paths[1].write_bytes(parquet(expected[::-1], kind=kind))
    source = local()
    rows = [0, 0, 1, 5, 99, 98, 3, 100, 149, 200, 249, 7]
    for row in rows:
        assert content(source, AudioUri(str(paths[0]), row=divmod(row, 100))) == expected[row]
        assert content(source, AudioUri(str(paths[1]), row=divmod(row, 100))) == expected[249 - row]
    for row in rows:
        assert content(source, AudioUri(str(paths[0]), row=divmod(row, 100))) == expected[row]
        assert content(source, AudioUri(str(paths[0]), row=divmod(row, 100), column="other")) == b"other"


def test_a_row_group_in_order_is_read_once(server: ObjectServer) -> None:
    expected = values(300, size=60_000)
    server.objects["b/a.parquet"] = blob = parquet(expected, kind="struct")
    source = AudioSource(server.storage)
    for row in range(100):
        assert content(source, AudioUri("s3://b/a.parquet", row=(1, row))) == expected[100 + row]
    assert server.fetched < len(blob) / 3 * 1.2
    assert len(server.ranges) == 2  # the footer and the column


def test_little_of_a_large_row_group_is_in_memory(tmp_path: Path) -> None:
    expected = values(500, size=200_000)
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(expected, group=500, data_page_size=1 << 20, write_batch_size=1))
    source, before, most = local(), pa.total_allocated_bytes(), 0
    for row in range(500):
        assert content(source, AudioUri(str(path), row=(0, row))) == expected[row]
        most = max(most, pa.total_allocated_bytes() - before)
    assert path.stat().st_size > 70e6
    assert most < 12e6


@pytest.mark.parametrize(("compression", "damage"), [("zstd", -4), ("snappy", -4), ("none", -24), ("none", 100)])
def test_a_corrupt_page_costs_the_rows_from_there_on(server: ObjectServer, compression: str, damage: int) -> None:
    expected = values(200)
    blob = bytearray(
        parquet(expected, compression=compression, write_batch_size=1, data_page_size=1, write_page_checksum=damage > 0)
    )
    place = blob.index(expected[40]) + damage  # before the bytes stand what compresses them, and the page's header
    blob[place : place + 4] = bytes(byte ^ 0xFF for byte in blob[place : place + 4])
    server.objects["b/a.parquet"] = bytes(blob)
    source = AudioSource(server.storage)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for row in range(40):
        assert content(source, AudioUri("s3://b/a.parquet", row=(0, row))) == expected[row]
    assert reason(source, AudioUri("s3://b/a.parquet", row=(0, 40))) == "unreadable_shard"
    server.forget()
    for row in range(41, 100):
        assert reason(source, AudioUri("s3://b/a.parquet", row=(0, row))) == "unreadable_shard"
    assert server.answers == 0  # it need not be read again to know
    assert content(source, AudioUri("s3://b/a.parquet", row=(1, 3))) == expected[103]
    assert content(source, AudioUri("s3://b/a.parquet", row=(0, 39))) == expected[39]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 500 << 10  # KiB; whatever sizes are claimed


def test_rows_that_cant_be_had(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet([b"a", b"", None, b"d"]))
    source = local()
    assert [reason(source, AudioUri(str(path), row=(0, row))) for row in (1, 2)] == ["empty_audio"] * 2
    for uri in (
        AudioUri(str(path), row=(0, 4)),
        AudioUri(str(path), row=(1, 0)),
        AudioUri(str(path), row=(-1, 0)),
        AudioUri(str(path), row=(0, 0), column="none"),
        AudioUri(str(path), row=(0, 0), column="id"),
        AudioUri(str(path), row=(0, 0), column="audio.path"),
    ):
        assert reason(source, uri) == "unreadable_shard", uri
    assert content(source, AudioUri(str(path), row=(0, 3))) == b"d"


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "footer", "length"])
def test_a_shard_that_is_no_parquet(tmp_path: Path, damage: str) -> None:
    blob = parquet(values(50))
    path = tmp_path / "a.parquet"
    path.write_bytes(
        {
            "empty": b"",
            "garbage": b"x" * 5000,
            "cut": blob[: len(blob) // 2],
            "footer": blob[:-300] + b"\xff" * 292 + blob[-8:],
            "length": blob[:-8] + b"\xff\xff\xff\x7f" + blob[-4:],
        }[damage]
    )
    assert reason(local(), AudioUri(str(path), row=(0, 0))) == "unreadable_shard"


def test_threads_keep_their_own_places(server: ObjectServer) -> None:
    expected = values(800)
    server.objects["b/a.parquet"] = parquet(expected)
    blob, places = members([2000] * 100)
    server.objects["b/a.tar"] = blob
    source = AudioSource(server.storage)
    step = threading.Barrier(8)

    def read(group: int) -> bool:
        good = True
        for row in range(100):
            step.wait(60)
            good &= content(source, AudioUri("s3://b/a.parquet", row=(group, row))) == expected[100 * group + row]
            start, size = places[(row + 12 * group) % 100]
            good &= content(source, AudioUri("s3://b/a.tar", bytes=(start, size))) == blob[start : start + size]
        return good

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert server.fetched < 2 * len(server.objects["b/a.parquet"]) + 3 * 8 * len(blob)


# parts and errors


def test_a_part_of_a_file_is_a_file() -> None:
    file = BytesIO(bytes(range(100)))
    part = FilePart(file, 20, 30)
    assert part.read(5) == bytes(range(20, 25))
    file.seek(77)
    assert part.read(100) == bytes(range(25, 50))
    assert part.read(1) == b""
    assert part.seek(-3, os.SEEK_END) == 27
    assert part.read() == bytes((47, 48, 49))
    assert (part.seek(5), part.seek(2, os.SEEK_CUR), part.tell()) == (5, 7, 7)
    part.seek(99)
    assert part.read(1) == b""
    part.check("x")


def test_a_part_remembers_that_the_file_failed() -> None:
    class Failing(BytesIO):
        def readinto(self, buffer: Any) -> int:
            raise OSError(5, "Input/output error")

    part = FilePart(Failing(b"x" * 10), 0, 10)
    assert part.read(3) == b""
    with pytest.raises(AudioUnavailableError, match=r"^storage_error: a\.tar.*Input/output error"):
        part.check("a.tar")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(2, "No such file"), "missing_audio"),
        (PermissionError(13, "Permission denied"), "missing_audio"),
        (OSError(22, "Invalid argument"), "unreadable_shard"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "unreadable_shard"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "missing_audio"),
        (OSError(116, "Stale file handle"), "storage_error"),
        (OSError("When reading information for key 'a': AWS Error NETWORK_CONNECTION during"), "storage_error"),
        (OSError("AWS Error NO_SUCH_KEY during GetObject operation"), "missing_audio"),
        (OSError("ZSTD decompression failed: Data corruption detected"), "unreadable_shard"),
        (pa.ArrowInvalid("Parquet magic bytes not found"), "unreadable_shard"),
        (pa.lib.ArrowMemoryError("malloc of size 9223372036854775807 failed"), "unreadable_shard"),
    ],
)
def test_errors_are_told_apart(error: Exception, expected: str) -> None:
    with pytest.raises(AudioUnavailableError) as caught, explained("the file"):
        raise error
    assert caught.value.reason == expected
    assert caught.value.detail.startswith("the file: ")


STALE = OSError(errno.ESTALE, "Stale file handle")


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (STALE, "plan again when the storage answers"),
        (OSError(errno.EIO, "Input/output error"), "plan again when the storage answers"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "plan again when the storage answers"),
        (OSError("AWS Error NETWORK_CONNECTION during GetObject"), "plan again when the storage answers"),
        (AudioUnavailableError("storage_error", "x: no"), "plan again when the storage answers"),
        (PermissionError(errno.EACCES, "Permission denied"), "let the job's user read it"),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (OSError(errno.EINVAL, "Invalid argument"), None),
        (OSError("AWS Error NO_SUCH_KEY during GetObject"), None),
        (pa.ArrowInvalid("Parquet magic bytes not found"), None),
        (AudioUnavailableError("truncated_shard", "x: cut"), None),
    ],
)
def test_what_stops_a_plan(error: Exception, stops: str | None) -> None:
    again: list[Exception] = [error]
    if not isinstance(error, AudioUnavailableError):
        with pytest.raises(AudioUnavailableError) as caught, explained("x"):
            raise error
        again.append(caught.value)
    for raised in again:
        if stops is None:
            raise_if_storage_failed("x", raised)
            continue
        with pytest.raises(CorpusError, match=rf"^x: .*{stops}"):
            raise_if_storage_failed("x", raised)
        if "user" in stops:
            raise_if_storage_failed("x", raised, one_clip=True)  # it costs its own row
        else:
            with pytest.raises(CorpusError, match=stops):
                raise_if_storage_failed("x", raised, one_clip=True)
