"""No run of n tokens twice in an answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

from sift_ray.evaluate.audio_llm_ngrams import ForbiddenNGrams, NoRepeatNGrams  # noqa: E402


def forbidden(size, answer):
    """The tokens, of 10, that may not come next, taken up token by token."""
    ngrams = ForbiddenNGrams(size)
    logits = None
    for end in range(len(answer) + 1):
        logits = ngrams.mask(answer[:end], torch.zeros(10))
    return torch.nonzero(torch.isinf(logits)).flatten().tolist()


@pytest.mark.parametrize(
    ("size", "answer", "expected"),
    [
        (3, [], []),
        (3, [1, 2], []),
        (3, [1, 2, 3], []),
        (3, [1, 2, 3, 1, 2], [3]),
        (3, [1, 2, 3, 1, 2, 4, 1, 2], [3, 4]),
        (3, [5, 5, 5], [5]),
        (2, [1], []),
        (2, [1, 2, 1], [2]),
        (2, [7, 7], [7]),
        (4, [1, 2, 3, 4, 9, 2, 3, 4], [9]),
        (4, [1, 2, 3, 4, 9, 1, 2, 3], [4]),
        (4, [1, 2, 3, 4, 9, 3, 4], []),
    ],
)
def test_what_would_repeat_an_n_gram_is_forbidden(size, answer, expected):
    assert forbidden(size, answer) == expected


@pytest.mark.parametrize("size", [2, 3, 4])
def test_it_forbids_what_a_search_of_the_whole_answer_finds(size):
    random = torch.Generator().manual_seed(0)
    answer = torch.randint(0, 4, (60,), generator=random).tolist()
    ngrams = ForbiddenNGrams(size)
    for end in range(len(answer) + 1):
        taken = answer[:end]
        grams = {tuple(taken[i : i + size]) for i in range(len(taken) - size + 1)}
        expected = [token for token in range(4) if (*taken[len(taken) - size + 1 :], token) in grams]
        masked = ngrams.mask(taken, torch.zeros(4))
        if len(taken) >= size - 1:
            assert torch.nonzero(torch.isinf(masked)).flatten().tolist() == expected


def params(**extra):
    return SimpleNamespace(extra_args=extra or None)


@pytest.mark.parametrize("size", [0, 1, -3, 2.0, "3", True])
def test_a_size_that_can_not_be_is_refused_by_name(size):
    with pytest.raises(ValueError, match="`ngram_size` must be a whole number of 2 or more"):
        NoRepeatNGrams.validate_params(params(ngram_size=size))


def test_requests_that_ask_for_nothing_are_left_alone():
    NoRepeatNGrams.validate_params(params())
    NoRepeatNGrams.validate_params(params(ngram_size=3))
    processor = NoRepeatNGrams(None, torch.device("cpu"), False)
    assert processor.new_req_logits_processor(params()) is None
    assert processor.new_req_logits_processor(params(ngram_size=3)) is not None
    assert not processor.is_argmax_invariant()
