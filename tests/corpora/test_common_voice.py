from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sift_ray.config import CommonVoiceConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus

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
    return list(read_corpus(cv(root)))


def cv(path: Path, **keys: object) -> CommonVoiceConfig:
    return CommonVoiceConfig.model_validate({"type": "common_voice", "name": "cv", "path": str(path), **keys})


def write_table(path: Path, *rows: str, header: str = "\t".join(COLUMNS)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8")


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


BASE = "client_id path sentence up_votes down_votes age gender accent locale segment"
RELEASES = {
    "5.1": BASE,
    "6.1": BASE,
    "7.0": BASE,
    "8.0": BASE.replace("accent", "accents"),
    "11.0": BASE.replace("accent", "accents"),
    "13.0": BASE.replace("accent", "accents variant"),
    "16.1": BASE.replace("accent", "accents variant"),
    "17.0": BASE.replace("accent", "accents variant").replace("sentence", "sentence_id sentence sentence_domain"),
    "22.0": BASE.replace("accent", "accents variant").replace("sentence", "sentence_id sentence sentence_domain"),
}


@pytest.mark.parametrize("release", RELEASES)
def test_the_columns_of_each_release(root: Path, write_tone: Tone, release: str) -> None:
    write_tone(root / "de" / "clips" / "common_voice_de_1.mp3", rate=48_000)
    cells = {
        "client_id": "abc", "path": "common_voice_de_1.mp3", "sentence_id": "5f3a", "sentence": "Ein Satz.",
        "sentence_domain": "general,finance", "up_votes": "2", "down_votes": "0", "age": "fourties",
        "gender": "male_masculine" if float(release) >= 17 else "male", "accent": "germany",
        "accents": "Deutschland Deutsch", "variant": "de-AT", "locale": "de", "segment": "",
    }  # fmt: skip
    columns = RELEASES[release].split()
    (row,) = read(root, "\t".join(cells[column] for column in columns), header="\t".join(columns))
    assert (row.reject_reason, row.transcript, row.speaker_id) == (None, "Ein Satz.", "abc")
    assert (row.gender, row.age) == ("male", "forties")
    assert row.accent == ("germany" if float(release) < 8 else "Deutschland Deutsch")


def test_a_variant_is_no_accent(root: Path, write_tone: Tone) -> None:
    write_tone(root / "de" / "clips" / "c1.mp3", rate=48_000)
    (row,) = read(root, line("c1.mp3", variant="de-AT", gender="do_not_wish_to_say", age="nineties"))
    assert (row.accent, row.gender, row.age) == (None, None, "nineties")


@pytest.mark.parametrize(
    ("word", "withheld"), [("do_not_wish_to_say", True), ("non-binary", True), ("male_masculine", False), ("", False)]
)
def test_who_declined_to_say_a_gender_is_told_apart(root: Path, write_tone: Tone, word: str, withheld: bool) -> None:
    write_tone(root / "de" / "clips" / "c1.mp3", rate=48_000)
    (row,) = read(root, line("c1.mp3", gender=word))
    assert row.gender_withheld == withheld


def test_byte_order_mark_and_windows_line_ends(root: Path, write_tone: Tone) -> None:
    write_tone(root / "de" / "clips" / "c1.mp3", rate=48_000)
    text = "\r\n".join(["\t".join(COLUMNS), line("c1.mp3", gender="female"), ""])
    (root / "de" / "train.tsv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (row,) = read_corpus(cv(root))
    assert (row.reject_reason, row.speaker_id, row.gender) == (None, "abc", "female")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("times.txt", "cv-corpus-15.0-2023-09-08/de/clips/c1.mp3 = 4321\n"),
        ("times.txt", "`cv-corpus-14.0-2023-06-23/de/clips/c1.mp3` = 4321\r\n"),
        ("times.txt", "`/mnt/a b/de/clips/c1.mp3` = 4321\n"),
        ("times.txt", "c1.mp3\t4321\n"),
        ("times.txt", "total: 2 clips\n\nc1.mp3 = 4321\nc2.mp3 = 0\nc2.mp3 = " + "9" * 5000),
        ("clip_durations.tsv", "clip\tduration[ms]\nc1.mp3\t4321\n"),
        ("clip_durations.tsv", "\ufeffduration[ms]\tclip\r\n4321\tc1.mp3\r\n0\tc2.mp3\r\nnan\tc2.mp3\r\n\r\n"),
        ("clip_durations.tsv", "clip\tduration[ms]\nc2.mp3\nc2.mp3\t-5\nc1.mp3\t4321\nc2.mp3\t" + "9" * 5000),
    ],
)
def test_durations_come_from_the_releases_table(root: Path, write_tone: Tone, name: str, content: str) -> None:
    write_tone(root / "de" / "clips" / "c1.mp3", rate=48_000)
    write_tone(root / "de" / "clips" / "c2.mp3", rate=48_000)
    (root / "de" / name).write_bytes(content.encode())
    first, second = read(root, line("c1.mp3"), line("c2.mp3"))
    assert first.duration_s == pytest.approx(4.321)
    assert second.duration_s == 1.0  # not in the table: from the header


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
        line("good.mp3", "ab\0geschnitten"),
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
        "nul_byte",
        "transcript_script",
        "not_utf8",
        None,
        None,
        "nul_byte",
    ]
    assert rows[13].transcript is None
    assert rows[14].transcript == "3 Äpfel 🍎"
    assert all(f"train.tsv:{n}" in (row.reject_detail or "") for n, row in enumerate(rows, 2) if row.reject_reason)
    assert not any("\0" in row.utterance_id for row in rows)
    assert all(row.utterance_id for row in rows)


