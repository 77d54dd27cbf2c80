from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import parselmouth
import pytest
import soundfile as sf
from numpy.typing import NDArray

from sift_ray.audio.decode import decode
from sift_ray.config import DemoConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import CorpusError, Utterance, read_corpus
from sift_ray.corpora.audio_source import audio_source
from sift_ray.corpora.demo import TrueWord, true_words, write_demo
from sift_ray.corpora.demo_plan import sentences
from sift_ray.corpora.demo_voice import Spoken, SynthesisError, VoiceJob, speak
from sift_ray.schema import LANGUAGES, SPLITS

if TYPE_CHECKING:
    from tests.corpora.conftest import Demo


@pytest.fixture(scope="module")
def utterances(demo: Demo) -> list[Utterance]:
    return list(read_corpus(DemoConfig(type="demo", path=str(demo.path))))


def test_the_readers_accept_every_clip(demo: Demo, utterances: list[Utterance]) -> None:
    assert [row for row in utterances if row.reject_reason] == []
    assert Counter(row.utterance_id for row in utterances) == Counter(clip["utterance_id"] for clip in demo.clips)
    assert {row.corpus for row in utterances} == {"demo_mls", "demo_common_voice", "demo_vctk"}
    assert {row.license for row in utterances} == {"CC0-1.0"}
    minutes = sum(row.duration_s or 0 for row in utterances) / 60
    assert 4 <= minutes < 4.15


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_every_split_both_genders_and_unknowns(utterances: list[Utterance], language: str) -> None:
    rows = [row for row in utterances if row.language == language]
    assert len(rows) >= 10
    for corpus in ("demo_mls", "demo_common_voice"):
        assert {row.split for row in rows if row.corpus == corpus} == set(SPLITS)
    assert {row.gender for row in rows} == {"female", "male", None}
    assert None in {row.age for row in rows}
    assert len({row.age for row in rows}) > 3
    assert len({row.accent for row in rows}) > 1
    speakers = {split: {row.speaker_id for row in rows if row.split == split} for split in SPLITS}
    assert not speakers["train"] & (speakers["dev"] | speakers["test"])
    assert not speakers["dev"] & speakers["test"]
    texts = [(row.transcript or "").lower().rstrip(".") for row in rows]
    assert len(set(texts)) == len(texts)


def test_metadata_agrees_with_the_truth_where_it_is_given(demo: Demo, utterances: list[Utterance]) -> None:
    truth = {clip["utterance_id"]: clip for clip in demo.clips}
    for row in utterances:
        clip = truth[row.utterance_id]
        assert row.gender in (None, clip["true_gender"])
        assert (row.language, row.split, row.speaker_id) == (clip["language"], clip["split"], clip["speaker_id"])
        assert row.duration_s == pytest.approx(clip["duration_s"], abs=1e-3)


def test_layouts_and_formats_are_the_published_ones(demo: Demo) -> None:
    formats = {
        clip["corpus"]: (info.format, info.samplerate, info.channels)
        for clip in demo.clips
        for info in [sf.info(demo.path / clip["path"])]
    }
    assert formats == {
        "mls": ("FLAC", 16_000, 1),
        "common_voice": ("MP3", 48_000, 1),
        "vctk": ("FLAC", 48_000, 1),
    }
    both, first_only = sorted((demo.path / "VCTK-Corpus-0.92" / "wav48_silence_trimmed").iterdir())
    assert {path.name[-9:] for path in both.iterdir()} == {"mic1.flac", "mic2.flac"}
    assert {path.name[-9:] for path in first_only.iterdir()} == {"mic1.flac"}
    german = demo.path / "cv-corpus-15.0-2023-09-08" / "de"
    tables = {name: (german / f"{name}.tsv").read_text().splitlines() for name in ("train", "dev", "test")}
    validated = (german / "validated.tsv").read_text().splitlines()
    assert len(validated) == sum(len(lines) for lines in tables.values()) - 2
    assert len((german / "times.txt").read_text().splitlines()) == len(validated) - 1


