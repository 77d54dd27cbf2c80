"""WebDataset tar shards."""

from __future__ import annotations

from collections.abc import Iterator

from sift_ray.config import WebDatasetConfig
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.utterance import Utterance


def read_webdataset(config: WebDatasetConfig, reading: Reading) -> Iterator[Utterance]:
    """Yield the utterances."""
    raise NotImplementedError
