from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sift_ray.config import VctkConfig
from sift_ray.corpora import CorpusError, Utterance, read_corpus
from sift_ray.corpora.values import split_by_speaker

INFO = """\
ID  AGE  GENDER  ACCENTS  REGION COMMENTS 
p225  23  F    English    Southern  England
p248  23  F    Indian
p238  22  F    NorthernIrish  Belfast
p280  25  F    Unknown    France   (mic2 files unavailable)
p315  18  M    American   New  England   (Text and mic2 files unavailable)
p293  22  F    NorthernIrish   Belfast
p326  26  M    Australian English   Sydney
p335  25  F    NewZealand  English
"""  # noqa: W291
Tone = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "speaker-info.txt").write_text(INFO, encoding="utf-8")
    (tmp_path / "wav48_silence_trimmed").mkdir()
    return tmp_path


def add(root: Path, write_tone: Tone, name: str, text: str | None = "Please call Stella.") -> Path:
    speaker, utterance, _ = name.split("_")
    if text is not None:
        (root / "txt" / speaker).mkdir(parents=True, exist_ok=True)
        (root / "txt" / speaker / f"{speaker}_{utterance}.txt").write_text(f"{text}\n", encoding="utf-8")
    return write_tone(root / "wav48_silence_trimmed" / speaker / f"{name}.flac", rate=48_000)


def read(root: Path, mic: str = "mic2") -> list[Utterance]:
    return list(read_corpus(VctkConfig.model_validate({"type": "vctk", "name": "vctk", "path": str(root), "mic": mic})))


def test_a_row_in_full_and_one_row_for_two_microphones(root: Path, write_tone: Tone) -> None:
    first, second = (add(root, write_tone, f"p225_001_mic{n}") for n in (1, 2))
    expected = Utterance(
        utterance_id="p225_001",
        corpus="vctk",
        data_source="vctk_en",
        language="en",
        split=split_by_speaker("p225", "p225_001"),
        speaker_id="p225",
        gender="female",
        age="twenties",
        accent="English",
        transcript="Please call Stella.",
        audio_uri=str(second.resolve()),
        duration_s=1.0,
        license="CC-BY-4.0",
    )
    assert read(root) == [expected]
    assert [row.audio_uri for row in read(root, mic="mic1")] == [str(first.resolve())]


def test_the_holes_of_the_corpus(root: Path, write_tone: Tone) -> None:
    add(root, write_tone, "p280_001_mic1")
    add(root, write_tone, "p315_001_mic1", text=None)
    add(root, write_tone, "s5_001_mic1")
    add(root, write_tone, "s5_001_mic2")
    (root / "wav48_silence_trimmed" / "log.txt").write_text("not a speaker")
    (root / "wav48_silence_trimmed" / "p280" / "notes.txt").write_text("not a clip")
    french, silent, unlisted = read(root)
    assert (french.audio_uri or "").endswith("p280_001_mic1.flac")  # no second microphone: the first
    assert (french.accent, french.age) == (None, "twenties")
    assert (silent.transcript, silent.reject_reason, silent.gender) == (None, None, "male")
    assert (unlisted.gender, unlisted.age, unlisted.accent) == (None, None, None)
    assert (unlisted.audio_uri or "").endswith("mic2.flac")


def test_a_speaker_whose_second_microphone_failed_half_way(root: Path, write_tone: Tone) -> None:
    for name in ("p362_001_mic1", "p362_001_mic2", "p362_002_mic1", "p362_003_mic2"):
        add(root, write_tone, name)
    chosen = {mic: [(row.audio_uri or "")[-9:-5] for row in read(root, mic=mic)] for mic in ("mic1", "mic2")}
    assert chosen == {"mic1": ["mic1", "mic1", "mic2"], "mic2": ["mic2", "mic1", "mic2"]}


@pytest.mark.parametrize(
    ("speaker", "accent"),
    [
        ("p248", "Indian"),
        ("p315", "American"),
        ("p293", "Northern Irish"),
        ("p326", "Australian"),
        ("p335", "New Zealand"),
    ],
)
def test_accents_of_one_word_or_two(root: Path, write_tone: Tone, speaker: str, accent: str) -> None:
    add(root, write_tone, f"{speaker}_001_mic1")
    (row,) = read(root)
    assert row.accent == accent


def test_bad_files_are_rejects(root: Path, write_tone: Tone, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = write_tone(tmp_path_factory.mktemp("outside") / "x.flac")
    add(root, write_tone, "p225_001_mic1").write_bytes(b"")
    add(root, write_tone, "p225_002_mic1").write_text("no audio")
    add(root, write_tone, "p225_003_mic1").unlink()
    (root / "wav48_silence_trimmed" / "p225" / "p225_003_mic1.flac").symlink_to(outside)
    add(root, write_tone, "p225_004_mic1", text="Позвоните Стелле")
    add(root, write_tone, "p225_005_mic1", text=" ")
    add(root, write_tone, "p225_006_mic1", text=None)
    secret = outside.with_suffix(".txt")
    secret.write_text("A secret.")
    (root / "txt" / "p225" / "p225_006.txt").symlink_to(secret)
    add(root, write_tone, "p225_007_mic1", text="kaputt")
    (root / "txt" / "p225" / "p225_007.txt").write_bytes(b"Caf\xe9\n")
    rows = read(root)
    assert [row.reject_reason for row in rows] == [
        "empty_audio",
        "unreadable_header",
        "path_outside_root",
        "transcript_script",
        None,
        "path_outside_root",
        "not_utf8",
    ]
    assert rows[4].transcript is None
    assert rows[5].transcript is None
    assert "p225_006.txt" in (rows[5].reject_detail or "")


def test_whole_corpus_problems(root: Path) -> None:
    config = VctkConfig(type="vctk", name="vctk", path=str(root))
    with pytest.raises(CorpusError, match="VCTK is English"):
        list(read_corpus(config.model_copy(update={"languages": ("de",)})))
    with pytest.raises(CorpusError, match="no folder of a speaker is there"):
        list(read_corpus(config))
    (root / "wav48_silence_trimmed" / "p225").mkdir()
    (root / "speaker-info.txt").write_text("nothing of the kind\n")
    with pytest.raises(CorpusError, match=r"speaker-info\.txt:1"):
        list(read_corpus(config))
    (root / "speaker-info.txt").write_text("")
    with pytest.raises(CorpusError, match="empty"):
        list(read_corpus(config))
    (root / "speaker-info.txt").unlink()
    with pytest.raises(CorpusError, match=r"speaker-info\.txt"):
        list(read_corpus(config))


def test_a_gender_may_be_withheld(root: Path, write_tone: Tone) -> None:
    with (root / "speaker-info.txt").open("a", encoding="utf-8") as file:
        file.write("p400  24  other    English    Leeds\n")
    for name in ("p225_001_mic1", "p400_001_mic1", "s5_001_mic1"):
        add(root, write_tone, name)
    assert [(row.gender, row.gender_withheld) for row in read(root)] == [("female", False), (None, True), (None, False)]
