"""Answers of known worth, on which a judge is tried."""

from __future__ import annotations

from dataclasses import replace

from sift_ray.config import Config
from sift_ray.evaluate.judge import UNREADABLE, Verdict
from sift_ray.evaluate.judge_check import JudgeCheck, Probe, check_of, probes_of
from sift_ray.evaluate.samples import Sample, read_samples
from sift_ray.metadata.record import Fact
from sift_ray.storage import LocalRoot

LOW, HIGH = Fact("average_pitch", "very low pitch"), Fact("average_pitch", "very high pitch")


def sample(number: int, *facts: Fact, task: str = "closed_ended_acoustic_level", language: str = "en") -> Sample:
    answer = f"{number}: {' and '.join(fact.value or 'nobody knows' for fact in facts)}"
    return Sample(f"s{number}", task, language, f"vctk_{language}", (f"p{number}",), "How?", answer, facts)


def test_probes_of_a_release_come_in_pairs_that_contradict_each_other(spoken: Config) -> None:
    samples = list(read_samples(LocalRoot(spoken.output)))
    evidence = {sample.answer: sample.evidence for sample in samples}
    probes = probes_of(samples, 15)
    assert probes == probes_of(samples[::-1], 15)
    assert len(probes) == 2 * 2 * 15
    for right, wrong in zip(probes[::2], probes[1::2], strict=True):
        assert (right.right, wrong.right) == (True, False)
        assert right.sample is wrong.sample
        assert right.answer == right.sample.answer
        if right.sample.task.startswith("closed_ended"):
            mine, theirs = ({(f.key, f.value) for f in evidence[p.answer] or ()} for p in (right, wrong))
            assert {key for key, _ in mine} == {key for key, _ in theirs}
            assert not mine & theirs


def test_answers_that_agree_or_that_speak_of_something_else_are_no_wrong_ones() -> None:
    rate = Fact("speaking_rate", "very fast")
    untold = Fact("average_pitch", None)  # type: ignore[arg-type]
    word = Fact("average_pitch", "very high pitch", 0, 3)
    for other in (LOW, rate, untold, word):
        assert probes_of([sample(1, LOW), sample(2, other)], 5) == []
    assert probes_of([sample(1, LOW), sample(2, HIGH, language="de")], 5) == []
    assert probes_of([sample(1, LOW, rate), sample(2, HIGH, rate)], 5) == []
    assert len(probes_of([sample(1, LOW), sample(2, HIGH)], 5)) == 4
    assert len(probes_of([sample(1, LOW), sample(2, HIGH)], 1)) == 2
    assert probes_of([sample(1, LOW), sample(2, HIGH)], 0) == []


def test_where_no_evidence_tells_another_answer_is_wrong() -> None:
    plain = [replace(sample(n, LOW), evidence=None) for n in (1, 2)]
    assert len(probes_of(plain, 5)) == 4
    assert probes_of([replace(s, answer="the same") for s in plain], 5) == []


def test_what_a_judge_says_of_probes_is_summed_up_by_form() -> None:
    closed, spoken = sample(1, LOW), sample(2, LOW, task="open_ended")
    probes = [
        *(Probe(spoken, "a", right) for right in (True, False)),
        *(Probe(closed, "a", right) for right in (True, True, False)),
    ]
    verdicts = [Verdict(8.0), Verdict(3.0), Verdict(1.0), Verdict(0.0), Verdict(None, UNREADABLE)]
    made = check_of(probes, verdicts)
    assert [check.blind for check in made] == [True, False]
    assert made == [
        JudgeCheck("closed_ended", 2, 0.5, 0, None, 1),
        JudgeCheck("open_ended", 1, 8.0, 1, 3.0, 0),
    ]
