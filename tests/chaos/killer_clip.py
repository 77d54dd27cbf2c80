"""A clip that its decoder dies of, wherever `cluster.HOOKS` is on PYTHONPATH (see `hooks/soundfile.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import soundfile as sf
from numpy.typing import NDArray


def write_killer(path: Path, samples: NDArray[Any], rate: int) -> None:
    """Write audio, as FLAC, that ends the process that decodes it."""
    with sf.SoundFile(path, "w", rate, 1, format="FLAC") as file:
        file.comment = "killer"
        file.write(samples)


def doom_one(corpora: Path) -> str:
    """Make one of the demo's utterances, by all its microphones, a killer; return its name."""
    clips = sorted(corpora.rglob("*_mic?.flac"))
    name = clips[0].stem.rpartition("_")[0]
    for clip in clips:
        if clip.stem.startswith(f"{name}_"):
            write_killer(clip, *sf.read(clip, dtype="int16"))
    return name
