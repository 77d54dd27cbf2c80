from __future__ import annotations

import errno
import io
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from sift_ray.corpora import CorpusError, Reading
from sift_ray.corpora.parquet_shards import Footer, ShardRow, shard_footer, shard_rows
from sift_ray.corpora.tree import LocalTree

AUDIO_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS = ("id", "labels", "nowhere")


def clip(seconds: float, format: str = "FLAC") -> bytes:
    file = io.BytesIO()
    sf.write(file, np.linspace(-0.3, 0.3, round(16_000 * seconds)), 16_000, format=format)
    return file.getvalue()


def write(path: Path, audio: list[Any], group: int = 4, kind: pa.DataType = AUDIO_TYPE, **options: Any) -> Path:
    columns = {
        "id": [f"clip{number}" for number in range(len(audio))],
        "audio": pa.array(audio, kind),
        "labels": [{"rank": [number, number], "kind": None} for number in range(len(audio))],
    }
    pq.write_table(pa.table(columns), path, row_group_size=group, **options)
    return path


def ten_clips() -> list[dict[str, Any]]:
    return [{"bytes": clip(0.1 * number), "path": f"{number}.flac"} for number in range(1, 11)]


def read(path: Path, reading: Reading | None = None, **options: Any) -> list[ShardRow]:
    return list(shard_rows(LocalTree(path.parent), path.name, COLUMNS, reading or Reading(), **options))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x55
    path.write_bytes(content)


def middle_of(path: Path, group: int, column: str) -> int:
    """Where the middle of a column's pages of a row group lies."""
    chunks = pq.ParquetFile(path).metadata.row_group(group)
    for index in range(chunks.num_columns):
        chunk = chunks.column(index)
        if chunk.path_in_schema == column:
            return int((chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size // 2)
    raise AssertionError(column)


def test_rows_in_full(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ten_clips())
    rows = read(path)
    assert rows[5] == ShardRow(
        values={"id": "clip5", "labels": {"rank": [5, 5], "kind": None}},
        where=f"{path}: row group 1, row 1",
        audio_uri=f"{path}#row=1.1",
        audio_path="6.flac",
        duration_s=0.6,
        row=(1, 1),
    )
    assert [row.duration_s for row in rows] == pytest.approx([0.1 * number for number in range(1, 11)])
    assert [row.row for row in rows] == [divmod(number, 4) for number in range(10)]


def test_the_audio_can_be_opened_where_a_row_says(tmp_path: Path) -> None:
    from sift_ray.corpora.audio_uri import parse_audio_uri

    clips = ten_clips()
    path = write(tmp_path / "a#b%.parquet", clips)
    for row, expected in zip(read(path), clips, strict=True):
        with Reading().source.open(parse_audio_uri(row.audio_uri or "")) as file:
            assert not isinstance(file, str)
            assert file.read() == expected["bytes"]


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.struct([("bytes", pa.binary())])]
)
def test_audio_without_a_path_beside_it(tmp_path: Path, kind: pa.DataType) -> None:
    audio: list[Any] = [clip(0.5), b"", None]
    if pa.types.is_struct(kind):
        audio = [{"bytes": content} for content in audio]
    path = write(tmp_path / "a.parquet", audio, kind=kind)
    rows = read(path)
    assert [row.duration_s for row in rows] == [0.5, None, None]
    assert [row.reason for row in rows] == [None, "empty_audio", "empty_audio"]
    assert [row.audio_path for row in rows] == [None] * 3
    assert len(read(write(tmp_path / "b.parquet", audio[:1], kind=kind), read_header=False)) == 1


def test_the_audio_column_may_have_another_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"speech clip": [clip(0.5)]}), path)
    (row,) = read(path, audio="speech clip")
    assert (row.audio_uri, row.duration_s) == (f"{path}#row=0.0&column=speech%20clip", 0.5)


BAD = [
    {"bytes": b"", "path": "empty.flac"},
    {"bytes": None, "path": "elsewhere.flac"},
    {"bytes": None, "path": None},
    None,
    {"bytes": b"this is no audio", "path": "junk.flac"},
    {"bytes": clip(0.0), "path": "silent.flac"},
]
BAD_REASONS = ["empty_audio", "missing_audio", "empty_audio", "empty_audio", "unreadable_header", "empty_audio"]


def test_bad_audio_costs_its_own_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [*BAD, *ten_clips()], group=100)
    rows = read(path)
    assert [row.reason for row in rows] == [*BAD_REASONS, *[None] * 10]
    assert all(f"{path}: row group 0, row {number}" in row.detail for number, row in enumerate(rows[:6]))
    assert "'elsewhere.flac' but does not hold it" in rows[1].detail
    assert [row.values["id"] for row in rows] == [f"clip{number}" for number in range(16)]


