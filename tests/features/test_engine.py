import importlib.util
import logging

import numpy as np
import pytest
import torch

from sift_ray.config import FeaturesConfig, PoolConfig
from sift_ray.features.engine import device_of, pitch_parameters, signal_engine
from sift_ray.features.pitch_parameters import PitchParameters
from tests.features.conftest import Clip

WITH_GPU = PoolConfig(num_gpus=1)


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))


def test_the_config_has_praats_defaults() -> None:
    assert pitch_parameters(FeaturesConfig()) == PitchParameters()


def test_every_parameter_of_praat_comes_from_the_config() -> None:
    changed = {"pitch_floor": 60, "pitch_ceiling": 500, "silence_threshold": 0.1, "voicing_threshold": 0.3}
    costs = {"octave_cost": 0.2, "octave_jump_cost": 0.5, "voiced_unvoiced_cost": 0.6}
    assert pitch_parameters(FeaturesConfig(**changed, **costs)) == PitchParameters(**changed, **costs)


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_the_gpu_of_the_pool(there: bool, device: str, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    with caplog.at_level(logging.WARNING):
        assert device_of(FeaturesConfig(pool=WITH_GPU)) == device
    assert ("finds no GPU" in caplog.text) is not there
    assert device_of(FeaturesConfig()) == "cpu"  # Ray gives such actors none
    assert device_of(FeaturesConfig(device="cpu", pool=WITH_GPU)) == "cpu"


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FeaturesConfig(device="cuda", pool=WITH_GPU)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no GPU"):
        device_of(config)
    without_torch(monkeypatch)
    with pytest.raises(ValueError, match=r"sift-ray\[gpu\]"):
        device_of(config)


def test_the_engine_is_torch_on_a_gpu_and_praat_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = {
        (wanted, device): signal_engine(FeaturesConfig(engine=wanted), device).backends["pitch"]
        for wanted in ("auto", "praat", "torch")
        for device in ("cpu", "cuda")
        if (wanted, device) != ("praat", "cuda")
    }
    assert engines == {
        ("auto", "cpu"): "praat_ac",
        ("auto", "cuda"): "torch_ac",
        ("praat", "cpu"): "praat_ac",
        ("torch", "cpu"): "torch_ac",
        ("torch", "cuda"): "torch_ac",
    }
    without_torch(monkeypatch)
    with pytest.raises(ValueError, match=r"sift-ray\[gpu\]"):
        signal_engine(FeaturesConfig(engine="torch"), "cpu")


def test_both_engines_measure_alike(voices: list[Clip]) -> None:
    clips = [*voices[:3], voices[3][:3000], voices[4][:300]]
    praat, other = (signal_engine(FeaturesConfig(engine=engine), "cpu").measure(clips) for engine in ("praat", "torch"))
    for one, two in zip(praat, other, strict=True):
        assert len(one.f0_hz) == len(two.f0_hz)
        assert np.count_nonzero((one.f0_hz > 0) != (two.f0_hz > 0)) <= 0.02 * len(one.f0_hz)
        assert (one.f0_start_s, one.intensity_start_s) == pytest.approx((two.f0_start_s, two.intensity_start_s))
        assert two.intensity_db == pytest.approx(one.intensity_db, abs=0.1)
        for mine, theirs in ((one.snr, two.snr), (one.c50, two.c50)):
            assert mine[1] == theirs[1]
            assert theirs[0] == (None if mine[0] is None else pytest.approx(mine[0], abs=0.05))


def test_the_room_may_be_off() -> None:
    for engine in ("praat", "torch"):
        made = signal_engine(FeaturesConfig(engine=engine, room="none"), "cpu")
        assert set(made.backends) == {"pitch", "intensity"}
        (signal,) = made.measure([np.sin(np.arange(8000, dtype=np.float32) * 0.1)])
        assert signal.snr == signal.c50 == (None, "disabled")
