from __future__ import annotations

import errno
import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from sift_ray.config import WebDatasetConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus
from sift_ray.corpora.audio_source import AudioSource
from sift_ray.corpora.audio_uri import parse_audio_uri
from sift_ray.corpora.tree import LocalTree
from sift_ray.corpora.webdataset import read_webdataset

from .object_server import ObjectServer, object_server

Members = list[tuple[str, bytes]]


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


def audio(seconds: float = 0.5, format: str = "FLAC", **options: Any) -> bytes:
    file = BytesIO()
    rate = 16_000
    sf.write(file, 0.3 * np.sin(np.arange(round(seconds * rate)) / 10), rate, format=format, **options)
    return file.getvalue()


FLAC = audio()


def packed(members: Members) -> bytes:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return file.getvalue()


def write(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed(members))
    return path


def sample(stem: str, **record: Any) -> Members:
    return [(f"{stem}.flac", FLAC), (f"{stem}.json", json.dumps({"text": "hallo welt", **record}).encode())]


def config(path: Path | str, **options: Any) -> WebDatasetConfig:
    return WebDatasetConfig(type="webdataset", name="wds", path=str(path), **{"language": "de", **options})


def read(path: Path | str, reading: Reading | None = None, **options: Any) -> list[Utterance]:
    return list(read_corpus(config(path, **options), reading))


def one(folder: Path, members: Members, **options: Any) -> Utterance:
    write(folder / "000.tar", members)
    (utterance,) = read(folder, **options)
    return utterance


def reasons(rows: list[Utterance]) -> list[str | None]:
    return [row.reject_reason for row in rows]


def test_a_sample_in_full(tmp_path: Path) -> None:
    record = {
        "id": "u1",
        "transcript": "Hallo,  Welt",
        "language": "fr",
        "speaker_id": 17,
        "gender": "female",
        "age": 34,
        "accent": "Québec",
        "split": "validation",
        "other": [1, 2],
    }
    members = [("b/0001.flac", FLAC), ("b/0001.json", json.dumps(record).encode()), ("b/0001.cls", b"3")]
    utterance = one(tmp_path, members, license="CC0-1.0")
    shard = tmp_path / "000.tar"
    assert utterance == Utterance(
        utterance_id="u1",
        corpus="wds",
        data_source="wds_fr",
        language="fr",
        split="dev",
        speaker_id="17",
        gender="female",
        age="thirties",
        accent="Québec",
        transcript="Hallo, Welt",
        audio_uri=f"{shard}#member=b/0001.flac&bytes=512,{len(FLAC)}",
        duration_s=0.5,
        license="CC0-1.0",
    )
    with AudioSource(Reading().storage).open(parse_audio_uri(str(utterance.audio_uri))) as file:
        assert not isinstance(file, str)
        assert file.read() == FLAC


def test_a_gender_may_be_withheld(tmp_path: Path) -> None:
    words = ("male", "non-binary", "unknown", None)
    write(tmp_path / "000.tar", [member for n, word in enumerate(words) for member in sample(f"{n}", gender=word)])
    assert [row.gender_withheld for row in read(tmp_path)] == [False, True, False, False]


@pytest.mark.parametrize(
    "record",
    [
        {"utterance_id": "u", "sentence": "hallo", "locale": "de-AT", "client_id": "s"},
        {"utterance_id": "u", "text": "hallo", "lang": "DE", "speaker": "s"},
        {"id": "u", "transcript": "", "text": "hallo", "language": None, "lang": "de", "speaker_id": "s"},
    ],
)
def test_the_names_that_keys_may_have(tmp_path: Path, record: dict[str, Any]) -> None:
    row = one(tmp_path, [("x.json", json.dumps(record).encode()), ("x.flac", FLAC)], language=None)
    assert (row.utterance_id, row.transcript, row.language, row.speaker_id) == ("u", "hallo", "de", "s")
    assert row.reject_reason is None


