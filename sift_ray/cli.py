"""`sift-ray`: one command a stage, thin over `sift_ray.pipeline.build`.

Exit codes: 0 everything asked for is complete; 1 the job failed; 2 the config or the command line is wrong; 3 and 4
`validate` found errors, or with `--strict` warnings; 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sift_ray import __version__
from sift_ray.cli_evaluate import evaluating
from sift_ray.cli_options import CONFIG_WRONG, JOB_FAILED, ConfigPath, Debug, Overrides, console, told
from sift_ray.cli_predict import predicting
from sift_ray.cli_publish import publishing
from sift_ray.cli_reports import reports
from sift_ray.config import Config
from sift_ray.config_file import load_config

__all__ = ["CONFIG_WRONG", "JOB_FAILED", "app"]

app = typer.Typer(
    name="sift-ray",
    help="Turn speech corpora into verified speech-instruction data, as a job on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sift-ray {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Hold the options that belong to no command."""
    del version


def _report(config: Config) -> None:
    from sift_ray.report.summary import render, summarise
    from sift_ray.storage import root_of

    render(summarise(root_of(config)), console())


def _run(stage: str, path: Path, overrides: list[str] | None, debug: bool) -> None:
    with told(debug):
        config = load_config(path, overrides or (), check_paths=stage in ("plan", "annotate"))
        from sift_ray.pipeline import build as stages

        stages.RUN[stage](config)
        _report(config)


def _stage_command(stage: str, text: str) -> Callable[[Path, list[str] | None, bool], None]:
    def command(config: ConfigPath, overrides: Overrides = None, debug: Debug = False) -> None:
        _run(stage, config, overrides, debug)

    command.__doc__ = text
    return app.command(stage)(command)


@app.command()
def plan(
    config: ConfigPath,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only show what would be planned; write nothing to the output")
    ] = False,
    debug: Debug = False,
) -> None:
    """Read the corpora and cut their utterances into waves; no audio is decoded."""
    if not dry_run:
        _run("plan", config, overrides, debug)
        return
    with told(debug):
        checked = load_config(config, overrides or ())
        from sift_ray.pipeline.plan import preview_plan
        from sift_ray.report.plan_table import render

        render(preview_plan(checked), console())


annotate = _stage_command("annotate", "Decode, measure and align every utterance of the plan.")
bin_ = _stage_command("bin", "Build the rulers that turn measurements into categories.")
instruct = _stage_command("instruct", "Write instructions and verify each against the measurements.")
release = _stage_command("release", "Publish the accepted instructions with a dataset card.")


@app.command("align-train")
def align_train(
    config: ConfigPath,
    overrides: Overrides = None,
    languages: Annotated[
        list[str] | None, typer.Option("--language", help="only this language; may be given again")
    ] = None,
    debug: Debug = False,
) -> None:
    """Train the alignment models that the job needs and does not have, as `annotate` would, and keep them."""
    with told(debug):
        checked = load_config(config, overrides or ())
        from sift_ray.pipeline import build as stages

        made = stages.align_train(checked, languages or None)
        for language, folder in made.items():
            typer.echo(f"{language}  {folder}")
        if not made:
            typer.echo("no model: no language of the plan has as much speech as annotate.align.min_train_s asks for")


@app.command()
def build(
    config: ConfigPath,
    overrides: Overrides = None,
    restart_from: Annotated[
        str | None,
        typer.Option(metavar="STAGE", help="first delete what this stage and all after it made"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Run every stage that is not complete; run it again to go on after an interruption."""
    with told(debug):
        checked = load_config(config, overrides or ())
        from sift_ray.pipeline import build as stages

        stages.build(checked, restart_from)
        _report(checked)


app.add_typer(publishing)
evaluating(app)
predicting(app)
app.add_typer(reports)


if __name__ == "__main__":
    app()
