"""Labels of speakers and speech from classifiers, for utterances whose corpus gives none, each with its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.audio.batching import ShrinkingBatches
from sift_ray.config import FeaturesConfig
from sift_ray.features.engine import release_device_memory
from sift_ray.schema import ANNOTATIONS, SAMPLE_RATE

CORPUS: Final = "corpus"
FROM_CORPUS: Final = ("gender", "age", "accent")
"""Labels that a corpus may give; a classifier is asked only where it gives none."""


class Labelling:
    """The classifiers of a config, loaded once; without any, only the sources of the corpus's labels are told."""

    def __init__(self, config: FeaturesConfig, device: str) -> None:
        self._batches = ShrinkingBatches(round(config.batch_s * SAMPLE_RATE), release_device_memory)
        self._labellers = {}
        for label in config.labels:
            from sift_ray.features.speaker_labels import SpeakerLabeller

            self._labellers[label.column] = SpeakerLabeller(label, device=device)

    def __call__(
        self, batch: pa.Table, clips: Mapping[int, NDArray[np.float32]]
    ) -> tuple[pa.Table, dict[int, list[str]]]:
        """Add or fill the label columns and their `*_source`.

        Args:
            batch: rows with the corpus's columns. Where `gender_withheld` is true, the corpus has spoken: the gender
                stays null.
            clips: the audio of the rows that may be labelled: float32 [n], 16 kHz.

        Returns:
            The batch, and `label:reason` for each row that a classifier could not label.
        """
        reasons: dict[int, list[str]] = {}
        for name in FROM_CORPUS:
            said = pc.is_valid(batch.column(name))
            if name == "gender":
                said = pc.or_(said, pc.fill_null(batch.column("gender_withheld"), False))
            source = pc.if_else(said, pa.scalar(CORPUS), pa.scalar(None, pa.string()))
            batch = batch.append_column(ANNOTATIONS.field(f"{name}_source"), source)
        for name, labeller in self._labellers.items():
            values = _strings(batch, name)
            sources = _strings(batch, f"{name}_source")
            asked = [row for row in clips if sources[row] is None]
            labels = self._batches.map([clips[row] for row in asked], labeller.label)
            for row, label in zip(asked, labels, strict=True):
                if label is not None and label.value is not None:
                    values[row], sources[row] = label.value, labeller.source
                else:
                    reasons.setdefault(row, []).append(f"{name}:{label.reason if label else 'out_of_memory'}")
            batch = _with(_with(batch, name, values), f"{name}_source", sources)
        return batch, reasons


def _strings(batch: pa.Table, name: str) -> list[str | None]:
    return list(batch.column(name).to_pylist()) if name in batch.column_names else [None] * batch.num_rows


def _with(batch: pa.Table, name: str, values: Sequence[str | None]) -> pa.Table:
    field, column = ANNOTATIONS.field(name), pa.array(values, pa.string())
    if name in batch.column_names:
        return batch.set_column(batch.column_names.index(name), field, column)
    return batch.append_column(field, column)
