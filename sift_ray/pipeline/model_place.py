"""Where alignment models lie; apart, because workers import it, and should import little else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelPlace:
    """Where a language's model lies: in the output root (`folder`), or at a local path of the config (`path`)."""

    fingerprint: str
    folder: str = ""
    path: str | None = None