def test_words_are_the_transcripts_and_lie_in_order_inside_the_clip(demo: Demo, utterances: list[Utterance]) -> None:
    transcripts = {row.utterance_id: row for row in utterances}
    for line in demo.words:
        row = transcripts[line["utterance_id"]]
        written = [token.strip(".,;:!?") for token in (row.transcript or "").split()]
        assert [word["word"] for word in line["words"]] == written
        end = 0.0
        for word in line["words"]:
            assert end <= word["start_s"] < word["end_s"] <= (row.duration_s or 0)
            assert word["phones"]
            end = word["end_s"]


def decoded(path: Path) -> NDArray[np.float64]:
    """Return a clip in [-1, 1) at 16 kHz."""
    return decode(str(path), audio_source(StorageConfig())).samples / 32768


def test_words_sit_on_the_sound(demo: Demo) -> None:
    # in clean dry clips the sound before the first word, after the last and in long pauses is far weaker
    words = {line["utterance_id"]: line["words"] for line in demo.words}
    clips = [clip for clip in demo.clips if clip["condition"] == "clean"]
    assert len(clips) >= 20
    for clip in clips:
        samples = decoded(demo.path / clip["path"])
        spans = [(round(w["start_s"] * 16_000), round(w["end_s"] * 16_000)) for w in words[clip["utterance_id"]]]
        level = np.sqrt(np.mean(samples[spans[0][0] : spans[-1][1]] ** 2))
        before = samples[: spans[0][0] - 160]  # the MP3 encoder smears by some milliseconds
        after = samples[spans[-1][1] + 1600 :]
        assert 20 * np.log10(level / np.sqrt(np.mean(before**2))) > 30, clip
        assert 20 * np.log10(level / np.sqrt(np.mean(after**2))) > 30, clip
        # something sounds within 60 ms of the first onset (a stop begins with its closure)
        onset = samples[spans[0][0] : spans[0][0] + 960]
        assert np.abs(onset).max() > 0.05 * np.abs(samples).max(), clip


def test_noise_reverberation_and_level_are_as_told(demo: Demo) -> None:
    words = {line["utterance_id"]: line["words"] for line in demo.words}
    conditions = Counter(clip["condition"] for clip in demo.clips)
    assert set(conditions) == {"clean", "noise", "reverb", "both"}
    levels = []
    for clip in demo.clips:
        assert (clip["t60_s"] is not None) == (clip["condition"] in ("reverb", "both"))
        assert (clip["c50_db"] is not None) == (clip["t60_s"] is not None)
        assert (clip["noise"] != "floor") == (clip["condition"] in ("noise", "both"))
        if clip["corpus"] != "mls":
            continue  # MP3 coding and resampling take the noise's edges off
        samples, _ = sf.read(demo.path / clip["path"])
        spoken = words[clip["utterance_id"]]
        noise = samples[: round((clip["head_s"] - 0.01) * 16_000)]
        speech = samples[round(spoken[0]["start_s"] * 16_000) : round(spoken[-1]["end_s"] * 16_000)]
        noise_power, power = np.mean(noise**2), np.mean(speech**2)
        assert 10 * np.log10(power - noise_power) == pytest.approx(clip["level_dbfs"], abs=0.5)
        assert 10 * np.log10((power - noise_power) / noise_power) == pytest.approx(clip["snr_db"], abs=1.5)
        levels.append(clip["level_dbfs"])
    assert max(levels) - min(levels) > 10


def test_voices_have_the_pitch_of_their_gender(demo: Demo) -> None:
    medians: dict[str, list[float]] = {"female": [], "male": []}
    for clip in demo.clips:
        if clip["condition"] == "clean":
            sound = parselmouth.Sound(decoded(demo.path / clip["path"]), 16_000.0)
            pitch = sound.to_pitch().selected_array["frequency"]
            medians[clip["true_gender"]].append(float(np.median(pitch[pitch > 0])))
    assert min(medians["female"]) > max(medians["male"])
    assert min(medians["male"]) > 75
    assert max(medians["female"]) < 330


