"""The place of every category among its attribute's goes with it through all tables of a finished job."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest

from sift_ray.metadata.categories import ATTRIBUTES, WORD_ATTRIBUTES
from sift_ray.schema import AGES, FACT

from ..conftest import Job

pytestmark = pytest.mark.integration


def evidence_of(job: Job, folder: str) -> list[dict[str, Any]]:
    """All evidence that the Parquet files of a folder hold."""
    found = []
    for file in sorted((job.folder / folder).rglob("*.parquet")):
        table = pq.read_table(file, partitioning=None)
        evidence = table["evidence" if folder == "release" else "pairs"].combine_chunks().flatten()
        if folder != "release":
            evidence = evidence.field("evidence").flatten()
        assert evidence.type == FACT
        found += evidence.to_pylist()
    return found


@pytest.mark.parametrize("folder", ["instructions", "release"])
def test_an_ordinal_stands_beside_every_category(finished_job: Job, folder: str) -> None:
    evidence = evidence_of(finished_job, folder)
    seen: Counter[tuple[str, str]] = Counter()
    for fact in evidence:
        if fact["key"] in ATTRIBUTES:
            assert ATTRIBUTES[fact["key"]].labels[fact["ordinal"]] == fact["value"]
        elif fact["key"] == "age_category":
            assert AGES[fact["ordinal"]] == fact["value"]
        else:
            assert fact["ordinal"] is None, fact
        seen[fact["key"], "word" if fact["position"] else f"audio {fact['audio']}"] += 1
    assert {key for key, where in seen if where == "audio 0"} >= {*ATTRIBUTES, "age_category"}
    assert {key for key, where in seen if where == "word"} == {"word", *WORD_ATTRIBUTES}
    assert {key for key, where in seen if where == "audio 1"} & set(ATTRIBUTES)


def test_the_release_has_the_evidence_of_what_was_accepted(finished_job: Job) -> None:
    tables = [
        Counter(tuple(fact.items()) for fact in evidence_of(finished_job, folder))
        for folder in ("instructions", "release")
    ]
    assert tables[0] == tables[1]
