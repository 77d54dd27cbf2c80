"""A small job written by hand that has one of everything that a report shows, hostile texts among it."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile

from sift_ray.config import BinConfig, Config
from sift_ray.config_file import parse_config
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.bins_file import write_bins
from sift_ray.metadata.phrases import phrases
from sift_ray.pipeline.counts import count_annotations, count_instructions, count_utterances
from sift_ray.schema import ANNOTATIONS, INSTRUCTIONS, LANGUAGES, TASKS, UTTERANCES, conform
from sift_ray.storage import LocalRoot, put_json

from .finished_waves import write_wave

HOSTILE = "<script>alert(\"1\")</script> & 'q' </style><img src=x onerror=alert(2)>"
WAVES = 2
ROWS = 20
VOID = {"meta", "link", "br", "img", "hr", "input", "source"}


def write_clip(path: Path, hz: float, seconds: float = 1.5) -> None:
    """Write a voice-like tone: three harmonics, swelling and fading."""
    times = np.arange(round(seconds * 16_000)) / 16_000
    tone = sum(np.sin(2 * np.pi * hz * k * times) / k for k in (1, 2, 3))
    soundfile.write(path, 0.2 * tone * np.sin(np.pi * times / seconds), 16_000)


def annotation(number: int, clips: Path) -> dict[str, Any]:
    """The utterance of a number: every tenth is refused, one in ten has no word spans, one no audio, one is hostile."""
    kind = number % 10
    language = LANGUAGES[number % 5]
    row: dict[str, Any] = {
        "unit_id": number,
        "utterance_id": f"u{number}" if kind != 3 else f"u{number}{HOSTILE}",
        "corpus": "first" if number % 2 else "second",
        "data_source": f"demo_{language}",
        "language": language,
        "split": ("train", "dev", "test")[number % 3],
        "gender": ("female", "male")[number // 2 % 2],
        "transcript": HOSTILE if kind == 3 else f"so spricht man {number}",
        "audio_uri": str(clips / ("nowhere.wav" if kind == 4 else f"{kind}.wav")),
        "duration_s": 1.5,
        "status": "ok",
        "null_reasons": [],
        "alignment_score": 0.9,
        "alignment_reason": None,
        "pitch_median_hz": 100.0 + 5 * number,
        "pitch_std_hz": 10.0 + number,
        "intensity_db": 60.0 + number % 7,
        "speaking_rate_pps": 10.0 + number % 5,
        "snr_db": 20.0 + number % 9,
        "c50_db": 30.0 + number % 9,
        "distortion": 3.0 + number % 3 / 2,
        "distortion_backend": "dnsmos_sig",
        "quality": 2.0 + number % 3 / 2,
        "quality_backend": "dnsmos_ovrl",
        "words": [
            {"word": word, "position": place, "start_s": 0.3 * place, "end_s": 0.3 * place + 0.25}
            for place, word in enumerate(("so", "spricht", "<b>man</b>"), 1)
        ],
    }
    if kind == 0:
        row |= {"status": "rejected", "reject_stage": "decode", "reject_reason": "silent", "reject_detail": HOSTILE}
    if kind == 5:
        row |= {"alignment_reason": "low_confidence", "alignment_detail": "score 0.1", "words": None}
        row |= {"alignment_score": 0.1}
    return row


def request(row: dict[str, Any], task: str) -> dict[str, Any]:
    """A request about an utterance, with an accepted pair and two that rules refused."""
    fact = {"key": "speaking_rate", "value": "very slowly", "ordinal": 0, "audio": 0, "position": 0}
    given = {"evidence": [fact], "generator": "template", "attempt": 0}
    kind = row["unit_id"] % 10
    slowly = phrases(row["language"]).phrase("speaking_rate", "very slowly")
    question = HOSTILE if kind == 3 else f"Frage {row['unit_id']} {task}?"
    pairs = [
        {"question": question, "answer": f"Also: {slowly}, {row['unit_id']}.", "accepted": True, **given},
        {"question": "Q", "answer": f"{HOSTILE} {row['unit_id']}", "accepted": False, "reason": "false_claim", **given},
        {"question": "Q", "answer": "no", "accepted": False, "reason": "leak", **given, "evidence": None},
    ]
    return {
        "unit_id": row["unit_id"],
        "task": task,
        "language": row["language"],
        "split": row["split"],
        "data_source": row["data_source"],
        "utterance_ids": [row["utterance_id"]],
        "audio_uris": [row["audio_uri"]],
        "pairs": pairs,
        "model": "a/model",
        "prompt_hash": "0",
    }


def write_job(folder: Path) -> tuple[Config, LocalRoot]:
    """Write the job's tables under `folder`/out, and its clips beside them."""
    clips = folder / "clips"
    clips.mkdir(parents=True)
    for kind in range(10):
        write_clip(clips / f"{kind}.wav", 110.0 + 15 * kind)
    root = LocalRoot(folder / "out")
    every = [[annotation(ROWS * wave + n, clips) for n in range(ROWS)] for wave in range(WAVES)]
    for wave, rows in enumerate(every):
        table = conform(pa.Table.from_pylist(rows, ANNOTATIONS), ANNOTATIONS)
        planned = [row | {"status": "ok"} for row in rows]
        plan = conform(pa.Table.from_pylist(planned, ANNOTATIONS), UTTERANCES)
        write_wave(root, "utterances", wave, plan.to_pylist(), UTTERANCES, count_utterances(plan))
        write_wave(root, "annotations", wave, rows, ANNOTATIONS, count_annotations(table))
        usable = [row for row in rows if row["status"] == "ok"]
        asked = [request(row, TASKS[place % 7]) for place, row in enumerate(usable)]
        requests = conform(pa.Table.from_pylist(asked, INSTRUCTIONS), INSTRUCTIONS)
        write_wave(root, "instructions", wave, asked, INSTRUCTIONS, count_instructions(requests))
    usable = [row for rows in every for row in rows if row["status"] == "ok"]
    batches = pa.Table.from_pylist(usable, ANNOTATIONS).to_batches()
    root.put("bins.json", write_bins(build_rulers(lambda: batches, BinConfig(min_count=5))).encode())
    put_json(root, "plan.json", {"waves": WAVES, "rows": WAVES * ROWS, "seconds": 1.0})
    return parse_config(f"output: {root.uri}\ncorpora: [{{type: demo, name: demo, path: {clips}}}]", "page.yaml"), root


