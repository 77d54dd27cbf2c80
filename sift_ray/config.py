"""What a job can be told: the sections of its YAML file, their types, ranges and defaults.

An unknown key, a wrong type or a missing file is an error; `config_file` reads a file and names the line. Every
section has defaults, so that a config names only what differs from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sift_ray.config_align import AlignConfig
from sift_ray.config_estimate import EstimateConfig
from sift_ray.config_instruct import InstructConfig
from sift_ray.config_release import ReleaseConfig
from sift_ray.config_sections import (
    Language,
    Name,
    PoolConfig,
    Section,
    Share,
    is_remote,
    model_there,
    paths_are_checked,
)
from sift_ray.config_storage import StorageConfig
from sift_ray.schema import ATTRIBUTE_COLUMNS, LANGUAGES

PositiveHours = Annotated[float, Field(gt=0.0)]


class _CorpusBase(Section):
    name: Name
    path: str  # local or mounted, or s3://bucket/prefix
    languages: tuple[Language, ...] | None = None  # None: all that the corpus holds of the five
    version: str | None = None  # part of an utterance's identity
    license: str | None = None
    hours: PositiveHours | Mapping[Language, PositiveHours] | None = None  # of each language; None: all there is

    @field_validator("path")
    @classmethod
    def _exists(cls, path: str, info: ValidationInfo) -> str:
        return _readable(path, info)

    def most_hours(self, language: str) -> float | None:
        """Return how many hours of a language are taken, None: all of them."""
        if self.hours is None or isinstance(self.hours, float):
            return self.hours
        hours: Mapping[str, float] = {str(key): value for key, value in self.hours.items()}
        return hours.get(language)


def _readable(path: str, info: ValidationInfo) -> str:
    if is_remote(path):
        if not path.startswith("s3://"):
            raise ValueError(f"corpora are read from local or mounted folders or from s3://bucket/prefix, not {path}")
    elif paths_are_checked(info) and not Path(path).exists():
        raise ValueError(f"no such file or folder: {path}")
    return path


class MlsConfig(_CorpusBase):
    """Multilingual LibriSpeech: a folder that holds `mls_<language>[_opus]` folders or is one, or hub Parquet."""

    type: Literal["mls"]
    limited_supervision: Literal["1hr", "9hr"] | None = None  # of train, only the clips of this published list


class CommonVoiceConfig(_CorpusBase):
    """Common Voice: a folder of `cv-corpus-<version>` folders, one of them, a language's in one, or hub Parquet."""

    type: Literal["common_voice"]
    validated: bool = False  # train also holds the validated clips that are in none of train, dev and test


class VctkConfig(_CorpusBase):
    """VCTK 0.92: the folder that holds `wav48_silence_trimmed`, or hub Parquet."""

    type: Literal["vctk"]
    mic: Literal["mic1", "mic2"] = "mic2"  # where a clip has no such recording, the other one is taken


class _ListConfig(_CorpusBase):
    """Utterances that name their audio, which must lie under `root`."""

    root: str | None = None  # local or s3://; default the folder of `path`
    language: Language | None = None  # of rows that do not say
    split: Literal["train", "dev", "test"] | None = None  # of rows that do not say; None: by a hash of the speaker
    https_hosts: tuple[str, ...] = ()  # audio at https:// is refused, but for these hosts

    @field_validator("root")
    @classmethod
    def _root_exists(cls, root: str | None, info: ValidationInfo) -> str | None:
        return None if root is None else _readable(root, info)


class ManifestConfig(_ListConfig):
    """A TSV, CSV, JSONL or Parquet of utterances."""

    type: Literal["manifest"]


class NemoConfig(_ListConfig):
    """A NeMo manifest: JSON lines of `audio_filepath`, `duration`, `offset`, `text`."""

    type: Literal["nemo"]
    ids: Literal["name", "path"] = "name"  # of rows without an id: the audio's name, or its path with _ for /


class LhotseConfig(_ListConfig):
    """Lhotse cuts, or supervisions with the recordings that they are of; JSONL, also gzipped."""

    type: Literal["lhotse"]
    recordings: str | None = None  # the recordings' manifest, where `path` holds supervisions

    @field_validator("recordings")
    @classmethod
    def _recordings_exist(cls, path: str | None, info: ValidationInfo) -> str | None:
        return None if path is None else _readable(path, info)


class KaldiConfig(_ListConfig):
    """A Kaldi data folder: `wav.scp`, `text`, `utt2spk`, `segments`; `root` is where the recipe was run."""

    type: Literal["kaldi"]


