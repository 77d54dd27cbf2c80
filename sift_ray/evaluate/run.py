"""One evaluation: read a release and predictions, have answers judged and audio measured, and score them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sift_ray.config import Config, LabelConfig
from sift_ray.config_file import ConfigError
from sift_ray.evaluate.audio_folder import ENDINGS, files_by_stem
from sift_ray.evaluate.generation import Spoken, speak
from sift_ray.evaluate.judge import Verdict
from sift_ray.evaluate.judge_check import JudgeCheck, check_of, probes_of
from sift_ray.evaluate.measured import ClipMeasurer
from sift_ray.evaluate.origin import job_of, known_utterances, measuring_of, rulers_of
from sift_ray.evaluate.predictions import Prediction, check_known, read_predictions
from sift_ray.evaluate.samples import ANSWERED, GENERATION, Sample, read_samples
from sift_ray.evaluate.scores import (
    ALL,
    Answered,
    GenderScore,
    OrdinalScore,
    TextScore,
    gender_scores,
    ordinal_scores,
    text_scores,
)
from sift_ray.schema import TASKS
from sift_ray.storage import StorageError, open_root

Judging = Callable[[Sequence[tuple[Sample, str]]], list[Verdict]]
"""Returns a verdict on each answer, in order."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be evaluated.

    Attributes:
        release: a release or a job's output: a folder or s3://….
        split: ours: train, dev or test.
        predictions: JSON lines; None: there is only audio.
        audio: a folder of generated audio, each file named by its sample; None: what the predictions name.
        bins: a bins.json; None: that of the release's job.
        tasks, languages: only these; empty: all that can be scored.
        gender: a classifier that hears genders; None: none.
        only_predicted: leave out samples without a prediction.
        seed: of the bootstrap.
        probes: answers of known worth that the judge is tried on, right and wrong ones of each form each.
    """

    release: str
    split: str = "test"
    predictions: Path | None = None
    audio: Path | None = None
    bins: str | None = None
    tasks: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    gender: LabelConfig | None = None
    only_predicted: bool = False
    seed: int = 0
    probes: int = 0


@dataclass(frozen=True, slots=True)
class Generated:
    """The scores of controllable generation, and what they are measured by.

    Attributes:
        spoken: what was asked for and measured.
        ordinals, genders: the scores.
        bins: address of the rulers.
        measured_as: in words, where the settings of measuring are from.
        gender_source: what heard genders, None: nothing did.
    """

    spoken: Spoken
    ordinals: list[OrdinalScore]
    genders: list[GenderScore]
    bins: str
    measured_as: str
    gender_source: str | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation.

    Attributes:
        choice: what was asked for.
        tasks: that were scored: those asked for of which there are samples.
        samples: of the split, in these tasks and languages. `missing`: those without a prediction.
        answers: the verdicts behind `texts`.
        checks: what the judge says of answers of known worth.
        texts: scores of answers in text.
        generated: scores of generated audio, None where it was not scored.
    """

    choice: Choice
    tasks: tuple[str, ...]
    samples: int
    missing: int
    answers: list[Answered]
    checks: list[JudgeCheck]
    texts: list[TextScore]
    generated: Generated | None

    def unjudged(self) -> list[str]:
        """Return the tasks in which there is no score that says something of the model."""
        whole = {score.task: score for score in self.texts if score.language == ALL}
        found = [
            task
            for task, score in whole.items()
            if task in self.tasks and _said_nothing(score.scored, score.samples - score.missing, score.unjudged)
        ]
        if (made := self.generated) is not None:
            genders = made.genders if made.gender_source is not None else ()
            spoken = [score for score in (*made.ordinals, *genders) if score.language == ALL]
            if all(_said_nothing(score.scored, score.asked - score.missing, score.unjudged) for score in spoken):
                found.append(GENERATION)
        return found


def _said_nothing(scored: int, predicted: int, unjudged: Mapping[str, int]) -> bool:
    """Whether nothing is scored, or nothing but what is missing although some was predicted."""
    return not scored or (bool(unjudged) and sum(unjudged.values()) == predicted)


