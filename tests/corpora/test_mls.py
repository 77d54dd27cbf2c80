from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sift_ray.config import MlsConfig
from sift_ray.corpora import CorpusError, Utterance, read_corpus
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


def read(folder: Path, *lines: str, path: Path | None = None) -> list[Utterance]:
    transcripts = folder / "train" / "transcripts.txt"
    transcripts.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    return list(read_corpus(MlsConfig(type="mls", name="mls", path=str(path or folder.parent))))


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
    assert [row.reject_reason for row in rows] == [None] * 4


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


def test_reading_streams(german: Path, write_tone: Tone) -> None:
    write_tone(clip(german, "252_2543_000000"))
    (german / "train" / "transcripts.txt").write_text("252_2543_000000\tgut\n" * 3)
    rows = read_corpus(MlsConfig(type="mls", name="mls", path=str(german.parent)))
    assert next(rows).transcript == "gut"
    (german / "train" / "audio" / "252" / "2543" / "252_2543_000000.flac").unlink()
    assert next(rows).reject_reason == "missing_audio"


def test_languages_come_in_the_schemas_order() -> None:
    from sift_ray.corpora.mls import FOLDERS

    assert tuple(FOLDERS) != ()
    assert set(FOLDERS) == set(LANGUAGES)
