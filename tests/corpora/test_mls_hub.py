from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from sift_ray.config import MlsConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus
from sift_ray.corpora.audio_uri import parse_audio_uri


def clip(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    sf.write(file, np.linspace(-0.3, 0.3, round(16_000 * seconds)), 16_000, format="FLAC")
    return file.getvalue()


CLIP = clip()


def row(utterance_id: str, **changes: Any) -> dict[str, Any]:
    """A row with the columns of facebook/multilingual_librispeech."""
    speaker, chapter, _ = utterance_id.split("_")
    values = {
        "audio": {"bytes": CLIP, "path": f"{utterance_id}.flac"},
        "original_path": "http://www.archive.org/download/rose_1508_librivox/rose_05_64kb.mp3",
        "begin_time": 401.76,
        "end_time": 417.57,
        "transcript": "ein käfer lag auf dem rücken",
        "audio_duration": 15.81,
        "speaker_id": speaker,
        "chapter_id": chapter,
        "file": f"{utterance_id}.flac",
        "id": utterance_id,
    }
    return values | changes


def english_row(utterance_id: str, **changes: Any) -> dict[str, Any]:
    """A row with the columns of parler-tts/mls_eng."""
    values = row(utterance_id, **changes)
    values["book_id"] = values.pop("chapter_id")
    del values["file"], values["id"]
    return values


def write(path: Path, *rows: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=2, **options)
    return path


def read(path: Path, reading: Reading | None = None, **config: Any) -> list[Utterance]:
    return list(read_corpus(MlsConfig(type="mls", name="mls", path=str(path), **config), reading))


def ids(rows: list[Utterance], split: str) -> list[str]:
    return [utterance.utterance_id for utterance in rows if utterance.split == split]


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """German and Polish as the hub has them."""
    root = tmp_path / "multilingual_librispeech"
    for number in range(3):
        shard = root / "german" / f"train-{number:05}-of-00003.parquet"
        write(shard, *(row(f"252_2543_{number:03}{place:03}") for place in range(3)))
    write(root / "german/dev-00000-of-00001.parquet", row("300_1_000000"))
    write(root / "german/test-00000-of-00001.parquet", row("301_1_000000"))
    write(root / "german/9_hours-00000-of-00001.parquet", row("252_2543_000000"), row("252_2543_000001"))
    write(root / "german/1_hours-00000-of-00001.parquet", row("252_2543_000002"))
    write(root / "polish/train-00000-of-00001.parquet", *(row(f"1_2_{number:06}") for number in range(4)))
    return root


def test_a_row_in_full(hub: Path) -> None:
    rows = read(hub)
    assert rows[4] == Utterance(
        utterance_id="252_2543_001001",
        corpus="mls",
        data_source="multilingual_librispeech_de",
        language="de",
        split="train",
        speaker_id="252",
        transcript="ein käfer lag auf dem rücken",
        audio_uri=f"{hub}/german/train-00001-of-00003.parquet#row=0.1",
        duration_s=15.81,
        license="CC-BY-4.0",
    )
    assert ids(rows, "train") == [f"252_2543_{shard:03}{place:03}" for shard in range(3) for place in range(3)]
    assert (ids(rows, "dev"), ids(rows, "test")) == (["300_1_000000"], ["301_1_000000"])
    assert [utterance.reject_reason for utterance in rows] == [None] * 11
    with Reading().source.open(parse_audio_uri(rows[4].audio_uri or "")) as file:
        assert not isinstance(file, str)
        assert file.read() == CLIP


def test_what_is_not_read_is_counted(hub: Path) -> None:
    write(hub / "french/train-00000-of-00001.parquet", row("5_6_000000"))
    (hub / "polish/test-00000-of-00001.parquet").write_bytes(b"cut off")
    write(hub / "german/all.parquet", row("7_8_000000"))
    reading = Reading()
    assert {utterance.language for utterance in read(hub, reading, languages=("de",))} == {"de"}
    assert reading.skipped == {
        ("mls", "french: language fr is not asked for"): 1,
        ("mls", "german: shards whose names tell no split"): 1,
        ("mls", "german: split 1_hours repeats clips of train"): 1,
        ("mls", "german: split 9_hours repeats clips of train"): 2,
        ("mls", "polish: Polish is none of the five languages"): 4,
        ("mls", "polish: Polish is none of the five languages; shards that can't be read"): 1,
    }


@pytest.mark.parametrize(
    ("asked", "train"), [("9hr", ["252_2543_000000", "252_2543_000001"]), ("1hr", ["252_2543_000002"])]
)
def test_limited_supervision_takes_the_place_of_train(hub: Path, asked: str, train: list[str]) -> None:
    reading = Reading()
    rows = read(hub, reading, limited_supervision=asked)
    assert ids(rows, "train") == train
    assert (len(ids(rows, "dev")), len(ids(rows, "test"))) == (1, 1)
    split = {"9hr": "9_hours", "1hr": "1_hours"}[asked]
    assert reading.skipped["mls", f"german: split train: {split} is asked for"] == 9
    (hub / f"german/{split}-00000-of-00001.parquet").unlink()
    with pytest.raises(CorpusError, match=f"german: no shards of {split}"):
        read(hub, limited_supervision=asked)


def test_the_hubs_own_conversion(tmp_path: Path) -> None:
    write(tmp_path / "german/partial-train/0000.parquet", row("1_2_000000"))
    write(tmp_path / "german/partial-train/0001.parquet", row("1_2_000001"))
    write(tmp_path / "german/validation/0000.parquet", row("3_4_000000"))
    write(tmp_path / "german/9_hours/0000.parquet", row("1_2_000000"))
    rows = read(tmp_path)
    assert (ids(rows, "train"), ids(rows, "dev")) == (["1_2_000000", "1_2_000001"], ["3_4_000000"])


@pytest.mark.parametrize("folder", ["mls_eng", "mls_english", "english", "corpora/mls_english", "corpora/english"])
@pytest.mark.parametrize("below", ["data/{}-00000-of-00001.parquet", "default/{}/0000.parquet"])
def test_the_english_variant_has_its_ids_from_the_audio(tmp_path: Path, folder: str, below: str) -> None:
    write(tmp_path / folder / below.format("train"), english_row("4800_10003_000000"), english_row("4800_10003_000001"))
    write(tmp_path / folder / below.format("dev"), english_row("1982_1551_000037"))
    rows = read(tmp_path / folder.partition("/")[0])
    assert (ids(rows, "train"), ids(rows, "dev")) == (["4800_10003_000000", "4800_10003_000001"], ["1982_1551_000037"])
    assert {(utterance.language, utterance.data_source) for utterance in rows} == {
        ("en", "multilingual_librispeech_en")
    }
    assert [utterance.speaker_id for utterance in rows] == ["4800", "4800", "1982"]


def test_shards_and_trees_may_lie_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "mls_english/data/dev-00000-of-00001.parquet", english_row("1982_1551_000037"))
    write(tmp_path / "french/dev-00000-of-00001.parquet", row("5_6_000000"))
    tree = tmp_path / "mls_german"
    (tree / "dev/audio/1/2").mkdir(parents=True)
    (tree / "metainfo.txt").write_text("SPEAKER | GENDER\n1 | F\n")
    (tree / "dev/transcripts.txt").write_text("1_2_000000\tein satz\n")
    (tree / "dev/audio/1/2/1_2_000000.flac").write_bytes(CLIP)
    rows = read(tmp_path)
    assert [(utterance.language, utterance.gender) for utterance in rows] == [
        ("en", None),
        ("de", "female"),
        ("fr", None),
    ]
    write(tmp_path / "german/dev-00000-of-00001.parquet", row("1_2_000000"))
    with pytest.raises(CorpusError, match="mls_german: german holds the same clips"):
        read(tmp_path)


