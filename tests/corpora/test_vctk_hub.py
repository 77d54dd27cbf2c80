from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sift_ray.config import VctkConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus
from sift_ray.corpora.values import split_by_speaker

Tone = Callable[..., Path]
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXTS = ("speaker_id", "file", "text", "text_id", "age", "gender", "accent", "region", "comment")
SCHEMA = pa.schema([("audio", AUDIO), *((name, pa.string()) for name in TEXTS)])


@pytest.fixture(scope="session")
def flac(write_tone: Tone, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tone(tmp_path_factory.mktemp("flac") / "tone.flac", rate=48_000).read_bytes()


def recording(name: str, content: bytes | None, **cells: Any) -> dict[str, Any]:
    speaker, text_id, _ = name.split("_")
    row = {"speaker_id": speaker, "text_id": text_id, "text": "Please call Stella.", "age": "22", "gender": "F"}
    row |= {"accent": "NorthernIrish", "region": "Belfast", "comment": ""}
    file = f"/cache/VCTK/wav48_silence_trimmed/{speaker}/{name}.flac"
    return {**row, "file": file, "audio": {"bytes": content, "path": f"{name}.flac"}, **cells}


def write(path: Path, *rows: dict[str, Any], schema: pa.Schema = SCHEMA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, row_group_size=2)
    return path


def read(root: Path, reading: Reading | None = None, **keys: Any) -> list[Utterance]:
    config = VctkConfig.model_validate({"type": "vctk", "name": "vctk", "path": str(root), **keys})
    return list(read_corpus(config, reading))


def test_a_row_in_full_and_one_row_for_two_microphones(tmp_path: Path, flac: bytes) -> None:
    shard = write(
        tmp_path / "main/train/0000.parquet",
        *(recording(f"p238_00{text}_mic{mic}", flac) for text in (1, 2) for mic in (1, 2)),
    ).resolve()
    reading = Reading()
    rows = read(tmp_path, reading)
    assert rows[1] == Utterance(
        utterance_id="p238_002",
        corpus="vctk",
        data_source="vctk_en",
        language="en",
        split=split_by_speaker("p238", "p238_002"),
        speaker_id="p238",
        gender="female",
        age="twenties",
        accent="Northern Irish",
        transcript="Please call Stella.",
        audio_uri=f"{shard}#row=1.1",
        duration_s=1.0,
        license="CC-BY-4.0",
    )
    assert [row.audio_uri for row in rows] == [f"{shard}#row=0.1", f"{shard}#row=1.1"]
    assert reading.skipped == {("vctk", "the other microphone"): 2}
    assert [row.audio_uri for row in read(tmp_path, mic="mic1")] == [f"{shard}#row=0.0", f"{shard}#row=1.0"]


def test_a_text_falls_back_to_the_other_microphone_wherever_its_rows_lie(tmp_path: Path, flac: bytes) -> None:
    first = write(
        tmp_path / "data/train-00000-of-00002.parquet",
        recording("p362_001_mic1", flac),
        recording("p280_001_mic1", flac),
        recording("s5_001_mic1", flac),
    ).resolve()
    second = write(tmp_path / "data/train-00001-of-00002.parquet", recording("p362_001_mic2", flac)).resolve()
    rows = {row.utterance_id: row.audio_uri for row in read(tmp_path)}
    assert rows == {"p280_001": f"{first}#row=0.1", "s5_001": f"{first}#row=1.0", "p362_001": f"{second}#row=0.0"}


def test_the_microphone_may_stand_beside_the_bytes_or_nowhere(tmp_path: Path, flac: bytes) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name != "file"])
    nameless = {"bytes": flac, "path": None}
    write(
        tmp_path / "train.parquet",
        recording("p225_001_mic1", flac),
        recording("p225_001_mic2", flac),
        recording("p225_002_mic1", flac, audio=nameless, accent="Unknown", age=None),
        recording("p225_003_mic1", flac, audio=nameless, text_id=None),
        schema=schema,
    )
    rows = read(tmp_path)
    assert [(row.utterance_id, (row.audio_uri or "")[-3:]) for row in rows] == [
        ("p225_001", "0.1"),
        ("p225_002", "1.0"),
        ("vctk#train.parquet_1_1", "1.1"),
    ]
    assert (rows[1].accent, rows[1].age, rows[1].reject_reason) == (None, None, None)


