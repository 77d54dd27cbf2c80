from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from sift_ray.corpora.demo import DemoCorpora, write_demo


@pytest.fixture(scope="session")
def write_tone() -> Callable[..., Path]:
    """Write a tone as a file of any format that the suffix names; return its path."""

    def write(path: Path, seconds: float = 1.0, rate: int = 16_000, **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)
        sf.write(path, tone.astype(np.float32), rate, **options)
        return path

    return write


@dataclass
class Demo:
    path: Path
    corpora: DemoCorpora
    words: list[dict[str, Any]]
    clips: list[dict[str, Any]]


@pytest.fixture(scope="session")
def demo(demo_corpora: Path) -> Demo:
    """A demo of full length, for tests that only read it."""
    corpora = write_demo(demo_corpora)  # (it is there, and told of)
    words, clips = (
        [json.loads(line) for line in (corpora.truth / name).read_text(encoding="utf-8").splitlines()]
        for name in ("words.jsonl", "clips.jsonl")
    )
    return Demo(demo_corpora, corpora, words, clips)
