"""Whether splits share an audio or a speaker: those of dev and test are known first, then every sample is looked at.

Audios and speakers are known by 64-bit hashes. What is kept is 8 bytes for each audio and speaker of dev and test,
which are small by their nature; of train nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.storage import stable_id

KINDS: Final = ("audio", "speaker")
SPEAKERS: Final = ("audio_uri", "corpus", "speaker_id")
"""The columns of annotations that tell an audio's speaker."""

Hashes = NDArray[np.int64]
_NONE: Final[Hashes] = np.empty(0, dtype=np.int64)


class LeakError(RuntimeError):
    """Two splits hold the same audio or the same speaker."""


@dataclass
class HeldOut:
    """Hashes of what stands in dev and test: sorted and distinct, by kind and split."""

    found: dict[tuple[str, str], Hashes] = field(default_factory=dict)

    def add(self, others: Mapping[tuple[str, str], Hashes]) -> None:
        """Take what another wave holds; train's is left out."""
        for (kind, split), hashes in others.items():
            if split != "train":
                self.found[kind, split] = np.union1d(self.found.get((kind, split), _NONE), hashes)

    def check(self, seen: Mapping[tuple[str, str], Hashes], where: str) -> None:
        """Look at what a wave of the release holds.

        Args:
            seen: as `seen_in` returns it.
            where: what is looked at, for the error.

        Raises:
            LeakError: something of it stands in another split too, by a count and the pair of splits.
        """
        for (kind, split), hashes in sorted(seen.items()):
            for other in ("dev", "test"):
                shared = np.intersect1d(hashes, self.found.get((kind, other), _NONE)) if other != split else _NONE
                if len(shared):
                    raise LeakError(
                        f"{where}: {len(shared):,} {kind}s of {split} stand in {other} too, so that a model would be "
                        "tried on what it was trained on; look at `split` of the corpora, make the plan again "
                        "(--restart-from plan), or leave a corpus out"
                    )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many distinct audios and speakers dev and test have."""
        return {
            kind: {split: len(hashes) for (of, split), hashes in sorted(self.found.items()) if of == kind}
            for kind in KINDS
        }


def seen_in(instructions: pa.Table, speakers: pa.Table | None) -> dict[tuple[str, str], Hashes]:
    """Return the distinct audios and known speakers of instruction rows, by kind and split.

    Args:
        instructions: with `split` and `audio_uris`.
        speakers: `SPEAKERS` of the wave's utterances; None: nobody knows a speaker.
    """
    found: dict[tuple[str, str], Hashes] = {}
    for split in instructions["split"].unique().to_pylist():
        rows = instructions.filter(pc.equal(instructions["split"], split))
        uris = pc.unique(pc.list_flatten(rows["audio_uris"])).drop_null()
        found["audio", split] = _hashed("audio", uris)
        if speakers is not None:
            of = speakers.take(pc.index_in(uris, speakers["audio_uri"]).drop_null()).drop_columns(["audio_uri"])
            of = of.filter(pc.is_valid(of["speaker_id"])).group_by(["corpus", "speaker_id"]).aggregate([])
            names = pc.binary_join_element_wise(of["corpus"], of["speaker_id"], "\x1f")
            found["speaker", split] = _hashed("speaker", names)
    return found


def _hashed(kind: str, texts: pa.Array | pa.ChunkedArray | Iterable[str]) -> Hashes:
    values = texts.to_pylist() if isinstance(texts, pa.Array | pa.ChunkedArray) else list(texts)
    return np.unique(np.array([stable_id(kind, text) for text in values], dtype=np.int64))
