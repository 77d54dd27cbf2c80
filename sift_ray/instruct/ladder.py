"""From a request to its row: try, read, verify, judge; once more with the reasons; then a fallback or nothing.

Every pair that was written is kept, refused ones with their reason, so that yields can be counted by rule.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.engine import EngineDied, Generation, RequestFailed
from sift_ray.instruct.judging import FAILED, UNREADABLE, Judge
from sift_ray.instruct.parse import parse_pairs
from sift_ray.instruct.requests import CONTROLLABLE, Request
from sift_ray.instruct.synthesis import attach_transcript
from sift_ray.instruct.verify import Duplicates, verify
from sift_ray.instruct.writer import Writer
from sift_ray.job_log import place_of
from sift_ray.storage import stable_id

INTERNAL: Final = "internal_error"
"""The reason of what a fault of ours refused."""

FAULTS: Final = f"{INTERNAL}|{FAILED}|prompt_too_long|no_chat_template|engine_.*"
"""A regular expression of reasons that are a fault, ours or an engine's, and no opinion of what was written."""

_EXCERPT: Final = 300
"""Characters of an unreadable text that are kept for a person to look at."""

_NOT_THE_WRITERS: Final = (FAILED, UNREADABLE)
"""Reasons that say nothing of what was written, so that nobody is told to do better."""

log = logging.getLogger(__name__)


async def run_request(
    request: Request, writer: Writer, fallback: Writer | None, config: InstructConfig, judge: Judge | None = None
) -> dict[str, Any]:
    """Return the row of `schema.INSTRUCTIONS` for `request`.

    `writer` gets one attempt and `config.retries` more, until a pair is accepted; then `fallback`, if given, one.
    What the verifier accepts of the writer's pairs goes to `judge`, if given and if it judges the task. Counts of
    tokens are sums over the attempts, the judge's among them; `finish_reason` is that of the writer's last, `error` if
    it failed. A text that could not be read, or an attempt that failed, is a refused pair with an empty question. What
    came before a fault of ours is kept, and is not tried again: the next attempt would meet the same fault.

    Raises:
        EngineDied: the writer's or the judge's engine is gone; the request is to be run again by another.
    """
    run = _Run(request, judge if judge is not None and judge.judges(request.task) else None)
    reasons: list[str] = []
    attempt = 0
    for attempt in range(config.retries + 1):
        refused = await run.attempt(writer, attempt, reasons)
        if run.accepted or refused is None:
            break
        reasons = refused
    if not run.accepted and fallback is not None:
        run.judge = None
        await run.attempt(fallback, attempt + 1, reasons, counts=False)
    return run.row(writer)


def failed_row(request: Request, writer: Writer, error: Exception) -> dict[str, Any]:
    """Return the row of a request whose own row could not be made for `error`: one refused pair, no tokens."""
    run = _Run(request)
    run.fail(error, writer, 0)
    return run.row(writer)


