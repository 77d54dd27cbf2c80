"""Small MLS, Common Voice and VCTK trees of synthetic speech in five languages, with the truth apart.

The trees have the layouts of the published corpora, so that the demo takes the same way as real data.
`truth/words.jsonl` holds every word's exact place, `truth/clips.jsonl` how each clip was made.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from sift_ray.corpora.demo_acoustics import Recording, record
from sift_ray.corpora.demo_plan import Clip, plan_round
from sift_ray.corpora.demo_trees import COMMON_VOICE, VCTK, DemoTrees
from sift_ray.corpora.demo_voice import Spoken, speak
from sift_ray.corpora.utterance import CorpusError

_MARKER: Final = "DEMO.json"
_VERSION: Final = 1
"""Counts up when the same parameters give other files."""

_TOKEN: Final = re.compile(r"\S+")
_RATES: Final = {"mls": 16_000, "common_voice": 48_000, "vctk": 48_000}


@dataclass(frozen=True, slots=True)
class DemoCorpora:
    """Where the demo's corpora lie.

    Attributes:
        mls: Holds `mls_<language>` folders.
        common_voice: The `cv-corpus-…` folder.
        vctk: The folder that holds `wav48_silence_trimmed`; None when the demo is too short to have it.
        truth: Holds `words.jsonl` and `clips.jsonl`.
    """

    mls: Path
    common_voice: Path
    vctk: Path | None
    truth: Path


@dataclass(frozen=True, slots=True)
class TrueWord:
    """A word's exact place in the finished clip; `phones` in IPA."""

    word: str
    start_s: float
    end_s: float
    phones: tuple[str, ...]


