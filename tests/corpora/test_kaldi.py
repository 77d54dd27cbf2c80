from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from sift_ray.config import KaldiConfig
from sift_ray.corpora import CorpusError, Reading, Utterance, read_corpus
from sift_ray.corpora.audio_uri import parse_audio_uri
from sift_ray.corpora.kaldi import read_kaldi

RATE = 16_000
Tone = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "train").mkdir(parents=True)
    return tmp_path / "data" / "train"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("wav_scp", "wav.scp")
        path.write_bytes(text.encode("utf-8", "surrogateescape"))


def read(folder: Path, reading: Reading | None = None, **options: Any) -> list[Utterance]:
    options = {"language": "en", "root": str(folder.parent.parent), **options}
    return list(read_corpus(KaldiConfig(type="kaldi", name="mine", path=str(folder), **options), reading))


def noise(path: Path, seconds: float, channels: int = 1) -> NDArray[np.int16]:
    """Write noise as 16 bit; return its samples, [frames, channels]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(7).integers(-9000, 9000, (round(seconds * RATE), channels)).astype(np.int16)
    sf.write(path, samples, RATE, subtype="PCM_16")
    return samples


def samples_at(address: str | None) -> NDArray[np.int16]:
    """Read what an address names: [frames, channels]."""
    assert address is not None
    uri = parse_audio_uri(address)
    end = None if uri.end_s is None else round(uri.end_s * RATE)
    samples, _ = sf.read(uri.file, dtype="int16", always_2d=True)
    samples = samples[round((uri.start_s or 0.0) * RATE) : end]
    return samples if uri.channel is None else samples[:, [uri.channel]]


def test_a_folder_in_full(folder: Path, write_tone: Tone) -> None:
    audio = write_tone(folder.parent.parent / "clips" / "a.wav", seconds=1.5)
    write(
        folder,
        wav_scp="ann-1 clips/a.wav\n",
        text="ann-1 HALLO  WELT\n",
        utt2spk="ann-1 ann\n",
        spk2gender="ann f\nbob m\n",
        utt2lang="ann-1 German\n",
    )
    assert read(folder, language=None, license="CC0-1.0") == [
        Utterance(
            utterance_id="ann-1",
            corpus="mine",
            data_source="mine_de",
            language="de",
            split=read(folder)[0].split,
            speaker_id="ann",
            gender="female",
            transcript="HALLO WELT",
            audio_uri=str(audio.resolve()),
            duration_s=1.5,
            license="CC0-1.0",
        )
    ]


def test_segments_are_spans_of_recordings(folder: Path) -> None:
    mono = noise(folder.parent.parent / "mono.flac", 4.0)
    stereo = noise(folder.parent.parent / "stereo.wav", 3.0, channels=2)
    write(
        folder,
        wav_scp="rec1 mono.flac\nrec2 stereo.wav\n",
        segments=(
            "a-1 rec1 0.25 1.75\na-2 rec1 2.5 -1\na-3 rec1 0.00 -1\nb-1 rec2 1.0 2.5\nb-2 rec2 0.5 1.0 1\n"
            "b-3 rec2 1.0 2.0 0\nb-4 rec2 0.1 0.3\n"
        ),
        text="a-1 one\na-2 two\na-3 three\nb-1 four\nb-2 five\nb-3 six\n",
    )
    rows = read(folder, split="dev")
    expected = [
        mono[4_000:28_000],
        mono[40_000:],
        mono,
        stereo[16_000:40_000],
        stereo[8_000:16_000, 1:],
        stereo[16_000:32_000, :1],
        stereo[1_600:4_800],
    ]
    assert [row.reject_reason for row in rows] == [None] * 7
    for row, samples in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(samples_at(row.audio_uri), samples)
        assert row.duration_s == pytest.approx(len(samples) / RATE, abs=1e-9)
    assert [row.transcript for row in rows] == ["one", "two", "three", "four", "five", "six", None]
    assert "#" not in (rows[2].audio_uri or "")  # the whole file
    assert {row.split for row in rows} == {"dev"}


def test_durations_come_from_tables_where_those_are_numbers(folder: Path, write_tone: Tone) -> None:
    for name in "abcd":
        write_tone(folder / f"{name}.wav", seconds=1.0)
    scp = "a a.wav\nb b.wav\nc c.wav\nd d.wav\n"
    write(folder, wav_scp=scp, utt2dur="a 7.5\nb 0\nc long\n", reco2dur="d 8.25\n")
    assert [row.duration_s for row in read(folder, root=None)] == [7.5, 1.0, 1.0, 8.25]
    unread = read(folder, Reading(read_headers=False), root=None)
    assert [row.duration_s for row in unread] == [7.5, None, None, 8.25]


def test_segments_are_held_to_the_lengths_that_recordings_are_said_to_have(folder: Path, write_tone: Tone) -> None:
    write_tone(folder / "r.wav", seconds=2.0)
    write(
        folder,
        wav_scp="r r.wav\n",
        segments="a r 1.5 2.25\nb r 1.5 2.75\nc r 2.0 2.1\nd r 0.5 -1\n",
        reco2dur="r 2.0\n",
    )
    rows = read(folder, root=None)
    assert [row.reject_reason for row in rows] == [None, "bad_segment", "bad_segment", None]
    assert [parse_audio_uri(rows[place].audio_uri or "").end_s for place in (0, 3)] == [2.0, 2.0]
    assert [rows[place].duration_s for place in (0, 3)] == [0.5, 1.5]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("flac -c -d -s a.flac |", None),
        ("/usr/bin/flac -cds a.flac|", None),
        ("flac --decode --stdout --silent 'a.flac' |", None),
        ("cat a.flac |", None),
        ("flac -c -d -s --skip=16000 a.flac |", "piped_command"),
        ("flac -c -s a.flac |", "piped_command"),
        ("flac -c -d -s a.flac | sox -t wav - -r 8k -t wav - |", "piped_command"),
        ("cat a.flac a.flac |", "piped_command"),
        ("cat a.flac; touch $PWD/ran |", "piped_command"),
        ("cat 'a.flac |", "piped_command"),
        ("cat $(touch ran) |", "piped_command"),
        ("|", "piped_command"),
        ("touch ran |", "piped_command"),
        ("sph2pipe -f wav -p -c 1 a.sph |", "piped_command"),
        ("wav.ark:1234", "unsupported_source"),
        ("-", "unsupported_source"),
        ("", "missing_audio"),
        ("https://example.org/a.flac", "web_refused"),
    ],
)
def test_pipes_are_read_as_files_or_refused_and_never_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, reason: str | None
) -> None:
    samples = noise(folder / "a.flac", 0.5)
    monkeypatch.chdir(tmp_path)
    write(folder, wav_scp=f"a {entry}\n", text="a hello\n")
    (row,) = read(folder, root=None)
    assert row.reject_reason == reason
    assert not list(tmp_path.rglob("ran"))
    if reason is None:
        np.testing.assert_array_equal(samples_at(row.audio_uri), samples)
        assert row.duration_s == 0.5
    else:
        assert "wav.scp:1" in (row.reject_detail or "")
    if entry.startswith("sph2pipe"):
        assert "'sph2pipe': commands are never run; write their audio to files" in (row.reject_detail or "")


def test_each_bad_row_is_a_reject_and_the_others_are_read(folder: Path, tmp_path: Path, write_tone: Tone) -> None:
    clips = tmp_path / "clips"
    write_tone(clips / "a.wav")
    write_tone(tmp_path / "secret.wav")
    (clips / "link.wav").symlink_to(tmp_path / "secret.wav")
    (clips / "empty.wav").write_bytes(b"")
    (clips / "text.wav").write_text("no audio")
    write(
        folder,
        wav_scp=f"""u01 a.wav