def digest(path: Path) -> dict[str, str]:
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path, demo: Demo) -> None:
    write_demo(tmp_path / "a", seed=3, minutes=0.5)
    write_demo(tmp_path / "b", seed=3, minutes=0.5)
    write_demo(tmp_path / "c", seed=4, minutes=0.5)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")
    # a clip does not depend on how many there are
    write_demo(tmp_path / "d", minutes=0.5)
    short, full = digest(tmp_path / "d"), digest(demo.path)
    audio = [name for name in short if name.endswith((".flac", ".mp3"))]
    assert len(audio) >= 8
    assert all(short[name] == full[name] for name in audio)


def test_a_demo_that_is_there_is_left_alone_and_one_with_other_parameters_replaced(tmp_path: Path) -> None:
    path = tmp_path / "demo"
    corpora = write_demo(path, minutes=0.3)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    assert write_demo(path, minutes=0.3) == corpora
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    write_demo(path, seed=1, minutes=0.3)
    assert json.loads((path / "DEMO.json").read_text())["seed"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo"]  # nothing partial is left


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(CorpusError, match="folder of its own"):
        write_demo(tmp_path, minutes=0.3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_longer_demo_goes_on_with_new_speakers_and_ids(tmp_path: Path) -> None:
    from sift_ray.corpora.demo_plan import plan_round

    rounds = [list(plan_round(0, number)) for number in range(4)]
    ids = [(clip.language, clip.number) for clips in rounds for clip in clips]
    assert len(set(ids)) == len(ids)
    speakers = [{clip.speaker.speaker_id for clip in clips} for clips in rounds]
    assert speakers[0] == speakers[1] == speakers[2]
    assert not speakers[0] & speakers[3]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_of_every_sentence_has_an_event(language: str) -> None:
    texts = sentences(language)
    voices = {"en": ["en", "en-us", "en-gb-scotland"], "fr": ["fr", "fr-be"], "es": ["es", "es-419"]}
    for voice in voices.get(language, [language]):
        for text, spoken in zip(texts, speak([VoiceJob(t, f"{voice}+f2", 50, 50, 155) for t in texts]), strict=True):
            assert 1.9 < len(spoken.samples) / spoken.sample_rate < 6
            words = true_words(text, spoken, 0.0)
            assert [word.word for word in words] == [token.strip(".,") for token in text.split()]


def test_a_word_ends_before_the_pause_that_follows() -> None:
    spoken = Spoken(
        samples=np.zeros(1000, np.int16),
        sample_rate=1000,
        words=((0, 0), (2, 120), (5, 500)),  # an elided article has an event of its own
        phones=(("l", 10), ("a", 130), ("", 300), ("s", 510), ("a", 600), ("", 800)),
    )
    assert true_words("l'a, ça.", spoken, 1.0) == (
        TrueWord("l'a", 1.0, 1.3, ("l", "a")),
        TrueWord("ça", 1.5, 1.8, ("s", "a")),
    )


def test_words_spoken_as_one_are_refused() -> None:
    (spoken,) = speak([VoiceJob("In the morning it rained.", "en+f2", 50, 50, 155)])
    with pytest.raises(CorpusError, match="no word 'the'"):
        true_words("In the morning it rained.", spoken, 0.0)


def test_breathy_voices_repeat_exactly() -> None:
    jobs = [VoiceJob("A quiet breath.", f"en+{variant}", 50, 50, 155) for variant in ("f2", "f3", "f5")]
    first = speak(jobs)
    time.sleep(1.1)  # the library would seed its noise with the second
    for one, other in zip(first, speak(jobs), strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        assert one.words == other.words


def test_an_unknown_voice_is_an_error_that_names_it() -> None:
    with pytest.raises(SynthesisError, match="no voice 'xx-nowhere'"):
        speak([VoiceJob("Hello.", "xx-nowhere", 50, 50, 155)])


def test_phonemizer_works_beside_the_demo(tmp_path: Path) -> None:
    import espeakng_loader
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    backend = EspeakBackend("de")
    before = backend.phonemize(["Guten Morgen"])
    write_demo(tmp_path / "demo", minutes=0.3)
    assert backend.phonemize(["Guten Morgen"]) == before
    assert before[0].strip()
