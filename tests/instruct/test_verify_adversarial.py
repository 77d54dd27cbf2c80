"""Pairs that try to be taken for true: swapped roles and prepositions, words of the transcript told of the speaker."""

from __future__ import annotations

from pathlib import Path

import yaml

from sift_ray.instruct.verify import verify
from sift_ray.metadata.record import Fact
from sift_ray.schema import LANGUAGES

DATA = Path(__file__).parent / "data"


def accepted(label: str) -> tuple[list[str], int]:
    """Return the pairs of a label that are accepted in any language, and how many pairs there are."""
    found, count = [], 0
    for language in LANGUAGES:
        for one in yaml.safe_load((DATA / f"adversarial_{language}.yaml").read_text(encoding="utf-8"))["sets"]:
            facts = [Fact(*row) for row in one["facts"]]
            for task, question, answer in one[label]:
                count += 1
                if verify(task, language, question, answer, facts).accepted:
                    found.append(f"{language} {task}: {question} | {answer}")
    return found, count


def test_next_to_no_false_pair_is_accepted():
    found, count = accepted("false")
    assert count > 150
    assert len(found) <= 0.02 * count, "\n".join(found)


def test_many_true_pairs_still_are():
    found, count = accepted("true")
    assert count > 25
    assert len(found) >= 0.6 * count, "\n".join(found)