def test_shards_of_no_known_language_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00001.parquet", row("1_2_000000"))
    with pytest.raises(CorpusError, match="no shards with a column book_id"):
        read(tmp_path)
    write(tmp_path / "polish/train-00000-of-00001.parquet", row("1_2_000000"))
    with pytest.raises(CorpusError, match="polish: Polish is none of the languages"):
        read(tmp_path / "polish")
    write(tmp_path / "german/all.parquet", row("1_2_000000"))
    with pytest.raises(CorpusError, match="german: no shard of train, dev or test"):
        read(tmp_path / "german")


def test_a_metainfo_beside_the_shards_tells_genders(hub: Path) -> None:
    (hub / "german/metainfo.txt").write_text("SPEAKER | GENDER\n252 | F\n300 | M\n")
    rows = read(hub)
    assert {(utterance.speaker_id, utterance.gender) for utterance in rows} == {
        ("252", "female"),
        ("300", "male"),
        ("301", None),
    }


def test_a_gender_may_be_withheld(hub: Path) -> None:
    (hub / "german/metainfo.txt").write_text("SPEAKER | GENDER\n252 | F\n252 | other\n300 | M\n")
    assert {(utterance.speaker_id, utterance.gender, utterance.gender_withheld) for utterance in read(hub)} == {
        ("252", None, True),
        ("300", "male", False),
        ("301", None, False),
    }


def test_speakers_may_be_numbers(tmp_path: Path) -> None:
    write(tmp_path / "german/train-0.parquet", row("252_1_000000", speaker_id=252), row("1_1_000000", speaker_id=None))
    (tmp_path / "german/metainfo.txt").write_text("SPEAKER | GENDER\n252 | F\n")
    assert [(utterance.speaker_id, utterance.gender) for utterance in read(tmp_path)] == [
        ("252", "female"),
        (None, None),
    ]