def test_ids_splits_and_speakers_are_those_of_the_tree(tmp_path: Path, write_tone: Tone, flac: bytes) -> None:
    names = [f"p{number}_00{text}_mic2" for number in range(225, 245) for text in (1, 2)]
    tree = tmp_path / "tree"
    for name in names:
        speaker = name[:4]
        write_tone(tree / "wav48_silence_trimmed" / speaker / f"{name}.flac", rate=48_000)
        (tree / "txt" / speaker).mkdir(parents=True, exist_ok=True)
        (tree / "txt" / speaker / f"{name[:8]}.txt").write_text("Please call Stella.\n")
    info = "".join(f"{speaker}  22  F    NorthernIrish  Belfast\n" for speaker in sorted({name[:4] for name in names}))
    (tree / "speaker-info.txt").write_text(f"ID  AGE  GENDER  ACCENTS  REGION COMMENTS \n{info}")
    write(tmp_path / "hub/main/train/0000.parquet", *(recording(name, flac) for name in names))
    expected, found = read(tree), read(tmp_path / "hub")
    assert len(expected) == len(names)
    for row in [*expected, *found]:
        row.audio_uri = None
    assert found == expected


def test_bad_rows_and_damaged_shards_cost_no_other_row(tmp_path: Path, flac: bytes) -> None:
    write(
        tmp_path / "data/train-00000.parquet",
        recording("p225_001_mic1", flac),
        recording("p225_001_mic2", b""),  # the chosen recording's fault is the text's, as in a tree
        recording("p225_002_mic2", flac, text="Позвоните Стелле"),
        recording("p225_003_mic2", flac, text=None),
        recording("p225_004_mic2", b"not audio"),
    )
    (tmp_path / "data/train-00001.parquet").write_bytes(b"no Parquet at all")
    assert [(row.utterance_id, row.reject_reason) for row in read(tmp_path)] == [
        ("p225_001", "empty_audio"),
        ("p225_002", "transcript_script"),
        ("p225_003", None),
        ("p225_004", "unreadable_header"),
        ("vctk#data_train-00001.parquet", "unreadable_shard"),
    ]


def test_a_damaged_row_group_costs_its_rows_alone(tmp_path: Path, flac: bytes) -> None:
    shard = write(
        tmp_path / "train.parquet",
        *(recording(f"p225_00{text}_mic{mic}", flac) for text in (1, 2, 3) for mic in (1, 2)),
    )
    column = pq.ParquetFile(shard).metadata.row_group(1).column(2)
    assert column.path_in_schema == "speaker_id"
    content = bytearray(shard.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    shard.write_bytes(content)
    rows = read(tmp_path)
    assert [row.utterance_id for row in rows] == [
        "p225_001",
        "vctk#train.parquet_1_0",
        "vctk#train.parquet_1_1",
        "p225_003",
    ]
    assert [row.reject_reason for row in rows] == [None, "unreadable_shard", "unreadable_shard", None]


def test_whole_corpus_problems(tmp_path: Path, flac: bytes) -> None:
    schema = pa.schema([field if field.name != "text" else ("sentence", pa.string()) for field in SCHEMA])
    write(tmp_path / "train.parquet", recording("p225_001_mic1", flac), schema=schema)
    with pytest.raises(CorpusError, match=r"train\.parquet: no column 'text'; there are audio, speaker_id, file, sent"):
        read(tmp_path)
    with pytest.raises(CorpusError, match="VCTK is English"):
        read(tmp_path, languages=["de"])


def test_a_gender_may_be_withheld(tmp_path: Path, flac: bytes) -> None:
    words = ("F", "other", None)
    rows = (recording(f"p238_00{n}_mic2", flac, gender=word) for n, word in enumerate(words))
    write(tmp_path / "main/train/0000.parquet", *rows)
    found = {row.utterance_id: (row.gender, row.gender_withheld) for row in read(tmp_path)}
    assert list(found.values()) == [("female", False), (None, True), (None, False)]