def write_demo(path: Path, *, seed: int = 0, minutes: float = 4) -> DemoCorpora:
    """Write the demo's corpora at `path`, or do nothing when they are there with the same parameters.

    They appear all at once: an interrupted run leaves nothing behind at `path`. A demo with other
    parameters is replaced.

    Args:
        path: A folder that is absent, empty, or holds an earlier demo.
        seed: Equal seeds and minutes give equal audio.
        minutes: Least amount of audio in all; at most one clip more is written.

    Raises:
        CorpusError: `path` holds something else.
        SynthesisError: espeak-ng fails.
    """
    parameters = {
        "seed": seed,
        "minutes": float(minutes),
        "version": _VERSION,
        "espeakng_loader": importlib.metadata.version("espeakng-loader"),
    }
    if _is_complete(path, parameters):
        return _corpora(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(partial, seed, minutes)
        (partial / _MARKER).write_text(json.dumps(parameters) + "\n", encoding="utf-8")
        if (path / _MARKER).is_file():
            shutil.rmtree(path)
        try:
            partial.rename(path)
        except OSError:
            # another process may have finished the same demo meanwhile
            if not _is_complete(path, parameters):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _corpora(path)


def _is_complete(path: Path, parameters: dict[str, Any]) -> bool:
    marker = path / _MARKER
    if marker.is_file():
        return bool(json.loads(marker.read_text(encoding="utf-8")) == parameters)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise CorpusError(f"{path}: holds something that is no demo; give the demo a folder of its own")
    return False


def _corpora(path: Path) -> DemoCorpora:
    vctk = path / VCTK
    return DemoCorpora(path, path / COMMON_VOICE, vctk if vctk.is_dir() else None, path / "truth")


def _write(path: Path, seed: int, minutes: float) -> None:
    trees = DemoTrees(path)
    truth = path / "truth"
    truth.mkdir(parents=True)
    with (
        (truth / "words.jsonl").open("w", encoding="utf-8") as words_file,
        (truth / "clips.jsonl").open("w", encoding="utf-8") as clips_file,
    ):
        for made in _make(seed, minutes):
            utterance_id, written, transcript = trees.add(made.clip, made.recording, made.second)
            # the tree's transcript may be in lower case: its words are the ones that sit at these places
            tokens = transcript.split()
            words = [
                {
                    "word": _bare(token),
                    "start_s": word.start_s,
                    "end_s": word.end_s,
                    "phones": list(word.phones),
                }
                for token, word in zip(tokens, made.words, strict=True)
            ]
            identity = {"utterance_id": utterance_id, "language": made.clip.language}
            words_file.write(json.dumps({**identity, "words": words}, ensure_ascii=False) + "\n")
            details = _details(made.clip, made.recording, written.relative_to(path))
            clips_file.write(json.dumps({**identity, **details}, ensure_ascii=False) + "\n")
    trees.close()


@dataclass(frozen=True, slots=True)
class _Made:
    clip: Clip
    recording: Recording
    second: Recording | None  # VCTK's other microphone
    words: tuple[TrueWord, ...]


def _make(seed: int, minutes: float) -> Iterator[_Made]:
    """Yield finished clips until there are `minutes` of audio; memory holds one round of dry speech."""
    seconds = 0.0
    number = 0
    while True:
        clips = list(plan_round(seed, number))
        for clip, spoken in zip(clips, speak([clip.job for clip in clips]), strict=True):
            words = true_words(clip.job.text, spoken, clip.scene.head_s)
            rate = _RATES[clip.corpus]
            active = words[0].start_s - clip.scene.head_s, words[-1].end_s - clip.scene.head_s
            key = [seed, *clip.language.encode(), clip.number]
            recording, second = (
                record(
                    spoken.samples,
                    (spoken.sample_rate, rate),
                    clip.scene,
                    active,
                    np.random.default_rng([*key, microphone]),
                )
                for microphone in (0, 1)
            )
            yield _Made(clip, recording, second if clip.corpus == "vctk" else None, words)
            seconds += len(recording.samples) / rate
            if seconds >= 60 * minutes:
                return
        number += 1


def true_words(text: str, spoken: Spoken, offset_s: float) -> tuple[TrueWord, ...]:
    """Return each word of `text` (apart by spaces) with its place, moved by `offset_s`.

    A word starts at its first word event ("l'acqua" may have two) and ends where its last phone that is
    no pause ends.

    Raises:
        CorpusError: espeak-ng spoke two words as one ("of the"), so that their border is unknown.
    """
    events = [(place, sample) for place, sample in spoken.words if sample < len(spoken.samples)]
    tokens = list(_TOKEN.finditer(text))
    starts = []
    for token in tokens:
        inside = [sample for place, sample in events if token.start() <= place < token.end()]
        if not inside:
            raise CorpusError(f"demo: espeak-ng reports no word {token.group()!r} in {text!r}; reword it")
        starts.append(min(inside))
    bounds = [sample for _, sample in spoken.phones] + [len(spoken.samples)]
    words = []
    for token, start, limit in zip(tokens, starts, [*starts[1:], len(spoken.samples)], strict=True):
        own = [
            (phone, bounds[index + 1])
            for index, (phone, sample) in enumerate(spoken.phones)
            if phone and start <= sample < limit
        ]
        end = min(own[-1][1], limit) if own else limit
        words.append(
            TrueWord(
                word=_bare(token.group()),
                start_s=round(offset_s + start / spoken.sample_rate, 5),
                end_s=round(offset_s + end / spoken.sample_rate, 5),
                phones=tuple(phone for phone, _ in own),
            )
        )
    return tuple(words)


def _bare(token: str) -> str:
    """Return the token without punctuation around it; "grand-mère" and "l'acqua" are one word."""
    return token.strip(".,;:!?¡¿\"'«»")


def _details(clip: Clip, recording: Recording, path: Path) -> dict[str, Any]:
    scene = clip.scene
    return {
        "corpus": clip.corpus,
        "split": clip.split,
        "path": str(path),
        "speaker_id": clip.speaker.speaker_id,
        "true_gender": clip.speaker.true_gender,
        "text": clip.job.text,
        "voice": clip.job.voice,
        "pitch": clip.job.pitch,
        "pitch_range": clip.job.pitch_range,
        "rate_wpm": clip.job.rate_wpm,
        "condition": clip.condition,
        "noise": scene.noise,
        "snr_db": scene.snr_db,
        "t60_s": scene.t60_s,
        "c50_db": None if recording.c50_db is None else round(recording.c50_db, 3),
        "level_dbfs": round(recording.level_dbfs, 3),
        "head_s": scene.head_s,
        "tail_s": scene.tail_s,
        "duration_s": len(recording.samples) / _RATES[clip.corpus],
    }
