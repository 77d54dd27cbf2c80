"""What is planned of random corpora, against the rules written down without any thought of memory."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.corpora import Utterance
from sift_ray.corpora.audio_uri import block_of
from sift_ray.pipeline import plan_draft, plan_rules
from sift_ray.pipeline.plan_draft import Draft
from sift_ray.pipeline.plan_rules import PlanError
from sift_ray.pipeline.spool import SortedSpool
from sift_ray.storage import stable_id

SPLITS = ("train", "dev", "test")
VERSIONS = {"c0": "", "c1": "2.0"}

# few of each, so that they meet
utterances = st.builds(
    Utterance,
    utterance_id=st.integers(0, 40).map(str),
    corpus=st.sampled_from(["c0", "c1"]),
    data_source=st.just("x"),
    language=st.sampled_from(["en", "de"]),
    split=st.sampled_from(SPLITS),
    speaker_id=st.none() | st.integers(0, 8).map(str),
    audio_uri=st.none()
    | st.sampled_from(["/a.flac", "/s.parquet#row=0.1", "/s.parquet#row=0.2", "/s.parquet#row=1.0"]),
    duration_s=st.sampled_from([0.5, 1.0, 7.25]),
    reject_reason=st.sampled_from([None, None, None, "missing_audio"]),
)


def placed(rows: list[Utterance]) -> list[Utterance]:
    return [replace(row, where=f"list:{number}") for number, row in enumerate(rows)]


distinct = st.lists(utterances, max_size=60, min_size=1, unique_by=lambda row: (row.corpus, row.utterance_id)).map(
    placed
)
repeated = st.lists(utterances, max_size=60, min_size=1).map(placed)
hours = st.none() | st.integers(1, 40).map(lambda seconds: seconds / 3600)


def config(most: float | None) -> Config:
    corpora = [
        {"type": "kaldi", "name": name, "path": "/", "version": version, "hours": most if name == "c0" else None}
        for name, version in VERSIONS.items()
    ]
    return Config.model_validate({"output": "out", "corpora": corpora})


def planned(
    rows: list[Utterance], most: float | None = None, run_bytes: int = 2000
) -> tuple[list[dict[str, Any]], Draft]:
    def read(corpus: Any, _: object) -> Iterator[Utterance]:
        return (replace(row, where=row.where) for row in rows if row.corpus == corpus.name)

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        small = partial(SortedSpool, run_bytes=run_bytes, batch_bytes=run_bytes // 4, fan_in=3)
        patch.setattr(plan_draft, "read_corpus", read)
        patch.setattr(plan_draft, "SortedSpool", small)
        patch.setattr(plan_rules, "SortedSpool", small)
        patch.setattr(plan_draft, "_BATCH_ROWS", 7)
        draft = Draft(config(most), Path(folder))
        return [row for table in draft.tables() for row in table.to_pylist()], draft


def by_the_rules(rows: list[Utterance], most: float | None) -> list[tuple[str, str | None]]:
    """Where each planned row was read, in order, and why it is rejected."""
    rows = sorted(rows, key=lambda row: row.corpus)  # the order of reading
    reasons = [row.reject_reason for row in rows]

    def unit(row: Utterance) -> int:
        return stable_id(row.corpus, VERSIONS[row.corpus], row.utterance_id)

    def key(row: Utterance) -> int:
        block = block_of(row.audio_uri)
        return unit(row) if block is None else stable_id(row.corpus, VERSIONS[row.corpus], block)

    standing: dict[int, int] = {}
    for usable in (True, False):
        for split in ("test", "dev", "train"):
            for place, row in enumerate(rows):
                if (row.reject_reason is None) == usable and row.split == split:
                    standing.setdefault(unit(row), place)
    for place, row in enumerate(rows):
        if standing[unit(row)] != place:
            reasons[place] = "duplicate_id"
    usable_rows = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    for place, row in enumerate(rows):
        more = SPLITS[SPLITS.index(row.split) + 1 :]
        who = (row.corpus, row.speaker_id)
        if reasons[place] is not None or row.speaker_id is None:
            continue
        if any((other.corpus, other.speaker_id) == who and other.split in more for other in usable_rows):
            reasons[place] = "speaker_in_two_splits"
    order = sorted(range(len(rows)), key=lambda place: (key(rows[place]), unit(rows[place]), place))
    found = []
    seconds: dict[str, float] = {}
    last_key: dict[str, int] = {}
    for place in order:
        row = rows[place]
        if row.corpus == "c0" and most is not None:
            if key(row) > last_key.get(row.language, 2**63):
                continue
            if reasons[place] is None:
                seconds[row.language] = seconds.get(row.language, 0.0) + (row.duration_s or 0.0)
                if seconds[row.language] >= most * 3600:
                    last_key.setdefault(row.language, key(row))
        found.append((row.where, reasons[place]))
    return found


@given(rows=repeated, most=hours, run_bytes=st.sampled_from([500, 3000, 10**6]))
@settings(deadline=None, max_examples=60)
def test_the_rules_are_kept_whatever_is_held(rows: list[Utterance], most: float | None, run_bytes: int) -> None:
    plan, draft = planned(rows, most, run_bytes)
    assert [(row["where"], row["reject_reason"]) for row in plan] == by_the_rules(rows, most)
    assert len({row["unit_id"] for row in plan}) == len(plan)
    assert len(plan) + sum(of.utterances for of in draft.left_out.values()) == len(rows)
    for row in plan:
        assert (row["status"], row["reject_stage"]) == (("rejected", "plan") if row["reject_reason"] else ("ok", None))
        if row["reject_reason"] == "duplicate_id":
            first = row["reject_detail"].removeprefix(f"{row['where']}: ").removesuffix(" has the same id")
            stands = rows[int(first.removeprefix("list:"))]
            assert (stands.corpus, stands.utterance_id) == (row["corpus"], row["utterance_id"])


@given(rows=repeated)
@settings(deadline=None, max_examples=40)
def test_no_speaker_is_usable_in_two_splits(rows: list[Utterance]) -> None:
    splits: dict[tuple[str, str], set[str]] = {}
    plan, _ = planned(rows)
    for row in plan:
        if row["status"] == "ok" and row["speaker_id"] is not None:
            splits.setdefault((row["corpus"], row["speaker_id"]), set()).add(row["split"])
    assert all(len(of) == 1 for of in splits.values())
    # and none is lost with all it said
    spoke = {
        (row["corpus"], row["speaker_id"]) for row in plan if row["reject_reason"] in (None, "speaker_in_two_splits")
    }
    assert {who for who in spoke if who[1] is not None} == set(splits)


@given(rows=distinct, most=hours, draw=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_the_order_of_reading_is_forgotten(rows: list[Utterance], most: float | None, draw: Any) -> None:
    shuffled = draw.sample(rows, len(rows))
    one, other = planned(rows, most)[0], planned(shuffled, most)[0]
    assert [row | {"number": 0} for row in one] == [row | {"number": 0} for row in other]


@given(rows=repeated)
@settings(deadline=None, max_examples=40)
def test_blocks_lie_together(rows: list[Utterance]) -> None:
    blocks = [(row["corpus"], block_of(row["audio_uri"])) for row in planned(rows)[0]]
    runs = [block for block, _ in groupby(blocks) if block[1] is not None]
    assert len(runs) == len(set(runs))


@given(rows=repeated, seconds=st.lists(st.floats(0.5, 60), min_size=2, max_size=2))
@settings(deadline=None, max_examples=40)
def test_more_hours_contain_fewer_and_neither_goes_past_a_block(rows: list[Utterance], seconds: list[float]) -> None:
    less, more = (
        {row["where"]: row for row in planned(rows, limit / 3600)[0] if row["corpus"] == "c0"}
        for limit in sorted(seconds)
    )
    assert less.items() <= more.items()
    for taken, limit in ((less, min(seconds)), (more, max(seconds))):
        for language in ("en", "de"):
            found = [row for row in taken.values() if row["language"] == language and row["status"] == "ok"]
            before = [row["duration_s"] for row in found if row["key"] != found[-1]["key"]]
            assert sum(before) < limit
            there = sum(row["duration_s"] for row in found)
            everything = [row for row in planned(rows)[0] if row["status"] == "ok" and row["corpus"] == "c0"]
            all_there = sum(row["duration_s"] for row in everything if row["language"] == language)
            assert there >= limit or there == all_there


def test_an_unknown_duration_matters_only_where_hours_are_counted() -> None:
    row = Utterance("a", "c1", "x", "en", "train", where="list:0")
    assert len(planned([row], 1.0)[0]) == 1
    rejected = replace(row, corpus="c0", reject_reason="missing_audio", where="list:1")
    assert len(planned([row, rejected], 1.0)[0]) == 2
    with pytest.raises(PlanError, match=r"^list:2: its duration is not known, and corpus c0 is cut by `hours`"):
        planned([row, replace(row, corpus="c0", duration_s=float("nan"), where="list:2")], 1.0)


def test_hours_may_be_of_one_language_alone() -> None:
    text = "output: out\ncorpora: [{type: kaldi, name: c0, path: /, hours: {de: 0.0001}}]\n"
    limits = plan_rules.HourLimits.of(parse_config(text, "job.yaml"), ("en", "de"))
    assert limits.most == {"c0": {"de": 0.0001}}
