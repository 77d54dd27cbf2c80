from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_uri import AudioUri, parse_audio_uri
from sift_ray.corpora.listed import listed_audio, numbers_of, texts_of
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tar_index import TarIndexes
from sift_ray.corpora.tree import LocalTree, S3Tree, Tree
from sift_ray.corpora.utterance import Utterance
from sift_ray.object_store import S3Connection

HOSTS = ("audio.example.org",)
BUCKET = S3Tree("s3://bucket/clips/", S3Connection(StorageConfig(endpoint_url="http://127.0.0.1:9")))  # never asked


def listed(root: Tree, audio: str, tars: TarIndexes | None = None, **part: Any) -> tuple[str | None, str | None, str]:
    """The address, the reason and the detail of a row that names `audio`."""
    utterance = Utterance("u1", "mine", "mine_en", "en", "train", where="m.tsv:2")
    listed_audio(utterance, root, audio, HOSTS, tars, **part)
    assert utterance.reject_detail is None or utterance.reject_detail.startswith("m.tsv:2: ")
    return utterance.audio_uri, utterance.reject_reason, utterance.reject_detail or ""


@pytest.mark.parametrize(
    ("audio", "part", "expected"),
    [
        ("a.flac", {}, "/a.flac"),
        ("a b'\"%20.flac", {}, "/a b'\"%20.flac"),
        ("a.flac#t=1.5,3", {}, "/a.flac#t=1.5,3"),
        ("a.flac#t=1.5", {}, "/a.flac#t=1.5"),
        ("a.flac#t=1.5,3", {"channel": 1}, "/a.flac#t=1.5,3&channel=1"),
        ("a.flac#channel=1", {"start_s": 1.5, "end_s": 3.0}, "/a.flac#t=1.5,3&channel=1"),
        ("a.flac", {"start_s": 0.0, "end_s": None, "channel": None}, "/a.flac#t=0"),
        ("x.tar#member=a.flac&bytes=512,99", {"start_s": 1.0}, "/x.tar#member=a.flac&bytes=512,99&t=1"),
        ("x.parquet#row=0.7", {"channel": 0}, "/x.parquet#row=0.7&channel=0"),
        # a # that is none of ours belongs to the name
        ("take #3.flac", {}, "/take %233.flac#"),
        ("take #3.flac", {"channel": 1}, "/take %233.flac#channel=1"),
        ("take #3.flac#t=1,2", {}, "/take %233.flac#t=1,2"),
        ("take #", {}, "/take %23#"),
        ("#t.flac", {}, "/%23t.flac#"),
        ("a#time=3.flac", {}, "/a%23time=3.flac#"),
        ("a#t=1/b.flac#x", {}, "/a%23t=1/b.flac%23x#"),
        # and as we write it
        ("take %233.flac#", {}, "/take %233.flac#"),
        ("100%25 %231.flac#t=1,2", {}, "/100%25 %231.flac#t=1,2"),
    ],
)
def test_a_name_and_columns_make_one_address(tmp_path: Path, audio: str, part: dict[str, Any], expected: str) -> None:
    root = LocalTree(tmp_path)
    address, reason, _ = listed(root, audio, **part)
    assert (address, reason) == (f"{root.uri}{expected}", None)


@given(st.text(st.sampled_from("ab#%=&t,1."), min_size=1, max_size=12).filter(lambda name: name.strip(".") == name))
def test_what_we_wrote_is_read_as_the_same(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = LocalTree(tmp_path_factory.getbasetemp())
    written = str(AudioUri(f"{root.uri}/{name}", start_s=1.0, end_s=2.0))
    assert listed(root, written)[0] == written


@pytest.mark.parametrize(
    ("audio", "part", "reason", "detail"),
    [
        ("", {}, "missing_audio", "no audio is named"),
        ("b\udcff.flac", {}, "not_utf8", "not UTF-8"),
        ("a\0.flac", {}, "missing_audio", "null byte"),
        ("../b.flac", {}, "path_outside_root", "leaves the corpus root"),
        ("/etc/passwd", {}, "path_outside_root", "leaves the corpus root"),
        ("../b.flac#t=1,2", {}, "path_outside_root", "leaves the corpus root"),
        ("a.flac#t=2,1", {}, "bad_address", "t=2,1 is no span"),
        ("a.flac#t=1,2&take=3", {}, "bad_address", "not 'take=3'"),
        ("a.flac#t=1,2", {"start_s": 0.0}, "bad_address", "tell it once"),
        ("a.flac#channel=0", {"channel": 0}, "bad_address", "tell it once"),
        ("x.tar#member=a.flac", {}, "missing_audio", "#member=a.flac&bytes=<start>,<size>"),
        ("gs://bucket/a.flac", {}, "path_outside_root", "nothing is read from gs://"),
        ("file:///etc/passwd", {}, "path_outside_root", "nothing is read from file://"),
        ("s3://bucket/clips/a.flac", {}, "path_outside_root", "set `root`"),
        ("http://audio.example.org/a.flac", {}, "web_refused", "https_hosts"),
        ("https://evil.example/a.flac", {}, "web_refused", "https_hosts"),
        ("https://audio.example.org@evil.example/a.flac", {}, "web_refused", "https_hosts"),
        ("https://audio.example.org/x.tar#member=a.flac&bytes=1,2", {}, "web_refused", "shards"),
    ],
)
def test_what_cant_be_read_is_rejected(
    tmp_path: Path, audio: str, part: dict[str, Any], reason: str, detail: str
) -> None:
    _, told, why = listed(LocalTree(tmp_path), audio, **part)
    assert told == reason
    assert detail in why


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        ("x/a.flac", "s3://bucket/clips/x/a.flac"),
        ("s3://bucket/clips/b.flac", "s3://bucket/clips/b.flac"),
        ("s3://bucket/clips/b.flac#t=1,2", "s3://bucket/clips/b.flac#t=1,2"),
        ("https://audio.example.org/a%20b.flac?v=1", "https://audio.example.org/a%20b.flac?v=1"),
        ("../other/a.flac", None),
        ("s3://bucket/clips-too/b.flac", None),
        ("s3://other/clips/b.flac", None),
        ("/etc/passwd", None),
        ("gs://bucket/clips/b.flac", None),
    ],
)
def test_a_root_in_an_object_store(audio: str, expected: str | None) -> None:
    address, reason, _ = listed(BUCKET, audio)
    assert (address, reason) == (expected, None if expected else "path_outside_root")


