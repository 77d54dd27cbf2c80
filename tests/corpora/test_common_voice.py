from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sift_ray.config import CommonVoiceConfig
from sift_ray.corpora import CorpusError, Utterance, read_corpus
from sift_ray.corpora.common_voice import ClipDurations

COLUMNS = [
    *("client_id", "path", "sentence", "up_votes", "down_votes"),
    *("age", "gender", "accents", "variant", "locale", "segment"),
]
Tone = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cv-corpus-15.0-2023-09-08" / "de" / "clips").mkdir(parents=True)
    return tmp_path / "cv-corpus-15.0-2023-09-08"


def line(path: str, sentence: str = "Ein Satz.", **cells: str) -> str:
    row = {"client_id": "abc", "up_votes": "2", "down_votes": "0", "locale": "de", **cells}
    row |= {"path": path, "sentence": sentence}
    return "\t".join(row.get(column, "") for column in COLUMNS)


def read(root: Path, *lines: str, header: str = "\t".join(COLUMNS), split: str = "train") -> list[Utterance]:
    table = root / "de" / f"{split}.tsv"
    table.write_bytes("".join(f"{line}\n" for line in (header, *lines)).encode("utf-8", "surrogateescape"))
    return list(read_corpus(CommonVoiceConfig(type="common_voice", name="cv", path=str(root))))


def test_a_row_in_full(root: Path, write_tone: Tone) -> None:
    audio = write_tone(root / "de" / "clips" / "common_voice_de_1.mp3", rate=48_000)
    row = line("common_voice_de_1.mp3", age="fourties", gender="female", accents="Deutschland Deutsch,Berlin")
    (utterance,) = read(root, row, split="dev")
    assert utterance == Utterance(
        utterance_id="common_voice_de_1",
        corpus="cv",
        data_source="common_voice_de",
        language="de",
        split="dev",
        speaker_id="abc",
        gender="female",
        age="forties",
        accent="Deutschland Deutsch,Berlin",
        transcript="Ein Satz.",
        audio_uri=str(audio.resolve()),
        duration_s=1.0,
        license="CC0-1.0",
    )


def test_quotes_are_plain_characters(root: Path, write_tone: Tone) -> None:
    for number in (1, 2, 3):
        write_tone(root / "de" / "clips" / f"c{number}.mp3", rate=48_000)
    rows = read(root, line("c1.mp3", '"Unbalanciert'), line("c2.mp3", 'Er sagte: "Ja'), line("c3.mp3", '"Gut"'))
    assert [row.transcript for row in rows] == ['"Unbalanciert', 'Er sagte: "Ja', '"Gut"']


def test_columns_may_come_in_any_order_and_older_releases_say_accent(root: Path, write_tone: Tone) -> None:
    write_tone(root / "de" / "clips" / "c1.mp3", rate=48_000)
    header = "accent\tsentence\tpath\tclient_id"
    (row,) = read(root, "Schweiz\tGrüezi.\tc1\tme", header=header)
    assert (row.accent, row.transcript, row.speaker_id, row.reject_reason) == ("Schweiz", "Grüezi.", "me", None)
    assert (row.gender, row.age) == (None, None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("times.txt", "cv-corpus-15.0-2023-09-08/de/clips/c1.mp3 = 4321\n"),
        ("clip_durations.tsv", "clip\tduration[ms]\nc1.mp3\t4321\n"),
    ],
)
def test_durations_come_from_the_releases_table(root: Path, write_tone: Tone, name: str, content: str) -> None:
    write_tone(root / "de" / "clips" / "c1.mp3", rate=48_000)
    write_tone(root / "de" / "clips" / "c2.mp3", rate=48_000)
    (root / "de" / name).write_text(content)
    first, second = read(root, line("c1.mp3"), line("c2.mp3"))
    assert first.duration_s == pytest.approx(4.321)
    assert second.duration_s == 1.0  # not in the table: from the header


def test_duration_table_finds_each_of_many_clips(tmp_path: Path) -> None:
    count = 70_000  # more than one chunk
    lines = (f"`cv/de/clips/c{n}.mp3` = {n + 1}\n" for n in range(count))
    (tmp_path / "times.txt").write_text("".join(lines))
    durations = ClipDurations.read(tmp_path)
    for n in np.random.default_rng(0).integers(0, count, 500):
        assert durations.get(f"c{n}.mp3") == pytest.approx((n + 1) / 1000)
    assert durations.get("c70000.mp3") is None


def test_each_bad_row_is_a_reject_and_the_others_are_read(root: Path, write_tone: Tone, tmp_path: Path) -> None:
    clips = root / "de" / "clips"
    write_tone(clips / "good.mp3", rate=48_000)
    write_tone(tmp_path / "secret.mp3", rate=48_000)
    (clips / "empty.mp3").write_bytes(b"")
    (clips / "text.mp3").write_text("not audio at all")
    (clips / "link.mp3").symlink_to(tmp_path / "secret.mp3")
    (clips / "folder.mp3").mkdir()
    rows = read(
        root,
        "abc\tgood.mp3",
        line("good.mp3") + "\tmore",
        line(""),
        line("empty.mp3"),
        line("text.mp3"),
        line("link.mp3"),
        line("../../../secret.mp3"),
        line(str(tmp_path / "secret.mp3")),
        line("absent.mp3"),
        line("folder.mp3"),
        line("nul\0.mp3"),
        line("good.mp3", "Это не по-немецки"),
        line("good.mp3", "kaputt \udcff"),
        line("good.mp3", "  "),
        line("good.mp3", "3 Äpfel 🍎"),
    )
    assert [row.reject_reason for row in rows] == [
        "too_few_columns",
        "too_many_columns",
        "too_few_columns",
        "empty_audio",
        "unreadable_header",
        "path_outside_root",
        "path_outside_root",
        "path_outside_root",
        "missing_audio",
        "missing_audio",
        "missing_audio",
        "transcript_script",
        "not_utf8",
        None,
        None,
    ]
    assert rows[13].transcript is None
    assert rows[14].transcript == "3 Äpfel 🍎"
    assert all(f"train.tsv:{n}" in (row.reject_detail or "") for n, row in enumerate(rows[:13], 2))
    assert all(row.utterance_id for row in rows)


def test_whole_file_problems_name_file_and_column(root: Path) -> None:
    config = CommonVoiceConfig(type="common_voice", name="cv", path=str(root))
    with pytest.raises(CorpusError, match=r"none of train\.tsv"):
        list(read_corpus(config))
    with pytest.raises(CorpusError, match=r"train\.tsv:1: no column 'sentence'"):
        read(root, header="client_id\tpath")
    with pytest.raises(CorpusError, match="give its parent"):
        list(read_corpus(config.model_copy(update={"path": str(root / "de")})))
    with pytest.raises(CorpusError, match="no folder fr"):
        list(read_corpus(config.model_copy(update={"languages": ("fr",)})))


def test_languages_limit_what_is_read(root: Path) -> None:
    for language in ("fr", "pl"):
        (root / language / "clips").mkdir(parents=True)
        (root / language / "train.tsv").write_text("\t".join(COLUMNS) + "\n" + line("x.mp3") + "\n")
    rows = read(root, line("y.mp3"))
    assert [row.language for row in rows] == ["de", "fr"]  # Polish is none of the five
    config = CommonVoiceConfig(type="common_voice", name="cv", path=str(root), languages=("fr",))
    assert [row.language for row in read_corpus(config)] == ["fr"]
