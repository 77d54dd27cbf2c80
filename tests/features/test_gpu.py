"""On a GPU: everything that is measured there, against the CPU. Without one nothing of this can be run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sift_ray.config import FeaturesConfig, LabelConfig
from sift_ray.features.brouhaha import Brouhaha
from sift_ray.features.extract import ClipFeatures, FeatureExtractor
from sift_ray.features.speaker_labels import SpeakerLabeller
from sift_ray.features.squim import Squim
from sift_ray.features.squim_net import SquimNet
from tests.features import test_speaker_labels
from tests.features.conftest import Clip
from tests.features.test_brouhaha import formula
from tests.human_speech import recordings

DEVICE = "cuda"

pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no GPU")

TOLERANCES = {
    "pitch_median_hz": 0.5,
    "pitch_mean_hz": 0.5,
    "pitch_std_hz": 0.5,
    "intensity_db": 0.1,
    "speech_duration_s": 0.011,
    "snr_db": 0.05,
    "c50_db": 0.1,
    "distortion": 1e-3,
    "quality": 1e-3,
}


@pytest.fixture(scope="module")
def people() -> list[Clip]:
    return [recording.samples for recording in recordings(per_language=10)]


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    made = FeatureExtractor(
        FeaturesConfig.model_validate({"device": DEVICE, "engine": "torch", "pool": {"num_gpus": 1}})
    )
    assert made.device == DEVICE
    return made


def assert_alike(found: ClipFeatures, wanted: ClipFeatures) -> None:
    assert (found.nulls, found.reject_reason) == (wanted.nulls, wanted.reject_reason)
    for name, tolerance in TOLERANCES.items():
        value = getattr(wanted, name)
        assert getattr(found, name) == (None if value is None else pytest.approx(value, abs=tolerance)), name
    voiced = wanted.tracks.f0_hz > 0
    assert np.mean((found.tracks.f0_hz > 0) == voiced) >= 0.98
    both = voiced & (found.tracks.f0_hz > 0)
    close = np.abs(found.tracks.f0_hz / np.where(both, wanted.tracks.f0_hz, 1) - 1)[both] <= 0.005
    assert np.mean(close) >= 0.99
    assert found.tracks.intensity_db == pytest.approx(wanted.tracks.intensity_db, abs=0.1)


def test_people_are_measured_as_on_the_cpu(extractor: FeatureExtractor, people: list[Clip]) -> None:
    wanted = FeatureExtractor(FeaturesConfig(device="cpu", engine="praat")).measure(people)
    for one, other in zip(extractor.measure(people), wanted, strict=True):
        assert_alike(one, other)


def test_a_clip_alone_is_as_in_a_batch(extractor: FeatureExtractor, people: list[Clip]) -> None:
    clips = [*people[:6], people[6][:300], np.tile(people[7], 20), np.zeros(16_000, np.float32)]
    for clip, one in zip(clips, extractor.measure(clips), strict=True):
        if one.reject_reason is None and len(one.tracks.f0_hz):
            assert_alike(extractor.measure([clip])[0], one)


@pytest.mark.skipif(DEVICE != "cuda", reason="memory is only short on a GPU")
def test_memory_that_runs_out_makes_batches_smaller(people: list[Clip]) -> None:
    clips = [np.tile(clip, 8) for clip in people]
    config = {"device": DEVICE, "batch_s": 3600, "pool": {"num_gpus": 1}}
    extractor = FeatureExtractor(FeaturesConfig.model_validate(config))
    wanted = extractor.measure(clips)
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(3.5 * 2**30 / torch.cuda.get_device_properties(0).total_memory)
        found = FeatureExtractor(FeaturesConfig.model_validate(config)).measure(clips)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for one, other in zip(found, wanted, strict=True):
        assert_alike(one, other)


def test_squim_scores_as_on_the_cpu(tmp_path: Path, people: list[Clip]) -> None:
    torch.manual_seed(3)
    torch.save({name: 1.5 * value for name, value in SquimNet().state_dict().items()}, tmp_path / "squim.pth")
    there, here = (Squim(tmp_path / "squim.pth", device=device).score(people[:5]) for device in (DEVICE, "cpu"))
    for one, other in zip(there, here, strict=True):
        assert other is not None
        assert one == pytest.approx(other, abs=1e-2)


def test_brouhaha_hears_as_on_the_cpu(tmp_path: Path, people: list[Clip]) -> None:
    weights = formula() | {"classifier.linears.vad.bias": torch.tensor([20.0])}  # speech everywhere
    torch.save(weights, tmp_path / "best.ckpt")
    there, here = (Brouhaha(tmp_path / "best.ckpt", device=device).measure(people[:5]) for device in (DEVICE, "cpu"))
    for one, other in zip(there, here, strict=True):
        assert other.snr_db is not None
        assert (one.snr_db, one.c50_db) == pytest.approx((other.snr_db, other.c50_db), abs=0.05)


def test_labels_are_those_of_the_cpu(tmp_path: Path, people: list[Clip]) -> None:
    folder = test_speaker_labels.write_checkpoint(tmp_path / "tiny", ("female", "male"))
    config = LabelConfig(column="gender", model=str(folder), min_score=0.0)
    there, here = (SpeakerLabeller(config, device=device).label(people) for device in (DEVICE, "cpu"))
    for one, other in zip(there, here, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-3)
