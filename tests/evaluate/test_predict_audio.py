"""Whose audio a question is about, and where it is found."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile

from sift_ray.audio.errors import DecodeError
from sift_ray.evaluate.predict_audio import Clip, ClipReader, count_rows, read_questions
from sift_ray.evaluate.samples import ANSWERED, read_samples
from sift_ray.storage import StorageError, open_root

from .made_release import FORMS, OPEN, SPOKEN, TWO, numbers_of, question_of, tone, write_release


def asked(folder, form, **more):
    return list(read_questions(open_root(str(write_release(folder, form))), "test", ANSWERED, **more))


@pytest.mark.parametrize("form", FORMS)
def test_every_question_comes_with_what_it_is_about(tmp_path, form):
    questions = asked(tmp_path, form)
    assert len(questions) == 9
    root = tmp_path / "clips" if form in ("root", "jsonl") else None
    with ClipReader(root) as reader:
        for question in questions:
            number = next(n for n in range(3) if question.sample.question == question_of(question.sample.task, n))
            heard = [reader.read(clip) for clip in question.clips]
            expected = [tone(clip) for clip in numbers_of(question.sample.task, number)]
            assert all(samples.dtype == np.float32 for samples in heard)
            assert [np.rint(samples * 32768).tolist() for samples in heard] == [one.tolist() for one in expected]


@pytest.mark.parametrize("form", ["uris", "jsonl"])
def test_samples_are_named_as_where_they_are_scored(tmp_path, form):
    questions = asked(tmp_path, form)
    root = open_root(str(tmp_path / "release"))
    assert [question.sample for question in questions] == list(read_samples(root, "test", ANSWERED))


def test_only_the_tasks_and_languages_asked_for(tmp_path):
    root = open_root(str(write_release(tmp_path)))
    assert {question.sample.task for question in read_questions(root, "test", (OPEN,))} == {OPEN}
    assert not list(read_questions(root, "test", ANSWERED, ("de",)))
    assert count_rows(root, "test", SPOKEN) == 3
    assert count_rows(root, "test", SPOKEN, ("de",)) == 0
    with pytest.raises(StorageError, match="no file of the split dev"):
        list(read_questions(root, "dev", ANSWERED))


def test_comparisons_have_two_clips_in_order(tmp_path):
    questions = [question for question in asked(tmp_path, "uris") if question.sample.task == TWO]
    assert [clip.path for clip in questions[2].clips] == ["vctk_en/c2.wav", "vctk_en/c0.wav"]


def test_audio_embedded_in_rows_needs_nothing_else(tmp_path):
    questions = asked(tmp_path, "embedded")
    shutil.rmtree(tmp_path / "clips")
    with ClipReader(None) as reader:
        for question in questions:
            assert all(len(reader.read(clip)) >= 16_000 for clip in question.clips)


def test_other_rates_and_channels_become_16_khz_mono(tmp_path):
    both = np.stack([np.full(48_000, 0.5), np.zeros(48_000)], axis=1)
    soundfile.write(tmp_path / "x.flac", both, 48_000)
    with ClipReader(None) as reader:
        heard = reader.read(Clip("x.flac", str(tmp_path / "x.flac")))
    assert heard.shape == (16_000,)
    assert heard[8_000] == pytest.approx(0.25, abs=1e-3)


def refusal(clip, root=None):
    with ClipReader(root) as reader, pytest.raises(DecodeError) as caught:
        reader.read(clip)
    return caught.value


def test_what_can_not_be_found_is_said(tmp_path):
    gone = refusal(Clip("vctk_en/x.wav"))
    assert gone.reason == "missing_audio"
    assert "--audio-root" in gone.detail
    for clip in (Clip("/path/to/x.wav"), Clip("vctk_en/x.wav", str(tmp_path / "x.wav"))):
        assert refusal(clip).reason == "missing_audio"
        assert "--audio-root" in refusal(clip).detail
    assert refusal(Clip(None)).reason == refusal(Clip(None), tmp_path).reason == "no_audio"
    assert "no audio of the name x lies in" in refusal(Clip("vctk_en/x.wav"), tmp_path).detail


def test_a_root_is_searched_by_path_and_then_by_stem(tmp_path):
    for name in ("a/x.wav", "b/x.wav", "deep/down/y.flac", "y.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith(".txt"):
            soundfile.write(tmp_path / name, tone(len(name)), 16_000)
        else:
            (tmp_path / name).touch()
    with ClipReader(tmp_path) as reader:
        assert len(reader.read(Clip("b/x.wav"))) == len(tone(7))
        assert len(reader.read(Clip("/path/to/y.wav"))) == len(tone(16))
    twice = refusal(Clip("c/x.wav"), tmp_path)
    assert twice.reason == "ambiguous_audio"
    assert "2 files" in twice.detail


def test_a_path_does_not_lead_out_of_the_root(tmp_path):
    soundfile.write(tmp_path / "secret.wav", tone(0), 16_000)
    (tmp_path / "root").mkdir()
    assert refusal(Clip("../secret.wav"), tmp_path / "root").reason == "missing_audio"


def test_a_name_with_a_hash_is_a_name(tmp_path):
    soundfile.write(tmp_path / "x#1.wav", tone(0), 16_000)
    with ClipReader(tmp_path) as reader:
        assert len(reader.read(Clip("x#1.wav"))) == len(tone(0))
    with ClipReader(None) as reader:
        assert len(reader.read(Clip(str(tmp_path / "x#1.wav")))) == len(tone(0))


def test_broken_audio_in_a_row_is_named_by_its_row(tmp_path):
    broken = refusal(Clip("vctk_en/c0.wav", None, b"RIFFnothing"))
    assert "vctk_en/c0.wav in the row" in broken.detail
    assert "/tmp" not in broken.detail
