from pathlib import Path

import pytest
from rich.console import Console

from sift_ray.report.summary import as_json, render, summarise
from sift_ray.storage import Counts, LocalRoot, WaveManifest, put_json, write_manifest


def wave(root: LocalRoot, stage: str, number: int, rows: int, seconds: float, counts: Counts) -> None:
    write_manifest(
        root,
        WaveManifest(
            stage=stage,
            wave=number,
            rows=rows,
            id_digest="0",
            fingerprint="f",
            files=(),
            counts=counts,
            started_at="2026-01-01T00:00:00+00:00",
            seconds=seconds,
            versions={},
        ),
    )


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    root = LocalRoot(tmp_path)
    put_json(root, "plan.json", {"waves": 2, "rows": 30, "fingerprint": "f", "seconds": 3.0})
    for number in (0, 1):
        wave(root, "utterances", number, 15, 0.1, {"utterances": {"c/de/train": 15}, "hours": {"c/de/train": 1.0}})
    annotated: Counts = {
        "utterances": {"c/de/train": 14},
        "hours": {"c/de/train": 1.0},
        "rejects": {"decode/silent": 1},
        "aligned": {"de": 12},
        "unaligned": {"de/low_confidence": 2},
        "unknown": {"c50_db:too_short": 3},
        "lexicon": {"de/words": 90, "de/oov": 8, "de/unpronounced": 0},
    }
    wave(root, "annotations", 0, 15, 36.0, annotated)
    written: Counts = {
        "pairs": {
            "open_ended/de/first/accepted": 2,
            "open_ended/de/first/false_claim": 7,
            "open_ended/de/retry/accepted": 1,
            "open_ended/de/retry/language": 2,
            "open_ended/de/template/accepted": 5,
        },
        "tokens": {"open_ended/prompt": 10, "open_ended/cached": 8, "open_ended/generated": 200},
    }
    wave(root, "instructions", 0, 14, 10.0, written)
    return root


def printed(root: LocalRoot) -> str:
    console = Console(width=120, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        render(summarise(root), console)
    return capture.get()


def test_an_unfinished_job_says_how_far_it_is(root: LocalRoot) -> None:
    summary = summarise(root)
    assert not summary.complete
    assert summary.stages["annotations"].waves_done == 1
    text = printed(root)
    assert "1 of 2" in text
    assert "10.0" in text  # 30 rows planned in 3 seconds
    assert "100.0×" in text  # an hour in 36 seconds
    assert "20.0 tokens/s" in text


def test_rejects_are_told_with_their_reasons(root: LocalRoot) -> None:
    text = printed(root)
    for reason in ("decode/silent", "de/low_confidence", "c50_db:too_short", "false_claim", "language"):
        assert reason in text


def test_words_that_the_lexicon_lacks_are_told(root: LocalRoot) -> None:
    lines = [line.split() for line in printed(root).splitlines()]
    assert ["word", "de/oov", "8"] in lines
    assert not any(line[:2] in (["word", "de/words"], ["word", "de/unpronounced"]) for line in lines)


def test_a_wave_counts_once_its_manifest_is_there(root: LocalRoot) -> None:
    root.put("annotations/wave=00001/part-00000.parquet", b"being written")
    assert summarise(root).stages["annotations"].waves_done == 1


def test_complete_is_every_wave_of_every_stage_and_a_release(root: LocalRoot) -> None:
    for stage in ("annotations", "instructions"):
        wave(root, stage, 1, 15, 1.0, {})
    put_json(root, "release.json", {"complete": False})
    assert not summarise(root).complete
    put_json(root, "release.json", {"complete": True, "rows": {"train/open_ended/de": 8}})
    summary = summarise(root)
    assert summary.complete
    told = as_json(summary)
    assert told["complete"] is True
    assert told["mix"]["open_ended"]["accepted"] == 8
    assert [row["rung"] for row in told["yields"]] == ["first", "retry", "template"]
    assert "8 samples as Parquet in" in printed(root)
