import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sift_ray.lease import Lease
from sift_ray.report.summary import as_json, render, summarise
from sift_ray.report.tables import duration_text
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


LEASE = {"holder": "5f", "host": "node-7", "process": "4711@99@boot", "since": "2026-01-01T00:00:00+00:00", "beat": 3}


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
    ingredients = {"release": {"formats": ["parquet", "jsonl"]}}
    record = {"complete": True, "rows": {"train/open_ended/de": 8}, "ingredients": ingredients}
    put_json(root, "release.json", record)
    summary = summarise(root)
    assert summary.complete
    told = as_json(summary)
    assert told["complete"] is True
    assert told["mix"]["open_ended"]["accepted"] == 8
    assert [row["rung"] for row in told["yields"]] == ["first", "retry", "template"]
    assert "8 samples as Parquet and JSON lines in" in printed(root)


def told_below(root: LocalRoot, **record: Any) -> list[str]:
    """The lines under that of the samples, where `release.json` holds this beside what every version put there."""
    there = {"complete": True, "rows": {"train/open_ended/de": 8}, "ingredients": {"release": {"formats": ["parquet"]}}}
    put_json(root, "release.json", there | record)
    _, samples, below = printed(root).partition(f"8 samples as Parquet in {root.uri}/release\n")
    assert samples
    return below.splitlines()[:-1]  # (the last says that the job is not complete)


def test_what_a_release_keeps_apart_is_told(root: LocalRoot) -> None:
    held = {"audio": {"dev": 4, "test": 1000}, "speaker": {"dev": 2, "test": 3}}
    assert told_below(root, held_out=held, repeated=1234) == [
        "no speaker or audio in two splits: 2 speakers of dev, 3 speakers of test, 4 audios of dev, 1,000 audios of "
        "test held out",
        "1,234 pairs left out, as another task asks the same",
    ]


@pytest.mark.parametrize("speakers", [{}, {"test": 0}])
def test_speakers_that_nobody_knows_are_not_told_to_be_apart(root: LocalRoot, speakers: dict[str, int]) -> None:
    held = {"audio": {"test": 7}, "speaker": speakers}
    assert told_below(root, held_out=held, repeated=0) == ["no audio in two splits: 7 audios of test held out"]


def test_a_release_of_one_split_holds_nothing_out(root: LocalRoot) -> None:
    assert told_below(root, held_out={"audio": {}, "speaker": {}}) == ["nothing held out"]


def test_of_what_an_older_version_did_not_record_nothing_is_told(root: LocalRoot) -> None:
    assert told_below(root) == []
    assert told_below(root, repeated=3) == ["3 pairs left out, as another task asks the same"]


def test_what_is_left_goes_by_the_rate_of_the_finished_waves(root: LocalRoot) -> None:
    stages = summarise(root).stages
    assert stages["utterances"].eta_s == 0
    assert stages["annotations"].eta_s == pytest.approx(36.0)  # 15 rows took 36 s, and 15 are left
    assert stages["instructions"].eta_s == pytest.approx(10.0)
    text = printed(root)
    assert "left: at the rate of the waves done" in text
    rows = {line.split()[0]: line for line in text.splitlines() if line.split()}
    assert rows["annotations"].rstrip().endswith("36 s")
    assert rows["instructions"].rstrip().endswith("10 s")


def test_a_short_last_wave_is_no_whole_one(root: LocalRoot) -> None:
    put_json(root, "plan.json", {"waves": 3, "rows": 33, "fingerprint": "f", "seconds": 3.0})
    wave(root, "utterances", 2, 3, 0.1, {})
    assert summarise(root).stages["annotations"].eta_s == pytest.approx(36.0 * 18 / 15)


def test_nothing_tells_what_is_left_before_a_wave_is_finished(root: LocalRoot) -> None:
    root.delete("annotations")
    root.delete("plan.json")
    root.delete("instructions")
    assert {state.eta_s for state in summarise(root).stages.values()} == {None}
    put_json(root, "plan.json", {"waves": 2, "rows": 30, "fingerprint": "f", "seconds": 3.0})
    assert summarise(root).stages["annotations"].eta_s is None
    assert "left" not in printed(root)


def test_who_holds_the_output_is_told(root: LocalRoot) -> None:
    assert summarise(root).holder is None
    assert "Not complete, and no job is running" in printed(root)
    put_json(root, "_LEASE.json", LEASE)
    assert "Process 4711 on node-7 is running it, since 2026-01-01T00:00:00+00:00." in printed(root)
    assert "no job is running" not in printed(root)


def test_a_lease_as_jobs_take_it_is_read(root: LocalRoot) -> None:
    with Lease(root):
        holder = summarise(root).holder
    assert holder is not None
    assert (holder.host, holder.process) == (socket.gethostname(), str(os.getpid()))
    assert summarise(root).holder is None


def test_what_status_tells_as_json(root: LocalRoot) -> None:
    put_json(root, "_LEASE.json", LEASE)
    told = json.loads(json.dumps(as_json(summarise(root))))
    assert set(told) == {
        "output",
        "waves",
        "complete",
        "running",
        "stages",
        "bins",
        "release",
        "left_out",
        "yields",
        "yields_by_language",
        "rejected",
        "mix",
    }
    assert told["running"] == {"host": "node-7", "process": "4711", "since": LEASE["since"]}
    assert (told["waves"], told["bins"], told["release"]) == (2, False, None)
    assert set(told["stages"]) == {"utterances", "annotations", "instructions"}
    measured = told["stages"]["annotations"]
    assert set(measured["counts"]) == {"utterances", "hours", "rejects", "aligned", "unaligned", "unknown", "lexicon"}
    del measured["counts"]
    assert measured == {
        "waves_done": 1,
        "rows": 15,
        "seconds": 36.0,
        "rows_per_s": pytest.approx(15 / 36),
        "audio_s_per_s": pytest.approx(100.0),
        "tokens_per_s": 0.0,
        "eta_s": pytest.approx(36.0),
        "finished_at": "2026-01-01T00:00:36+00:00",
    }
    assert told["stages"]["instructions"]["tokens_per_s"] == pytest.approx(20.0)
    place = {"task": "open_ended", "language": "de"}
    assert told["yields_by_language"] == [
        place | {"rung": rung, "asked": 0, "answered": 0, "accepted": accepted, "rejected": rejected, "yield": share}
        for rung, accepted, rejected, share in (("first", 2, 7, 2 / 9), ("retry", 1, 2, 1 / 3), ("template", 5, 0, 1.0))
    ]
    assert told["rejected"] == [
        place | {"rung": "first", "rule": "false_claim", "number": 7},
        place | {"rung": "retry", "rule": "language", "number": 2},
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (60, "1 min"),
        (3580, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (172_800, "2 d 0 h"),
        (260_000, "3 d 0 h"),
    ],
)
def test_durations_are_told_in_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
