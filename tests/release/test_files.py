import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sift_ray.config_release import ReleaseConfig
from sift_ray.release.files import ROW_GROUP_ROWS, FolderWriter, Written, json_lines
from sift_ray.release.layout import Group
from sift_ray.release.samples import release_schema
from sift_ray.schema import RELEASE, conform
from sift_ray.storage import LocalRoot

GROUP = Group("train", "open_ended", "de")


def samples(first: int, rows: int) -> pa.Table:
    """Rows that do not compress: a file's size follows their number."""
    random = np.random.default_rng(first)
    texts = ["".join(map(chr, random.integers(33, 126, 200))) for _ in range(rows)]
    content = [{"text": None, "audio_path": "d/a.wav"}], [{"text": "x", "audio_path": None}]
    messages = [{"role": role, "content": part} for role, part in zip(("user", "assistant"), content, strict=True)]
    row: dict[str, Any] = {"id": "a", "messages": messages, "task": "open_ended", "data_source": "d", "language": "de"}
    row |= {"split": "train", "generator": "g", "evidence": [], "utterance_ids": ["a"], "audio_uris": ["/a.wav"]}
    table = pa.Table.from_pylist([row] * rows).append_column(
        "sample_id", pa.array([f"{first + n}-{text}" for n, text in enumerate(texts)])
    )
    return conform(table, RELEASE)


def written(root: LocalRoot, sizes: list[int], file_mb: int, form: Any = "parquet", **more: Any) -> Written:
    writer = FolderWriter(root, "v", GROUP, form, RELEASE, rows=sum(sizes), file_mb=file_mb, **more)
    first = 0
    for rows in sizes:
        writer.write(samples(first, rows))
        first += rows
    return writer.close()


def files(root: LocalRoot) -> list[Path]:
    return sorted(Path(root.locate("v/train/open_ended/de")).iterdir())


def test_how_rows_come_changes_no_byte(tmp_path: Path) -> None:
    whole = [samples(0, 30_000)]
    for folder, cuts in (("a", [30_000]), ("b", [1, 9_998, 2, 12_000, 7_999])):
        writer = FolderWriter(LocalRoot(tmp_path / folder), "v", GROUP, "parquet", RELEASE, rows=30_000, file_mb=1)
        start = 0
        for rows in cuts:
            writer.write(whole[0].slice(start, rows))
            start += rows
        writer.close()
    one, other = (files(LocalRoot(tmp_path / folder)) for folder in "ab")
    assert [file.name for file in one] == [file.name for file in other]
    assert len(one) > 1
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


def test_files_end_at_their_size_and_the_last_is_not_a_crumb(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    told = written(root, [ROW_GROUP_ROWS] * 4 + [500], file_mb=3)  # (a row group has 1.7 MB)
    sizes = [file.stat().st_size for file in files(root)]
    assert [file.name for file in files(root)] == ["part-00000.parquet", "part-00001.parquet"]
    rows = [pq.read_metadata(file).num_rows for file in files(root)]
    assert rows == [2 * ROW_GROUP_ROWS, 2 * ROW_GROUP_ROWS + 500]
    assert told == Written(sum(rows), 2, sum(sizes), max(sizes))


def test_parquet_has_small_row_groups_zstd_and_a_page_index(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    written(root, [25_000], file_mb=256)
    (file,) = files(root)
    told = pq.read_metadata(file)
    assert [told.row_group(n).num_rows for n in range(told.num_row_groups)] == [10_000, 10_000, 5_000]
    column = told.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert column.has_column_index
    assert column.has_offset_index


def test_no_rows_leave_no_file(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    assert written(root, [], file_mb=1) == Written()
    assert root.names("") == []


def test_what_waits_does_not_hold_on_to_what_a_wave_brought(tmp_path: Path) -> None:
    writer = FolderWriter(LocalRoot(tmp_path), "v", GROUP, "parquet", RELEASE, rows=20_000, file_mb=1)
    writer.write(samples(0, ROW_GROUP_ROWS + 1))
    (waiting,) = writer._waiting
    assert waiting.num_rows == 1
    assert waiting.get_total_buffer_size() < 10_000


def test_a_few_rows_that_wait_do_not_either(tmp_path: Path) -> None:
    writer = FolderWriter(LocalRoot(tmp_path), "v", GROUP, "parquet", RELEASE, rows=20_000, file_mb=1)
    wave = samples(0, 5_000)
    for start in (0, 2_000):
        writer.write(wave.slice(start, 10))
    assert [waiting.num_rows for waiting in writer._waiting] == [10, 10]
    assert sum(waiting.get_total_buffer_size() for waiting in writer._waiting) < 20_000 < wave.get_total_buffer_size()


def test_a_row_group_is_cut_by_who_adds_to_it(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    written(root, [100], file_mb=1, pieces=lambda table: iter([table.slice(0, 30), table.slice(30)]))
    (file,) = files(root)
    told = pq.read_metadata(file)
    assert [told.row_group(n).num_rows for n in range(told.num_row_groups)] == [30, 70]


def test_json_lines_have_the_references_keys_and_explicit_nulls(tmp_path: Path) -> None:
    table = samples(0, 2)
    lines = json_lines(table).decode().splitlines()
    assert lines[0] == (
        '{"id": "a", "messages": [{"role": "user", "content": [{"text": null, "audio_path": "d/a.wav"}]}, '
        '{"role": "assistant", "content": [{"text": "x", "audio_path": null}]}], '
        '"task": "open_ended", "data_source": "d"}'
    )
    assert [json.loads(line) for line in lines] == table.select(["id", "messages", "task", "data_source"]).to_pylist()


def test_json_lines_keep_every_letter_and_one_line_a_sample() -> None:
    text = 'naïve "quoted"\n\t\u2028 \\ 🎧 ß'
    messages = [{"role": "user", "content": [{"text": text, "audio_path": None}]}]
    table = samples(0, 1).set_column(1, RELEASE.field("messages"), pa.array([messages], RELEASE.field("messages").type))
    (line,) = json_lines(table).decode().split("\n")[:-1]
    assert json.loads(line)["messages"] == messages
    assert "naïve" in line


@pytest.mark.parametrize("audio", ["absolute", "embedded"])
def test_json_lines_have_no_room_for_other_forms_of_audio(audio: Any) -> None:
    with pytest.raises(ValueError, match=f"audio: {audio} .*set formats to"):
        ReleaseConfig(audio=audio, formats=("parquet", "jsonl"))
    assert ReleaseConfig(audio=audio).formats == ("parquet",)


def test_json_lines_are_cut_into_files_too(tmp_path: Path) -> None:
    root = LocalRoot(tmp_path)
    told = written(root, [30_000], file_mb=4, form="jsonl")
    assert [file.name for file in files(root)] == ["part-00000.jsonl", "part-00001.jsonl"]
    assert sum(len(file.read_text().splitlines()) for file in files(root)) == told.rows == 30_000


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ({}, []),
        ({"flat": True}, ["question", "answer"]),
        ({"flat": True, "audio": "embedded"}, ["question", "answer", "audio"]),
    ],
)
def test_columns_that_options_add_come_last(options: dict[str, Any], added: list[str]) -> None:
    assert release_schema(ReleaseConfig(**options)).names == RELEASE.names + added