def test_whole_file_problems_name_file_and_column(root: Path) -> None:
    with pytest.raises(CorpusError, match=r"none of train\.tsv"):
        list(read_corpus(cv(root)))
    with pytest.raises(CorpusError, match="no folder fr"):
        list(read_corpus(cv(root, languages=["fr"])))
    with pytest.raises(CorpusError, match=r"no validated\.tsv"):
        list(read_corpus(cv(root, validated=True)))
    (root / "de" / "train.tsv").touch()
    with pytest.raises(CorpusError, match=r"train\.tsv: the file is empty"):
        list(read_corpus(cv(root)))
    with pytest.raises(CorpusError, match="no folder of a language"):
        list(read_corpus(cv(root / "de" / "clips")))


@pytest.mark.parametrize(
    ("column", "renamed"),
    [
        *[("client_id", "speaker"), ("path", "file"), ("sentence", "text")],
        *[("age", "ages"), ("gender", "sex"), ("accents", "dialect")],
    ],
)
def test_a_renamed_column_is_named_with_its_file_and_those_that_are_there(
    root: Path, column: str, renamed: str
) -> None:
    columns = [renamed if name == column else name for name in COLUMNS]
    with pytest.raises(CorpusError) as error:
        read(root, line("c1.mp3"), header="\t".join(columns))
    for part in (str(root / "de" / "train.tsv:1"), f"no column {column!r}", ", ".join(columns)):
        assert part in str(error.value)


def test_a_renamed_duration_column_is_an_error(root: Path) -> None:
    (root / "de" / "clip_durations.tsv").write_text("clip\tduration[s]\nc1.mp3\t4\n")
    with pytest.raises(CorpusError, match=r"clip_durations\.tsv:1: no column 'duration\[ms\]'.*clip, duration\[s\]"):
        read(root, line("c1.mp3"))


