"""An outside check: English words of human speech begin where another aligner, with a model of its own, says so."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sift_ray.align.protocol import AlignmentJob, TrainingClip, UtteranceAlignment
from sift_ray.align.viter_backend import ViterAligner
from sift_ray.align.viter_training import train_model
from tests.align.sphinx import SphinxAligner
from tests.human_speech import Recording, recordings


@pytest.fixture(scope="module")
def english() -> list[Recording]:
    return [recording for recording in recordings() if recording.language == "en"]


@pytest.fixture(scope="module")
def sphinx() -> SphinxAligner:
    return SphinxAligner()


@pytest.fixture(scope="module")
def viter(english: list[Recording], tmp_path_factory: pytest.TempPathFactory) -> ViterAligner:
    folder = tmp_path_factory.mktemp("outside") / "en"
    clips = [TrainingClip(clip.name, clip.speaker_id, clip.samples, clip.transcript) for clip in english]
    train_model("en", clips, folder, seed=0)
    return ViterAligner({"en": folder})


def test_word_onsets_agree_with_pocketsphinx(
    english: list[Recording], sphinx: SphinxAligner, viter: ViterAligner
) -> None:
    jobs = [AlignmentJob(clip.samples, clip.transcript, clip.speaker_id) for clip in english]
    apart: list[NDArray[np.float64]] = []
    for clip, ours in zip(english, viter.align("en", jobs), strict=True):
        if not isinstance(ours, UtteranceAlignment) or not sphinx.knows([span.word for span in ours.words]):
            continue  # (its dictionary has no digits)
        theirs = sphinx.align([span.word for span in ours.words], clip.samples)
        if theirs is not None:
            onsets = [(mine.start_s, other.start_s) for mine, other in zip(ours.words, theirs, strict=True)]
            apart.append(np.abs(np.diff(np.array(onsets, np.float64))[:, 0]))
    seconds = np.concatenate(apart)
    assert len(apart) >= 40, f"only {len(apart)} of {len(english)} clips could be compared"
    # found: 20 ms, 80 % and 95 %; pocketsphinx' own frames are 10 ms apart and 26 ms long
    told = f"{1000 * np.median(seconds):.0f} ms in the middle, over {seconds.size} words of {len(apart)} clips"
    assert np.median(seconds) <= 0.040, told
    assert np.mean(seconds <= 0.050) >= 0.70, told
    assert np.mean(seconds <= 0.100) >= 0.88, told


def test_the_check_would_notice(english: list[Recording], sphinx: SphinxAligner) -> None:
    """pocketsphinx follows the sound: what starts 200 ms later is found there."""
    clip = next(clip for clip in english if clip.name == "en_vm-passchanged")
    words = clip.transcript.rstrip(".").split()
    here = sphinx.align(words, clip.samples)
    later = sphinx.align(words, np.pad(clip.samples, (3200, 0)))
    assert here is not None
    assert later is not None
    moved = [b.start_s - a.start_s for a, b in zip(here, later, strict=True)]
    np.testing.assert_allclose(moved, 0.2, atol=0.03)


def test_what_its_dictionary_lacks_is_left_out(sphinx: SphinxAligner) -> None:
    assert sphinx.knows(["Press", "one"])
    assert not sphinx.knows(["Press", "1"])
