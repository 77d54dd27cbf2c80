"""The demo's clips as material for other layouts, and what a reader of such a layout is expected to yield."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sift_ray.corpora.demo_trees import COMMON_VOICE
from sift_ray.corpora.mls import FOLDERS


@dataclass(frozen=True)
class DemoClip:
    """One clip; transcript and speaker as its tree has them. `row` is Common Voice's own, empty for the others."""

    utterance_id: str
    corpus: str
    language: str
    split: str
    speaker_id: str
    gender: str
    transcript: str
    duration_s: float
    file: Path
    row: dict[str, str]


@dataclass(frozen=True)
class Demo:
    """The demo's trees and the clips in them."""

    root: Path
    clips: tuple[DemoClip, ...]

    def of(self, corpus: str, *languages: str) -> list[DemoClip]:
        """Return the clips of a corpus, language by language, in the order of their tables."""
        return [
            clip for language in languages for clip in self.clips if (clip.corpus, clip.language) == (corpus, language)
        ]


def read_demo(root: Path) -> Demo:
    """Read what `write_demo` wrote."""
    transcripts: dict[str, str] = {}
    for folder in FOLDERS.values():
        for table in root.glob(f"mls_{folder}/*/transcripts.txt"):
            transcripts |= dict(line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
    rows: dict[str, dict[str, str]] = {}
    for table in (root / COMMON_VOICE).glob("*/validated.tsv"):
        header, *lines = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
        for cells in lines:
            row = dict(zip(header, cells, strict=True))
            rows[Path(row["path"]).stem] = row
    clips = []
    for line in (root / "truth/clips.jsonl").read_text(encoding="utf-8").splitlines():
        truth: dict[str, Any] = json.loads(line)
        name = truth["utterance_id"]
        clips.append(
            DemoClip(
                utterance_id=name,
                corpus=truth["corpus"],
                language=truth["language"],
                split=truth["split"],
                speaker_id=truth["speaker_id"],
                gender=truth["true_gender"],
                transcript=transcripts.get(name, truth["text"]),
                duration_s=truth["duration_s"],
                file=root / truth["path"],
                row=rows.get(name, {}),
            )
        )
    return Demo(root, tuple(clips))


@dataclass(frozen=True)
class Expected:
    """An utterance that a layout holds.

    Attributes:
        utterance_id: As the reader names it.
        language: One of the five.
        split: None where the layout tells none and it is drawn by the speaker.
        transcript: As the reader gives it.
        audio: A demo file with the same audio, whole, whatever container or recording the layout has it in.
        lossy: The layout's audio was encoded again: it sounds the same, its samples differ.
    """

    utterance_id: str
    language: str
    split: str | None
    transcript: str
    audio: Path
    lossy: bool = False

    @classmethod
    def of(cls, clip: DemoClip, **changes: Any) -> Expected:
        """Return what is expected of a clip that kept what its tree says of it."""
        values: dict[str, Any] = {
            "utterance_id": clip.utterance_id,
            "language": clip.language,
            "split": clip.split,
            "transcript": clip.transcript,
            "audio": clip.file,
        }
        return cls(**(values | changes))


@dataclass(frozen=True)
class Layout:
    """A corpus in one layout.

    Attributes:
        corpus: Its section of a config.
        utterances: What it holds.
        skipped: How many rows of it are passed over, because the section does not ask for them.
    """

    corpus: dict[str, Any]
    utterances: tuple[Expected, ...]
    skipped: int = 0


Build = Callable[[Demo, Path, str], Layout]
"""Writes a layout into a local folder; the text is that folder's address where it will be read: itself, or `s3://…`."""
