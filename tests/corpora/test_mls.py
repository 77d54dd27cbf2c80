from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sift_ray.config import MlsConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus
from sift_ray.corpora.mls import FOLDERS
from sift_ray.schema import LANGUAGES

METAINFO = """\
 SPEAKER   |   GENDER   | PARTITION  |  MINUTES   |  BOOK ID   |             TITLE              |  CHAPTER
    252    |     F      |   train    |   20.217   |   2543     | Die Verwandlung                |  Erster
    252    |     F      |    dev     |   10.000   |   2544     | Das Urteil | mit einem Strich   |  Zweiter
    300    |     M      |   train    |   20.217   |   2543     | Ein Buch                       |  Erster
    301    |     M      |   train    |   20.217   |   2543     | Ein Buch                       |  Erster
    301    |     F      |   train    |   20.217   |   2545     | Noch eins                      |  Erster
"""

Tone = Callable[..., Path]


@pytest.fixture
def german(tmp_path: Path) -> Path:
    folder = tmp_path / "mls_german"
    (folder / "train").mkdir(parents=True)
    (folder / "metainfo.txt").write_text(METAINFO, encoding="utf-8")
    return folder


def read(
    folder: Path, *lines: str, path: Path | None = None, reading: Reading | None = None, **config: Any
) -> list[Utterance]:
    write_lines(folder / "train" / "transcripts.txt", *lines)
    return list(read_corpus(MlsConfig(type="mls", name="mls", path=str(path or folder.parent), **config), reading))