@dataclass(slots=True)
class _Run:
    """One request under way."""

    request: Request
    judge: Judge | None = None
    pairs: list[dict[str, Any]] = field(default_factory=list)
    accepted: int = 0
    finish_reason: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    seen: Duplicates = field(default_factory=Duplicates)

    def row(self, writer: Writer) -> dict[str, Any]:
        """Return the row of `schema.INSTRUCTIONS`."""
        return {
            **self.request.identity(),
            "pairs": self.pairs,
            "model": writer.name(self.request.task),
            "prompt_hash": writer.prompt_hash(self.request.task, self.request.language),
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "generated_tokens": self.generated_tokens,
        }

    async def attempt(
        self, writer: Writer, attempt: int, reasons: Sequence[str], *, counts: bool = True
    ) -> list[str] | None:
        """Let `writer` write once and look at it; return the reasons of what was refused, each once.

        None after a fault of ours; what was looked at before it stays.
        """
        first = len(self.pairs)
        try:
            await self._attempt(writer, attempt, reasons, counts)
        except EngineDied:
            raise
        except Exception as error:
            self.fail(error, writer, attempt, counts=counts)
            return None
        refused = (pair["reason"] for pair in self.pairs[first:])
        return list(dict.fromkeys(reason for reason in refused if reason and reason not in _NOT_THE_WRITERS))

    async def _attempt(self, writer: Writer, attempt: int, reasons: Sequence[str], counts: bool) -> None:
        generator = writer.name(self.request.task)
        try:
            generation = await writer.write(self.request, attempt, reasons)
        except RequestFailed as failure:
            self.keep("", _excerpt(failure.detail), failure.reason, generator, attempt)
            if counts:
                self.finish_reason = "error"
            return
        if counts:
            self.finish_reason = generation.finish_reason
            self._count(generation)
        await self._look_at(generation.text, generator, attempt)

    def fail(self, error: Exception, writer: Writer, attempt: int, *, counts: bool = True) -> None:
        """Log a fault of ours and keep it as a refused pair."""
        request, about = self.request, {"stage": "instruct", "unit_id": self.request.unit_id}
        what = "the rest of the request" if self.accepted else "the request"
        # what an error says, its traceback included, may quote the transcript; the row keeps it
        log.error("unit %d, %s: %s is refused: %s", request.unit_id, request.task, what, place_of(error), extra=about)
        log.debug("unit %d, %s", request.unit_id, request.task, exc_info=error, extra=about)
        self.keep("", _excerpt(f"{type(error).__name__}: {error}"), INTERNAL, writer.name(request.task), attempt)
        if counts and not self.accepted:
            self.finish_reason = "error"

    def _count(self, generation: Generation) -> None:
        self.prompt_tokens += generation.prompt_tokens
        self.cached_tokens += generation.cached_tokens
        self.generated_tokens += generation.generated_tokens

    async def _look_at(self, text: str, generator: str, attempt: int) -> None:
        """Read a text, and keep its pairs with what the verifier and the judge say of each."""
        request = self.request
        read = parse_pairs(text, answers=request.task != CONTROLLABLE)
        for question, answer in read.pairs:
            if self.accepted == request.pairs_wanted:
                self.keep(question, answer, "surplus", generator, attempt)
                continue
            verdict = verify(
                request.task, request.language, question, answer, request.facts, request.focus, unknown=request.unknown
            )
            reason, score = verdict.reason, None
            if verdict.accepted:
                reason, score = await self._further(question, answer)
            if reason is not None:
                self.keep(question, answer, reason, generator, attempt, score=score)
                continue
            asked = stable_id("asked", self.seen.words_asked(question, answer))
            self.keep(self._final(question), answer, None, generator, attempt, verdict.evidence_rows(), score, asked)
            self.accepted += 1
            self.seen.add(question, answer)
        for problem in dict.fromkeys(read.problems):
            self.keep("", _excerpt(text), f"parse_{problem}", generator, attempt)

    async def _further(self, question: str, answer: str) -> tuple[str | None, float | None]:
        """Return why a pair that holds true is refused all the same, None where it is not, and the judge's score."""
        if double := self.seen.check(question, answer):
            return double.reason, None
        if self.judge is None:
            return None, None
        judgement = await self.judge.judge(self.request, question, answer)
        if judgement.generation is not None:
            self._count(judgement.generation)
        return judgement.reason, judgement.score

    def _final(self, question: str) -> str:
        """Return the question as it is published: a synthesis prompt gets the text to be spoken."""
        if self.request.task != CONTROLLABLE:
            return question
        transcript = self.request.fact("transcript")
        if transcript is None:
            raise ValueError(f"unit {self.request.unit_id}: a controllable generation without a transcript")
        return attach_transcript(self.request.language, question, transcript)

    def keep(
        self,
        question: str,
        answer: str,
        reason: str | None,
        generator: str,
        attempt: int,
        evidence: Sequence[dict[str, Any]] = (),
        score: float | None = None,
        asked: int | None = None,
    ) -> None:
        self.pairs.append(
            {
                "question": question,
                "answer": answer,
                "accepted": reason is None,
                "reason": reason,
                "evidence": list(evidence),
                "generator": generator,
                "attempt": attempt,
                "score": score,
                "asked": asked,
            }
        )


def _excerpt(text: str) -> str:
    """Return the start of `text` as a table can hold it: halves of surrogate pairs are replaced."""
    return text[:_EXCERPT].encode("utf-8", "replace").decode("utf-8")