class Element:
    """An element of a parsed page."""

    def __init__(self, name: str, attributes: dict[str, str | None], parent: Element | None) -> None:
        self.name, self.attributes, self.parent = name, attributes, parent
        self.parts: list[str | Element] = []

    @property
    def children(self) -> list[Element]:
        """The elements directly in it."""
        return [part for part in self.parts if isinstance(part, Element)]

    def text(self) -> str:
        """All text in it."""
        return "".join(part if isinstance(part, str) else part.text() for part in self.parts)

    def all(self, *names: str) -> Iterator[Element]:
        """All elements in it, or those of these names."""
        for child in self.children:
            if not names or child.name in names:
                yield child
            yield from child.all(*names)


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self._at = Element("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(tag, dict(attrs), self._at)
        self._at.parts.append(made)
        if tag not in VOID:
            self._at = made

    def handle_endtag(self, tag: str) -> None:
        assert self._at.name == tag, f"</{tag}> closes <{self._at.name}> at {self.getpos()}"
        assert self._at.parent is not None
        self._at = self._at.parent

    def handle_data(self, data: str) -> None:
        self._at.parts.append(data)


def parsed(html: str) -> Element:
    """Parse a page whose every element must be closed in order."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder._at is builder.root, f"<{builder._at.name}> is never closed"
    return builder.root