def test_text_may_stand_beside_the_audio(tmp_path: Path) -> None:
    write(
        tmp_path / "000.tar",
        [
            ("a/1.txt", "\ufeffgrüß  gott\n".encode()),
            ("a/1.WAV", audio(format="WAV")),
            ("a/2.flac", FLAC),
            ("a/3.flac", FLAC),
            ("a/3.json", b'{"text": "aus JSON"}'),
            ("a/3.txt", b"aus dem Text"),
            ("a/4.flac", FLAC),
            ("a/4.txt", b"\xff\xfe"),
        ],
    )
    rows = read(tmp_path)
    assert [row.transcript for row in rows] == ["grüß gott", None, "aus JSON", "\ufffd\ufffd"]
    assert reasons(rows) == [None, None, None, "not_utf8"]
    assert [row.utterance_id for row in rows] == ["1", "2", "3", "4"]


def test_stems_end_at_the_first_dot_of_the_name(tmp_path: Path) -> None:
    write(
        tmp_path / "000.tar",
        [
            ("v1.0/a.flac", FLAC),  # a dot in a folder counts not
            ("v1.0/a.align.json", b"[1, 2]"),
            ("v1.0/a.json", b'{"text": "eins"}'),
            ("v1.0/b.flac", FLAC),
            ("v2.0/b.flac", FLAC),  # another folder, another sample
            ("c.1.flac", FLAC),
            ("c.1.json", b'{"text": "c eins"}'),
            ("c.2.flac", FLAC),
            ("d.1.flac", FLAC),
            ("d.1.json", b'{"text": "d eins"}'),
        ],
    )
    rows = read(tmp_path)
    assert [row.utterance_id for row in rows] == ["a", "b", "b", "c", "d"]
    assert reasons(rows) == [None, None, None, "ambiguous_sample", None]
    assert [row.transcript for row in rows] == ["eins", None, None, "c eins", "d eins"]
    assert "2 audio files share this stem, c.1.flac is the first" in (rows[3].reject_detail or "")


def test_each_bad_sample_is_a_reject_and_the_others_are_read(tmp_path: Path) -> None:
    write(
        tmp_path / "000.tar",
        [
            ("two.flac", FLAC),
            ("two.wav", FLAC),
            ("text.txt", b"niemand spricht"),
            ("broken.flac", FLAC),
            ("broken.json", b'{"text": '),
            ("nested.flac", FLAC),
            ("nested.json", b"[" * 100_000),
            ("list.flac", FLAC),
            ("list.json", b"[]"),
            ("none.flac", FLAC),
            ("none.json", b""),
            ("typed.flac", FLAC),
            ("typed.json", b'{"text": {"de": "hallo"}}'),
            ("huge.flac", FLAC),
            ("huge.json", b'{"text": "' + b"a" * (1 << 20) + b'"}'),
            ("long.flac", FLAC),
            ("long.txt", b"a" * ((1 << 20) + 1)),
            ("bytes.flac", FLAC),
            ("bytes.json", b'{"text": "\xff", "id": "b"}'),
            ("escape.flac", FLAC),
            ("escape.json", b'{"text": "\\ud800", "speaker": "\\udfff"}'),
            ("silent.flac", b""),
            ("noise.flac", b"this is no audio"),
            ("split.flac", FLAC),
            ("split.json", b'{"split": "dozen"}'),
            ("script.flac", FLAC),
            ("script.txt", "Это не по-немецки".encode()),
            ("slash.flac", FLAC),
            ("slash.json", b'{"id": "a/b"}'),
            ("good.flac", FLAC),
        ],
    )
    rows = read(tmp_path)
    expected = {
        "two": "ambiguous_sample",
        "text": "missing_audio",
        "broken": "bad_json",
        "nested": "bad_json",
        "list": "bad_json",
        "none": "bad_json",
        "typed": "bad_json",
        "huge": "bad_json",
        "long": "bad_txt",
        "b": "not_utf8",
        "escape": "not_utf8",
        "silent": "empty_audio",
        "noise": "unreadable_header",
        "split": "unknown_split",
        "script": "transcript_script",
        "a/b": "unsafe_id",
        "good": None,
    }
    assert {row.utterance_id: row.reject_reason for row in rows} == expected
    assert len(rows) == len(expected)
    for row in rows[:-1]:
        assert str(tmp_path / "000.tar") in (row.reject_detail or "")
        for text in (row.transcript, row.speaker_id, row.reject_detail):
            (text or "").encode()  # can be stored


