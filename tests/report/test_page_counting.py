from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sift_ray.config import BinConfig
from sift_ray.metadata.bins import build_rulers
from sift_ray.metadata.rulers import Rulers
from sift_ray.report.page.balance import spoken_of
from sift_ray.report.page.histograms import CELLS, LONGEST_S, Shapes
from sift_ray.report.page.picks import Cell, pick_pairs
from sift_ray.report.page.reading import batches, least, ranks, whole
from sift_ray.report.page.survey import survey
from sift_ray.report.state import manifests_of
from sift_ray.schema import ANNOTATIONS, LANGUAGES
from sift_ray.storage import LocalRoot, wave_files

from .page_job import ROWS, WAVES, annotation, write_job


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> LocalRoot:
    return write_job(tmp_path_factory.mktemp("counting"))[1]


def rows_with(**columns: list[Any]) -> pa.Table:
    number = len(next(iter(columns.values())))
    rows = [annotation(1, Path("/")) | {name: values[n] for name, values in columns.items()} for n in range(number)]
    return pa.Table.from_pylist(rows, ANNOTATIONS)


def rulers_of(table: pa.Table) -> Rulers:
    return build_rulers(table.to_batches, BinConfig(min_count=2))


def test_a_histogram_holds_every_value_and_those_beyond_it_in_its_ends() -> None:
    rates = [*np.linspace(8, 12, 400).tolist(), 1.5, 39.0, 39.5]
    table = rows_with(speaking_rate_pps=rates)
    rulers = rulers_of(table.slice(0, 400))
    shapes = Shapes(rulers)
    for batch in table.to_batches(max_chunksize=100):
        shapes.add(batch)
    (shape,) = [shape for group, shape in shapes.measures().items() if group.attribute == "speaking_rate"]
    assert (len(shape.counts), sum(shape.counts)) == (CELLS, 403)
    assert (shape.low, shape.high) == pytest.approx((8 - 0.48, 12 + 0.48))
    expected, _ = np.histogram(np.float32(rates[:400]), CELLS, (shape.low, shape.high))
    assert np.abs(np.cumsum(shape.counts)[1:-1] - np.cumsum(expected)[1:-1] - 1).max() <= 1  # (an edge: float32)
    assert (shape.counts[0], shape.counts[-1]) == (expected[0] + 1, expected[-1] + 2)


def test_what_is_unknown_or_judged_by_nothing_is_in_no_histogram() -> None:
    values = [100.0, 120.0, 140.0, None, 500.0]
    table = rows_with(pitch_median_hz=values, gender=["female", "female", "female", "female", None])
    shapes = Shapes(rulers_of(table))
    shapes.add(table)
    pitch = {group: shape for group, shape in shapes.measures().items() if group.attribute == "average_pitch"}
    assert [(group.gender, sum(shape.counts)) for group, shape in pitch.items()] == [("female", 3)]
    bare = Shapes(None)
    bare.add(table)
    assert bare.measures() == {}
    assert sum(bare.durations()["first"].counts) == 5