class WebDatasetConfig(_CorpusBase):
    """Tar shards, all under one folder, whose members share a stem: `a.flac`, `a.json` or `a.txt`."""

    type: Literal["webdataset"]
    language: Language | None = None  # of samples that do not say
    split: Literal["train", "dev", "test"] | None = None  # None: the shard's name, else by a hash of the speaker
    ids: Literal["name", "path"] = "name"  # of samples without an id: their name, or shard and name with _ for /


class DemoConfig(Section):
    """Small MLS, Common Voice and VCTK trees of synthetic speech, written when they are not there."""

    type: Literal["demo"]
    name: Name = "demo"
    path: str
    minutes: float = Field(4.0, gt=0.2, le=600)
    seed: int = 0


CorpusConfig = Annotated[
    MlsConfig
    | CommonVoiceConfig
    | VctkConfig
    | ManifestConfig
    | NemoConfig
    | LhotseConfig
    | KaldiConfig
    | WebDatasetConfig
    | DemoConfig,
    Field(discriminator="type"),
]


class DecodePool(Section):
    """Resources of a decoding task; there are as many as the cluster has room for."""

    num_cpus: float = Field(0.9, gt=0)  # (and so the smallest pools of all steps fit on four CPUs)
    batch_rows: int = Field(16, ge=1)


class PlanConfig(Section):
    """How utterances are cut into waves."""

    wave_rows: int = Field(20_000, ge=1)
    read_headers: bool = True  # for durations that no table of the corpus tells; without, they stay unknown
    threads: int = Field(16, ge=1, le=256)  # headers and small files read at once


class DecodeConfig(Section):
    """What counts as usable audio."""

    min_s: float = Field(0.3, gt=0)
    max_s: float = Field(40.0, gt=0)
    long_clips: Literal["reject", "cut"] = "reject"  # cut: the first max_s are measured, and the text is dropped
    pool: DecodePool = DecodePool()

    @model_validator(mode="after")
    def _some_length_is_allowed(self) -> Self:
        if self.min_s >= self.max_s:
            raise ValueError(f"min_s ({self.min_s:g}) must be less than max_s ({self.max_s:g})")
        return self


class LabelConfig(Section):
    """A label that a classifier gives to utterances whose corpus has none; off unless configured."""

    column: Literal["gender", "age", "accent", "emotion", "spoken_language"]
    model: str  # folder or hub id of a transformers audio-classification checkpoint
    revision: str | None = None  # of the hub: a commit, tag or branch
    values: Mapping[str, str | None] = Field(default_factory=dict)  # the model's label → ours; null: unknown
    min_score: Share = 0.8  # less probable labels stay unknown
    max_s: float = Field(15.0, gt=0.5)  # at most so much of a clip is heard, from its middle

    _there = field_validator("model")(model_there)


