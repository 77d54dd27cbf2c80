"""A first look at the instructions, before any sample is written: how many there will be, which ones a quota takes,
and what stands in dev and test. Few columns are read, and what comes back does not grow with train.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.config_release import ReleaseConfig
from sift_ray.release import quotas
from sift_ray.release.held_out import HeldOut, seen_in
from sift_ray.release.layout import Group
from sift_ray.release.repeats import ASKED, without_repeats
from sift_ray.release.samples import accepted_pairs
from sift_ray.schema import PAIR

_COUNTED: Final = (
    *("unit_id", "task", "language", "split", "audio_uris"),
    *(f"pairs.list.element.{name}" for name in ("accepted", ASKED)),
)
_LABELLED: Final = tuple(f"pairs.list.element.evidence.list.element.{name}" for name in ("key", "value", "ordinal"))


def columns(config: ReleaseConfig) -> list[str]:
    """Return the columns of instructions that a survey reads."""
    return [*_COUNTED, *(_LABELLED if config.quotas else ())]


@dataclass
class Survey:
    """What some waves hold.

    Attributes:
        rows: accepted pairs by group, without repeats.
        repeated: accepted pairs, by task and language, that ask what another task asks of the utterance.
        candidates: `quotas.CANDIDATES`.
        held_out: audios and speakers of dev and test.
    """

    rows: dict[Group, int] = field(default_factory=dict)
    repeated: Counter[tuple[str, str]] = field(default_factory=Counter)
    candidates: pa.Table = field(default_factory=quotas.CANDIDATES.empty_table)
    held_out: HeldOut = field(default_factory=HeldOut)

    @classmethod
    def of(cls, instructions: pa.Table, speakers: pa.Table | None, config: ReleaseConfig) -> Self:
        """Return the survey of a wave.

        Args:
            instructions: with `columns`.
            speakers: `held_out.SPEAKERS` of its utterances, None where they are not known.
            config: with the quotas.
        """
        survey = cls()
        instructions, survey.repeated = without_repeats(instructions.combine_chunks())
        keys = instructions.select(["split", "task", "language"]).append_column("count", _accepted_counts(instructions))
        for row in keys.group_by(list(Group._fields)).aggregate([("count", "sum")]).to_pylist():
            if row["count_sum"]:
                survey.rows[Group(row["split"], row["task"], row["language"])] = row["count_sum"]
        # (few: train has no quota, as a rule, and to move facts costs most)
        limited = instructions.filter(pc.is_in(instructions["split"], pa.array(sorted(config.quotas), pa.string())))
        for task in limited["task"].unique().to_pylist():
            pairs = accepted_pairs(limited.filter(pc.equal(limited["task"], task)), task)
            survey.candidates = pa.concat_tables([survey.candidates, quotas.candidates_of(pairs, task, config)])
        held = instructions.filter(pc.not_equal(instructions["split"], "train"))
        survey.held_out.add(seen_in(held, speakers))
        return survey

    @classmethod
    def merged(cls, surveys: Iterable[Self], config: ReleaseConfig) -> Self:
        """Return the survey of all their waves."""
        whole = cls()
        tables = []
        for survey in surveys:
            for group, count in survey.rows.items():
                whole.rows[group] = whole.rows.get(group, 0) + count
            whole.repeated.update(survey.repeated)
            tables.append(survey.candidates)
            whole.held_out.add(survey.held_out.found)
        whole.candidates = quotas.merged(tables, config)
        return whole


def _accepted_counts(instructions: pa.Table) -> pa.Array:
    """Return how many pairs of each row were accepted."""
    lists = pa.concat_arrays(instructions["pairs"].chunks) if instructions.num_rows else pa.array([], pa.list_(PAIR))
    offsets = lists.offsets.to_numpy()
    before = np.concatenate([[0], np.cumsum(lists.values.field("accepted").to_numpy(zero_copy_only=False))])
    return pa.array(before[offsets[1:]] - before[offsets[:-1]])


@dataclass(frozen=True)
class Choice:
    """What every wave must know: which samples are taken, and what stands in dev and test.

    Attributes:
        taken: sorted hashes of the samples under a quota that are taken.
        held_out: audios and speakers of dev and test, no two of them shared.
    """

    taken: NDArray[np.uint64]
    held_out: HeldOut


def settle(survey: Survey, config: ReleaseConfig) -> tuple[Choice, dict[Group, int], dict[str, dict[str, float]]]:
    """Choose samples by the quotas.

    Returns:
        The choice, the samples that there will be of each group, and of each held-out split and key of evidence the
        label that stands most often, with its share.

    Raises:
        LeakError: dev and test share an audio or a speaker.
    """
    survey.held_out.check(survey.held_out.found, "the release")
    taken = quotas.chosen(survey.candidates, config)
    by_group = taken.group_by(["split", "task", "language"]).aggregate([("hash", "count")])
    chosen = {Group(row["split"], row["task"], row["language"]): row["hash_count"] for row in by_group.to_pylist()}
    rows = {}
    for group, count in survey.rows.items():
        pool = config.pool_of(group.split, group.task)
        limited = pool is not None and config.quota_of(group.split, pool, group.language) is not None
        rows[group] = chosen.get(group, 0) if limited else count
    hashes = np.sort(taken["hash"].to_numpy())
    return Choice(hashes, survey.held_out), {g: n for g, n in rows.items() if n}, quotas.label_shares(taken)
