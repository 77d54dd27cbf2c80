from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sift_ray.config import ManifestConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus
from sift_ray.corpora.audio_source import AudioSource
from sift_ray.corpora.audio_uri import parse_audio_uri

HEADER = "id\taudio\ttranscript\tlanguage"
Tone = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, write_tone: Tone) -> Path:
    write_tone(tmp_path / "set" / "a.wav")
    return tmp_path / "set"


def read(path: Path, text: str, **options: Any) -> list[Utterance]:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return list(read_corpus(ManifestConfig(type="manifest", name="mine", path=str(path), **options)))


def test_all_three_formats_give_the_same_rows(folder: Path) -> None:
    values = {
        "id": "u1",
        "audio": "a.wav",
        "transcript": "Hallo, Welt",
        "language": "de",
        "speaker_id": "7",
        "gender": "Female",
        "age": "35",
        "accent": "Wien",
        "split": "validation",
        "colour": "blue",
    }
    tsv = "\t".join(values) + "\n" + "\t".join(values.values()) + "\n"
    csv = ",".join(values) + "\r\n" + ",".join(f'"{value}"' for value in values.values()) + "\r\n"
    jsonl = json.dumps(values | {"speaker_id": 7, "age": 35}) + "\n\n"
    expected = Utterance(
        utterance_id="u1",
        corpus="mine",
        data_source="mine_de",
        language="de",
        split="dev",
        speaker_id="7",
        gender="female",
        age="thirties",
        accent="Wien",
        transcript="Hallo, Welt",
        audio_uri=str((folder / "a.wav").resolve()),
        duration_s=1.0,
        license="CC0-1.0",
    )
    for suffix, text in (("tsv", tsv), ("csv", csv), ("jsonl", jsonl)):
        assert read(folder / f"m.{suffix}", text, license="CC0-1.0") == [expected], suffix


