from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sift_ray.config import CommonVoiceConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus
from sift_ray.corpora.audio_source import audio_source
from sift_ray.corpora.audio_uri import parse_audio_uri
from sift_ray.corpora.parquet_shards import ShardRow, shard_rows
from sift_ray.corpora.tree import Tree

Tone = Callable[..., Path]
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXTS = ("client_id", "path", "sentence", "age", "gender", "accent", "locale", "segment", "variant")
SCHEMA = pa.schema([(name, pa.string()) for name in TEXTS] + [("up_votes", pa.int64()), ("audio", AUDIO)])


@pytest.fixture(scope="session")
def mp3(write_tone: Tone, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tone(tmp_path_factory.mktemp("mp3") / "tone.mp3", rate=48_000).read_bytes()


def clip(name: str, content: bytes | None, **cells: Any) -> dict[str, Any]:
    row = {"client_id": "abc", "path": f"de_train_0/{name}", "sentence": "Ein Satz.", "locale": "de", "up_votes": 2}
    return {**row, "audio": {"bytes": content, "path": name}, **cells}


def write(path: Path, *rows: dict[str, Any], schema: pa.Schema = SCHEMA, group: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, row_group_size=group)
    return path


def read(root: Path, reading: Reading | None = None, **keys: Any) -> list[Utterance]:
    config = CommonVoiceConfig.model_validate({"type": "common_voice", "name": "cv", "path": str(root), **keys})
    return list(read_corpus(config, reading))


def test_a_row_in_full_and_its_audio(tmp_path: Path, mp3: bytes) -> None:
    shard = write(
        tmp_path / "de" / "validation" / "0000.parquet",
        clip("common_voice_de_1.mp3", mp3),
        clip("common_voice_de_2.mp3", mp3, gender="female_feminine", age="fourties", accent="Berlin", variant="de-AT"),
        clip("common_voice_de_3.mp3", mp3),
    )
    row = read(tmp_path)[1]
    assert row == Utterance(
        utterance_id="common_voice_de_2",
        corpus="cv",
        data_source="common_voice_de",
        language="de",
        split="dev",
        speaker_id="abc",
        gender="female",
        age="forties",
        accent="Berlin",
        transcript="Ein Satz.",
        audio_uri=f"{shard.resolve()}#row=0.1",
        duration_s=1.0,
        license="CC0-1.0",
    )
    reading = Reading()
    with audio_source(reading.storage).open(parse_audio_uri(row.audio_uri or "")) as file:
        assert not isinstance(file, str)
        assert file.read() == mp3


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("de/train/0000.parquet", "train"),
        ("de/partial-train/0000.parquet", "train"),
        ("de/validation-00000-of-00012.parquet", "dev"),
        ("de/common_voice_11_0-test.parquet", "test"),
        ("data/train-00003-of-00027-ff24600f70f7ff75.parquet", "train"),
        ("test-corpus/de/train/0000.parquet", "train"),
    ],
)
def test_the_hubs_names_of_shards(tmp_path: Path, mp3: bytes, path: str, split: str) -> None:
    write(tmp_path / path, clip("c1.mp3", mp3))
    (row,) = read(tmp_path)
    assert (row.utterance_id, row.language, row.split, row.reject_reason) == ("c1", "de", split, None)


def test_other_splits_and_languages_are_counted(tmp_path: Path, mp3: bytes) -> None:
    write(tmp_path / "de" / "train-00000-of-00001.parquet", clip("c1.mp3", mp3))
    for split, rows in (("validated", 3), ("other", 2), ("invalidated", 1)):
        write(tmp_path / "de" / f"{split}-00000-of-00001.parquet", *[clip("c1.mp3", mp3)] * rows)
    write(tmp_path / "nl" / "train-00000-of-00001.parquet", *[clip("n.mp3", b"", locale="nl")] * 4)
    write(
        tmp_path / "data" / "test-00000-of-00001.parquet", *(clip("x.mp3", mp3, locale=x) for x in ("fr", "nl", "de"))
    )
    write(tmp_path / "extra.parquet", clip("x.mp3", mp3))
    reading = Reading()
    rows = read(tmp_path, reading, languages=["de"])
    assert sorted((row.language, row.split) for row in rows) == [("de", "test"), ("de", "train")]
    assert reading.skipped == {
        ("cv", "split validated"): 3,
        ("cv", "split other"): 2,
        ("cv", "split invalidated"): 1,
        ("cv", "language nl is none of the five"): 5,
        ("cv", "language fr is not asked for"): 1,
        ("cv", "a Parquet file named for no split"): 1,
    }


def test_a_shard_of_other_languages_is_passed_over_without_its_audio(
    tmp_path: Path, mp3: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "de" / "train.parquet", clip("c1.mp3", mp3))
    write(tmp_path / "nl" / "train.parquet", clip("n.mp3", mp3, locale="nl"))
    with_audio = []

    def seen(tree: Tree, path: str, *arguments: Any, read_header: bool = True) -> Iterator[ShardRow]:
        if read_header:
            with_audio.append(path)
        return shard_rows(tree, path, *arguments, read_header=read_header)

    monkeypatch.setattr("sift_ray.corpora.common_voice_hub.shard_rows", seen)
    assert [row.language for row in read(tmp_path)] == ["de"]
    assert with_audio == ["de/train.parquet"]


