"""The batched engine against Praat on the synthetic corpus, and DNSMOS against speechmos on human recordings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr

from sift_ray.features.batched.intensity import intensity_tracks
from sift_ray.features.batched.pitch import pitch_tracks
from sift_ray.features.batched.ragged import RaggedBatch
from sift_ray.features.intensity import intensity_track
from sift_ray.features.pitch import median_hz, pitch_track
from sift_ray.features.pitch_parameters import PitchParameters
from sift_ray.features.quality import WINDOW_SAMPLES, Dnsmos, dnsmos_windows
from sift_ray.schema import SAMPLE_RATE
from tests.features.conftest import Clip
from tests.features.test_quality import by_speechmos
from tests.human_speech import recordings


@pytest.fixture(scope="module")
def synthetic(demo_corpora: Path) -> list[Clip]:
    """Every clip of the demo's corpora: five languages, with noise, rooms and levels."""
    clips = []
    for path in sorted(path for path in demo_corpora.rglob("*") if path.suffix in (".flac", ".mp3", ".opus", ".wav")):
        samples, rate = sf.read(path, dtype="float32")
        clips.append(soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32))
    assert len(clips) > 50
    return clips


def test_the_synthetic_corpus_has_praats_pitch(synthetic: list[Clip]) -> None:
    found = pitch_tracks(RaggedBatch.of(synthetic, "cpu"), PitchParameters())
    same = close = both = frames = medians = 0
    for (f0, start), clip in zip(found, synthetic, strict=True):
        wanted, wanted_start = pitch_track(clip, PitchParameters())
        assert (len(f0), start) == (len(wanted), pytest.approx(wanted_start))
        voiced = (f0 > 0) & (wanted > 0)
        frames += len(f0)
        same += np.count_nonzero((f0 > 0) == (wanted > 0))
        both += np.count_nonzero(voiced)
        close += np.count_nonzero(np.abs(f0[voiced] / wanted[voiced] - 1) <= 0.005)
        one, other = median_hz(f0), median_hz(wanted)
        medians += (one is None) == (other is None) and (one is None or other is None or abs(one - other) <= 0.5)
    assert same >= 0.98 * frames
    assert close >= 0.99 * both > 0
    assert medians >= 0.98 * len(synthetic)


def test_the_synthetic_corpus_has_praats_intensity(synthetic: list[Clip]) -> None:
    found = intensity_tracks(RaggedBatch.of(synthetic, "cpu"), pitch_floor=75.0)
    for (levels, start), clip in zip(found, synthetic, strict=True):
        wanted, wanted_start = intensity_track(clip, pitch_floor=75.0)
        assert start == pytest.approx(wanted_start)
        assert levels == pytest.approx(wanted, abs=0.1)


def test_dnsmos_judges_people_as_speechmos_does() -> None:
    clips = [recording.samples for recording in recordings()][::10]
    for clip, scores in zip(clips, Dnsmos().score(clips), strict=True):
        (window,) = dnsmos_windows(clip)
        assert scores == pytest.approx(by_speechmos(window.cut(0, WINDOW_SAMPLES)), abs=1e-3)