def test_durations_and_scores_are_told_apart_as_they_should_be() -> None:
    table = rows_with(
        duration_s=[0.1, 1.0, LONGEST_S + 100, None],
        alignment_score=[0.0, 0.5, 1.0, 0.25],
        alignment_reason=[None, "low_confidence", None, None],
        corpus=["a", "a", "b", "b"],
    )
    shapes = Shapes(None)
    shapes.add(table)
    assert {name: sum(shape.counts) for name, shape in shapes.durations().items()} == {"a": 2, "b": 1}
    assert shapes.durations()["b"].counts[-1] == 1
    (used, refused), *_ = shapes.scores().values()
    assert (sum(used.counts), sum(refused.counts)) == (3, 1)
    assert used.counts[-1] == 1
    assert refused.counts[CELLS // 2] == 1


def test_the_survey_keeps_a_few_of_every_reason(root: LocalRoot) -> None:
    manifests = manifests_of(root, "annotations")
    found = survey(root, manifests, None, 1, 0)
    assert {cell: len(some) for cell, some in found.refused.items()} == {
        ("utterance", "decode/silent"): 1,
        ("word spans", "low_confidence"): 1,
    }
    every = survey(root, manifests, None, 100, 0)
    units = {refused.unit_id for refused in every.refused["utterance", "decode/silent"]}
    assert units == {n for n in range(WAVES * ROWS) if n % 10 == 0}
    assert found.refused["utterance", "decode/silent"] == every.refused["utterance", "decode/silent"][:1]
    assert found.units() == {"distortion": "MOS (P.835 SIG)", "quality": "MOS (P.835 OVRL)"}
    assert survey(root, manifests, None, 0, 0).refused == {}


def test_only_facts_of_accepted_answers_are_counted(root: LocalRoot) -> None:
    found = spoken_of(root, manifests_of(root, "instructions"))
    assert found == Counter({("speaking_rate", "very slowly"): WAVES * ROWS * 9 // 10})


def test_parts_of_nested_columns_are_read_alone(root: LocalRoot) -> None:
    (file,) = wave_files(root, manifests_of(root, "instructions")[0])
    table = whole(root, file, ["unit_id", "pairs.evidence.key"])
    assert table.schema.names == ["unit_id", "pairs"]
    assert table["pairs"].to_pylist()[0][0] == {"evidence": [{"key": "speaking_rate"}]}
    assert sum(batch.num_rows for batch in batches(root, file, ["task"])) == table.num_rows


def test_the_least_hashes_are_the_same_however_rows_are_parted() -> None:
    ids = np.arange(1000, dtype=np.int64)
    hashes = ranks(ids, "seed")
    assert ids[least(hashes, 7)].tolist() == sorted(ids.tolist(), key=lambda n: int(hashes[n]))[:7]
    assert ranks(ids[500:], "seed").tolist() == hashes[500:].tolist()
    assert ranks(ids, "other").tolist() != hashes.tolist()
    assert least(hashes[:3], 7) == least(hashes[:3], 3)


def test_pairs_are_few_of_every_task_from_all_languages_and_rules(root: LocalRoot) -> None:
    manifests = manifests_of(root, "instructions")
    picked = pick_pairs(root, manifests, 2, 0)
    accepted = Counter(cell.task for cell, picks in picked.items() if cell.task for _ in picks)
    assert set(accepted.values()) == {2}
    assert len(accepted) == 7
    for cell, picks in picked.items():
        for pick in picks:
            assert pick.pair in pick.row["pairs"]
            assert pick.pair["accepted"] == bool(cell.task)
            if cell.task:
                assert (pick.row["task"], pick.row["language"]) == (cell.task, cell.language)
            else:
                assert pick.pair["reason"] == cell.rule
    assert {cell.rule: len(picks) for cell, picks in picked.items() if cell.rule} == {"false_claim": 2, "leak": 2}
    shown = {cell.language for cell, picks in picked.items() if picks and cell.task}
    assert len(shown & set(LANGUAGES)) >= 2
    assert pick_pairs(root, manifests, 0, 0) == {}


def test_waves_that_hold_nothing_wanted_are_not_opened(root: LocalRoot, tmp_path: Path) -> None:
    manifests = manifests_of(root, "instructions")
    only = {label: n for label, n in manifests[0].counts["pairs"].items() if label.startswith("open_ended/")}
    assert only
    first = manifests[0].model_copy(update={"counts": {"pairs": only}})
    gone = manifests[1].model_copy(update={"counts": {"pairs": {}}})
    moved = wave_files(root, manifests[1])[0]
    Path(moved).rename(Path(moved).with_suffix(".away"))
    try:
        picked = pick_pairs(root, [first, gone], 50, 0)
    finally:
        Path(moved).with_suffix(".away").rename(moved)
    assert {cell.task for cell, picks in picked.items() if picks} == {"open_ended", ""}
    assert Cell("", "", "leak") in picked
