"""Where the published weights of SQUIM and Brouhaha are found, and what tells weights apart; torch is not needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sift_ray.features.checkpoints import checkpoint_identity, find_checkpoint


@dataclass(frozen=True, slots=True)
class Published:
    """A network's weights.

    Attributes:
        default: where they are, if a config names no other place.
        filenames: what the file is called in a folder or on the hub, the first that is there is taken.
    """

    default: str
    filenames: tuple[str, ...]

    def find(self, source: str | None = None) -> Path:
        """Return the file that `source` (as in `find_checkpoint`; None: the default) names, downloaded if need be.

        Raises:
            CheckpointError: it can't be had.
        """
        return find_checkpoint(source or self.default, filenames=self.filenames)

    def identity(self, source: str | None = None) -> str:
        """Return what tells these weights from others, as `checkpoint_identity`; nothing is downloaded.

        Raises:
            CheckpointError: a file or folder that is named is not there.
        """
        return checkpoint_identity(source or self.default, filenames=self.filenames)


SQUIM: Final = Published(
    "https://download.pytorch.org/torchaudio/models/squim_objective_dns2020.pth",
    ("squim_objective_dns2020.pth", "model.safetensors", "pytorch_model.bin"),
)
"""Of torchaudio's objective network."""

BROUHAHA: Final = Published("ylacombe/brouhaha-best", ("best.ckpt", "pytorch_model.bin", "model.safetensors"))
"""What Data-Speech downloads; `pyannote/brouhaha`, whose terms one has to accept, holds `pytorch_model.bin`."""