@pytest.mark.parametrize("how", ["reading", "caller"])
def test_bytes_are_left_alone_where_no_header_is_asked_for(tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "a.parquet", ten_clips(), write_page_checksum=True, write_statistics=False)
    for group in range(3):
        flip(path, middle_of(path, group, "audio.bytes"))
    assert {row.reason for row in read(path)} == {"unreadable_shard"}
    rows = read(path, Reading(read_headers=False)) if how == "reading" else read(path, read_header=False)
    assert [(row.reason, row.duration_s) for row in rows] == [(None, None)] * 10
    assert [row.audio_path for row in rows] == [f"{number}.flac" for number in range(1, 11)]


def test_audio_that_is_not_there_is_found_without_reading_headers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [BAD[1], BAD[0], *BAD[2:], *ten_clips()])
    rows = read(path, read_header=False)
    assert [row.reason for row in rows[:4]] == ["missing_audio", "empty_audio", "empty_audio", "empty_audio"]
    assert {row.duration_s for row in rows} == {None}


@pytest.mark.parametrize("column", ["audio.bytes", "audio.path", "id", "labels.rank.list.element"])
def test_a_corrupt_page_costs_its_row_group(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "a.parquet", ten_clips(), write_page_checksum=True, write_statistics=False)
    flip(path, middle_of(path, 1, column))
    rows = read(path)
    assert [row.reason for row in rows] == [*[None] * 4, *["unreadable_shard"] * 4, *[None] * 2]
    assert [row.row for row in rows] == [divmod(number, 4) for number in range(10)]
    assert (rows[5].audio_uri, rows[5].values) == (None, {})
    assert rows[5].detail.startswith(f"{path}: row group 1, row 1: ")
    assert rows[8].duration_s == pytest.approx(0.9)


def test_rows_before_a_corrupt_page_are_kept(tmp_path: Path) -> None:
    clips = [{"bytes": clip(0.1), "path": "x.flac"} for _ in range(64)]
    options = {"data_page_size": 1, "write_batch_size": 16, "use_dictionary": False, "compression": "none"}
    path = write(tmp_path / "a.parquet", clips, group=64, write_page_checksum=True, **options)
    flip(path, middle_of(path, 0, "audio.bytes") + 1000)
    rows = read(path)
    good = [row.reason is None for row in rows]
    assert len(good) == 64
    assert good == sorted(good, reverse=True)
    assert 16 <= sum(good) <= 48


def test_a_flipped_bit_anywhere_loses_no_row_and_stops_nothing(tmp_path: Path) -> None:
    options = {"store_schema": False, "write_statistics": False}
    sound = write(tmp_path / "a.parquet", ten_clips()[:6], **options).read_bytes()
    path = tmp_path / "b.parquet"
    footer = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    outcomes = {"whole": 0, "footer": 0, "column": 0}
    for place in [*range(0, footer, 997), *range(footer, len(sound))]:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            rows = read(path)
        except CorpusError as error:
            outcomes["column"] += 1
            assert "column" in str(error)
            continue
        if len(rows) == 1:
            outcomes["footer"] += 1
            assert rows[0].reason == "unreadable_shard"
        else:
            outcomes["whole"] += 1
            assert [row.row for row in rows] == [divmod(number, 4) for number in range(6)]
    assert min(outcomes.values()) > 0


@pytest.mark.parametrize(
    "content",
    [
        lambda sound: sound[: len(sound) // 2],
        lambda sound: sound[: len(sound) - 5],
        lambda sound: b"",
        lambda sound: b"an error page of some web server",
    ],
    ids=["half", "end", "empty", "text"],
)
def test_a_shard_without_its_footer_is_one_row(tmp_path: Path, content: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "a.parquet", ten_clips())
    path.write_bytes(content(path.read_bytes()))
    (row,) = read(path)
    assert (row.reason, row.row, row.where) == ("unreadable_shard", None, str(path))
    assert str(path) in row.detail
    assert shard_footer(LocalTree(tmp_path), path.name) is None


def test_a_missing_shard_and_one_elsewhere_are_rows(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "a.parquet", ten_clips())
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.parquet").symlink_to(elsewhere)
    (row,) = read(root / "gone.parquet")
    assert row.reason == "unreadable_shard"
    (row,) = read(root / "link.parquet")
    assert row.reason == "path_outside_root"


def test_a_wrong_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ten_clips())
    with pytest.raises(CorpusError, match=r"a\.parquet: no column 'sound'; there are id, audio, labels"):
        read(path, audio="sound")
    with pytest.raises(CorpusError, match=r"a\.parquet: column 'id' is string"):
        read(path, audio="id")
    with pytest.raises(CorpusError, match=r"a\.parquet: column 'labels' is struct"):
        read(path, audio="labels")


