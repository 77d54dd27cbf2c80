"""The dataset card of a whole job tells what its tables, manifests and bins hold."""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import version
from typing import Any

import pytest

from sift_ray.pipeline.instruct import data_file_hashes
from sift_ray.storage import fingerprint

from ..conftest import Job, rows_of

pytestmark = pytest.mark.integration

Tables = dict[str, list[list[str]]]


def tables_of(card: str) -> Tables:
    """Return the cells of all tables of a card, without their heads, by the section that they stand in."""
    found: Tables = {}
    for section in card.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
        rules = [place for place, row in enumerate(cells) if set(row) == {"---"}]
        found[title] = [row for place, row in enumerate(cells) if place not in rules and place + 1 not in rules]
    return found


@pytest.fixture(scope="module")
def card(finished_job: Job) -> Tables:
    return tables_of((finished_job.folder / "release/README.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def record(finished_job: Job) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((finished_job.folder / "release.json").read_text())
    return made


@pytest.fixture(scope="module")
def annotated(finished_job: Job) -> list[dict[str, Any]]:
    return [row for row in rows_of("annotations", finished_job.folder) if row["status"] == "ok"]


@pytest.fixture(scope="module")
def instructed(finished_job: Job) -> list[dict[str, Any]]:
    return rows_of("instructions", finished_job.folder)


def test_how_it_was_made(finished_job: Job, card: Tables, record: dict[str, Any]) -> None:
    manifest = json.loads((finished_job.folder / "instructions/wave=00000/_MANIFEST.json").read_text())
    prompts = {name: text for name, text in data_file_hashes().items() if name.startswith("prompts.")}
    assert len(prompts) >= 5 * 7
    told = dict(row for row in card["How it was made"] if len(row) == 2)
    assert told == {
        "pipeline": f"sift-ray {version('sift-ray')}",
        "fingerprint": f"`{record['fingerprint']}`",
        "instructions' fingerprint": f"`{manifest['fingerprint']}`",
        "quality and distortion": "dnsmos (DNSMOS, MIT)",
        "noise and reverberation": "signal",
        "alignment": "viter (viter, MIT; its models trained on these corpora)",
        "bins": json.loads((finished_job.folder / "bins.json").read_text())["method"],
        "left out as repeats": f"{record['repeated']:,} pairs that ask what another task asks of the same utterance",
        "language models": "none",
        "prompts and templates": f"of this version of sift-ray, Apache-2.0; prompts `{fingerprint(prompts)}`",
        "template": f"{record['accepted']:,}",
    }


def test_samples_and_yields(card: Tables, record: dict[str, Any], instructed: list[dict[str, Any]]) -> None:
    written: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for row in instructed:
        written[row["task"]] += len(row["pairs"])
        accepted[row["task"]] += sum(pair["accepted"] for pair in row["pairs"])
    assert {row[0]: row[1:] for row in card["Yields"]} == {
        task: [f"{number:,}", f"{accepted[task]:,}", f"{accepted[task] / number:.1%}"]
        for task, number in written.items()
    }
    told = [int(row[-1].replace(",", "")) for row in card["Samples"]]
    assert sum(told) == sum(accepted.values()) - record["repeated"] == sum(record["rows"].values())


def test_corpora_with_licences_and_hours(card: Tables, annotated: list[dict[str, Any]]) -> None:
    hours = sum(row["duration_s"] for row in annotated) / 3600
    assert hours > 0.05
    assert card["Corpora and their licences"] == [["demo", f"{hours:,.1f}", "CC0 1.0 (synthetic speech)"]]


def test_what_is_held_out(card: Tables, annotated: list[dict[str, Any]], instructed: list[dict[str, Any]]) -> None:
    speakers = {row["audio_uri"]: f"{row['corpus']}/{row['speaker_id']}" for row in annotated}
    expected = []
    for kind in ("audios", "speakers"):
        for split, name in (("dev", "validation"), ("test", "EvalSIFT")):
            heard = {uri for row in instructed if row["split"] == split for uri in row["audio_uris"]}
            assert heard
            of = heard if kind == "audios" else {speakers[uri] for uri in heard}
            expected.append([name, kind, f"{len(of):,}"])
    assert card["Splits"] == expected


def test_bins(finished_job: Job, card: Tables) -> None:
    rulers = json.loads((finished_job.folder / "bins.json").read_text())["rulers"]
    expected = set()
    for ruler in rulers:
        groups = ["all corpora" if ruler["corpus"] == "*" else ruler["corpus"], ruler["language"], ruler["gender"]]
        edges = ", ".join(f"{edge:.4g}" for edge in ruler["edges"][1:-1])
        whose = ", ".join(group for group in groups if group)
        expected.add((ruler["attribute"], whose, f"{ruler['count']:,}", edges))
    told = [tuple(row) for row in card["Categories"]]
    assert len(told) == len(set(told)) == min(len(rulers), 60)
    assert set(told) <= expected
    assert {row[0] for row in told} == {ruler["attribute"] for ruler in rulers}
    # those that are not told of judge no more values than any that is
    least = min(int(row[2].replace(",", "")) for row in told)
    assert all(int(row[2].replace(",", "")) <= least for row in expected - set(told))