def test_a_duration_that_the_table_lacks_comes_from_the_header(tmp_path: Path) -> None:
    durations = [2.5, None, 0.0, float("nan"), float("inf")]
    rows = [row(f"1_2_{number:06}", audio_duration=duration) for number, duration in enumerate(durations)]
    rows[1]["audio"] = {"bytes": b"", "path": "1_2_000001.flac"}
    rows[2]["audio"] = {"bytes": b"no audio", "path": "1_2_000002.flac"}
    write(tmp_path / "german/train-0.parquet", *rows)
    read_rows = read(tmp_path)
    assert [utterance.duration_s for utterance in read_rows] == [2.5, None, None, 1.0, 1.0]
    assert [utterance.reject_reason for utterance in read_rows] == [
        None,
        "empty_audio",
        "unreadable_header",
        None,
        None,
    ]
    without = read(tmp_path, Reading(read_headers=False))
    assert [utterance.duration_s for utterance in without] == [2.5, None, None, None, None]
    assert [utterance.reject_reason for utterance in without] == [None] * 5


def test_each_bad_row_is_a_reject_and_the_others_are_read(tmp_path: Path) -> None:
    write(
        tmp_path / "german/train-0.parquet",
        row("1_2_000000", audio={"bytes": None, "path": "1_2_000000.flac"}),
        row("1_2_000001", id="../../etc_1_2"),
        row("1_2_000002", transcript="Это не по-немецки"),
        row("1_2_000003", transcript="ein \0 käfer"),
        row("1_2_000004", transcript=None),
        row("1_2_000005", id=None, audio={"bytes": CLIP, "path": None}),
        row("1_2_000006"),
    )
    rows = read(tmp_path)
    assert [utterance.reject_reason for utterance in rows] == [
        "missing_audio",
        "unsafe_id",
        "transcript_script",
        "nul_byte",
        None,
        None,
        None,
    ]
    assert rows[4].transcript is None
    assert rows[5].utterance_id == "mls#de_train-0.parquet_2_1"
    assert "train-0.parquet: row group 1, row 0" in (rows[2].reject_detail or "")


def test_one_unreadable_shard_in_a_hundred_costs_itself_alone(tmp_path: Path) -> None:
    for number in range(100):
        write(tmp_path / f"german/train-{number:05}-of-00100.parquet", row(f"1_2_{number:06}"))
    broken = tmp_path / "german/train-00042-of-00100.parquet"
    broken.write_bytes(broken.read_bytes()[:-20])
    rows = read(tmp_path)
    assert len(rows) == 100
    assert len(ids(rows, "train")) == 100
    (lost,) = (utterance for utterance in rows if utterance.reject_reason)
    assert lost == Utterance(
        utterance_id="mls#de_train-00042-of-00100.parquet",
        corpus="mls",
        data_source="multilingual_librispeech_de",
        language="de",
        split="train",
        license="CC-BY-4.0",
        reject_reason="unreadable_shard",
        reject_detail=lost.reject_detail,
    )
    assert str(broken) in (lost.reject_detail or "")


def test_a_corrupt_page_costs_its_row_group(tmp_path: Path) -> None:
    rows = [row(f"1_2_{number:06}") for number in range(6)]
    shard = write(tmp_path / "german/train-0.parquet", *rows, write_page_checksum=True, write_statistics=False)
    group = pq.ParquetFile(shard).metadata.row_group(1)
    chunk = next(group.column(index) for index in range(10) if group.column(index).path_in_schema == "transcript")
    content = bytearray(shard.read_bytes())
    content[chunk.dictionary_page_offset + chunk.total_compressed_size // 2] ^= 0x55
    shard.write_bytes(content)
    read_rows = read(tmp_path)
    assert [utterance.utterance_id for utterance in read_rows] == [
        "1_2_000000",
        "1_2_000001",
        "mls#de_train-0.parquet_1_0",
        "mls#de_train-0.parquet_1_1",
        "1_2_000004",
        "1_2_000005",
    ]
    reasons = [utterance.reject_reason for utterance in read_rows]
    assert reasons == [None, None, "unreadable_shard", "unreadable_shard", None, None]


@pytest.mark.parametrize("column", ["transcript", "speaker_id", "audio"])
def test_a_renamed_column_is_named_with_its_file(tmp_path: Path, column: str) -> None:
    values = row("1_2_000000")
    values[f"{column}s"] = values.pop(column)
    write(tmp_path / "german/train-0.parquet", values)
    with pytest.raises(CorpusError, match=rf"german/train-0\.parquet.*no column '{column}'"):
        read(tmp_path)