def test_text_that_is_not_utf8_is_kept_visibly(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array([b"gut", b"kaputt \xff", None], pa.binary())
    strings = pa.StringArray.from_buffers(3, texts.buffers()[1], texts.buffers()[2], texts.buffers()[0])
    pq.write_table(pa.table({"id": strings, "audio": pa.array([None] * 3, AUDIO_TYPE)}), path)
    assert [row.values["id"] for row in read(path)] == ["gut", "kaputt \udcff", None]


FAILURES = [
    OSError("When reading: AWS Error NETWORK_CONNECTION during GetObject operation"),
    OSError(errno.ESTALE, "Stale file handle"),
    OSError(errno.EIO, "Input/output error"),
    PermissionError(errno.EACCES, "Permission denied"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_store_that_fails_is_no_damage(tmp_path: Path, failure: OSError) -> None:
    class Store(LocalTree):
        def open(self, path: str) -> BinaryIO:
            raise failure

    with pytest.raises(CorpusError, match=r"a\.parquet: .*plan again"):
        list(shard_rows(Store(tmp_path), "a.parquet", COLUMNS, Reading()))
    with pytest.raises(CorpusError, match=r"a\.parquet: .*plan again"):
        shard_footer(Store(tmp_path), "a.parquet")


@pytest.mark.parametrize("failure", FAILURES[:3])
@pytest.mark.parametrize("read_header", [True, False])
def test_nor_is_one_that_fails_in_the_middle(tmp_path: Path, failure: OSError, read_header: bool) -> None:
    class Failing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() < middle:
                raise failure
            return super().read(-1 if size is None else size)

    class Store(LocalTree):
        def open(self, path: str) -> BinaryIO:
            return Failing(self.locate(path))  # type: ignore[return-value]

    path = write(tmp_path / "a.parquet", ten_clips())
    middle = path.stat().st_size // 2
    with pytest.raises(CorpusError, match=r"a\.parquet: .*plan again"):
        list(shard_rows(Store(tmp_path), "a.parquet", COLUMNS, Reading(), read_header=read_header))


def test_a_shard_whose_name_is_not_utf8_is_one_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ten_clips()).rename(tmp_path / os.fsdecode(b"\xff.parquet"))
    (row,) = read(path)
    assert (row.reason, row.row) == ("not_utf8", None)
    assert row.own_id("mls", path.name) == "mls#\ufffd.parquet"


def test_what_a_damaged_shard_lost_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.parquet", ten_clips(), write_page_checksum=True, write_statistics=False)
    for group in (0, 2):
        flip(path, middle_of(path, group, "audio.bytes"))
    read(path)
    assert caplog.messages == [f"{path}: 6 rows can't be read and are lost, of row groups 0, 2"]
    caplog.clear()
    path.write_bytes(b"")
    read(path)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith(f"{path}: ")


class CountingFile(io.FileIO):
    fetched = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(-1 if size is None else size)
        CountingFile.fetched += len(content)
        return content


def test_a_look_for_audio_reads_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(LocalTree):
        def open(self, path: str) -> BinaryIO:
            return CountingFile(self.locate(path))  # type: ignore[return-value]

    noise = np.random.default_rng(0).bytes(1 << 17)
    path = write(
        tmp_path / "a.parquet",
        [{"bytes": noise, "path": "x"} for _ in range(100)],
        group=100,
        use_dictionary=False,
        compression="none",
        write_statistics=False,
    )
    assert path.stat().st_size > 100 << 17
    monkeypatch.setattr(CountingFile, "fetched", 0)
    rows = list(shard_rows(Counting(tmp_path), path.name, COLUMNS, Reading(), read_header=False))
    assert [row.reason for row in rows] == [None] * 100
    assert CountingFile.fetched < 1 << 17


def test_memory_holds_a_few_rows_of_a_large_row_group(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(1 << 20)
    audio = [{"bytes": b"%03d" % number + noise, "path": "x"} for number in range(96)]
    path = write(tmp_path / "a.parquet", audio, group=96, write_batch_size=4, compression="none", use_dictionary=False)
    del audio
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        for row in shard_rows(LocalTree(tmp_path), path.name, COLUMNS, Reading()):
            assert row.reason == "unreadable_header"
            most = max(most, pa.total_allocated_bytes() - before)
        peak = most + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20


def test_footers_and_own_ids(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", ten_clips())
    assert shard_footer(LocalTree(tmp_path), "a.parquet") == Footer(10, ("id", "audio", "labels"))
    rows = read(tmp_path / "a.parquet")
    assert rows[5].own_id("mls", "data/a.parquet") == "mls#data_a.parquet_1_1"
    assert ShardRow({}, "").own_id("mls", "data/a.parquet") == "mls#data_a.parquet"
