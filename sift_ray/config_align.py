"""What forced alignment can be told: the section `annotate.align`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sift_ray.config_sections import Language, PoolConfig, Section, Share, is_plainly_local, paths_are_checked

Recipe = Literal["auto", "monophone", "triphone", "triphone_lda", "triphone_sat"]


class CtcConfig(Section):
    """The backend `ctc`: a wav2vec2-style model of transformers."""

    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: the GPU where the pool gives each actor one
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # auto: float16 on a GPU, else float32
    batch_s: float = Field(240.0, ge=1)  # seconds of audio on the device at once; halved when its memory runs out


class MfaConfig(Section):
    """The backend `mfa`: the Montreal Forced Aligner."""

    speaker_adaptation: bool = False  # fMLLR per speaker: spans then depend on what else is in the batch
    beam: int = Field(10, ge=1)
    retry_beam: int = Field(40, ge=1)


class AlignConfig(Section):
    """Forced alignment."""

    backend: Literal["viter", "mfa", "ctc", "none"] = "viter"
    # viter: the folder of a trained model, a .viter file or an acoustic model of MFA (.zip); left out: trained on the
    # corpus. mfa: name or path. ctc: folder or hub id, a revision behind @
    models: Mapping[Language, str] = Field(default_factory=dict)
    dictionaries: Mapping[Language, str] = Field(default_factory=dict)  # MFA or CMU format; mfa: names too
    g2p: Mapping[Language, str] = Field(default_factory=dict)  # MFA's G2P models; left out: espeak-ng. mfa: names too
    min_score: Share | None = None  # None: the backend's own threshold
    recipe: Recipe = "auto"  # of training; auto: by how much speech there is
    train_hours: float = Field(20.0, gt=0)  # at most so much audio a language is trained on
    min_train_s: float = Field(15.0, gt=0)  # with less speech than this a language is not aligned
    seed: int = 0
    ctc: CtcConfig = CtcConfig()
    mfa: MfaConfig = MfaConfig()
    pool: PoolConfig = PoolConfig()

    def model(self, language: str) -> str | None:
        """Return a language's model as the config names it."""
        return _of(self.models, language)

    def dictionary(self, language: str) -> Path | None:
        """Return the path of a language's pronunciation dictionary, if one is given as a file."""
        source = _of(self.dictionaries, language)
        return None if source is None or not Path(source).expanduser().is_file() else Path(source).expanduser()

    def g2p_model(self, language: str) -> Path | None:
        """Return the path of a language's G2P model, if one is given as a file."""
        source = _of(self.g2p, language)
        return None if source is None or not Path(source).expanduser().is_file() else Path(source).expanduser()

    @field_validator("models", "dictionaries", "g2p")
    @classmethod
    def _there(cls, paths: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        named = info.data.get("backend") == "mfa" or (info.data.get("backend") == "ctc" and info.field_name == "models")
        for language, path in paths.items():
            if not paths_are_checked(info) or (named and not is_plainly_local(path)):
                continue
            there = Path(path).expanduser()
            if not there.exists():
                raise ValueError(f"{language}: no such file or folder: {path}")
            if info.field_name != "models" and not there.is_file():
                raise ValueError(f"{language}: {path} is a folder; give a file")
        return paths

    @model_validator(mode="after")
    def _backend_has_what_it_needs(self) -> Self:
        if self.backend in ("mfa", "ctc") and not self.models:
            raise ValueError(
                f"backend {self.backend} needs a model for each language, such as models: {{en: …}}; "
                "only viter trains its own"
            )
        if self.backend == "mfa":
            for language in self.models:
                if language not in self.dictionaries:
                    raise ValueError(f"backend mfa needs a dictionary for {language!r} beside its model")
        if self.ctc.device == "cuda" and self.backend == "ctc" and not self.pool.num_gpus:
            raise ValueError("ctc.device cuda needs a GPU for each actor: set pool.num_gpus, such as {num_gpus: 1}")
        return self


def _of(paths: Mapping[Language, str], language: str) -> str | None:
    return {str(key): path for key, path in paths.items()}.get(language)
