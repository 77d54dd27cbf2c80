"""A request that fails, or whose row no table can hold, costs itself alone."""

import asyncio
from typing import Any

import pyarrow as pa
import pytest

from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.answering import answered, table_of
from sift_ray.instruct.engine import EngineDied, Generation
from sift_ray.instruct.requests import ACOUSTIC, Request
from sift_ray.metadata.record import Fact
from sift_ray.schema import INSTRUCTIONS, conform

TEXT = '{"q": "How fast does this person speak?", "a": "The person speaks very slowly."}'


class Writer:
    """Writes the same for all; what it tells of it is as given, by unit."""

    def __init__(self, strange: dict[int, dict[str, Any]]) -> None:
        self._strange = strange

    def name(self, task: str) -> str:
        return "writer"

    def prompt_hash(self, task: str, language: str) -> str:
        return "0"

    async def write(self, request: Request, *_: object) -> Generation:
        told: dict[str, Any] = {"finish_reason": "stop", "prompt_tokens": 1, "cached_tokens": 0, "generated_tokens": 1}
        return Generation(text=TEXT, **{**told, **self._strange.get(request.unit_id, {})})


def requests(count: int) -> list[Request]:
    facts = (Fact("speaking_rate", "very slowly"),)
    focus = ("speaking_rate",)
    return [
        Request(unit, ACOUSTIC, "en", "train", "x_en", ("u",), ("/u.wav",), "openai", facts, focus, 1, 1)
        for unit in range(count)
    ]


def made(asked: list[Request], writer: Writer) -> pa.Table:
    rows = [asyncio.run(answered(request, writer, None, InstructConfig())) for request in asked]
    table, held = table_of(asked, rows, writer)
    assert [row["finish_reason"] for row in held] == table["finish_reason"].to_pylist()
    return table


@pytest.mark.parametrize(
    "strange",
    [{"finish_reason": "\ud800"}, {"prompt_tokens": 2**70}, {"generated_tokens": "many"}, {"cached_tokens": 2**40}],
)
def test_a_row_that_no_table_can_hold_is_refused_alone(strange: dict[str, Any]) -> None:
    table = made(requests(5), Writer({3: strange}))
    assert table.schema.equals(INSTRUCTIONS)
    assert table["unit_id"].to_pylist() == [0, 1, 2, 3, 4]
    reasons = [[pair["reason"] for pair in pairs] for pairs in table["pairs"].to_pylist()]
    assert reasons == [[None], [None], [None], ["internal_error"], [None]]
    assert [reason == "error" for reason in table["finish_reason"].to_pylist()] == [False, False, False, True, False]
    # the others are what they are without it
    others = pa.array([0, 1, 2, 4])
    assert table.take(others).equals(made(requests(5), Writer({})).take(others))


def test_the_table_is_that_of_each_row_by_itself() -> None:
    asked, writer = requests(4), Writer({})
    rows = [asyncio.run(answered(request, writer, None, InstructConfig())) for request in asked]
    alone = [conform(pa.Table.from_pylist([row], schema=INSTRUCTIONS), INSTRUCTIONS) for row in rows]
    assert table_of(asked, rows, writer)[0].equals(pa.concat_tables(alone))
    assert table_of([], [], writer)[0].equals(INSTRUCTIONS.empty_table())


def test_a_null_where_none_may_be_is_refused() -> None:
    asked, writer = requests(2), Writer({})
    rows = [asyncio.run(answered(request, writer, None, InstructConfig())) for request in asked]
    rows[1]["model"] = None
    pairs = table_of(asked, rows, writer)[0]["pairs"].to_pylist()
    assert [pair[0]["reason"] for pair in pairs] == [None, "internal_error"]


def test_a_dead_engine_is_told() -> None:
    class Dead(Writer):
        async def write(self, request: Request, *_: object) -> Generation:
            raise EngineDied("gone")

    with pytest.raises(EngineDied, match="gone"):
        made(requests(1), Dead({}))