def write_lines(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def clip(folder: Path, utterance_id: str, suffix: str = ".flac") -> Path:
    speaker, book, _ = utterance_id.split("_")
    return folder / "train" / "audio" / speaker / book / f"{utterance_id}{suffix}"


def test_a_row_in_full(german: Path, write_tone: Tone) -> None:
    audio = write_tone(clip(german, "252_2543_000000"), seconds=1.5)
    (utterance,) = read(german, "252_2543_000000\tein käfer lag auf dem rücken")
    assert utterance == Utterance(
        utterance_id="252_2543_000000",
        corpus="mls",
        data_source="multilingual_librispeech_de",
        language="de",
        split="train",
        speaker_id="252",
        gender="female",
        transcript="ein käfer lag auf dem rücken",
        audio_uri=str(audio.resolve()),
        duration_s=1.5,
        license="CC-BY-4.0",
    )


def test_gender_is_unknown_for_a_speaker_missing_in_metainfo_or_given_both(german: Path, write_tone: Tone) -> None:
    ids = [f"{speaker}_2543_000000" for speaker in (252, 300, 301, 999)]
    for utterance_id in ids:
        write_tone(clip(german, utterance_id))
    rows = read(german, *(f"{utterance_id}\tein satz" for utterance_id in ids))
    assert [row.gender for row in rows] == ["female", "male", None, None]
    assert [row.gender_withheld for row in rows] == [False] * 4
    assert [row.reject_reason for row in rows] == [None] * 4


def test_a_gender_may_be_withheld(german: Path, write_tone: Tone) -> None:
    (german / "metainfo.txt").write_text("SPEAKER | GENDER\n252 | F\n252 | other\n300 | M\n")
    ids = [f"{speaker}_2543_000000" for speaker in (252, 300, 301)]
    for utterance_id in ids:
        write_tone(clip(german, utterance_id))
    rows = read(german, *(f"{utterance_id}\tein satz" for utterance_id in ids))
    assert [(row.gender, row.gender_withheld) for row in rows] == [(None, True), ("male", False), (None, False)]


def test_the_root_may_be_the_language_folder_and_the_audio_opus(tmp_path: Path, write_tone: Tone) -> None:
    folder = tmp_path / "mls_french_opus"
    (folder / "train").mkdir(parents=True)
    (folder / "metainfo.txt").write_text(METAINFO, encoding="utf-8")
    write_tone(clip(folder, "252_2543_000000", ".opus"), rate=48_000, format="OGG", subtype="OPUS")
    (utterance,) = read(folder, "252_2543_000000\tbonjour", path=folder)
    assert utterance.reject_reason is None
    assert utterance.data_source == "multilingual_librispeech_fr"
    assert utterance.duration_s == pytest.approx(1.0, abs=0.01)


def test_each_bad_row_is_a_reject_and_the_others_are_read(german: Path, write_tone: Tone, tmp_path: Path) -> None:
    write_tone(clip(german, "252_2543_000001"))
    write_tone(clip(german, "252_2543_000009"))
    clip(german, "252_2543_000002").write_bytes(b"")
    clip(german, "252_2543_000003").write_text("this is no audio")
    outside = write_tone(tmp_path / "elsewhere" / "x.flac")
    clip(german, "252_2543_000004").symlink_to(outside)
    rows = read(
        german,
        "252_2543_000001 no tab",
        "252_2543_000002\tleer",
        "252_2543_000003\ttext",
        "252_2543_000004\tverweis",
        "252_2543_000005\tfehlt",
        "252_2543_000001\tЭто не по-немецки",
        "252_2543_000001\tkaputt \udcff",
        "252_2543_000001\t",
        "..\t..",
        "",
        "252_2543_000009\tgut",
    )
    assert [row.reject_reason for row in rows] == [
        "too_few_columns",
        "empty_audio",
        "unreadable_header",
        "path_outside_root",
        "missing_audio",
        "transcript_script",
        "not_utf8",
        None,
        "too_few_columns",
        None,
    ]
    assert rows[6].transcript == "kaputt \ufffd"  # can be stored as UTF-8
    assert rows[7].transcript is None
    for number, row in enumerate(rows[:7], 1):
        assert f"transcripts.txt:{number}" in (row.reject_detail or "")


def test_an_id_cannot_climb_out_of_the_root(german: Path, write_tone: Tone, tmp_path: Path) -> None:
    write_tone(tmp_path / "x.flac")
    (row,) = read(german, "../../../../x_.._x\ttext")
    assert row.reject_reason == "path_outside_root"


def test_an_id_cannot_climb_within_the_root(german: Path, write_tone: Tone) -> None:
    # where these would lead, there is audio
    write_tone(german / "train" / "audio" / "252" / "252_.._x.flac")
    write_tone(german / "train" / ".._.._x.flac")
    write_tone(german / "train" / "audio" / "252" / "b" / "252_a" / "b_x.flac")
    rows = read(german, "252_.._x\ttext", ".._.._x\ttext", "252/b/252_a/b_x\ttext")
    assert [row.reject_reason for row in rows] == ["unsafe_id", "unsafe_id", "unsafe_id"]


def test_whole_file_problems_say_what_is_missing(german: Path) -> None:
    config = MlsConfig(type="mls", name="mls", path=str(german.parent))
    with pytest.raises(CorpusError, match=r"transcripts\.txt.*incomplete"):
        list(read_corpus(config))
    (german / "metainfo.txt").write_text("SPEAKER | SEX\n")
    with pytest.raises(CorpusError, match=r"metainfo\.txt:1: no column GENDER"):
        list(read_corpus(config))
    (german / "metainfo.txt").unlink()
    with pytest.raises(CorpusError, match=r"metainfo\.txt"):
        list(read_corpus(config))
    with pytest.raises(CorpusError, match="mls_italian"):
        list(read_corpus(config.model_copy(update={"languages": ("it",)})))
    (german.parent / "mls_german_opus").mkdir()
    with pytest.raises(CorpusError, match="same clips"):
        list(read_corpus(config))


def test_a_folder_without_a_language_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mls_polish").mkdir()
    with pytest.raises(CorpusError, match="no folder mls_<language>"):
        list(read_corpus(MlsConfig(type="mls", name="mls", path=str(tmp_path))))
    with pytest.raises(CorpusError, match="mls_polish: Polish is none of the languages en, de"):
        list(read_corpus(MlsConfig(type="mls", name="mls", path=str(tmp_path / "mls_polish"))))


def test_reading_streams(german: Path, write_tone: Tone) -> None:
    write_tone(clip(german, "252_2543_000000"))
    (german / "train" / "transcripts.txt").write_text("252_2543_000000\tgut\n" * 2000)
    rows = read_corpus(MlsConfig(type="mls", name="mls", path=str(german.parent)))
    assert next(rows).transcript == "gut"
    (german / "train" / "audio" / "252" / "2543" / "252_2543_000000.flac").unlink()
    assert list(rows)[-1].reject_reason == "missing_audio"


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_the_text(german: Path, write_tone: Tone) -> None:
    write_tone(clip(german, "252_2543_000000"))
    (german / "metainfo.txt").write_bytes(b"\xef\xbb\xbf" + METAINFO.replace("\n", "\r\n").encode())
    rows = read(german, "\ufeff252_2543_000000\tein käfer\r", "252_2543_000000\tein \0 käfer\r", "\r")
    assert [(row.transcript, row.gender) for row in rows] == [("ein käfer", "female"), ("ein \ufffd käfer", "female")]
    assert [row.reject_reason for row in rows] == [None, "nul_byte"]


SEGMENTS = (
    "252_2543_000000\thttp://www.archive.org/download/x/y_64kb.mp3\t401.76\t417.57",
    "252_2543_000001    http://www.archive.org/download/x/y_64kb.mp3    10     12.5",
    "252_2543_000002\thttp://www.archive.org/download/x/y_64kb.mp3\t10\tx12.5",
    "252_2543_000003\t10\t12.5",
    "252_2543_000004\thttp://www.archive.org/download/x/y_64kb.mp3\t12.5\t12.5",
    "",
)


def test_durations_come_from_segments_and_no_header_is_read(german: Path, write_tone: Tone) -> None:
    write_lines(german / "train" / "segments.txt", *SEGMENTS)
    ids = [f"252_2543_{number:06}" for number in range(6)]
    for utterance_id in ids[2:]:
        write_tone(clip(german, utterance_id), seconds=3.25)
    for utterance_id in ids[:2]:
        write_lines(clip(german, utterance_id), "this is no audio")
    rows = read(german, *(f"{utterance_id}\tein satz" for utterance_id in ids))
    assert [row.reject_reason for row in rows] == [None] * 6
    assert [row.duration_s for row in rows] == pytest.approx([15.81, 2.5, 3.25, 3.25, 3.25, 3.25], abs=1e-4)


def test_audio_that_segments_tell_of_must_be_there(german: Path) -> None:
    write_lines(german / "train" / "segments.txt", *SEGMENTS)
    (row,) = read(german, "252_2543_000000\tein satz")
    assert row.reject_reason == "missing_audio"


@pytest.mark.parametrize(("asked", "kept"), [("9hr", [0, 2]), ("1hr", [1, 3])])
def test_limited_supervision_keeps_the_listed_clips_of_train(
    german: Path, write_tone: Tone, asked: str, kept: list[int]
) -> None:
    ids = [f"252_2543_{number:06}" for number in range(5)]
    for utterance_id in ids:
        write_tone(clip(german, utterance_id))
    lists = german / "train" / "limited_supervision"
    write_lines(lists / "9hr" / "handles.txt", ids[0], f"{ids[2]}\r", "")
    write_lines(lists / "1hr" / "0" / "handles.txt", ids[1])
    write_lines(lists / "1hr" / "5" / "handles.txt", ids[3])
    write_lines(german / "dev" / "transcripts.txt", "252_2544_000000\tein satz")
    reading = Reading()
    lines = [*(f"{utterance_id}\tein satz" for utterance_id in ids), "damaged"]
    rows = read(german, *lines, reading=reading, limited_supervision=asked)
    assert [row.utterance_id for row in rows if row.split == "train"] == [*(ids[number] for number in kept), "damaged"]
    assert [row.utterance_id for row in rows if row.split == "dev"] == ["252_2544_000000"]
    assert reading.skipped == {("mls", f"mls_german: clips of train that the list {asked} leaves out"): 3}


def test_limited_supervision_without_its_list_is_an_error(german: Path) -> None:
    with pytest.raises(CorpusError, match=r"mls_german/train/limited_supervision/9hr: no ids in a handles\.txt"):
        read(german, "252_2543_000000\tein satz", limited_supervision="9hr")


def test_other_languages_are_counted_and_not_read(german: Path, write_tone: Tone) -> None:
    write_tone(clip(german, "252_2543_000000"))
    for name in ("mls_polish", "mls_dutch", "mls_dutch_opus", "mls_portuguese_opus", "mls_french", "mls_klingon"):
        (german.parent / name).mkdir()
    (german.parent / "english").mkdir()  # neither named mls_ nor with shards: something else
    reading = Reading()
    (row,) = read(german, "252_2543_000000\tein satz", reading=reading, languages=("de",))
    assert row.language == "de"
    assert reading.skipped == {
        ("mls", "folder mls_dutch, as a whole: Dutch is none of the five languages"): 1,
        ("mls", "folder mls_dutch_opus, as a whole: Dutch is none of the five languages"): 1,
        ("mls", "folder mls_french, as a whole: language fr is not asked for"): 1,
        ("mls", "folder mls_polish, as a whole: Polish is none of the five languages"): 1,
        ("mls", "folder mls_portuguese_opus, as a whole: Portuguese is none of the five languages"): 1,
    }


def test_the_five_languages_are_read_by_their_folders_names(tmp_path: Path) -> None:
    for language, name in FOLDERS.items():
        folder = tmp_path / (f"mls_{name}_opus" if language in ("fr", "es") else f"mls_{name}")
        write_lines(folder / "metainfo.txt", "SPEAKER | GENDER")
        write_lines(folder / "test" / "transcripts.txt", "1_2_000000\ttext")
    rows = list(read_corpus(MlsConfig(type="mls", name="mls", path=str(tmp_path))))
    assert [row.language for row in rows] == list(LANGUAGES)
    assert [row.data_source for row in rows] == [f"multilingual_librispeech_{language}" for language in LANGUAGES]
    assert {row.split for row in rows} == {"test"}
    assert {row.reject_reason for row in rows} == {"missing_audio"}
