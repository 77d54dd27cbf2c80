"""Whatever bytes a table holds, no line stops its reader, none is lost, and all can be written as UTF-8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sift_ray.config import (
    CommonVoiceConfig,
    CorpusConfig,
    KaldiConfig,
    LhotseConfig,
    ManifestConfig,
    MlsConfig,
    NemoConfig,
)
from sift_ray.corpora import read_corpus
from sift_ray.corpora.reading import Reading

Case = tuple[CorpusConfig, Path, bytes]


def _mls(root: Path) -> Case:
    (root / "mls_german" / "train").mkdir(parents=True)
    (root / "mls_german" / "metainfo.txt").write_text("SPEAKER | GENDER\n")
    return MlsConfig(type="mls", name="x", path=str(root)), root / "mls_german/train/transcripts.txt", b""


def _common_voice(root: Path) -> Case:
    (root / "de" / "clips").mkdir(parents=True)
    header = b"client_id\tpath\tsentence\tage\n"
    return CommonVoiceConfig(type="common_voice", name="x", path=str(root)), root / "de/train.tsv", header


def _manifest(suffix: str) -> Callable[[Path], Case]:
    def make(root: Path) -> Case:
        path = root / f"m{suffix}"
        path.touch()
        header = {".tsv": b"id\taudio\ttranscript\tlanguage\n", ".csv": b"id,audio,transcript,language\n"}
        return ManifestConfig(type="manifest", name="x", path=str(path)), path, header.get(suffix, b"")

    return make


def _nemo(root: Path) -> Case:
    path = root / "m.json"
    path.touch()
    return NemoConfig(type="nemo", name="x", path=str(path)), path, b""


def _lhotse(root: Path) -> Case:
    path = root / "cuts.jsonl"
    path.touch()
    return LhotseConfig(type="lhotse", name="x", path=str(path)), path, b""


def _kaldi(name: str) -> Callable[[Path], Case]:
    def make(root: Path) -> Case:
        for other in ("wav.scp", "text"):
            (root / other).touch()
        return KaldiConfig(type="kaldi", name="x", path=str(root), language="de"), root / name, b""

    return make


CASES = {
    "mls": _mls,
    "common_voice": _common_voice,
    "tsv": _manifest(".tsv"),
    "csv": _manifest(".csv"),
    "jsonl": _manifest(".jsonl"),
    "nemo": _nemo,
    "lhotse": _lhotse,
    "kaldi_wav": _kaldi("wav.scp"),
    "kaldi_text": _kaldi("text"),
    "kaldi_segments": _kaldi("segments"),
}
JUNK = st.lists(
    st.one_of(
        st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")),
        st.lists(st.binary(max_size=8), min_size=4, max_size=4).map(
            lambda cells: b"\t".join(cells).replace(b"\n", b"")
        ),
        st.text(max_size=20).map(lambda text: text.replace("\n", "").encode("utf-8", "surrogatepass")),
    ),
    max_size=6,
)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return CASES[request.param](tmp_path_factory.mktemp(request.param))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=JUNK)
@example(lines=[b"1_2_\xff\ttext", b"me\t\xff.mp3\ttext\t20", b"\xff,\xff,\xff,\xff", b"\xff\t\xff\t\xff\t\xff"])
@example(lines=[b'{"id": "\\ud800", "audio": "\\udfff", "transcript": "\\udcff", "language": "\\ud900"}'])
@example(lines=[b"\t\t\tAa"])
@example(lines=[b"a\t\x00\ttext\ten", b"1_\x00_3\ttext"])
def test_no_line_stops_the_reader_or_is_lost(case: Case, lines: list[bytes]) -> None:
    config, path, header = case
    if config.type == "kaldi":
        lines = sorted(lines, key=bytes.split)  # as Kaldi's own tools refuse them otherwise
    path.write_bytes(header + b"".join(line + b"\n" for line in lines))
    reading = Reading()
    rows = list(read_corpus(config, reading))
    if path.suffix != ".csv":  # a quote may join lines
        said = sum(bool(line.decode("utf-8", "surrogateescape").strip()) for line in lines)
        assert said <= len(rows) + sum(reading.skipped.values())  # (of languages that nobody asked for)
        assert len(rows) <= len(lines)
    for row in rows:
        assert row.reject_reason is not None  # there is no audio at all
        for name in row.__slots__:
            value = getattr(row, name)
            if isinstance(value, str):
                value.encode("utf-8")
