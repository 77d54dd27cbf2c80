"""From a request to its row: try, read, verify, judge; once more with the reasons; then a fallback or nothing.

Every pair that was written is kept, refused ones with their reason, so that yields can be counted by rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sift_ray.config_instruct import InstructConfig
from sift_ray.instruct.engine import Generation, RequestFailed
from sift_ray.instruct.judging import FAILED, UNREADABLE, Judge
from sift_ray.instruct.parse import parse_pairs
from sift_ray.instruct.requests import CONTROLLABLE, Request
from sift_ray.instruct.synthesis import attach_transcript
from sift_ray.instruct.verify import Duplicates, verify
from sift_ray.instruct.writer import Writer

_EXCERPT: Final = 300
"""Characters of an unreadable text that are kept for a person to look at."""

_NOT_THE_WRITERS: Final = (FAILED, UNREADABLE)
"""Reasons that say nothing of what was written, so that nobody is told to do better."""


async def run_request(
    request: Request, writer: Writer, fallback: Writer | None, config: InstructConfig, judge: Judge | None = None
) -> dict[str, Any]:
    """Return the row of `schema.INSTRUCTIONS` for `request`.

    `writer` gets one attempt and `config.retries` more, until a pair is accepted; then `fallback`, if given, one.
    What the verifier accepts of the writer's pairs goes to `judge`, if given and if it judges the task. Counts of
    tokens are sums over the attempts, the judge's among them; `finish_reason` is that of the writer's last. A text
    that could not be read, or an attempt that failed, is a refused pair with an empty question.

    Raises:
        EngineDied: the writer's or the judge's engine is gone; the request is to be run again by another.
    """
    run = _Run(request, judge if judge is not None and judge.judges(request.task) else None)
    reasons: list[str] = []
    attempt = 0
    for attempt in range(config.retries + 1):
        reasons = await run.attempt(writer, attempt, reasons)
        if run.accepted:
            break
    if not run.accepted and fallback is not None:
        run.judge = None
        await run.attempt(fallback, attempt + 1, reasons, counts=False)
    return run.row(writer)


def failed_row(request: Request, writer: Writer, error: Exception) -> dict[str, Any]:
    """Return the row of a request that `run_request` raised an unforeseen error for: one refused pair, no tokens."""
    run = _Run(request)
    run.keep("", f"{type(error).__name__}: {error}"[:_EXCERPT], "internal_error", writer.name(request.task), 0)
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

    async def attempt(self, writer: Writer, attempt: int, reasons: Sequence[str], *, counts: bool = True) -> list[str]:
        """Let `writer` write once and look at it; return the reasons of what was refused, each once."""
        first = len(self.pairs)
        generator = writer.name(self.request.task)
        try:
            generation = await writer.write(self.request, attempt, reasons)
        except RequestFailed as failure:
            self.keep("", failure.detail[:_EXCERPT], failure.reason, generator, attempt)
            if counts:
                self.finish_reason = "error"
        else:
            if counts:
                self.finish_reason = generation.finish_reason
                self._count(generation)
            await self._look_at(generation.text, generator, attempt)
        refused = (pair["reason"] for pair in self.pairs[first:])
        return list(dict.fromkeys(reason for reason in refused if reason and reason not in _NOT_THE_WRITERS))

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
            self.accepted += 1
            self.seen.add(question, answer)
            self.keep(self._final(question), answer, None, generator, attempt, verdict.evidence_rows(), score)
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
            }
        )


def _excerpt(text: str) -> str:
    """Return the start of `text` as a table can hold it: halves of surrogate pairs are replaced."""
    return text[:_EXCERPT].encode("utf-8", "replace").decode("utf-8")