def evaluate(choice: Choice, judging: Judging | None = None, config: Config | None = None) -> Evaluation:
    """Score predictions.

    Args:
        choice: what to score.
        judging: judges answers in text; None: they are not scored.
        config: of the release's job, for its output, storage, and where it measures.

    Raises:
        ConfigError: there is nothing to score, or what it needs is not there.
        PredictionError: the predictions can't be used.
        StorageError, BinsError: the release, its job, or audio that is there can't be read.
        EngineError: the judge can't be started, or is gone.
    """
    predictions = {} if choice.predictions is None else read_predictions(choice.predictions)
    audio = _audio(choice, predictions)
    tasks = _tasks(choice, judged=judging is not None, heard=bool(audio))
    root = open_root(choice.release, None if config is None else config.storage)
    samples = list(read_samples(root, choice.split, TASKS))
    known = {sample.sample_id for sample in samples}
    if len(known) < len(samples):
        raise StorageError(
            f"{choice.release}: {len(samples) - len(known):,} of {len(samples):,} samples of {choice.split} have an id "
            "that another has too, so that a prediction would be scored twice; look at them with `sift-ray validate`"
        )
    check_known(predictions, known, choice.predictions or "predictions")
    check_known(audio, known, choice.audio or choice.predictions or "audio")
    samples = [s for s in samples if s.task in tasks and (not choice.languages or s.language in choice.languages)]
    there = tuple(task for task in TASKS if any(sample.task == task for sample in samples))
    if lacking := [task for task in choice.tasks or (() if there else tasks) if task not in there]:
        raise ConfigError(f"{choice.release}: its split has no samples of {', '.join(lacking)} in these languages")

    # (audio first: that bins are lacking must not be told after hours of judging)
    spoken = [sample for sample in samples if sample.task == GENERATION]
    generated = _generated(choice, spoken, audio, config) if spoken else None
    answers, checks = _answers(samples, predictions, judging, choice.probes)
    missing = sum(answer.verdict is None for answer in answers)
    return Evaluation(
        choice=choice,
        tasks=there,
        samples=len(samples),
        missing=missing + sum(sample.sample_id not in audio for sample in spoken),
        answers=answers,
        checks=checks,
        texts=text_scores(answers, choice.seed, only_predicted=choice.only_predicted),
        generated=generated,
    )


def _tasks(choice: Choice, *, judged: bool, heard: bool) -> tuple[str, ...]:
    """Return the tasks to score: those asked for, else all that can be scored."""
    possible = (*(ANSWERED if judged else ()), *((GENERATION,) if heard else ()))
    for task in choice.tasks:
        if task not in possible:
            needed = (
                "audio: name it in the predictions, or its folder with --audio"
                if task == GENERATION
                else ("a judge: name one with --judge")
            )
            raise ConfigError(f"--task {task}: it can't be scored without {needed}")
    if not possible:
        raise ConfigError(
            "nothing can be scored: answers in text need a judge (--judge MODEL, with --judge-url URL where a server "
            "has it), and the predictions name no audio (--audio FOLDER has it?)"
        )
    return choice.tasks or possible


def _audio(choice: Choice, predictions: Mapping[str, Prediction]) -> dict[str, Path]:
    """Return the generated files by sample id: those in the folder by their stems, and those that predictions name.

    Raises:
        ConfigError: there is no such folder, it holds no audio, or two files of one stem; or nothing is there of what
            predictions name.
    """
    found: dict[str, Path] = {}
    folder = choice.audio
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"--audio {folder}: there is no such folder")
        for stem, (path, *more) in files_by_stem(folder).items():
            if more:
                raise ConfigError(f"--audio {folder}: {path} and {more[0]} are of one sample; keep one")
            found[stem] = Path(path)
    start = folder or (Path() if choice.predictions is None else choice.predictions.parent)
    named = {name: start / made.audio for name, made in predictions.items() if made.audio}
    if named and not any(path.is_file() for path in named.values()):
        raise ConfigError(
            f"{choice.predictions}: none of the {len(named):,} audio files that it names is there, such as "
            f"{next(iter(named.values()))}; relative paths start at {start}, --audio names another folder"
        )
    # (a file that a prediction names need not be named after its sample)
    paths = set(named.values())
    found = {name: path for name, path in found.items() if path not in paths} | named
    if folder is not None and not found:
        raise ConfigError(f"--audio {folder}: no audio lies there ({', '.join(sorted(ENDINGS))})")
    return found


def _answers(
    samples: Sequence[Sample], predictions: Mapping[str, Prediction], judging: Judging | None, probes: int
) -> tuple[list[Answered], list[JudgeCheck]]:
    if judging is None:
        return [], []
    asked = [sample for sample in samples if sample.task != GENERATION]
    texts = [made.prediction if (made := predictions.get(s.sample_id)) is not None else None for s in asked]
    said = [(sample, text) for sample, text in zip(asked, texts, strict=True) if text is not None]
    tried = probes_of(asked, probes)
    to_judge = [*said, *((probe.sample, probe.answer) for probe in tried)]
    verdicts = judging(to_judge) if said else []
    told = iter(verdicts)
    answers = [Answered(s, None if text is None else next(told)) for s, text in zip(asked, texts, strict=True)]
    return answers, check_of(tried, verdicts[len(said) :]) if said else []


def _generated(
    choice: Choice, samples: Sequence[Sample], audio: Mapping[str, Path], config: Config | None
) -> Generated:
    job = job_of(choice.release, config)
    rulers, bins = rulers_of(choice.bins, job, None if config is None else config.storage)
    measuring = measuring_of(job, config)
    wanted = {(sample.data_source, sample.utterance_ids[0]) for sample in samples if sample.utterance_ids}
    measurer = ClipMeasurer(measuring, choice.gender)
    spoken = speak(samples, audio, measurer, rulers, known_utterances(job, wanted))
    return Generated(
        spoken,
        ordinal_scores(spoken.outcomes, choice.seed, only_predicted=choice.only_predicted),
        gender_scores(spoken.outcomes, choice.seed, only_predicted=choice.only_predicted),
        bins,
        measuring.source,
        measurer.gender_source,
    )