def test_a_gender_may_be_withheld(folder: Path) -> None:
    words = {"male": False, "prefer not to say": True, "NA": False, "": False}
    lines = "".join(f"u{n}\ta.wav\thallo\tde\t{word}\n" for n, word in enumerate(words))
    rows = read(folder / "m.tsv", f"{HEADER}\tgender\n{lines}")
    assert [row.gender_withheld for row in rows] == list(words.values())
    records = [{"id": f"u{n}", "audio": "a.wav", "language": "de", "gender": w} for n, w in enumerate((None, "other"))]
    rows = read(folder / "m.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    assert [row.gender_withheld for row in rows] == [False, True]


def test_each_bad_row_is_a_reject_and_the_others_are_read(folder: Path, tmp_path: Path, write_tone: Tone) -> None:
    write_tone(tmp_path / "outside.wav")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("a text file named .wav")
    (folder / "link.wav").symlink_to(tmp_path / "outside.wav")
    rows = read(
        folder / "m.tsv",
        f"""{HEADER}
few\ta.wav
many\ta.wav\tHello\ten\tmore
\ta.wav\tHello\ten
u1\ta.wav\tHello\ten
u1\ta.wav\tHello again\ten
u2\t../outside.wav\tHello\ten
u3\t{tmp_path}/outside.wav\tHello\ten
u4\tlink.wav\tHello\ten
u5\tabsent.wav\tHello\ten
u6\tempty.wav\tHello\ten
u7\ttext.wav\tHello\ten
u8\ta.wav\tDzień dobry\tPolnisch
u9\ta.wav\tHello\t
u10\ta.wav\tПривет, мир\ten
u11\ta.wav\t\ten
u12\ta.wav\tRoom 237 🚪 at 5 pm\ten
u13\t\tHello\ten
u14\ta.wav\tbroken \udcfe\ten
u15\ta.wav\tbro\0ken\ten
u\x0016\ta.wav\tHello\ten
u17\ta\0.wav\tHello\ten
\0\0\0\0
u 18's "id"\ta.wav\tHello\ten
u/19\ta.wav\tHello\ten
..\ta.wav\tHello\ten
""",
    )
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [
        ("few", "too_few_columns"),
        ("many", "too_many_columns"),
        ("mine#line4", "empty_id"),
        ("u1", None),
        ("u1", None),  # (the plan sees to it)
        ("u2", "path_outside_root"),
        ("u3", "path_outside_root"),
        ("u4", "path_outside_root"),
        ("u5", "missing_audio"),
        ("u6", "empty_audio"),
        ("u7", "unreadable_header"),
        ("u8", "unknown_language"),
        ("u9", "unknown_language"),
        ("u10", "transcript_script"),
        ("u11", None),
        ("u12", None),
        ("u13", "missing_audio"),
        ("u14", "not_utf8"),
        ("u15", "nul_byte"),
        ("u\ufffd16", "nul_byte"),
        ("u17", "nul_byte"),
        ("\ufffd\ufffd\ufffd\ufffd", "nul_byte"),
        ('u 18\'s "id"', None),
        ("u/19", "unsafe_id"),
        ("..", "unsafe_id"),
    ]
    assert rows[14].transcript is None  # an empty transcript is unknown, not wrong
    assert rows[15].transcript == "Room 237 🚪 at 5 pm"
    assert rows[12].language == "und"
    for number, row in enumerate(rows, 2):
        assert row.reject_reason is None or f"m.tsv:{number}" in (row.reject_detail or "")


def test_json_rows_that_are_none(folder: Path) -> None:
    good = {"id": "u1", "audio": "a.wav", "transcript": None, "language": "en"}
    lines = [
        "{not json",
        "[1, 2]",
        json.dumps({"id": "u0", "audio": "a.wav"}),
        json.dumps(good | {"id": "u2", "transcript": ["a"]}),
        "[" * 100_000,
        json.dumps(good | {"id": "u3", "transcript": "lone \ud800"}),
        json.dumps(good),
    ]
    rows = read(folder / "m.jsonl", "\n".join(lines))
    assert [row.reject_reason for row in rows] == [
        "bad_json",
        "bad_json",
        "too_few_columns",
        "bad_json",
        "bad_json",
        "not_utf8",
        None,
    ]
    assert [row.utterance_id for row in rows[:2]] == ["mine#line1", "mine#line2"]
    for row in rows:
        (row.transcript or "").encode("utf-8")


def test_csv_fields_may_span_lines(folder: Path) -> None:
    text = 'id,audio,transcript,language\nu1,a.wav,"one,\ntwo ""three""",en\nu2,a.wav,x\n'
    first, second = read(folder / "m.csv", text)
    assert first.transcript == 'one, two "three"'
    assert "m.csv:4" in (second.reject_detail or "")


def test_a_record_that_is_no_csv_costs_only_itself(folder: Path) -> None:
    text = 'id,audio,transcript,language\nu1,a.wav,"x"y,en\nu2,a.wav,one\rtwo,en\nu3,a.wav,good,en\n'
    rows = read(folder / "m.csv", text)
    assert [row.reject_reason for row in rows] == ["bad_csv", "bad_csv", None]
    assert [row.utterance_id for row in rows] == ["mine#line2", "mine#line3", "u3"]


def test_splits_of_their_own_or_by_speaker(folder: Path) -> None:
    header = f"{HEADER}\tspeaker_id\tsplit"
    rows = read(
        folder / "m.tsv",
        f"{header}\nu1\ta.wav\tx\ten\ts\ttest\nu2\ta.wav\tx\ten\ts\t\nu3\ta.wav\tx\ten\ts\tholdout\n",
    )
    assert rows[0].split == "test"
    assert rows[1].split in ("train", "dev", "test")
    assert rows[2].reject_reason == "unknown_split"


def test_the_root_bounds_absolute_paths(folder: Path) -> None:
    text = f"{HEADER}\nu1\t{folder}/a.wav\tHello\ten\n"
    elsewhere = folder.parent / "lists"
    elsewhere.mkdir()
    assert read(elsewhere / "m.tsv", text)[0].reject_reason == "path_outside_root"
    assert read(elsewhere / "m.tsv", text, root=str(folder))[0].reject_reason is None


def test_languages_that_the_config_leaves_out_are_skipped(folder: Path) -> None:
    text = f"{HEADER}\nu1\ta.wav\tHello\ten\nu2\ta.wav\tHallo\tde\nu3\ta.wav\tCześć\tpl\n"
    (folder / "m.tsv").write_text(text, encoding="utf-8")
    config = ManifestConfig(type="manifest", name="mine", path=str(folder / "m.tsv"), languages=("de",))
    reading = Reading()
    rows = list(read_corpus(config, reading))
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [("u2", None)]
    assert reading.skipped == {
        ("mine", "language en is not asked for"): 1,
        ("mine", "language pl is none of en, de, fr, it, es"): 1,
    }


def test_whole_file_problems(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"m\.tsv:1: no column 'transcript'; there are id, audio, text, lang; rename"):
        read(folder / "m.tsv", "id\taudio\ttext\tlang\n")
    with pytest.raises(CorpusError, match=r"m\.csv:1: no column 'language'; .*, or set `language` of the corpus"):
        read(folder / "m.csv", "id,audio,transcript\n")
    with pytest.raises(CorpusError, match=r"m\.tsv:1: two columns are named 'audio'"):
        read(folder / "m.tsv", f"{HEADER}\taudio\n")
    with pytest.raises(CorpusError, match="empty"):
        read(folder / "m.tsv", "")
    with pytest.raises(CorpusError, match=r"ends in \.tsv"):
        read(folder / "m.xlsx", "x")
    with pytest.raises(CorpusError, match=r"no \.parquet file is there"):
        list(read_corpus(ManifestConfig(type="manifest", name="mine", path=str(folder))))


def test_a_byte_order_mark_and_dos_line_ends(folder: Path) -> None:
    rows = read(folder / "m.tsv", f"\ufeff{HEADER}\r\nu1\ta.wav\tHello\ten\r\n\r\nu2\ta.wav\tHi\ten\r\n")
    assert [(row.utterance_id, row.language, row.reject_reason) for row in rows] == [
        ("u1", "en", None),
        ("u2", "en", None),
    ]
    rows = read(folder / "m.csv", "\ufeffid,audio,transcript,language\r\nu1,a.wav,Hello,en\r\n")
    assert [(row.utterance_id, row.language, row.reject_reason) for row in rows] == [("u1", "en", None)]


def test_an_open_quote_costs_its_own_record_alone(folder: Path) -> None:
    good = [f"u{number},a.wav,good,en" for number in range(50)]
    lines = ["id,audio,transcript,language", *good[:20], 'open,a.wav,"good,en', *good[20:], 'last,a.wav,"good,en']
    rows = read(folder / "m.csv", "\n".join(lines))
    assert [row.utterance_id for row in rows if row.reject_reason is None] == [line.split(",")[0] for line in good]
    bad = [(row.utterance_id, row.reject_reason) for row in rows if row.reject_reason is not None]
    assert bad == [("mine#line22", "bad_csv"), ("mine#line53", "bad_csv")]


def test_a_language_for_all_rows(folder: Path) -> None:
    (row,) = read(folder / "m.tsv", "id\taudio\ttranscript\nu1\ta.wav\tCiao\n", language="it")
    assert (row.language, row.data_source, row.reject_reason) == ("it", "mine_it", None)
    good = {"id": "u1", "audio": "a.wav", "transcript": "Ciao"}
    (row,) = read(folder / "m.jsonl", json.dumps(good), language="it")
    assert (row.language, row.reject_reason) == ("it", None)


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_a_packed_manifest(folder: Path, suffix: str) -> None:
    values = {"id": "u1", "audio": "a.wav", "transcript": "Hello", "language": "en"}
    separator = {"tsv": "\t", "csv": ",", "jsonl": ""}[suffix]
    text = json.dumps(values) if not separator else f"{separator.join(values)}\n{separator.join(values.values())}\n"
    path = folder / f"m.{suffix}.gz"
    path.write_bytes(gzip.compress(text.encode()))
    (row,) = read_corpus(ManifestConfig(type="manifest", name="mine", path=str(path)))
    assert (row.utterance_id, row.transcript, row.reject_reason) == ("u1", "Hello", None)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorpusError, match=rf"m\.{suffix}\.gz: .*the corpus is incomplete"):
        list(read_corpus(ManifestConfig(type="manifest", name="mine", path=str(path))))