def test_a_span_of_audio_on_the_web(tmp_path: Path) -> None:
    address, _, _ = listed(LocalTree(tmp_path), "https://audio.example.org/a.flac", start_s=1.0, end_s=2.0)
    assert address == "https://audio.example.org/a.flac#t=1,2"


def test_members_of_tars_are_found(tmp_path: Path) -> None:
    content = b"not really audio"
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.flac", "b & c.flac"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    root, tars = LocalTree(tmp_path), TarIndexes(Reading())
    for written, name in (("a.flac", "a.flac"), ("b%20%26%20c.flac", "b & c.flac")):
        address, reason, _ = listed(root, f"x.tar#member={written}", tars, start_s=1.0)
        assert reason is None
        uri = parse_audio_uri(str(address))
        assert (uri.member, uri.start_s) == (name, 1.0)
        assert uri.bytes is not None
        start, size = uri.bytes
        assert (tmp_path / "x.tar").read_bytes()[start : start + size] == content
    _, reason, detail = listed(root, "x.tar#member=d.flac", tars)
    assert (reason, "x.tar has no member 'd.flac'" in detail) == ("missing_audio", True)
    assert listed(root, "absent.tar#member=a.flac", tars)[1] == "missing_audio"
    assert listed(root, "../x.tar#member=a.flac", tars)[1] == "path_outside_root"
    (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:700])
    assert listed(root, "x.tar#member=b%20%26%20c.flac", TarIndexes(Reading()))[1] == "truncated_shard"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (None, None, None)),
        ({"duration": " ", "offset": "", "channel": ""}, (None, None, None)),
        ({"duration": "1.5", "offset": "0", "channel": "1"}, (1.5, 0.0, 1)),
        ({"duration": " 1e-3 ", "offset": "12", "channel": "1.0"}, (0.001, 12.0, 1)),
    ],
)
def test_numbers(values: dict[str, str], expected: tuple[object, ...]) -> None:
    assert tuple(numbers_of(values)) == expected


@pytest.mark.parametrize("column", ["duration", "offset", "channel"])
@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "1e999", "1,5", "0x10", "true"])
def test_numbers_that_are_none(column: str, text: str) -> None:
    with pytest.raises(ValueError, match=column):
        numbers_of({column: text})


@pytest.mark.parametrize("values", [{"duration": "0"}, {"duration": "-0.0"}, {"channel": "0.5"}])
def test_numbers_that_make_no_sense(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(values))} {next(iter(values.values()))}"):
        numbers_of(values)


def test_a_span_ends_without_noise() -> None:
    assert numbers_of({"offset": "0.1", "duration": "0.2"}).part == {"start_s": 0.1, "end_s": 0.3, "channel": None}
    assert numbers_of({"offset": "0.1"}).part == {"start_s": 0.1, "end_s": None, "channel": None}
    assert numbers_of({"duration": "0.2"}).part == {"start_s": None, "end_s": None, "channel": None}


def test_values_become_text() -> None:
    record = {"id": 7, "audio": "a.flac", "transcript": None, "offset": 1.5, "colour": ["red"]}
    assert texts_of(record) == ({"id": "7", "audio": "a.flac", "offset": "1.5"}, "")
    for value in (True, ["a"], {"a": 1}, b"a"):
        assert texts_of({"id": "u1", "age": value}) == ({"id": "u1"}, "age is neither text nor a number")


@pytest.mark.parametrize(("offset", "duration"), [("1", "1e-7"), ("1e308", "1e308"), ("0", "1e308"), ("1e9", "1")])
def test_numbers_that_make_no_span_are_refused(offset: str, duration: str) -> None:
    with pytest.raises(ValueError, match=r"duration|offset"):
        numbers_of({"offset": offset, "duration": duration})


@given(st.floats(0, 1e9, exclude_max=True), st.floats(0, 1e9, exclude_min=True, exclude_max=True))
def test_every_span_that_is_not_refused_reads_back(offset: float, duration: float) -> None:
    try:
        part = numbers_of({"offset": repr(offset), "duration": repr(duration)}).part
    except ValueError:
        return
    uri = AudioUri("/a.wav", **part)
    assert parse_audio_uri(str(uri)) == uri
