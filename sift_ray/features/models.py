"""The networks that judge quality and room, chosen by the config; all of one shape."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sift_ray.config import FeaturesConfig
from sift_ray.features.engine import Estimate, Waveform
from sift_ray.features.published import BROUHAHA, SQUIM


@dataclass(frozen=True, slots=True)
class PairModel:
    """A model that tells two measures of each clip.

    Attributes:
        backends: the names of the two measures, and of what measures each.
        measure: takes clips (float32 [n], 16 kHz, finite, in [-1, 1]), gives both measures of each, in that order.
    """

    backends: dict[str, str]
    measure: Callable[[Sequence[Waveform]], Sequence[tuple[Estimate, Estimate]]]


def quality_model(config: FeaturesConfig, device: str) -> PairModel | None:
    """Return what tells `distortion` and `quality`; None where the config wants none.

    Raises:
        FileNotFoundError, ValueError: weights or packages are missing.
    """
    if config.quality == "dnsmos":
        return _dnsmos(config, device)
    if config.quality == "squim":
        return _squim(config, device)
    return None


def room_model(config: FeaturesConfig, device: str) -> PairModel | None:
    """Return what tells `snr` and `c50`; None where they come from the signal, or not at all.

    Raises:
        ValueError: weights or packages are missing.
    """
    return _brouhaha(config, device) if config.room == "brouhaha" else None


def _dnsmos(config: FeaturesConfig, device: str) -> PairModel:
    from sift_ray.features.quality import MosScores

    score: Callable[[Sequence[Waveform]], list[MosScores | None]]
    if device == "cpu":
        from sift_ray.features.quality import Dnsmos

        score = Dnsmos(windows=config.dnsmos_windows).score
    else:
        from sift_ray.features.batched.dnsmos import BatchedDnsmos

        score = BatchedDnsmos(windows=config.dnsmos_windows, device=device).score
    return PairModel(
        {"distortion": "dnsmos_sig", "quality": "dnsmos_ovrl"},
        lambda clips: [_pair(scores and (scores.sig, scores.ovrl), "too_short") for scores in score(clips)],
    )


def _squim(config: FeaturesConfig, device: str) -> PairModel:
    _raise_without_torch("features.quality is squim")
    from sift_ray.features import squim

    model = squim.Squim(SQUIM.find(config.squim_model), device=device)

    def measure(clips: Sequence[Waveform]) -> list[tuple[Estimate, Estimate]]:
        return [
            _pair(scores, "too_short" if len(clip) < squim.MIN_SAMPLES else "silent")
            for clip, scores in zip(clips, model.score(clips), strict=True)
        ]

    return PairModel({"distortion": squim.DISTORTION_BACKEND, "quality": squim.QUALITY_BACKEND}, measure)


def _brouhaha(config: FeaturesConfig, device: str) -> PairModel:
    _raise_without_torch("features.room is brouhaha")
    from sift_ray.features import brouhaha

    model = brouhaha.Brouhaha(BROUHAHA.find(config.brouhaha_model), device=device)
    return PairModel(
        {"snr": brouhaha.SNR_BACKEND, "c50": brouhaha.C50_BACKEND},
        lambda clips: [((room.snr_db, room.reason), (room.c50_db, room.reason)) for room in model.measure(clips)],
    )


def _raise_without_torch(what: str) -> None:
    if importlib.util.find_spec("torch") is None:
        raise ValueError(f"{what}, which needs torch: pip install 'sift-ray[models]'")


def _pair(values: tuple[float, float] | None, reason: str) -> tuple[Estimate, Estimate]:
    if values is None:
        return (None, reason), (None, reason)
    return (values[0], None), (values[1], None)