def test_spans_channels_and_durations(folder: Path) -> None:
    rows = read(
        folder / "m.tsv",
        f"""{HEADER}\tduration\toffset\tchannel
known\ta.wav\tx\ten\t0.75\t\t
span\ta.wav\tx\ten\t0.5\t0.25\t
first\ta.wav\tx\ten\t0.5\t0\t1
rest\ta.wav\tx\ten\t\t0.25\t0
none\ta.wav\tx\ten\t\t\t
written\ta.wav#t=0.5,0.75\tx\ten\t\t\t1
past\ta.wav\tx\ten\t\t1.5\t
twice\ta.wav#t=0,1\tx\ten\t0.5\t0.25\t
long\ta.wav\tx\ten\t1 s\t\t
empty\ta.wav\tx\ten\t0\t\t
before\ta.wav\tx\ten\t1\t-1\t
left\ta.wav\tx\ten\t1\t0\tleft
""",
    )
    file = str(folder.resolve() / "a.wav")
    assert [(row.utterance_id, row.audio_uri, row.duration_s) for row in rows if row.reject_reason is None] == [
        ("known", file, 0.75),
        ("span", f"{file}#t=0.25,0.75", 0.5),
        ("first", f"{file}#t=0,0.5&channel=1", 0.5),
        ("rest", f"{file}#t=0.25&channel=0", 0.75),
        ("none", file, 1.0),
        ("written", f"{file}#t=0.5,0.75&channel=1", 0.25),
    ]
    assert [(row.utterance_id, row.reject_reason) for row in rows if row.reject_reason is not None] == [
        ("past", "empty_audio"),
        ("twice", "bad_address"),
        ("long", "bad_number"),
        ("empty", "bad_number"),
        ("before", "bad_number"),
        ("left", "bad_number"),
    ]
    assert "duration '1 s' is no number" in (rows[8].reject_detail or "")


