"""A folder of audio files that are named after what they hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ENDINGS: Final = frozenset(
    (".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".m4a", ".aac", ".mp4", ".webm", ".aif", ".aiff", ".au", ".caf")
)
"""Of files that are taken for audio."""


def files_by_stem(folder: Path) -> dict[str, list[str]]:
    """Return the audio files of a folder and the folders in it, by the stems of their names; hidden ones are none."""
    found: dict[str, list[str]] = {}
    for place, inner, names in os.walk(folder):
        inner.sort()
        for name in sorted(names):
            stem, ending = os.path.splitext(name)  # noqa: PTH122 (there may be millions)
            if ending.lower() in ENDINGS and not name.startswith("."):
                found.setdefault(stem, []).append(f"{place}/{name}")
    return found
