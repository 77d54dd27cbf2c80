"""The batched search against every path there is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from sift_ray.align import ctc_viterbi  # noqa: E402
from sift_ray.align.ctc_viterbi import BLANK, CtcPath, best_paths  # noqa: E402

NO_LABEL = 0


def emission(frames: int, size: int, seed: int, *, zeros: bool = False) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(draw.normal(0, 3, (frames, size)).astype(np.float32))
    if zeros:
        logits[torch.from_numpy(draw.random((frames, size)) < 0.3)] = -torch.inf
        logits[:, 0] = 0.0
    return torch.log_softmax(logits, 1)


def collapsed(labels: Sequence[int]) -> list[int]:
    return [label for label, _ in itertools.groupby(labels) if label != NO_LABEL]


def by_brute_force(emissions: torch.Tensor, target: Sequence[int]) -> float:
    """Return the best score over all label sequences that collapse to `target`, -inf where none does."""
    rows = emissions.double().numpy()
    scores = [
        sum(rows[frame, label] for frame, label in enumerate(labels))
        for labels in itertools.product(range(rows.shape[1]), repeat=len(rows))
        if collapsed(labels) == list(target)
    ]
    return max(scores, default=-np.inf)


def said(path: CtcPath, target: Sequence[int]) -> list[int]:
    return [NO_LABEL if place == BLANK else target[place] for place in path.places]


@st.composite
def clips(draw: st.DrawFn) -> tuple[torch.Tensor, list[int]]:
    size = draw(st.integers(2, 4))
    target = draw(st.lists(st.integers(1, size - 1), max_size=3))
    frames = draw(st.integers(1, 7 if size < 4 else 6))
    return emission(frames, size, draw(st.integers(0, 2**32 - 1)), zeros=draw(st.booleans())), target


@settings(max_examples=80, deadline=None)
@given(clips())
def test_no_path_is_better(clip: tuple[torch.Tensor, list[int]]) -> None:
    emissions, target = clip
    wanted = by_brute_force(emissions, target)
    (path,) = best_paths([emissions], [target], NO_LABEL)
    if wanted == -np.inf:
        assert path is None
        return
    assert path is not None
    assert path.score == pytest.approx(wanted, abs=1e-4)
    labels = said(path, target)
    assert collapsed(labels) == target
    assert sorted(path.places[path.places != BLANK]) == list(path.places[path.places != BLANK])
    assert set(path.places) - {BLANK} == set(range(len(target)))
    assert path.log_probs.tolist() == emissions[range(len(labels)), labels].tolist()
    assert path.score == pytest.approx(float(path.log_probs.sum(dtype=np.float64)), abs=1e-4)
    assert path.best.tolist() == emissions.amax(1).tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(clips(), min_size=2, max_size=6), st.integers(1, 60))
def test_a_clip_alone_is_as_in_a_batch(batch: list[tuple[torch.Tensor, list[int]]], most_cells: int) -> None:
    size = 4
    wide = [torch.nn.functional.pad(e, (0, size - e.shape[1]), value=-torch.inf) for e, _ in batch]
    targets = [target for _, target in batch]
    usual = ctc_viterbi._MOST_CELLS
    for cells in (usual, most_cells):
        try:
            ctc_viterbi._MOST_CELLS = cells
            together = best_paths(wide, targets, NO_LABEL)
        finally:
            ctc_viterbi._MOST_CELLS = usual
        for emissions, target, path in zip(wide, targets, together, strict=True):
            (alone,) = best_paths([emissions], [target], NO_LABEL)
            assert (alone is None) == (path is None)
            if alone is not None and path is not None:
                assert alone.score == path.score
                for one, other in zip(alone[:3], path[:3], strict=True):
                    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("target", "fewest"), [([1, 2, 3], 3), ([1, 1], 3), ([1, 1, 1], 5), ([1, 2, 1], 3), ([2, 2, 1, 1], 6), ([], 1)]
)
def test_equal_neighbours_need_a_blank_between_them(target: list[int], fewest: int) -> None:
    for frames in range(1, 8):
        (path,) = best_paths([emission(frames, 4, frames)], [target], NO_LABEL)
        assert (path is not None) == (frames >= fewest)


def test_a_sure_model_is_followed() -> None:
    wanted = [0, 1, 1, 0, 1, 2, 2, 0, 3, 0, 0]
    emissions = torch.log_softmax(20.0 * torch.nn.functional.one_hot(torch.tensor(wanted), 4).float(), 1)
    (path,) = best_paths([emissions], [[1, 1, 2, 3]], NO_LABEL)
    assert path is not None
    assert path.places.tolist() == [-1, 0, 0, -1, 1, 2, 2, -1, 3, -1, -1]


def test_a_blank_of_any_number_is_a_blank() -> None:
    emissions = emission(6, 4, 5)
    order = [3, 1, 2, 0]  # the blank is the last now
    (first,) = best_paths([emissions], [[1, 2, 2]], 0)
    (last,) = best_paths([emissions[:, order]], [[1, 2, 2]], 3)
    assert first is not None
    assert last is not None
    assert first.places.tolist() == last.places.tolist()
    assert first.score == last.score


def test_what_is_no_number_shows_and_costs_no_other() -> None:
    good, bad = emission(5, 4, 1), torch.full((9, 4), torch.nan)
    path, broken = best_paths([good, bad], [[1, 2], [3]], NO_LABEL)
    assert path is not None
    assert np.isfinite(path.score)
    assert broken is not None
    assert np.isnan(broken.score)


def test_nothing_to_search() -> None:
    assert best_paths([], [], NO_LABEL) == []
    assert best_paths([torch.zeros((0, 4))], [[1]], NO_LABEL) == [None]