def test_without_a_locale_the_folder_tells_the_language(tmp_path: Path, mp3: bytes) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name != "locale"])
    write(tmp_path / "fr" / "train" / "0000.parquet", clip("c1.mp3", mp3), schema=schema)
    write(tmp_path / "it" / "train" / "0000.parquet", clip("c2.mp3", mp3, locale=None))
    write(tmp_path / "data" / "train" / "0000.parquet", clip("c3.mp3", mp3), schema=schema)
    unknown, french, italian = read(tmp_path)
    assert (french.language, french.reject_reason) == ("fr", None)
    assert (italian.language, italian.reject_reason) == ("it", None)
    assert (unknown.language, unknown.reject_reason) == ("und", "unknown_language")
    assert [row.language for row in read(tmp_path / "fr")] == ["fr"]


def test_ids_without_a_path(tmp_path: Path, mp3: bytes) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name != "path"])
    nameless = {"bytes": mp3, "path": None}
    write(tmp_path / "de/test/0000.parquet", clip("c1.mp3", mp3), clip("", mp3, audio=nameless), schema=schema)
    rows = read(tmp_path)
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [
        ("c1", None),
        ("cv#de_test_0000.parquet_0_1", None),
    ]


def test_accents_whatever_the_columns_hold(tmp_path: Path, mp3: bytes) -> None:
    schema = pa.schema(
        [("client_id", pa.string()), ("sentence", pa.string()), ("accents", pa.string()), ("gender", pa.int64()),
         ("age", pa.null()), ("audio", AUDIO)]
    )  # fmt: skip
    row = {"client_id": "", "sentence": None, "accents": "England English", "gender": 1}
    write(tmp_path / "en/train/0000.parquet", {**row, "audio": {"bytes": mp3, "path": "c1.mp3"}}, schema=schema)
    (utterance,) = read(tmp_path)
    assert (utterance.accent, utterance.gender, utterance.age) == ("England English", None, None)
    assert utterance.gender_withheld  # what 1 stands for is not told
    assert (utterance.speaker_id, utterance.transcript, utterance.reject_reason) == (None, None, None)


def test_a_gender_may_be_withheld(tmp_path: Path, mp3: bytes) -> None:
    words = ("female_feminine", "do_not_wish_to_say", "", None)
    write(tmp_path / "de/test/0000.parquet", *(clip(f"c{n}.mp3", mp3, gender=w) for n, w in enumerate(words)))
    assert [row.gender_withheld for row in read(tmp_path)] == [False, True, False, False]


def test_bad_rows_and_damaged_shards_cost_no_other_row(tmp_path: Path, mp3: bytes) -> None:
    write(
        tmp_path / "de/train/0000.parquet",
        clip("c1.mp3", b""),
        clip("c2.mp3", None),
        clip("c3.mp3", b"not audio"),
        clip("c4.mp3", mp3, sentence="Это не по-немецки"),
        clip("c5.mp3", mp3, path="a\0b.mp3"),
        clip("c6.mp3", mp3),
    )
    (tmp_path / "de/train/0001.parquet").write_bytes(b"no Parquet at all")
    (tmp_path / "de/validated").mkdir()
    (tmp_path / "de/validated/0000.parquet").write_bytes(b"")
    reading = Reading()
    rows = read(tmp_path, reading, languages=["de"])
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [
        ("c1", "empty_audio"),
        ("c2", "missing_audio"),
        ("c3", "unreadable_header"),
        ("c4", "transcript_script"),
        ("a\0b", "unsafe_id"),
        ("c6", None),
        ("cv#de_train_0001.parquet", "unreadable_shard"),
    ]
    assert {row.language for row in rows} == {"de"}
    assert all("0000.parquet: row group" in (row.reject_detail or "") for row in rows[:5])
    assert reading.skipped == {("cv", "split validated"): 1}


def test_a_shard_that_cant_be_read_may_hold_the_wanted_language(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000.parquet").write_bytes(b"no Parquet at all")
    (row,) = read(tmp_path, languages=["fr"])
    assert (row.language, row.split, row.reject_reason) == ("und", "train", "unreadable_shard")


def test_whole_corpus_problems(tmp_path: Path, mp3: bytes) -> None:
    shard = write(tmp_path / "de/train/0000.parquet", clip("c1.mp3", mp3))
    with pytest.raises(CorpusError, match="`validated` takes an extracted release"):
        read(tmp_path, validated=True)
    with pytest.raises(CorpusError, match="no row of language fr"):
        read(tmp_path, languages=["de", "fr"])
    schema = pa.schema([field if field.name != "sentence" else ("text", pa.string()) for field in SCHEMA])
    write(shard, clip("c1.mp3", mp3), schema=schema)
    with pytest.raises(CorpusError, match=r"0000\.parquet: no column 'sentence'; there are client_id, path, text"):
        read(tmp_path)
    shard.rename(tmp_path / "de" / "all.parquet")
    with pytest.raises(CorpusError, match="no Parquet file is named for a split"):
        read(tmp_path)