def test_languages_limit_what_is_read_and_other_folders_are_counted(root: Path) -> None:
    for language in ("fr", "pl", "zh-TW"):
        write_table(root / language / "train.tsv", line("x.mp3"))
    (root / "notes").mkdir()
    reading = Reading()
    write_table(root / "de" / "train.tsv", line("y.mp3"))
    assert [row.language for row in read_corpus(cv(root), reading)] == ["de", "fr"]
    assert reading.skipped == {
        ("cv", "language pl is none of the five (its folder)"): 1,
        ("cv", "language zh-TW is none of the five (its folder)"): 1,
    }
    reading = Reading()
    assert [row.language for row in read_corpus(cv(root, languages=["fr"]), reading)] == ["fr"]
    assert reading.skipped["cv", "language de is not asked for (its folder)"] == 1


def test_a_table_with_a_header_only_has_no_rows(root: Path) -> None:
    assert read(root) == []


def test_downloads_side_by_side_and_one_language_alone(tmp_path: Path, write_tone: Tone) -> None:
    german = tmp_path / "1774205200568-cv-corpus-25.0-2026-03-09-de" / "cv-corpus-25.0-2026-03-09" / "de"
    french = tmp_path / "cv-corpus-24.0-2025-12-05" / "fr"
    for folder in (german, french):
        write_tone(folder / "clips" / "c1.mp3", rate=48_000)
        write_table(folder / "dev.tsv", line("c1.mp3"))
    rows = list(read_corpus(cv(tmp_path)))
    assert [(row.language, row.split, row.reject_reason) for row in rows] == [("de", "dev", None), ("fr", "dev", None)]
    assert rows[0].audio_uri == str(german.resolve() / "clips" / "c1.mp3")
    assert list(read_corpus(cv(german))) == rows[:1]
    write_table(tmp_path / "cv-corpus-23.0-2025-09-05" / "fr" / "dev.tsv", line("c1.mp3"))
    with pytest.raises(CorpusError, match="of the same language; give the path of one"):
        list(read_corpus(cv(tmp_path)))


def test_clips_may_be_named_with_their_folder_or_without_a_suffix(root: Path, write_tone: Tone) -> None:
    write_tone(root / "de" / "clips" / "c1.mp3", rate=48_000)
    write_tone(root / "de" / "clips" / "c2.wav", rate=48_000)  # decoded beforehand
    rows = read(root, line("clips/c1.mp3"), line("c1"), line("c2.wav"))
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [("c1", None), ("c1", None), ("c2", None)]


def test_validated_clips_without_a_split_join_train(root: Path, write_tone: Tone) -> None:
    folder = root / "de"
    for number in range(1, 6):
        write_tone(folder / "clips" / f"c{number}.mp3", rate=48_000)
    for split, clip in (("train", "c1"), ("dev", "c2"), ("test", "c3")):
        write_table(folder / f"{split}.tsv", line(f"{clip}.mp3"))
    write_table(folder / "validated.tsv", *(line(f"c{n}.mp3") for n in (5, 4, 3, 2, 1)), "cut\toff")
    for name in ("other", "invalidated"):
        write_table(folder / f"{name}.tsv", line("c1.mp3"), header="no such header")
    plain = [("c1", "train"), ("c2", "dev"), ("c3", "test")]
    assert [(row.utterance_id, row.split) for row in read_corpus(cv(root))] == plain
    *rows, damaged = read_corpus(cv(root, validated=True))
    assert [(row.utterance_id, row.split) for row in rows] == [*plain, ("c5", "train"), ("c4", "train")]
    assert all(row.reject_reason is None for row in rows)
    assert (damaged.split, damaged.reject_reason) == ("train", "too_few_columns")


def test_a_delta_release_has_validated_clips_alone(root: Path, write_tone: Tone) -> None:
    write_tone(root / "de" / "clips" / "c1.mp3", rate=48_000)
    write_table(root / "de" / "validated.tsv", line("c1.mp3"))
    with pytest.raises(CorpusError, match="a delta release has none"):
        list(read_corpus(cv(root)))
    assert [(row.utterance_id, row.split) for row in read_corpus(cv(root, validated=True))] == [("c1", "train")]