def test_languages(tmp_path: Path) -> None:
    write(
        tmp_path / "000.tar",
        [
            *sample("1", language="fr"),
            *sample("2"),
            *sample("3", language="nl-BE"),
            *sample("4", language="klingon"),
            *sample("5", language="en"),
        ],
    )
    reading = Reading()
    rows = read(tmp_path, reading, language=None, languages=("fr", "de"))
    assert [(row.utterance_id, row.language, row.reject_reason) for row in rows] == [
        ("1", "fr", None),
        ("2", "und", "unknown_language"),
        ("4", "klingon", "unknown_language"),
    ]
    assert "`language` in the config" in (rows[1].reject_detail or "")
    assert reading.skipped == {
        ("wds", "language nl is none of the five"): 1,
        ("wds", "language en is not asked for"): 1,
    }
    assert [row.language for row in read(tmp_path, language="it")] == ["fr", "it", "klingon", "en"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train-000.tar", "train"),
        ("dev.tar", "dev"),
        ("validation-0001-of-0002.tar", "dev"),
        ("cv_de_test_0001.tar", "test"),
        ("test/0001.tar", "test"),
        ("valid/de/0001.tar", "dev"),
        ("train/test-0001.tar", "test"),
        ("test-clean/0001.tar", "test"),
    ],
)
def test_the_split_of_a_shard(tmp_path: Path, path: str, expected: str) -> None:
    write(tmp_path / path, [*sample("a"), *sample("b", split="train")])
    rows = read(tmp_path)
    assert [row.split for row in rows] == [expected, "train"]
    assert [row.split for row in read(tmp_path, split="dev")] == ["dev", "train"]


def test_without_a_split_the_speaker_decides(tmp_path: Path) -> None:
    write(tmp_path / "validated-0.tar", [m for n in range(60) for m in sample(f"{n}", speaker=f"s{n % 30}")])
    rows = read(tmp_path)
    splits = {(row.speaker_id, row.split) for row in rows}
    assert len(splits) == 30
    assert len({split for _, split in splits}) > 1
    folder = tmp_path / "train"  # the corpus's own folder, named as a split is
    write(folder / "000.tar", sample("a"))
    assert [row.split for row in read(folder)] == ["train"]


def test_a_duration_in_the_json_spares_the_header(tmp_path: Path) -> None:
    members = []
    for number, duration in enumerate((1.25, 3, "1.25", -1, 0, None, True, 1e999, float("nan"), 10**400, [1])):
        members += [(f"{number}.flac", b"no header"), (f"{number}.json", json.dumps({"duration": duration}).encode())]
    write(tmp_path / "000.tar", members)
    rows = read(tmp_path)
    assert [row.duration_s for row in rows[:2]] == [1.25, 3.0]
    assert reasons(rows) == [None, None, *["unreadable_header"] * 9]
    rows = read(tmp_path, Reading(read_headers=False))
    assert [row.duration_s for row in rows[:3]] == [1.25, 3.0, None]
    assert reasons(rows) == [None] * 11


