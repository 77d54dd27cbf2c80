"""The place of every category goes with it from the measured number to the published row."""

from __future__ import annotations

import asyncio
from collections import Counter

import pyarrow as pa

from sift_ray.config import InstructConfig
from sift_ray.instruct.ladder import run_request
from sift_ray.instruct.requests import Request, plan_requests
from sift_ray.instruct.writer import TemplateWriter
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.release.samples import samples_of
from sift_ray.schema import AGES, INSTRUCTIONS, RELEASE, TASKS, conform

from .test_requests import FloorRulers, annotations


def test_an_ordinal_stands_beside_every_category_of_the_release() -> None:
    config = InstructConfig(engine="template")
    table = annotations(12, age="forties")
    asked = plan_requests(table, FloorRulers(), config).to_pylist()
    answers = (run_request(Request.from_row(row), TemplateWriter(), None, config) for row in asked)
    rows = [asyncio.run(answer) for answer in answers]
    instructions = conform(pa.Table.from_pylist(rows, schema=INSTRUCTIONS), INSTRUCTIONS)
    released = [
        row
        for task in TASKS
        for row in conform(
            samples_of(instructions.filter(pa.array([row["task"] == task for row in rows])), task), RELEASE
        ).to_pylist()
    ]
    measured = {row["utterance_id"]: row for row in table.to_pylist()}
    seen: Counter[tuple[str, int, bool]] = Counter()
    for row in released:
        for fact in row["evidence"]:
            source = measured[row["utterance_ids"][fact["audio"]]]
            attribute = ATTRIBUTES.get(fact["key"])
            if attribute is None:
                assert fact["ordinal"] == (AGES.index("forties") if fact["key"] == "age_category" else None)
                continue
            column = attribute.column
            if fact["position"]:
                source, column = source["words"][fact["position"] - 1], attribute.word_column or ""
            # (these rulers take a value's whole part)
            assert fact["ordinal"] == min(int(source[column]), len(attribute.labels) - 1)
            assert attribute.labels[fact["ordinal"]] == fact["value"]
            seen[fact["key"], fact["audio"], fact["position"] > 0] += 1
    assert {key for key, audio, of_word in seen if not (audio or of_word)} == set(ATTRIBUTES)
    assert {key for key, audio, _ in seen if audio}
    assert {key for key, _, of_word in seen if of_word} == {"average_pitch"}
