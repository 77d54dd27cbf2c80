from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sift_ray.config_release import ReleaseConfig
from sift_ray.release import quotas
from sift_ray.release.samples import accepted_pairs
from sift_ray.schema import INSTRUCTIONS

from .instruction_waves import LABELLED, fact, wave_of


def config(**quotas_: Any) -> ReleaseConfig:
    return ReleaseConfig.model_validate({"quotas": quotas_})


def candidates(of: ReleaseConfig, waves: int = 2, utterances: int = 200) -> list[pa.Table]:
    """What each wave brings back."""
    parts = []
    for wave in range(waves):
        rows, _ = wave_of(wave, utterances, ("en", "de"))
        table = pa.Table.from_pylist(rows, schema=INSTRUCTIONS)
        for task in LABELLED:
            alone = table.filter(pa.compute.equal(table["task"], task))
            parts.append(quotas.candidates_of(accepted_pairs(alone, task), task, of))
    return parts


def taken(of: ReleaseConfig, **size: int) -> pa.Table:
    return quotas.chosen(quotas.merged(candidates(of, **size), of), of)


def counted(table: pa.Table, *names: str) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(table[name].to_pylist() for name in names), strict=True))


def test_a_pool_is_shared_by_its_tasks_in_every_language() -> None:
    of = config(test={"closed_ended": 24})
    assert counted(taken(of), "split", "language", "task") == {
        ("test", language, task): 8 for language in ("en", "de") for task in LABELLED
    }


def labels_of(rows: pa.Table) -> Counter[str]:
    return Counter(rows["labels"].combine_chunks().flatten().to_pylist())


def test_the_most_frequent_label_is_held_down_by_all_facts_of_what_is_taken() -> None:
    """Nine in ten speak of a moderate pitch, and all others are men: no label may lead by more than that forces."""
    of = config(test={"closed_ended_acoustic_level": 24})
    rows = taken(of, waves=8)
    english = rows.filter(pa.compute.equal(rows["language"], "en"))
    assert english.num_rows == 24
    found = labels_of(english)
    assert found == {
        "average_pitch: moderate pitch": 10,
        "average_pitch: very low pitch": 7,
        "average_pitch: very high pitch": 7,
        "gender: male": 14,
        "gender: female": 10,
    }
    before = labels_of(pa.concat_tables(candidates(config(test={"closed_ended_acoustic_level": 10_000}), waves=8)))
    assert before["average_pitch: moderate pitch"] > 0.85 * (before["gender: male"] + before["gender: female"])


def test_waves_and_their_order_change_nothing() -> None:
    of = config(test={"closed_ended": 7}, dev={"closed_ended_comparison": {"en": 3}})
    parts = candidates(of)
    whole = quotas.chosen(quotas.merged(parts, of), of)
    turned = quotas.chosen(quotas.merged([quotas.merged(parts[3:], of), *parts[:3][::-1]], of), of)
    assert whole.num_rows == 2 * 7 + 3
    assert whole.equals(turned)


def test_a_wave_brings_no_more_of_a_label_than_the_quota() -> None:
    of = config(test={"closed_ended_content_level": 5})
    (part,) = (part for part in candidates(of, waves=1, utterances=400) if part.num_rows)
    assert counted(part, "language") == {("en",): 5, ("de",): 5}
    assert labels_of(part) == {"transcript": 10}


def test_what_one_label_has_no_more_room_for_another_may_keep() -> None:
    of = config(test={"closed_ended_acoustic_level": {"en": 3}})
    parts = candidates(of, waves=4, utterances=400)
    whole = quotas.merged(parts, of)
    found = labels_of(whole)
    # each label has its three, and a few more came with the others'
    assert min(found.values()) >= 3
    assert whole.num_rows <= 3 * len(found)
    assert quotas.trimmed(whole, of).equals(whole)


def test_a_language_that_is_not_named_keeps_all() -> None:
    of = config(test={"closed_ended_comparison": {"de": 2}})
    chosen = np.sort(taken(of)["hash"].to_numpy())
    rows, _ = wave_of(0, 200, ("en", "de"))
    table = pa.Table.from_pylist([r for r in rows if r["task"] == "closed_ended_comparison"], schema=INSTRUCTIONS)
    pairs = accepted_pairs(table, "closed_ended_comparison")
    left = counted(quotas.kept(pairs, "closed_ended_comparison", of, chosen), "split", "language")
    before = counted(pairs, "split", "language")
    assert left["test", "de"] <= 2 < before["test", "de"]
    assert {where: n for where, n in left.items() if where != ("test", "de")} == {
        where: n for where, n in before.items() if where != ("test", "de")
    }


def test_without_evidence_or_with_what_cannot_be_told_a_sample_still_counts() -> None:
    of = config(test={"open_ended": 3})
    row = {"unit_id": 1, "task": "open_ended", "language": "en", "split": "test", "data_source": "d"}
    lists: list[Any] = [[], [fact("profession", None)], [fact("gender", "male")], None]
    pairs = pa.table(
        {
            **{name: [value] * 4 for name, value in row.items()},
            "evidence": pa.array(lists, INSTRUCTIONS.field("pairs").type.value_type.field("evidence").type),
            "place": [0, 1, 2, 3],
        }
    )
    found = quotas.candidates_of(pairs, "open_ended", of)
    assert sorted(found["labels"].to_pylist()) == [[], [], ["gender: male"], ["profession"]]
    assert quotas.chosen(found, of).num_rows == 3


def test_the_share_of_the_most_frequent_label_is_told() -> None:
    of = config(test={"closed_ended_acoustic_level": 24})
    shares = quotas.label_shares(taken(of, waves=8))
    assert shares == {"test": {"average_pitch: moderate pitch": 0.4167, "gender: male": 0.5833}}


def test_a_key_whose_values_are_no_labels_has_no_most_frequent_one() -> None:
    of = config(test={"closed_ended_content_level": 4})
    assert quotas.label_shares(taken(of)) == {}


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50), max_size=6), st.integers(0, 200))
def test_shares_are_even_and_complete(available: dict[str, int], total: int) -> None:
    shares = quotas.evenly(available, total)
    assert sum(shares.values()) == min(total, sum(available.values()))
    short = [shares[name] for name in available if shares[name] < available[name]]
    assert all(shares[name] <= available[name] for name in available)
    if short:  # who could have more has as much as anybody, but for the remainder's one
        assert max(shares.values()) - min(short) <= 1


@pytest.mark.parametrize(
    ("quota", "message"),
    [
        ({"test": {"closed_ended_acoustic": 5}}, "no task 'closed_ended_acoustic'"),
        ({"test": {"closed_ended": 5, "closed_ended_comparison": 1}}, "closed_ended_comparison has a quota of its own"),
        ({"train": {"open_ended": 5}}, "train"),
        ({"test": {"open_ended": -1}}, "greater than or equal to 0"),
        ({"test": {"open_ended": {"pl": 3}}}, "pl"),
    ],
)
def test_quotas_that_make_no_sense_are_refused(quota: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**quota)
