from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sift_ray.config import ManifestConfig
from sift_ray.corpora import CorpusError, Utterance, read_corpus

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
u8\ta.wav\tDzień dobry\tpl
u9\ta.wav\tHello\t
u10\ta.wav\tПривет, мир\ten
u11\ta.wav\t\ten
u12\ta.wav\tRoom 237 🚪 at 5 pm\ten
u13\t\tHello\ten
u14\ta.wav\tbroken \udcfe\ten
""",
    )
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [
        ("few", "too_few_columns"),
        ("many", "too_many_columns"),
        ("mine#line4", "empty_id"),
        ("u1", None),
        ("u1#line6", "duplicate_id"),
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


def test_a_root_in_an_object_store(folder: Path) -> None:
    text = (
        f"{HEADER}\nu1\tx/a.wav\tHello\ten\nu2\t../other/a.wav\tHello\ten\n"
        "u3\ts3://bucket/clips/b.wav\tHello\ten\nu4\ts3://bucket/clips-too/b.wav\tHello\ten\n"
        "u5\t/etc/passwd\tHello\ten\nu6\tgs://bucket/clips/b.wav\tHello\ten\n"
    )
    (folder / "m.tsv").write_text(text, encoding="utf-8")
    # (a job's config takes local roots only, as yet; the reader is ready)
    config = ManifestConfig.model_construct(
        type="manifest",
        name="mine",
        path=str(folder / "m.tsv"),
        root="s3://bucket/clips/",
        languages=None,
        license=None,
    )
    rows = list(read_corpus(config))
    assert [(row.audio_uri, row.reject_reason) for row in rows] == [
        ("s3://bucket/clips/x/a.wav", None),
        (None, "path_outside_root"),
        ("s3://bucket/clips/b.wav", None),
        (None, "path_outside_root"),
        (None, "path_outside_root"),
        (None, "path_outside_root"),
    ]


def test_languages_that_the_config_leaves_out_are_skipped(folder: Path) -> None:
    text = f"{HEADER}\nu1\ta.wav\tHello\ten\nu2\ta.wav\tHallo\tde\nu3\ta.wav\tCześć\tpl\n"
    rows = read(folder / "m.tsv", text, languages=("de",))
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [("u2", None), ("u3", "unknown_language")]


def test_whole_file_problems(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"m\.tsv:1: no column 'language'"):
        read(folder / "m.tsv", "id\taudio\ttranscript\n")
    with pytest.raises(CorpusError, match="empty"):
        read(folder / "m.tsv", "")
    with pytest.raises(CorpusError, match=r"ends in \.tsv"):
        read(folder / "m.xlsx", "x")


def test_a_byte_order_mark_is_no_part_of_the_first_column(folder: Path) -> None:
    assert read(folder / "m.tsv", f"\ufeff{HEADER}\nu1\ta.wav\tHello\ten\n")[0].reject_reason is None
