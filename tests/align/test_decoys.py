from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from sift_ray.align.decoys import PhoneStrings, decoys_of, path_scores
from sift_ray.align.path_kernel import LEAST_FRAMES, compiled

String = tuple[list[int], list[bool]]


def _of(*strings: String) -> PhoneStrings:
    return PhoneStrings.of([(np.array(phones), np.array(starts)) for phones, starts in strings], silence=0)


def _by_hand(likelihoods: NDArray[np.float32], phones: list[int], starts: list[bool]) -> float:
    """Try every choice of pauses and every way to share the frames out."""
    slots = [place for place, start in enumerate(starts) if start] + [len(phones)]
    best = -np.inf
    for taken in itertools.product((False, True), repeat=len(slots)):
        pauses = {slot for slot, wanted in zip(slots, taken, strict=True) if wanted}
        path = [p for place in range(len(phones) + 1) for p in ([0] * (place in pauses) + phones[place : place + 1])]
        frames = len(likelihoods)
        for cuts in itertools.combinations(range(1, frames), len(path) - 1):
            edges = [0, *cuts, frames]
            if min(np.diff(edges)) >= LEAST_FRAMES:
                total = sum(likelihoods[a:b, p].sum() for a, b, p in zip(edges, edges[1:], path, strict=False))
                best = max(best, float(total))
    return best


def _twice(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("seed", range(4))
def test_paths_are_the_best_that_there_are(seed: int) -> None:
    source = np.random.default_rng(seed)
    likelihoods = source.uniform(-8, 0, (14, 4)).astype(np.float32)
    strings: list[String] = [([1, 2], [True, True]), ([3, 1, 2], [True, False, False]), ([2], [True])]
    scores = path_scores(likelihoods, _of(*strings))
    assert scores == pytest.approx([_by_hand(likelihoods, *string) for string in strings], abs=1e-3)


def test_a_string_scores_the_same_alone_and_among_longer_ones() -> None:
    likelihoods = np.random.default_rng(5).uniform(-8, 0, (40, 5)).astype(np.float32)
    short, long = ([1, 2], [True, False]), ([3, 4, 1, 2, 3], [True, False, True, True, False])
    assert path_scores(likelihoods, _of(short))[0] == path_scores(likelihoods, _of(long, short))[1]


def test_a_string_too_long_for_the_clip_has_no_path() -> None:
    likelihoods = np.zeros((2 * LEAST_FRAMES, 3), np.float32)
    scores = path_scores(likelihoods, _of(([1, 2], [True, True]), ([1, 2, 1], [True, True, True])))
    assert scores[0] == 0
    assert scores[1] < -1e8
    assert (path_scores(likelihoods[:0], _of(([1], [True]))) < -1e8).all()


def test_where_nothing_can_be_written_searches_are_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "ZipCacheLocator")  # this file is in no zip
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(_twice)
    assert compiled(_twice, "int64(int64)")(21) == 42


_SEARCH = """
import sys, numba.core.caching as caching
def fail(*arguments):
    raise OSError(28, "No space left on device")
if "full" in sys.argv:
    caching.IndexDataCacheFile.save = fail
import numpy as np
from sift_ray.align.decoys import path_scores
from tests.align.test_decoys import _of
print(path_scores(np.zeros((9, 3), np.float32), _of(([1, 2], [True, True]))))
"""


@pytest.mark.parametrize("fault", ["full", "damaged"])
def test_a_disk_that_fails_costs_time_alone(fault: str, tmp_path: Path) -> None:
    def searched(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _SEARCH, *arguments],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    if fault == "full":
        assert searched("full") == "[0.]\n"
        assert not list(tmp_path.rglob("*.nbc"))
        return
    assert searched() == "[0.]\n"
    kept = list(tmp_path.rglob("*.nbi"))
    assert kept
    for index in kept:
        index.write_bytes(b"")
    assert searched() == "[0.]\n"


def test_decoys_are_as_long_as_the_transcript_start_with_words_and_differ() -> None:
    spoken = np.random.default_rng(0).integers(1, 9, 500)
    starts = np.arange(500) % 4 == 0
    own = spoken[100:107]
    decoys = decoys_of(own, spoken, starts)
    assert 12 <= len(decoys) <= 48
    assert all(phones.size == 7 and begins[0] for phones, begins in decoys)
    assert len({phones.tobytes() for phones, _ in decoys} - {own.tobytes()}) == len(decoys)


def test_few_training_phones_still_make_decoys_and_none_makes_none() -> None:
    spoken, starts = np.array([1, 2, 3, 1]), np.array([True, False, True, False])
    assert {phones.size for phones, _ in decoys_of(np.array([3, 3, 3, 3, 3, 3]), spoken, starts)} == {6}
    assert decoys_of(np.array([1]), np.zeros(0, np.int64), np.zeros(0, np.bool_)) == []
    assert decoys_of(np.zeros(0, np.int64), spoken, starts) == []
