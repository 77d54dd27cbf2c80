"""A page that is full of sound is still one that can be sent and opened on a phone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sift_ray.report.page.clips import DRAWN_PER_S, SoundReader
from sift_ray.report.page.picks import RULES_SHOWN
from sift_ray.report.page.write import SOUND_ROOM, Choice, page
from sift_ray.schema import TASKS

from .page_job import parsed, write_clip, write_job

MOST_BYTES = 20e6
CLIP_BYTES = 1_000_000
CLIP_S = 8.0  # a longer clip is a longer drawing
STRIPS = 4  # of such a clip
MOST_CLIPS = Choice().samples * (len(TASKS) + 1 + RULES_SHOWN)
"""Where every task has samples (comparisons two clips each), and as many rules refused some as are shown."""


def test_a_page_whose_room_for_sound_is_full_is_under_20_mb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, root = write_job(tmp_path)
    for clip in (tmp_path / "clips").glob("*.wav"):
        write_clip(clip, 110.0 + 15 * int(clip.stem), CLIP_S)

    def loud(samples: NDArray[np.int16]) -> str:
        assert len(samples) == round(CLIP_S * 16_000)
        return "data:audio/mpeg;base64,".ljust(CLIP_BYTES, "A")

    def voiced(wave: NDArray[np.float32], parameters: Any) -> tuple[NDArray[np.float32], float]:
        del parameters
        return np.linspace(100.0, 200.0, len(wave) // 160, dtype=np.float32), 0.02

    monkeypatch.setattr("sift_ray.report.page.clips.data_uri", loud)
    monkeypatch.setattr("sift_ray.report.page.clips.pitch_track", voiced)  # (to measure it takes seconds)
    html = page(config, root, Choice())
    document = parsed(html)
    heard = len(list(document.all("audio")))
    drawn = sum("strip" in (e.attributes.get("class") or "").split() for e in document.all("svg"))
    clips = drawn // STRIPS
    assert clips > heard + 3
    # the room is taken, and no more than it; when no audio fits any more, drawings do for a while
    each = round(CLIP_S * DRAWN_PER_S)
    assert heard == SOUND_ROOM // (CLIP_BYTES + each)
    assert html.count("The page has no room for its audio.") == clips - heard > 0
    assert clips <= heard + (SOUND_ROOM - heard * (CLIP_BYTES + each)) // each
    # and what is neither heard nor drawn has room beside it: here, and where all is shown that there can be
    drawn = sum(len(svg) for svg in re.findall(r"<svg[^>]*\bstrip\b.*?</svg>", html, re.DOTALL))
    assert 0.5 * each < drawn / clips <= each
    beside = len(html.encode()) - heard * CLIP_BYTES - drawn
    assert SOUND_ROOM + beside / clips * max(clips, MOST_CLIPS) < MOST_BYTES


def test_a_clip_that_the_page_has_no_room_for_says_so(tmp_path: Path) -> None:
    config, _ = write_job(tmp_path)
    clip = str(next((tmp_path / "clips").glob("*.wav")))
    with SoundReader(config, 1_000) as reader:
        assert reader.read(clip) == "The page has no room for it."
