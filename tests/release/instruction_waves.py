"""Finished waves of instructions, and the annotations they came from, made by hand for what releases them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sift_ray.config import Config
from sift_ray.pipeline.plan import Plan
from sift_ray.schema import ANNOTATIONS, INSTRUCTIONS, LANGUAGES
from sift_ray.storage import LocalRoot
from tests.report.finished_waves import write_wave

SPLIT_OF = ("train", "train", "train", "dev", "test")
PITCHES = ("very low pitch", "moderate pitch", "very high pitch")
LABELLED = ("closed_ended_acoustic_level", "closed_ended_content_level", "closed_ended_comparison")
OTHERS = ("open_ended", "controllable_generation")
PAIRS = 3  # of a request, one of them refused


def fact(key: str, value: str | None, ordinal: int | None = None) -> dict[str, Any]:
    return {"key": key, "value": value, "ordinal": ordinal, "audio": 0, "position": 0}


def pair(text: str, evidence: list[dict[str, Any]], *, accepted: bool = True) -> dict[str, Any]:
    return {
        "question": f"What of {text}?",
        "answer": f'It is "{text}", naïvely.\n',
        "accepted": accepted,
        "reason": None if accepted else "false_claim",
        "evidence": evidence,
        "generator": "template",
        "attempt": 0,
    }


def evidence_of(number: int, task: str) -> list[dict[str, Any]]:
    """Nine in ten speak of a moderate pitch, one in two of a man; content is told of by transcripts."""
    if task == "closed_ended_content_level":
        return [fact("transcript", f"text {number}")]
    turn = number // (2 * len(SPLIT_OF))
    place = 1 if turn % 10 else (0, 2)[turn // 10 % 2]
    return [fact("average_pitch", PITCHES[place], place), fact("gender", ("male", "female")[turn % 2])]


def wave_of(wave: int, utterances: int, languages: tuple[str, ...]) -> tuple[list[Any], list[Any]]:
    """Return the rows of instructions and annotations of a wave; speakers and audios keep to one split."""
    instructions, annotations = [], []
    for place in range(utterances):
        number = wave * utterances + place
        split = SPLIT_OF[number % len(SPLIT_OF)]
        language = languages[number // len(SPLIT_OF) % len(languages)]
        name, uri = f"clip{number}", f"/data/clip{number}.flac"
        partner = number + len(SPLIT_OF) * len(languages)  # of the same split and language
        source = {"data_source": f"demo_{language}", "language": language, "split": split}
        annotations.append(
            {
                "unit_id": number * 7919 % 10_007,
                "utterance_id": name,
                "corpus": "demo",
                "speaker_id": f"{split}{number % 3}",
                "audio_uri": uri,
                "status": "ok",
                **source,
            }
        )
        for task in (*LABELLED, *OTHERS):
            two = task == "closed_ended_comparison"
            pairs = [pair(f"{name}, {task}, {n}", evidence_of(number + n, task), accepted=n != 1) for n in range(PAIRS)]
            instructions.append(
                {
                    "unit_id": number * 7919 % 10_007,
                    "task": task,
                    "utterance_ids": [name, f"clip{partner}"] if two else [name],
                    "audio_uris": [uri, f"/data/clip{partner}.flac"] if two else [uri],
                    "pairs": pairs,
                    "model": "template",
                    "prompt_hash": "0",
                    **source,
                }
            )
    return instructions, annotations


def write_instructions(
    root: LocalRoot, waves: int, utterances: int, languages: tuple[str, ...] = LANGUAGES[:2]
) -> Plan:
    """Write finished waves, and return the plan that they fulfil."""
    for wave in range(waves):
        instructions, annotations = wave_of(wave, utterances, languages)
        put_wave(root, wave, instructions, annotations)
    return Plan(waves, waves * utterances, "0")


def put_wave(root: LocalRoot, wave: int, instructions: list[Any], annotations: list[Any]) -> None:
    """Write one wave of both stages, its accepted pairs counted as a job does."""
    counts: Counter[str] = Counter()
    for row in instructions:
        for one in row["pairs"]:
            fate = "accepted" if one["accepted"] else one["reason"]
            counts[f"{row['task']}/{row['language']}/template/{fate}"] += 1
    hours = Counter(f"demo/{row['language']}/{row['split']}" for row in annotations)
    write_wave(root, "instructions", wave, instructions, INSTRUCTIONS, {"pairs": dict(counts)})
    write_wave(root, "annotations", wave, annotations, ANNOTATIONS, {"hours": dict(hours)})


def config_of(folder: Path, **release: Any) -> Config:
    """The config of a job with the template engine, whose output is `folder`."""
    document: Mapping[str, Any] = {
        "output": str(folder),
        "corpora": [{"type": "demo", "name": "demo", "path": str(folder / "corpora")}],
        "instruct": {"engine": "template"},
        "release": release,
    }
    return Config.model_validate(document)