class FeaturesConfig(Section):
    """Acoustic measurements; names of Praat's parameters are Praat's."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["auto", "praat", "torch"] = "auto"  # auto: torch on a GPU, Praat and NumPy on a CPU
    quality: Literal["dnsmos", "squim", "none"] = "dnsmos"
    room: Literal["signal", "brouhaha", "none"] = "signal"
    pitch_floor: float = Field(75.0, ge=10, le=1000)
    pitch_ceiling: float = Field(600.0, gt=0, le=8000)
    silence_threshold: float = Field(0.03, ge=0)
    voicing_threshold: float = Field(0.45, ge=0)
    octave_cost: float = Field(0.01, ge=0)
    octave_jump_cost: float = Field(0.35, ge=0)
    voiced_unvoiced_cost: float = Field(0.14, ge=0)
    dnsmos_windows: int = Field(1, ge=1, le=16)
    squim_model: str | None = None  # file, folder, https address or hub id; None: the published weights
    brouhaha_model: str | None = None  # likewise; None: what Data-Speech downloads
    labels: tuple[LabelConfig, ...] = ()
    batch_s: float = Field(600.0, ge=1)  # seconds of audio on the device at once
    pool: PoolConfig = PoolConfig()

    @model_validator(mode="after")
    def _some_pitch_is_allowed(self) -> Self:
        if self.pitch_floor >= self.pitch_ceiling:
            raise ValueError(
                f"pitch_floor ({self.pitch_floor:g}) must be less than pitch_ceiling ({self.pitch_ceiling:g})"
            )
        return self

    @model_validator(mode="after")
    def _engine_fits_the_device(self) -> Self:
        if self.engine == "praat" and self.device == "cuda":
            raise ValueError("engine praat runs on the CPU only: set engine to auto or torch, or device to cpu")
        if self.device == "cuda" and not self.pool.num_gpus:
            raise ValueError("device cuda needs a GPU for each actor: set pool.num_gpus, such as {num_gpus: 1}")
        return self

    _there = field_validator("squim_model", "brouhaha_model")(model_there)

    @field_validator("labels")
    @classmethod
    def _one_model_a_column(cls, labels: tuple[LabelConfig, ...]) -> tuple[LabelConfig, ...]:
        columns = [label.column for label in labels]
        for column in columns:
            if columns.count(column) > 1:
                raise ValueError(f"{column} is labelled twice: keep one model for it")
        return labels


class AnnotateConfig(Section):
    """Decode, measure, align."""

    decode: DecodeConfig = DecodeConfig()
    features: FeaturesConfig = FeaturesConfig()
    align: AlignConfig = AlignConfig()
    error_budget: Share = 0.05  # a wave with a greater share of rejects fails


class BinConfig(Section):
    """How measurements become categories."""

    method: Literal["equal_width", "quantile"] = "equal_width"
    outlier_std: Mapping[str, float] = Field(default_factory=dict)  # attribute → k; default in categories
    # a smaller group is judged by its corpus over all languages, then by its language over all corpora, then by all
    min_count: int = Field(20, ge=2)
    by_language: tuple[str, ...] = ()  # attributes that have a ruler for each language of a corpus
    unknown_gender: Literal["refuse", "all_speakers"] = "refuse"  # whose pitch is judged by one ruler of all speakers
    frozen: str | None = None  # a bins.json from elsewhere

    @field_validator("frozen")
    @classmethod
    def _there(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None and not is_remote(path) and paths_are_checked(info) and not Path(path).is_file():
            raise ValueError(f"no such file: {path}")
        return path

    @field_validator("outlier_std")
    @classmethod
    def _attributes(cls, values: Mapping[str, float]) -> Mapping[str, float]:
        for attribute, k in values.items():
            _known_attribute(attribute)
            if not 0 < k < math.inf:
                raise ValueError(f"{attribute}: k must be positive and finite, not {k}")
        return values

    @field_validator("by_language")
    @classmethod
    def _known(cls, attributes: tuple[str, ...]) -> tuple[str, ...]:
        for attribute in attributes:
            _known_attribute(attribute)
        return attributes


def _known_attribute(attribute: str) -> None:
    if attribute not in ATTRIBUTE_COLUMNS:
        raise ValueError(f"no attribute {attribute!r}; there are {', '.join(ATTRIBUTE_COLUMNS)}")


class RayConfig(Section):
    """How the job joins or starts Ray."""

    address: str | None = None  # None: RAY_ADDRESS when set, else a local Ray
    num_cpus: int | None = Field(None, ge=1)  # logical CPUs of a local Ray; None: as the machine has
    object_store_gib: float | None = Field(None, gt=0)
    no_progress_timeout_s: int = Field(6 * 3600, ge=60)  # spot GPUs may be awaited for hours
    max_actor_restarts: int = Field(3, ge=0)
    max_task_retries: int = Field(2, ge=0)


class Config(Section):
    """A whole job."""

    output: str = Field(min_length=1)
    corpora: tuple[CorpusConfig, ...]
    plan: PlanConfig = PlanConfig()
    annotate: AnnotateConfig = AnnotateConfig()
    bin: BinConfig = BinConfig()
    instruct: InstructConfig = InstructConfig()
    release: ReleaseConfig = ReleaseConfig()
    storage: StorageConfig = StorageConfig()
    corpora_storage: StorageConfig | None = None  # where corpora lie elsewhere than the output does; None: `storage`
    ray: RayConfig = RayConfig()
    estimate: EstimateConfig = EstimateConfig()

    @property
    def reading_from(self) -> StorageConfig:
        """Where corpora are read from."""
        return self.corpora_storage or self.storage

    @model_validator(mode="after")
    def _distinct_corpora(self) -> Self:
        if not self.corpora:
            raise ValueError("corpora: name at least one")
        names = [corpus.name for corpus in self.corpora]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"corpora: two of them are named {', '.join(twice)}; names must differ")
        return self

    @model_validator(mode="after")
    def _storage_is_heeded(self) -> Self:
        """Refuse what an output that is not on S3 would silently do without."""
        asked = [key for key in ("encryption", "request_payer") if getattr(self.storage, key)]
        if asked and not self.output.startswith("s3://"):
            raise ValueError(f"storage.{asked[0]} is for s3:// alone, and the output is {self.output}; drop it")
        return self


assert set(get_args(Language)) == set(LANGUAGES)
