"""How much of each task is asked for: by `fraction` and `pairs`, in the reference's proportions where wanted."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.requests import COMPARISON, plan_requests
from sift_ray.report.yields import REFERENCE
from sift_ray.schema import AGES, TASKS

from .test_requests import FloorRulers, annotations

PRODUCTION = Path(__file__).parents[2] / "jobs/production.yaml"


def production(text: str) -> Config:
    return parse_config(text, "production.yaml", check_paths=False)


@cache
def all_known(count: int) -> pa.Table:
    """Utterances of one corpus of which everything is known, each of a speaker who has ten."""
    rows = annotations(
        count, language="en", split="train", accent="England English", phonemes="wʌn tuː θriː"
    ).to_pylist()
    for index, row in enumerate(rows):
        words = [{**word, "start_s": place + 0.1, "end_s": place + 0.9} for place, word in enumerate(row["words"])]
        row |= {"gender": ["female", "male"][index % 2], "age": AGES[index % 5], "words": words}
        row["speaker_id"] = f"s{index % (count // 10)}"
    return pa.Table.from_pylist(rows, schema=annotations(1).schema)


def planned(table: pa.Table, config: InstructConfig) -> pa.Table:
    return plan_requests(table, FloorRulers(), config)


def wanted(requests: pa.Table) -> Mapping[str, int]:
    """Pairs wanted by task."""
    sums = requests.group_by("task").aggregate([("pairs_wanted", "sum")]).to_pylist()
    return {row["task"]: row["pairs_wanted_sum"] for row in sums}


def test_production_asks_for_the_references_proportions() -> None:
    pairs = wanted(planned(all_known(4000), production(PRODUCTION.read_text(encoding="utf-8")).instruct))
    assert set(pairs) == set(REFERENCE)
    for task, millions in REFERENCE.items():
        share = pairs[task] / sum(pairs.values())
        assert share == pytest.approx(millions / sum(REFERENCE.values()), rel=0.05), task
    assert sum(pairs.values()) / 4000 == pytest.approx(19, abs=0.5)  # as its comment says


def options(text: str) -> list[str]:
    """The keys and values that stand in comments, each with the spaces before it."""
    return [
        f"{spaces}{option}" for spaces, option in re.findall(r"^( +)# (\w+: (?:[{\"]|\S+ +#).*)$", text, re.MULTILINE)
    ]


def test_the_options_that_production_shows_in_comments_can_be_taken() -> None:
    text = PRODUCTION.read_text(encoding="utf-8")
    found = options(text)
    assert [option.split(":")[0].strip() for option in found] == [
        "engine",
        "openai",
        "open_ended",
        "closed_ended_comparison",
        "closed_ended_word_align_numeric",
        "judge",
    ]
    plain = production(text)
    for option in found:
        spaces, key = re.match(r"( +)(\w+:)", option).groups()
        commented = option[: len(spaces)] + "# " + option[len(spaces) :]
        # (a key may stand but once; within `models` and `tasks`, the same names are others' keys)
        section = text if key != "engine:" else re.sub(rf"^{spaces}{key}.*\n", "", text, flags=re.MULTILINE)
        assert production(section.replace(commented, option)) != plain


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_a_fraction_is_that_share_of_the_utterances_that_can_have_the_task(task: str, fraction: float) -> None:
    table = all_known(500)
    sections: dict[Any, Any] = {other: {"fraction": 0.0} for other in TASKS} | {task: {"fraction": fraction}}
    # an utterance may stand in as many comparisons as it likes: what is left is the fraction
    requests = planned(table, InstructConfig(engine="template", tasks=sections, comparison_uses=50))
    assert set(requests["task"].to_pylist()) <= {task}
    spread = math.sqrt(fraction * (1 - fraction) * table.num_rows)
    assert abs(requests.num_rows - fraction * table.num_rows) <= 4 * spread


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(TASKS), st.floats(0, 1), st.floats(0, 1))
def test_another_fraction_of_one_task_leaves_the_others_as_they_were(task: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    fewer, more = (
        planned(all_known(60), InstructConfig(tasks={task: {"fraction": fraction}})).to_pylist()
        for fraction in (low, high)
    )
    assert [row for row in fewer if row["task"] != task] == [row for row in more if row["task"] != task]
    if task != COMPARISON:  # (whose partners depend on who else leads one)
        kept = {row["unit_id"]: row for row in more if row["task"] == task}
        assert all(kept[row["unit_id"]] == row for row in fewer if row["task"] == task)


def test_pairs_are_wanted_of_each_request_and_change_no_other_task() -> None:
    table = all_known(60)
    few, many = (
        planned(table, InstructConfig(tasks={"open_ended": {"pairs": pairs, "unanswerable": 0.0}})).to_pylist()
        for pairs in (2, 7)
    )
    found = Counter((row["task"], row["pairs_wanted"]) for row in many)
    assert found["open_ended", 7] == 60
    others = ([row for row in rows if row["task"] != "open_ended"] for rows in (few, many))
    assert next(others) == next(others)
