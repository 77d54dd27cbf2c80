"""NeMo manifests."""

from __future__ import annotations

from collections.abc import Iterator

from sift_ray.config import NemoConfig
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.utterance import Utterance


def read_nemo(config: NemoConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the utterances."""
    raise NotImplementedError
