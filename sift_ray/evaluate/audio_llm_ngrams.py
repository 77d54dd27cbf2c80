"""A logits processor for vLLM: no run of n tokens occurs twice in an answer. Imported by vLLM's workers alone.

vLLM names one of its own, `vllm.model_executor.models.deepseek_ocr:NGramPerReqLogitsProcessor`, which can't be imported
where torchvision is missing; both read the same two arguments of a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor


class NoRepeatNGrams(AdapterLogitsProcessor):  # type: ignore[misc]  # (vLLM has no types that mypy can follow)
    """Forbids repeated n-grams in requests whose `extra_args` hold `ngram_size`; others are left alone."""

    @classmethod
    def validate_params(cls, params: Any) -> None:
        """Check the arguments of a request.

        Raises:
            ValueError: `ngram_size` is not 2 or more.
        """
        size = (params.extra_args or {}).get("ngram_size")
        if size is not None and (type(size) is not int or size < 2):
            raise ValueError(f"`ngram_size` must be a whole number of 2 or more, not {size!r}")

    def is_argmax_invariant(self) -> bool:
        """Return False: the likeliest token may be one that is forbidden."""
        return False

    def new_req_logits_processor(self, params: Any) -> Callable[[list[int], Any], Any] | None:
        """Return what masks the logits of one request, None where it asks for nothing."""
        size = (params.extra_args or {}).get("ngram_size")
        return None if size is None else ForbiddenNGrams(size).mask


class ForbiddenNGrams:
    """The n-grams of one answer, taken up as it grows."""

    def __init__(self, size: int) -> None:
        """Take n, 2 or more."""
        self._size = size
        self._seen: dict[tuple[int, ...], set[int]] = {}  # by the n - 1 tokens before them
        self._taken = 0  # tokens of the answer whose n-grams are in there

    def mask(self, output_ids: list[int], logits: Any) -> Any:
        """Return logits (a tensor [vocabulary]) in which no token is possible that would repeat an n-gram."""
        for end in range(max(self._taken, self._size - 1), len(output_ids)):
            before = tuple(output_ids[end - self._size + 1 : end])
            self._seen.setdefault(before, set()).add(output_ids[end])
        self._taken = len(output_ids)
        if forbidden := self._seen.get(tuple(output_ids[1 - self._size :])):
            logits[list(forbidden)] = -float("inf")
        return logits
