"""A row that no table can hold costs itself alone."""

import asyncio
from typing import Any

import pyarrow as pa
import pytest

from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.engine import Generation
from sift_ray.instruct.requests import ACOUSTIC, Request
from sift_ray.metadata.record import Fact
from sift_ray.pipeline.instruct import answered
from sift_ray.schema import INSTRUCTIONS, conform

TEXT = '{"q": "How fast does this person speak?", "a": "The person speaks very slowly."}'


class Writer:
    def __init__(self, **strange: Any) -> None:
        self._strange = strange

    def name(self, task: str) -> str:
        return "writer"

    def prompt_hash(self, task: str, language: str) -> str:
        return "0"

    async def write(self, *_: object) -> Generation:
        told: dict[str, Any] = {"finish_reason": "stop", "prompt_tokens": 1, "cached_tokens": 0, "generated_tokens": 1}
        return Generation(text=TEXT, **{**told, **self._strange})


@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        ({}, None),
        ({"finish_reason": "\ud800"}, "internal_error"),
        ({"prompt_tokens": 2**70}, "internal_error"),
        ({"generated_tokens": "many"}, "internal_error"),
    ],
)
def test_a_row_that_no_table_can_hold_is_refused_alone(strange: dict[str, Any], reason: str | None) -> None:
    facts = (Fact("speaking_rate", "very slowly"),)
    request = Request(
        1, ACOUSTIC, "en", "train", "x_en", ("u",), ("/u.wav",), "openai", facts, ("speaking_rate",), 1, 1
    )
    row = asyncio.run(answered(request, Writer(**strange), None, InstructConfig()))
    conform(pa.Table.from_pylist([row], schema=INSTRUCTIONS), INSTRUCTIONS)
    assert row["unit_id"] == 1
    assert [pair["reason"] for pair in row["pairs"]] == [reason]
    assert (row["finish_reason"] == "error") == (reason is not None)
