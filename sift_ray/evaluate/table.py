"""An evaluation as tables for the terminal, as JSON, and as a line for each sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from sift_ray import __version__
from sift_ray.evaluate.bootstrap import LEVEL, RESAMPLES
from sift_ray.evaluate.generation import MISSING
from sift_ray.evaluate.judge import Verdict
from sift_ray.evaluate.judge_check import JudgeCheck
from sift_ray.evaluate.run import Evaluation, Generated
from sift_ray.evaluate.samples import Sample
from sift_ray.evaluate.scores import ALL, Estimate, GenderScore, OrdinalScore, SpokenScore, TextScore
from sift_ray.evaluate.verdicts import prompt_versions
from sift_ray.report.tables import count_text, grid, largest_first

_INTERVAL = f"{LEVEL:.0%} interval"
_NOTHING = "-"


def render(evaluation: Evaluation, console: Console, judge: str | None = None) -> None:
    """Print the scores, and what they leave out."""
    choice = evaluation.choice
    console.print(Text(f"{choice.release}: {count_text(evaluation.samples)} samples of the split {choice.split}"))
    if evaluation.texts:
        if judge is not None:
            console.print(Text(f"judged by {judge}"), soft_wrap=True)
        console.print()
        heads = ("task", "language", "score", _INTERVAL, "best", "scored", "missing", "unjudged")
        console.print(grid("Answers in text", heads, map(_text_row, evaluation.texts), words=("language",)))
    if evaluation.generated is not None:
        _render_generated(evaluation.generated, console)
    console.print()
    for note in notes(evaluation):
        console.print(Text(note), soft_wrap=True)


def _text_row(score: TextScore) -> tuple[str, ...]:
    share = score.metric == "accuracy"
    return (
        score.task,
        score.language,
        *_shown(score.score, "{:.1%}" if share else "{:.2f}"),
        "100%" if share else "10",
        *map(count_text, (score.scored, score.missing, sum(score.unjudged.values()))),
    )


def _render_generated(generated: Generated, console: Console) -> None:
    console.print()
    console.print(Text(f"bins: {generated.bins}; measured by {generated.measured_as}"), soft_wrap=True)
    console.print()
    heads = (
        "characteristic",
        "language",
        "MAE",
        _INTERVAL,
        "QWK",
        _INTERVAL,
        "scored",
        "missing",
        "faulty",
        "unjudged",
    )
    rows = map(_ordinal_row, generated.ordinals)
    console.print(grid("Controllable generation", heads, rows, words=("language",)))
    if generated.genders and generated.gender_source is not None:
        console.print()
        columns = ("gender", "language", "accuracy", _INTERVAL, "scored", "missing", "faulty", "unjudged")
        console.print(grid("", columns, map(_gender_row, generated.genders), words=("language",)))
    for score in (*generated.ordinals, *generated.genders):
        if score.language == ALL and any(map(any, score.confusion)):
            console.print()
            _render_confusion(score, console)


def _ordinal_row(score: OrdinalScore) -> tuple[str, ...]:
    return (
        score.key,
        score.language,
        *_shown(score.mae, "{:.2f}"),
        *_shown(score.qwk, "{:.2f}"),
        *map(count_text, _counted(score)),
    )


def _gender_row(score: GenderScore) -> tuple[str, ...]:
    return "", score.language, *_shown(score.accuracy, "{:.1%}"), *map(count_text, _counted(score))


def _counted(score: SpokenScore) -> tuple[int, ...]:
    return score.scored, score.missing, sum(score.faulty.values()), sum(score.unjudged.values())


def _render_confusion(score: SpokenScore, console: Console) -> None:
    """Print a confusion table: columns bear the numbers of the rows' labels."""
    numbers = [str(place) for place in range(1, len(score.labels) + 1)]
    rows = (
        (f"{number} {label}", *(count_text(count) if count else _NOTHING for count in row))
        for number, label, row in zip(numbers, score.labels, score.confusion, strict=True)
    )
    console.print(Text(f"{score.key}: asked for (rows), measured (columns)", "bold"))
    console.print(grid("", ("", *numbers), rows))


def _shown(estimate: Estimate, form: str) -> tuple[str, str]:
    if estimate.value is None:
        return _NOTHING, _NOTHING
    ends = estimate.interval
    return form.format(
        estimate.value
    ), _NOTHING if ends is None else f"{form.format(ends.low)}–{form.format(ends.high)}"


def notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield in sentences what the scores leave out, and what counts against them."""
    if missing := evaluation.missing:
        counted = (
            "left out"
            if evaluation.choice.only_predicted
            else (
                "counted as 0, in controllable generation, where it can be judged, as the category farthest from the "
                "one asked for (--only-predicted leaves them out)"
            )
        )
        yield f"{missing:,} of {evaluation.samples:,} samples have no prediction; {counted}"
    for score in evaluation.texts:
        if score.language == ALL and score.unjudged and score.task != "closed_ended":
            told = _reasons(score.unjudged)
            yield f"{score.task}: no verdict on {sum(score.unjudged.values()):,} answers, which are not scored ({told})"
    for check in evaluation.checks:
        yield _trust(check)
    if evaluation.generated is not None:
        yield from _generated_notes(evaluation.generated)
    if not any(True for _ in _lacking_intervals(evaluation)):
        return
    yield "no interval, or no QWK, stands where all is of utterances drawn together, or of one category"


def _trust(check: JudgeCheck) -> str:
    """Say what the judge made of answers of known worth."""
    form, most = ("{:.2f}", "10") if check.form == "open_ended" else ("{:.0%}", "100%")
    right, wrong = (_NOTHING if mean is None else form.format(mean) for mean in (check.right_mean, check.wrong_mean))
    unread = f"; {check.unjudged:,} verdicts could not be had" if check.unjudged else ""
    return (
        f"the judge on {check.form} answers of known worth: {right} for {check.right:,} reference answers "
        f"(best: {most}), {wrong} for {check.wrong:,} wrong ones (best: 0){unread}"
        f"{'; it hardly tells them apart, so its scores say little' if check.blind else ''}"
    )


def _lacking_intervals(evaluation: Evaluation) -> Iterator[Estimate]:
    estimates = [score.score for score in evaluation.texts]
    if evaluation.generated is not None:
        estimates += [e for score in evaluation.generated.ordinals for e in (score.mae, score.qwk)]
    return (estimate for estimate in estimates if estimate.interval is None)


def _generated_notes(generated: Generated) -> Iterator[str]:
    spoken = generated.spoken
    for score in generated.ordinals:
        if score.language == ALL:
            if score.faulty:
                yield f"{score.key}: not measurable on the audio, which counts as wrong ({_reasons(score.faulty)})"
            if score.unjudged:
                yield f"{score.key}: not judged, for want of what that takes ({_reasons(score.unjudged)})"
    for gender in generated.genders:
        if gender.language == ALL and generated.gender_source is None:
            yield f"gender: asked for {gender.asked:,} times and not measured: --gender-model names what hears it"
        elif gender.language == ALL:
            yield f"gender: heard by {generated.gender_source}"
            if gender.faulty:
                yield f"gender: not heard on the audio, which counts as wrong ({_reasons(gender.faulty)})"
    if spoken.not_measured:
        yield f"asked for and never measured: {_reasons(spoken.not_measured)}"
    if spoken.judged_afar:
        yield (
            f"{spoken.judged_afar:,} prompts are of utterances that no annotations describe: phones are those of the "
            "text's pronunciation; where none of several corpora in the bins has their name, nothing is judged"
        )
    if spoken.untold:
        yield f"{spoken.untold:,} prompts have no evidence that tells what they ask for; they are not scored"


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,.0f}" for reason, count in largest_first(counts))


def as_json(evaluation: Evaluation, judge: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the evaluation as JSON values, but for the single samples; `judge` says who judged."""
    choice, generated = evaluation.choice, evaluation.generated
    made: dict[str, Any] = {
        "sift_ray": __version__,
        "release": choice.release,
        "split": choice.split,
        "predictions": None if choice.predictions is None else str(choice.predictions),
        "audio": None if choice.audio is None else str(choice.audio),
        "tasks": evaluation.tasks,
        "samples": evaluation.samples,
        "missing": evaluation.missing,
        "missing_counts": not choice.only_predicted,
        "bootstrap": {
            "unit": "utterances, those compared with each other together",
            "resamples": RESAMPLES,
            "level": LEVEL,
            "seed": choice.seed,
        },
        "judge": None if judge is None else {**judge, "prompts": dict(prompt_versions())},
        "judge_check": [asdict(check) for check in evaluation.checks],
        "text": [_named(asdict(score)) for score in evaluation.texts],
        "notes": list(notes(evaluation)),
    }
    if generated is not None:
        made |= {
            "bins": generated.bins,
            "measured_as": generated.measured_as,
            "gender_source": generated.gender_source,
            "not_measured": dict(generated.spoken.not_measured),
            "controllable_generation": [_named(asdict(score)) for score in generated.ordinals],
            "gender": [_named(asdict(score)) for score in generated.genders],
        }
    return made


def _named(score: dict[str, Any]) -> dict[str, Any]:
    """Return a score with its estimates as objects."""
    named = ((key, getattr(value, "_asdict", None), value) for key, value in score.items())
    made = {key: value if fields is None else fields() for key, fields, value in named}
    for value in made.values():
        if isinstance(value, dict) and "interval" in value and value["interval"] is not None:
            value["interval"] = list(value["interval"])
    return made


def sample_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield a line of JSON for each answer and each characteristic asked for: what became of it."""
    for sample, verdict in evaluation.answers:
        yield _sample_line(sample, (verdict or Verdict(0.0, MISSING))._asdict())
    for outcome in () if evaluation.generated is None else evaluation.generated.spoken.outcomes:
        yield _sample_line(outcome.sample, {key: value for key, value in outcome._asdict().items() if key != "sample"})


def _sample_line(sample: Sample, became: Mapping[str, Any]) -> str:
    row = {"sample_id": sample.sample_id, "task": sample.task, "language": sample.language}
    return f"{json.dumps(row | dict(became), ensure_ascii=False)}\n"