def test_headers_are_read_only_where_the_table_tells_no_duration(folder: Path) -> None:
    (folder / "text.wav").write_text("a text file named .wav")
    rows = read(folder / "m.tsv", f"{HEADER}\tduration\nu1\ttext.wav\tx\ten\t2\nu2\ttext.wav\tx\ten\t\n")
    assert [(row.duration_s, row.reject_reason) for row in rows] == [(2.0, None), (None, "unreadable_header")]


def test_audio_on_the_web_is_refused_unless_its_host_is_named(folder: Path) -> None:
    text = f"{HEADER}\nu1\thttps://a.example/x.flac\tx\ten\nu2\thttp://a.example/x.flac\tx\ten\n"
    assert [row.reject_reason for row in read(folder / "m.tsv", text)] == ["web_refused", "web_refused"]
    rows = read(folder / "m.tsv", text, https_hosts=("a.example",))
    assert [(row.audio_uri, row.reject_reason) for row in rows] == [
        ("https://a.example/x.flac", None),
        (None, "web_refused"),
    ]


def test_audio_in_tars(folder: Path) -> None:
    with tarfile.open(folder / "x.tar", "w") as tar:
        tar.add(folder / "a.wav", "in/a.wav")
    rows = read(
        folder / "m.tsv",
        f"{HEADER}\tduration\nu1\tx.tar#member=in/a.wav\tx\ten\t\nu2\tx.tar#member=b.wav\tx\ten\t1\n"
        "u3\tx.tar#member=in/a.wav\tx\ten\t0.5\n",
    )
    assert [(row.duration_s, row.reject_reason) for row in rows] == [(1.0, None), (1.0, "missing_audio"), (0.5, None)]
    with AudioSource(StorageConfig()).open(parse_audio_uri(str(rows[0].audio_uri))) as file:
        assert not isinstance(file, str)
        assert file.read() == (folder / "a.wav").read_bytes()


def parquet(path: Path, row_group_size: int | None = None, **columns: Any) -> Path:
    rows = len(next(iter(columns.values())))
    columns = {"transcript": ["x"] * rows, "language": ["en"] * rows, **columns}
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size, use_dictionary=False, compression="none")
    return path


def read_parquet(path: Path, **options: Any) -> list[Utterance]:
    return list(read_corpus(ManifestConfig(type="manifest", name="mine", path=str(path), **options)))


def test_parquet_that_names_files(folder: Path) -> None:
    path = parquet(
        folder / "m.parquet",
        id=["u1", "u2", None, "u4", "u5"],
        audio=["a.wav", "a.wav", "a.wav", None, "../b.wav"],
        speaker_id=[1, 2, 3, 4, 5],
        duration=[None, 0.5, 0.5, 0.5, 0.5],
        offset=pa.array([None, 0.25, None, None, None], pa.float32()),
    )
    rows = read_parquet(path)
    file = str(folder.resolve() / "a.wav")
    assert [(row.utterance_id, row.audio_uri, row.duration_s, row.reject_reason) for row in rows] == [
        ("u1", file, 1.0, None),
        ("u2", f"{file}#t=0.25,0.75", 0.5, None),
        ("mine#m.parquet_0_2", file, 0.5, "empty_id"),
        ("u4", None, 0.5, "missing_audio"),
        ("u5", None, 0.5, "path_outside_root"),
    ]
    assert [row.speaker_id for row in rows] == ["1", "2", "3", "4", "5"]
    assert "m.parquet: row group 0, row 3: no audio is named" in (rows[3].reject_detail or "")


