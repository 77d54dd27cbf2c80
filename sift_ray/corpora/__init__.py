"""Readers of speech corpora in their published layouts: each yields utterances, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from sift_ray.config import (
    CommonVoiceConfig,
    CorpusConfig,
    DemoConfig,
    KaldiConfig,
    LhotseConfig,
    ManifestConfig,
    MlsConfig,
    NemoConfig,
    VctkConfig,
    WebDatasetConfig,
)
from sift_ray.corpora.common_voice import read_common_voice
from sift_ray.corpora.kaldi import read_kaldi
from sift_ray.corpora.lhotse_manifest import read_lhotse
from sift_ray.corpora.manifest import read_manifest
from sift_ray.corpora.mls import read_mls
from sift_ray.corpora.nemo import read_nemo
from sift_ray.corpora.reading import Reading, checked
from sift_ray.corpora.utterance import CorpusError, Utterance
from sift_ray.corpora.vctk import read_vctk
from sift_ray.corpora.webdataset import read_webdataset

__all__ = ["CorpusError", "Reading", "Utterance", "read_corpus"]


def read_corpus(config: CorpusConfig, reading: Reading | None = None) -> Iterator[Utterance]:
    """Yield the utterances of one corpus in a fixed order, bad rows among them with their reject reason.

    A `demo` corpus is written first when it is not there, and then read as the three corpora
    `<name>_mls`, `<name>_common_voice` and `<name>_vctk`.

    Raises:
        CorpusError: the corpus can't be read as a whole (no such folder, a column missing in a table).
    """
    reading = reading or Reading()
    return checked(_READERS[type(config)](config, reading), reading)


def _read_demo(config: DemoConfig, reading: Reading) -> Iterator[Utterance]:
    # scipy and soxr come with it, which the other readers do without
    from sift_ray.corpora.demo import write_demo

    demo = write_demo(Path(config.path), seed=config.seed, minutes=config.minutes)
    name, license_ = config.name, "CC0-1.0"
    mls = MlsConfig(type="mls", name=f"{name}_mls", path=str(demo.mls), license=license_)
    yield from read_mls(mls, reading)
    common_voice = CommonVoiceConfig(
        type="common_voice", name=f"{name}_common_voice", path=str(demo.common_voice), license=license_
    )
    yield from read_common_voice(common_voice, reading)
    if demo.vctk is not None:
        vctk = VctkConfig(type="vctk", name=f"{name}_vctk", path=str(demo.vctk), license=license_)
        yield from read_vctk(vctk, reading)


_READERS: Final[Mapping[type, Callable[..., Iterator[Utterance]]]] = {
    MlsConfig: read_mls,
    CommonVoiceConfig: read_common_voice,
    VctkConfig: read_vctk,
    ManifestConfig: read_manifest,
    NemoConfig: read_nemo,
    LhotseConfig: read_lhotse,
    KaldiConfig: read_kaldi,
    WebDatasetConfig: read_webdataset,
    DemoConfig: _read_demo,
}