@pytest.mark.parametrize(
    ("extension", "options"),
    [
        ("wav", {"format": "WAV"}),
        ("aiff", {"format": "AIFF"}),
        ("ogg", {"format": "OGG", "subtype": "VORBIS"}),
        ("opus", {"format": "OGG", "subtype": "OPUS"}),
        ("mp3", {"format": "MP3"}),
    ],
)
def test_formats(tmp_path: Path, extension: str, options: dict[str, Any]) -> None:
    content = audio(2.0, **options)
    write(tmp_path / "000.tar", [(f"{n}.{extension}", content) for n in range(3)])
    assert [row.duration_s for row in read(tmp_path)] == pytest.approx([2.0] * 3)


def test_what_is_no_sample_is_counted(tmp_path: Path) -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in (
            ("folder", tarfile.DIRTYPE),
            ("link.flac", tarfile.SYMTYPE),
            ("hard.flac", tarfile.LNKTYPE),
            ("README", tarfile.REGTYPE),
            ("._a.flac", tarfile.REGTYPE),
            ("a.jpg", tarfile.REGTYPE),
            ("b.cls", tarfile.REGTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    (tmp_path / "000.tar").write_bytes(file.getvalue())
    reading = Reading()
    assert read(tmp_path, reading) == []
    assert reading.skipped == {
        ("wds", "links, devices and files without a stem or an extension, in tars"): 4,
        ("wds", "files of tars that are neither audio nor its text"): 2,
    }


def test_a_truncated_shard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members = [m for n in range(4) for m in sample(f"s{n}")]
    content = packed(members)
    fourth = [at for at in range(0, len(content), 512) if content[at:].startswith(b"s3.")]
    path = tmp_path / "000.tar"
    # within the audio of the fourth sample; within its JSON, and in the header before that; before the sample
    for length, expected in (
        (fourth[0] + 600, [None] * 3 + ["truncated_shard"]),
        (fourth[1] + 520, [None] * 3 + ["truncated_shard"]),
        (fourth[1] + 100, [None] * 3 + ["truncated_shard"] * 2),
        (fourth[0], [None] * 3 + ["truncated_shard"]),
    ):
        path.write_bytes(content[:length])
        rows = read(tmp_path)
        assert reasons(rows) == expected
        assert "fetch the shard again" in (rows[-1].reject_detail or "")
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.message.startswith(f"{path}: ")
        caplog.clear()
    assert rows[-1].utterance_id == "wds#000.tar"
    path.write_bytes(content[: fourth[0] + 600])
    assert read(tmp_path)[-1].utterance_id == "s3"


def test_one_unreadable_shard_in_a_hundred(tmp_path: Path) -> None:
    for number in range(100):
        write(tmp_path / "de" / f"{number:03}.tar", sample(f"u{number:03}"))
    (tmp_path / "de" / "037.tar").write_bytes(b"garbage" * 1000)
    (tmp_path / "de" / "040.tar").write_bytes(b"")
    (tmp_path / "de" / "050.tar.gz").write_bytes(gzip.compress(packed(sample("z"))))
    damaged = bytearray(packed([*sample("u060"), *sample("u060b")]))
    at = damaged.index(b"u060b.flac")
    damaged[at : at + 400] = b"\xff" * 400
    (tmp_path / "de" / "060.tar").write_bytes(damaged)
    outside = write(tmp_path.parent / f"{tmp_path.name}-outside.tar", sample("x"))
    (tmp_path / "de" / "070.tar").unlink()
    (tmp_path / "de" / "070.tar").symlink_to(outside)
    rows = read(tmp_path)
    bad = {row.utterance_id: row.reject_reason for row in rows if row.reject_reason}
    assert bad == {
        "wds#de_037.tar": "unreadable_shard",
        "wds#de_040.tar": "unreadable_shard",
        "wds#de_050.tar.gz": "unreadable_shard",
        "wds#de_060.tar": "unreadable_shard",
        "wds#de_070.tar": "path_outside_root",
    }
    good = [row.utterance_id for row in rows if not row.reject_reason]
    assert good == [f"u{number:03}" for number in range(100) if number not in (37, 40, 70)]
    assert all(row.language == "de" and row.split in ("train", "dev", "test") for row in rows)


def test_a_chain_of_long_names_costs_its_shard(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 5
    chain = (header.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(512, b"\0")) * 5000
    (tmp_path / "000.tar").write_bytes(packed(sample("a"))[:-10240] + chain)
    write(tmp_path / "001.tar", sample("b"))
    rows = read(tmp_path)
    assert [row.utterance_id for row in rows if row.reject_reason is None][-1] == "b"
    assert "unreadable_shard" in reasons(rows)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_a_disk_that_fails_is_no_damaged_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    write(tmp_path / "000.tar", sample("a"))

    def refuse(self: LocalTree, path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(LocalTree, "open", refuse)
    with pytest.raises(CorpusError, match=rf"000\.tar: .*{os.strerror(number)}.*plan again"):
        read(tmp_path)


def test_the_path_may_be_one_shard(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", sample("a"))
    write(tmp_path / "b.tar", sample("b"))
    assert [row.utterance_id for row in read(path)] == ["a"]
    assert [row.utterance_id for row in read(tmp_path)] == ["a", "b"]


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no \.tar"):
        read(tmp_path)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        member = tarfile.TarInfo("\udce4.flac")
        member.size = len(FLAC)
        tar.addfile(member, BytesIO(FLAC))
    (tmp_path / "000.tar").write_bytes(file.getvalue())
    (row,) = read(tmp_path)
    assert (row.utterance_id, row.reject_reason, row.audio_uri) == ("\ufffd", "not_utf8", None)


def test_reading_streams(tmp_path: Path) -> None:
    write(tmp_path / "000.tar", [m for n in range(600) for m in sample(f"{n:03}")])
    write(tmp_path / "001.tar", sample("last"))
    rows = read_corpus(config(tmp_path))
    assert next(rows).utterance_id == "000"
    (tmp_path / "001.tar").unlink()
    *_, last = rows
    assert (last.utterance_id, last.reject_reason) == ("wds#001.tar", "missing_audio")


# in a bucket


def test_a_bucket_of_shards_is_read_once(server: ObjectServer) -> None:
    clip = audio(10.0, format="WAV")
    for shard in range(3):
        members: Members = []
        for number in range(20):
            members += [(f"{shard}{number:02}.wav", clip), (f"{shard}{number:02}.json", b'{"text": "hallo"}')]
        server.objects[f"b/corpus/train/{shard}.tar"] = packed(members)
    server.objects["b/other/x.tar"] = b""
    reading = Reading(server.storage)
    rows = read("s3://b/corpus", reading)
    assert reasons(rows) == [None] * 60
    assert [row.duration_s for row in rows] == pytest.approx([10.0] * 60)
    assert {row.split for row in rows} == {"train"}
    assert server.fetched <= sum(map(len, server.objects.values()))
    server.forget()
    for row in rows[:20]:
        with reading.source.open(parse_audio_uri(str(row.audio_uri))) as file:
            assert not isinstance(file, str)
            assert file.read() == clip
    assert len(server.ranges) == 1


def test_a_store_that_fails_is_no_damaged_shard(server: ObjectServer) -> None:
    """Its rows would be lost for good, and the next plan would find them."""
    server.objects["b/0.tar"] = packed([(f"{number}.flac", bytes(3_000_000)) for number in range(9)])
    rows = read_webdataset(config("s3://b"), Reading(server.storage, read_headers=False, threads=2))
    assert next(rows).utterance_id == "0"
    server.fail = (403, "AccessDenied")
    with pytest.raises(CorpusError, match=r"s3://b/0\.tar.*ACCESS_DENIED.*plan again"):
        list(rows)
    with pytest.raises(CorpusError, match=r"s3://b/0\.tar.*ACCESS_DENIED.*plan again"):
        read("s3://b", Reading(server.storage))