@pytest.mark.parametrize("nested", [True, False])
def test_parquet_that_holds_the_audio(folder: Path, nested: bool) -> None:
    content = (folder / "a.wav").read_bytes()
    audio: Any = [content, content, content, b"", content]
    if nested:
        audio = [{"bytes": part, "path": "elsewhere.wav"} for part in audio]
    ids = ["u1", "u2", "u3", "u4", "u5"]
    path = parquet(folder / "m.parquet", 2, id=ids, audio=audio, offset=[None, 0.25, 2.0, None, None])
    rows = read_parquet(path)
    shard = str(path.resolve())
    assert [(row.utterance_id, row.audio_uri, row.duration_s, row.reject_reason) for row in rows] == [
        ("u1", f"{shard}#row=0.0", 1.0, None),
        ("u2", f"{shard}#row=0.1&t=0.25", 0.75, None),
        ("u3", f"{shard}#row=1.0&t=2", None, "empty_audio"),
        ("u4", f"{shard}#row=1.1", None, "empty_audio"),
        ("u5", f"{shard}#row=2.0", 1.0, None),
    ]
    with AudioSource(StorageConfig()).open(parse_audio_uri(str(rows[4].audio_uri))) as file:
        assert not isinstance(file, str)
        assert file.read() == content


def test_a_folder_of_parquet_whose_shards_are_partly_damaged(folder: Path) -> None:
    shards = folder / "table.parquet"  # as Spark names folders
    for number in range(4):
        names = [f"s{number}r{row}" for row in range(6)]
        parquet(shards / f"{number}.parquet", 2, id=names, audio=["../a.wav"] * 6, speaker_id=names)
    (shards / "_SUCCESS").touch()
    (shards / "1.parquet").write_bytes(b"PAR1 no footer")
    damaged = shards / "2.parquet"
    group = pq.read_metadata(damaged).row_group(1)
    content = bytearray(damaged.read_bytes())
    start = group.column(0).data_page_offset
    content[start : start + 20] = b"\xff" * 20
    damaged.write_bytes(content)
    rows = read_parquet(shards, root=str(folder), language="de")
    bad = [
        (row.utterance_id, row.reject_reason) for row in rows if row.reject_reason not in (None, "path_outside_root")
    ]
    assert bad == [
        ("mine#1.parquet", "unreadable_shard"),
        ("mine#2.parquet_1_0", "unreadable_shard"),
        ("mine#2.parquet_1_1", "unreadable_shard"),
    ]
    assert len(rows) == 6 + 1 + 6 + 6
    for row in rows:
        assert row.reject_reason is None or "parquet" in (row.reject_detail or "")


def test_parquet_with_a_column_renamed_or_of_another_kind(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"m\.parquet: no column 'id'; there are transcript, language, utt, audio"):
        read_parquet(parquet(folder / "m.parquet", utt=["u1"], audio=["a.wav"]))
    with pytest.raises(CorpusError, match=r"m\.parquet: column 'audio' is int64"):
        read_parquet(parquet(folder / "m.parquet", id=["u1"], audio=[1]))
    (row,) = read_parquet(parquet(folder / "m.parquet", id=["u1"], audio=["a.wav"], accent=[["Wien"]]))
    assert (row.utterance_id, row.reject_reason) == ("u1", "bad_column")
    assert "accent is neither text nor a number" in (row.reject_detail or "")


def test_what_tables_write_for_nothing_is_unknown(folder: Path) -> None:
    lines = (
        '{"id": "a", "audio": "a.wav", "transcript": NaN, "language": "en-US", "speaker_id": NaN, "accent": NaN}',
        '{"id": "b", "audio": "a.wav", "transcript": "none", "language": "English", "speaker_id": "NA", "age": 41.0}',
    )
    first, second = read(folder / "m.jsonl", "\n".join(lines))
    assert (first.language, first.transcript, first.speaker_id, first.accent) == ("en", None, None, None)
    assert (second.language, second.transcript, second.speaker_id, second.age) == ("en", "none", None, "forties")


def test_spans_of_an_unknown_speaker_are_of_one_voice_and_stay_in_one_split(folder: Path) -> None:
    spans = [f"s{number}\ta.wav\tHello\ten\t{number / 100}\t0.1" for number in range(60)]
    rows = read(folder / "m.tsv", "\n".join([f"{HEADER}\toffset\tduration", *spans]))
    assert len({row.split for row in rows}) == 1
    files = [f"f{number}\ta.wav\tHello\ten" for number in range(200)]
    rows = read(folder / "m.tsv", "\n".join([HEADER, *files]))
    assert len({row.split for row in rows}) == 3  # (files of their own are spread)
