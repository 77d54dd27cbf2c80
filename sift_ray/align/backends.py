"""Which backend aligns: the one that the config names, loaded only where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sift_ray.align.protocol import Aligner
from sift_ray.config_align import AlignConfig


def create_aligner(config: AlignConfig, models: Mapping[str, Path]) -> Aligner | None:
    """Return the backend of `config`, None for `none`.

    Args:
        config: the section `annotate.align`.
        models: language → folder of a trained or imported model, for `viter`; the others take theirs from `config`.

    Raises:
        AlignError: what the backend needs is not installed, or a model or dictionary can't be had.
    """
    if config.backend == "viter":
        from sift_ray.align.viter_backend import ViterAligner

        return ViterAligner(models, min_score=config.min_score)
    if config.backend == "mfa":
        from sift_ray.align.mfa_backend import MfaAligner

        return MfaAligner(config)
    if config.backend == "ctc":
        from sift_ray.align.ctc_backend import CtcAligner

        return CtcAligner(config)
    return None


def model_identity(config: AlignConfig, language: str) -> str:
    """Return what tells the model of `language` (and its dictionary and G2P model) from others, for fingerprints.

    For `mfa` and `ctc`; nothing is downloaded or loaded.

    Raises:
        AlignError: a file that the config names is not there.
    """
    if config.backend == "mfa":
        from sift_ray.align.mfa_models import mfa_identity

        return mfa_identity(config, language)
    if config.backend == "ctc":
        from sift_ray.align.ctc_models import ctc_identity

        return ctc_identity(config, language)
    raise ValueError(f"models of {config.backend} are told apart by their folders")
