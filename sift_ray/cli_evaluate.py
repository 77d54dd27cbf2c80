"""`sift-ray evaluate`: how good a model's predictions on a release's benchmark split are."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sift_ray.cli_options import JOB_FAILED, Debug, Overrides, console, told
from sift_ray.config_file import ConfigError, load_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sift_ray.config import Config, LabelConfig
    from sift_ray.evaluate.run import Judging
    from sift_ray.evaluate.samples import Sample


def evaluating(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("evaluate")(evaluate)


def evaluate(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="a release, or a job's output: a folder or s3://…")],
    predictions: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PREDICTIONS]",
            help="JSON lines of sample_id and prediction, or of sample_id and audio; may be left out with --audio",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or EvalSIFT")] = "EvalSIFT",
    judge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="who judges answers in text; in this process, by vLLM")
    ] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="the server that has the judge, such as http://127.0.0.1:8000/v1"),
    ] = None,
    probes: Annotated[
        int,
        typer.Option(min=0, help="answers of known worth, right and wrong ones each, that the judge is tried on"),
    ] = 20,
    audio: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="generated audio, each file named <sample_id>.wav (or .flac, .mp3, …)"),
    ] = None,
    bins: Annotated[
        str | None, typer.Option(metavar="BINS", help="the job's bins.json; by default that beside the release")
    ] = None,
    gender_model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="folder or hub id of a classifier that hears the gender of a voice"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG", help="the job's YAML file: its output's bins, how it measures, its servers"),
    ] = None,
    overrides: Overrides = None,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="only this task; may be given again")] = None,
    languages: Annotated[list[str] | None, typer.Option("--language", help="only this language")] = None,
    only_predicted: Annotated[
        bool, typer.Option("--only-predicted", help="leave out samples without a prediction; else they count as wrong")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="of the bootstrap of the intervals")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="write the results as JSON, with all tables")] = None,
    details: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write what became of each sample as JSON lines")
    ] = None,
    debug: Debug = False,
) -> None:
    """Score predictions: answers in text by a judge, generated audio by our own measurements and the frozen bins.

    Exit codes: 0 scored; 1 something could not be read, or nothing of a task could be judged; 2 the command line or the
    config is wrong.
    """
    with told(debug):
        if not debug:
            logging.getLogger("httpx").setLevel(logging.WARNING)  # else it tells of every call of a judge
        from sift_ray.evaluate import table
        from sift_ray.evaluate.run import Choice
        from sift_ray.evaluate.run import evaluate as evaluated
        from sift_ray.evaluate.samples import split_of
        from sift_ray.schema import LANGUAGES, TASKS

        _check_names(tasks, TASKS, "task")
        _check_names(languages, LANGUAGES, "language")
        if overrides and config is None:
            raise ConfigError("--set overrides keys of the job's YAML file; name it with --config")
        try:
            ours = split_of(split)
        except ValueError as error:
            raise ConfigError(f"--split: {error}") from None
        for path in (out, details):
            if path is not None:
                _check_writable(path)
        job = None if config is None else load_config(config, overrides or (), check_paths=False)
        choice = Choice(
            release=release,
            split=ours,
            predictions=predictions,
            audio=audio,
            bins=bins,
            tasks=tuple(tasks or ()),
            languages=tuple(languages or ()),
            gender=_gender(gender_model, job),
            only_predicted=only_predicted,
            seed=seed,
            probes=probes,
        )
        made = evaluated(choice, _judging(judge, judge_url, job), job)
        by = None if judge is None else f"{judge}{'' if judge_url is None else f' at {judge_url}'}"
        if out is not None:
            who = None if judge is None else {"model": judge, "url": judge_url}
            out.write_text(f"{json.dumps(table.as_json(made, who), indent=1, ensure_ascii=False)}\n", encoding="utf-8")
        if details is not None:
            details.write_text("".join(table.sample_lines(made)), encoding="utf-8")
        table.render(made, console(), by)
    if nothing := made.unjudged():
        typer.echo(f"sift-ray: nothing could be judged of {', '.join(nothing)}; the lines above say why", err=True)
        raise typer.Exit(JOB_FAILED)


def _check_names(given: list[str] | None, there: Sequence[str], what: str) -> None:
    for name in given or ():
        if name not in there:
            raise ConfigError(f"--{what} {name}: there is no such {what}; there are {', '.join(there)}")


def _check_writable(path: Path) -> None:
    """Refuse what can't be written before hours are spent on what is to be written there."""
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.absolute().parent} to write to")
    there = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{path}: can't be written: {error.strerror or error}; name another file") from error
    if not there:
        path.unlink()


def _gender(model: str | None, job: Config | None) -> LabelConfig | None:
    """Return the classifier that is named, else the job's own."""
    from sift_ray.config import LabelConfig

    if model is None:
        labels = () if job is None else job.annotate.features.labels
        return next((label for label in labels if label.column == "gender"), None)
    try:
        return LabelConfig(column="gender", model=model)
    except ValueError as error:
        raise ConfigError(f"--gender-model {model}: {error}") from None


def _judging(judge: str | None, url: str | None, job: Config | None) -> Judging | None:
    if judge is None:
        if url is not None:
            raise ConfigError("--judge-url names a server; --judge must say which of its models judges")
        return None
    import asyncio

    from sift_ray.evaluate.judge import judge_section, judge_with

    section = judge_section(judge, url, job)

    def judging(answers: Sequence[tuple[Sample, str]]) -> list[Any]:
        return asyncio.run(judge_with(judge, section, job, answers))

    return judging
