from __future__ import annotations

import numpy as np
import pytest

from sift_ray.align.lexicon import Lexicon
from sift_ray.align.seed_speech import seed_speech
from sift_ray.schema import LANGUAGES, SAMPLE_RATE


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_is_read_again_alike(language: str) -> None:
    clips = list(seed_speech(language, ["Radio, 21!", "Musica 3 😀"], 6.0, seed=1))
    seconds = sum(clip.waveform.size for clip in clips) / SAMPLE_RATE
    assert 3.0 < seconds < 18.0
    assert all(1 <= len(clip.transcript.split()) <= 4 for clip in clips)
    again = list(seed_speech(language, ["Radio, 21!", "Musica 3 😀"], 6.0, seed=1))
    assert len({clip.speaker_id for clip in clips}) > 1
    for clip, twin in zip(clips, again, strict=True):
        assert clip.waveform.dtype == np.float32
        assert np.array_equal(clip.waveform, twin.waveform)
        assert Lexicon(language).words(clip.transcript) == clip.transcript.split()


def test_nothing_to_read_gives_nothing() -> None:
    assert list(seed_speech("en", ["😀", ""], 10.0, seed=0)) == []


def test_pieces_make_up_the_whole_text_and_each_is_sound() -> None:
    text = "Good bread needs flour, water, salt and plenty of patience"
    clips = list(seed_speech("en", [text], 4.0, seed=0))
    assert len(clips) > 2
    assert " ".join(clip.transcript for clip in clips) == text.replace(",", "")
    assert all(clip.waveform.size > 0.08 * SAMPLE_RATE for clip in clips)
    assert all(float(np.abs(clip.waveform).max()) > 0.02 for clip in clips)
