"""Questions that several tasks ask of one utterance stand in a release once."""

from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.instruct.verify.wording import Duplicates
from sift_ray.release.repeats import without_repeats
from sift_ray.schema import INSTRUCTIONS, TASKS, conform

from .instruction_waves import pair

ACOUSTIC, CONTENT, COMPARISON = (f"closed_ended_{name}" for name in ("acoustic_level", "content_level", "comparison"))
Row = tuple[int, str, list[tuple[int | None, bool]]]
"""A unit, a task, and of each pair the hash of its question and whether it was accepted."""


def table(rows: list[Row]) -> pa.Table:
    made: list[dict[str, Any]] = [
        {
            "unit_id": unit,
            "task": task,
            "language": "de" if unit % 2 else "en",
            "split": "train",
            "data_source": "demo",
            "utterance_ids": [str(unit)],
            "audio_uris": [f"/{unit}.flac"],
            "pairs": [{**pair(str(n), [], accepted=ok), "asked": asked} for n, (asked, ok) in enumerate(pairs)],
            "model": "template",
            "prompt_hash": "0",
        }
        for unit, task, pairs in rows
    ]
    return conform(pa.Table.from_pylist(made, schema=INSTRUCTIONS), INSTRUCTIONS).combine_chunks()


def left(rows: list[Row]) -> list[list[bool]]:
    found, _ = without_repeats(table(rows))
    return [[one["accepted"] for one in row["pairs"]] for row in found.to_pylist()]


def test_a_later_tasks_question_gives_way_however_the_rows_lie() -> None:
    rows: list[Row] = [(1, ACOUSTIC, [(7, True), (8, True)]), (1, CONTENT, [(9, True), (8, True)])]
    assert left(rows) == [[True, True], [True, False]]
    assert left(rows[::-1]) == [[True, False], [True, True]]
    _, taken_back = without_repeats(table(rows))
    assert taken_back == {(CONTENT, "de"): 1}


def test_only_what_was_accepted_of_the_same_audio_counts() -> None:
    refused: list[Row] = [(1, ACOUSTIC, [(8, False)]), (1, CONTENT, [(8, True)])]
    assert left(refused) == [[False], [True]]
    others: list[Row] = [(1, ACOUSTIC, [(8, True)]), (2, CONTENT, [(8, True)]), (1, COMPARISON, [(8, True)])]
    assert left(others) == [[True], [True], [True]]
    unknown: list[Row] = [(1, ACOUSTIC, [(None, True)]), (1, CONTENT, [(None, True)])]
    assert left(unknown) == [[True], [True]]


def test_instructions_of_an_older_version_are_taken_as_they_are() -> None:
    rows = table([(1, ACOUSTIC, [(7, True)]), (1, CONTENT, [(7, True)])]).to_pylist()
    for row in rows:
        for one in row["pairs"]:
            del one["asked"]
    old = pa.Table.from_pylist(rows)
    assert without_repeats(old) == (old, Counter())


def test_nothing_else_of_a_row_changes() -> None:
    before = table([(-(2**63), ACOUSTIC, [(2**63 - 1, True)]), (-(2**63), CONTENT, [(2**63 - 1, True), (3, True)])])
    after, _ = without_repeats(before)
    after.validate(full=True)
    assert after.schema == before.schema
    changed = before.to_pylist()
    changed[1]["pairs"][0]["accepted"] = False
    assert after.to_pylist() == changed
    assert without_repeats(table([]))[1] == Counter()


@given(
    st.lists(
        st.tuples(
            st.integers(-2, 2),
            st.sampled_from(TASKS),
            st.lists(
                st.tuples(st.one_of(st.none(), st.integers(-3, 3)), st.booleans()),
                max_size=4,
                unique_by=lambda p: object() if p[0] is None else p[0],
            ),
        ),
        unique_by=lambda row: row[:2],
        max_size=12,
    )
)
def test_it_is_as_going_over_the_tasks_in_turn(rows: list[Row]) -> None:
    seen: set[tuple[int, int]] = set()
    expected: dict[tuple[int, str], list[bool]] = {}
    for unit, task, pairs in sorted(rows, key=lambda row: TASKS.index(row[1])):
        verdicts = expected.setdefault((unit, task), [])
        for asked, accepted in pairs:
            counts = accepted and asked is not None and task != COMPARISON
            verdicts.append(accepted and not (counts and (unit, asked) in seen))
            if counts and asked is not None:
                seen.add((unit, asked))
    assert left(rows) == [expected[unit, task] for unit, task, _ in rows]


def test_questions_are_compared_by_their_words() -> None:
    asked = Duplicates().words_asked
    assert asked("Which  language, please?", "x") == asked("which language please", "y")
    assert asked("Which language?", "x") != asked("Which accent?", "x")