u02 link.wav
u03 ../secret.wav
u04 {tmp_path}/secret.wav
u05 absent.wav
u06 empty.wav
u07 text.wav
u08 nul\0.wav
u09 a.wav
u10 a.wav
u11 {clips}/a.wav
u12 a.wav
u13 a.wav
u15 a.wav
u15 a.wav
u16\udcff a.wav
u17/.. a.wav
u18 a\udcff.wav
""",
        text="u01 good\nu09 broken \udcfe\nu10 Привет мир\nu11\nu12 nul \0 byte\nu14 no audio\nu15 twice\n",
        utt2spk="u01 s\nu14 s\n",
        utt2dur="u14a 3.0\n",
    )
    rows = read(folder, root=str(clips))
    assert [(row.utterance_id, row.reject_reason) for row in rows] == [
        ("u01", None),
        ("u02", "path_outside_root"),
        ("u03", "path_outside_root"),
        ("u04", "path_outside_root"),
        ("u05", "missing_audio"),
        ("u06", "empty_audio"),
        ("u07", "unreadable_header"),
        ("u08", "nul_byte"),
        ("u09", "not_utf8"),
        ("u10", "transcript_script"),
        ("u11", None),
        ("u12", "nul_byte"),
        ("u13", None),
        ("u14", "missing_audio"),
        ("u15", None),
        ("u15", None),  # the plan tells them apart
        ("u16\ufffd", "not_utf8"),
        ("u17/..", "unsafe_id"),
        ("u18", "not_utf8"),
    ]
    assert [row.transcript for row in rows if row.reject_reason is None] == ["good", None, None, "twice", None]
    assert [row.speaker_id for row in rows if row.utterance_id in ("u01", "u13", "u14")] == ["s", None, "s"]
    assert all("/wav.scp:" in (row.reject_detail or "/wav.scp:") for row in rows if row.utterance_id != "u14")
    assert f"{folder}/text:6: no line of wav.scp has the id 'u14'" in (rows[13].reject_detail or "")


def test_bad_segments_are_rejects(folder: Path, write_tone: Tone) -> None:
    write_tone(folder / "r.wav")
    bad = ["r 0.5 0.5", "r 0.9 0.1", "r zero one", "r 0.1 nan", "r -0.1 0.5", "r 0.1", "r 0.1 inf", "r 0 1 A", ""]
    lines = [f"b{place} {line}\n" for place, line in enumerate(bad)]
    write(
        folder,
        wav_scp="r r.wav\ns r.wav\ns other.wav\nt sox r.wav -t wav - |\n",
        segments="a r 0 0.5\n" + "".join(lines) + "c1 elsewhere 0 1\nc2 s 0 1\nc3 t 0 1\n",
        text="a fine\na again\n",
    )
    rows = read(folder, root=None)
    assert [row.reject_reason for row in rows] == [
        None,
        "duplicate_id",
        *["bad_segment"] * len(bad),
        "missing_audio",
        "ambiguous_recording",
        "piped_command",
    ]
    assert rows[0].transcript == "fine"
    assert "segments:2: " in (rows[2].reject_detail or "")


@pytest.mark.parametrize("name", ["wav_scp", "text", "utt2spk", "utt2lang", "utt2dur", "segments"])
def test_a_file_that_is_not_sorted_is_an_error_naming_the_line(folder: Path, write_tone: Tone, name: str) -> None:
    write_tone(folder / "a.wav")
    write(folder, wav_scp="B a.wav\na a.wav\n")
    # (capitals before small letters, and letters beyond ASCII last)
    value = {"wav_scp": "a.wav", "segments": "a 0 0.5", "utt2lang": "en"}.get(name, "1")
    write(folder, **{name: f"B {value}\na {value}\né {value}\n\U00010000 {value}\n"})
    assert len(read(folder, root=None)) == (2 if name in ("utt2dur", "utt2lang") else 4)
    write(folder, **{name: f"a {value}\n\nB {value}\n"})
    file = name.replace("wav_scp", "wav.scp")
    with pytest.raises(CorpusError, match=rf"/{file}:3: 'B' comes after 'a'.*C locale.*fix_data_dir\.sh {folder}"):
        read(folder, root=None)


def test_recordings_may_come_in_any_order_beside_segments(folder: Path, write_tone: Tone) -> None:
    first, second = (write_tone(folder / f"{name}.wav") for name in ("x", "y"))
    write(folder, wav_scp="z x.wav\na y.wav\n", segments="u1 a 0 1\nu2 z 0 1\n", spk2gender="z m\na f\n")
    rows = read(folder, root=None)
    assert [parse_audio_uri(row.audio_uri or "").file for row in rows] == [str(second), str(first)]


def test_gender_is_unknown_for_a_speaker_of_whom_two_are_told(folder: Path, write_tone: Tone) -> None:
    write_tone(folder / "a.wav")
    write(folder, wav_scp="1 a.wav\n2 a.wav\n3 a.wav\n", utt2spk="1 s\n2 t\n3 u\n", spk2gender="s f\ns m\nt m\nt m\n")
    assert [row.gender for row in read(folder, root=None)] == [None, "male", None]


def test_a_gender_may_be_withheld(folder: Path, write_tone: Tone) -> None:
    write_tone(folder / "a.wav")
    words = "a other\nb m\nb other\nc m\nd NA\ne m\ne male\nf m\0\n"
    speakers = "1 a\n2 b\n3 c\n4 d\n5 e\n6 f\n7 g\n"
    write(folder, wav_scp="".join(f"{n} a.wav\n" for n in range(1, 8)), utt2spk=speakers, spk2gender=words)
    rows = read(folder, root=None)
    assert [row.gender for row in rows] == [None, None, "male", None, "male", None, None]
    assert [row.gender_withheld for row in rows] == [True, True, False, False, False, True, False]
    assert [row.reject_reason for row in rows] == [None] * 7


def test_byte_order_mark_tabs_and_carriage_returns(folder: Path, write_tone: Tone) -> None:
    audio = write_tone(folder / "my clip.wav")
    write(folder, wav_scp="\ufeffu1 \t my clip.wav \r\n", text="\ufeffu1\tHello\u00a0 world\r\n", utt2spk="u1\ts \r\n")
    (row,) = read(folder, root=None)
    assert (row.audio_uri, row.transcript, row.speaker_id) == (str(audio), "Hello world", "s")


def test_languages(folder: Path, write_tone: Tone) -> None:
    write_tone(folder / "a.wav")
    write(
        folder,
        wav_scp="u1 a.wav\nu2 a.wav\nu3 a.wav\nu4 a.wav\nu5 a.wav\n",
        utt2lang="u1 eng\nu2 fr-CA\nu4 Polish\nu5 de_AT\n",
    )
    reading = Reading()
    rows = read(folder, reading, root=None, language="it", languages=("en", "it", "de"))
    assert [(row.utterance_id, row.language, row.reject_reason) for row in rows] == [
        ("u1", "en", None),
        ("u3", "it", None),
        ("u4", "polish", "unknown_language"),
        ("u5", "de", None),
    ]
    assert dict(reading.skipped) == {("mine", "language fr is not asked for"): 1}
    assert {row.reject_reason for row in read(folder, root=None, language=None)} == {None, "unknown_language"}


def test_whole_folder_problems(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"train: no file wav\.scp; give the data folder"):
        read(folder)
    write(folder, wav_scp="a a.wav\n")
    with pytest.raises(CorpusError, match="no file utt2lang; set `language`"):
        read(folder, language=None)


def test_reading_streams(folder: Path, write_tone: Tone) -> None:
    write_tone(folder / "a.wav")
    count = 5_000
    write(
        folder,
        wav_scp="".join(f"{n:06d} a.wav\n" for n in range(count)) + "000000 a.wav\n",
        text="".join(f"{n:06d} text {n}\n" for n in range(0, count, 2)),
    )
    config = KaldiConfig(type="kaldi", name="mine", path=str(folder), language="en")
    rows = read_kaldi(config, Reading())
    assert [next(rows).transcript for _ in range(count)] == [None if n % 2 else f"text {n}" for n in range(count)]
    with pytest.raises(CorpusError, match=rf"wav\.scp:{count + 1}"):
        next(rows)  # only now is the last line looked at
