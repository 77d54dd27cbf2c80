"""`sift-ray`: one command a stage, thin over `sift_ray.pipeline.build`.

Exit codes: 0 everything asked for is complete; 1 the job failed; 2 the config or the command line is wrong; 130
interrupted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sift_ray import __version__
from sift_ray.config import Config
from sift_ray.config_file import ConfigError, load_config
from sift_ray.worker_errors import sentence_of

app = typer.Typer(
    name="sift-ray",
    help="Turn speech corpora into verified speech-instruction data, as a job on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="the job's YAML file")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override a key, such as --set plan.wave_rows=500"),
]
Debug = Annotated[bool, typer.Option("--debug", help="show tracebacks and debug lines")]

CONFIG_WRONG = 2
JOB_FAILED = 1


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


@contextmanager
def _told(debug: bool) -> Iterator[None]:
    """Set up logging, and turn every error into a message and an exit code."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    for noisy in ("botocore", "boto3", "urllib3", "s3transfer", "phonemizer", "numba", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield
    except ConfigError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(CONFIG_WRONG) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command to go on from here", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        typer.echo(f"sift-ray: {sentence_of(error)}", err=True)
        typer.echo("(--debug shows the traceback)", err=True)
        raise typer.Exit(JOB_FAILED) from None


def _console() -> Console:
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or 110)
    return Console(width=width)


def _report(config: Config) -> None:
    from sift_ray.report.summary import render, summarise
    from sift_ray.storage import root_of

    render(summarise(root_of(config)), _console())


def _run(stage: str, path: Path, overrides: list[str] | None, debug: bool) -> None:
    with _told(debug):
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
    with _told(debug):
        checked = load_config(config, overrides or ())
        from sift_ray.pipeline.plan import preview_plan
        from sift_ray.report.plan_table import render

        render(preview_plan(checked), _console())


annotate = _stage_command("annotate", "Decode, measure and align every utterance of the plan.")
bin_ = _stage_command("bin", "Build the rulers that turn measurements into categories.")
instruct = _stage_command("instruct", "Write instructions and verify each against the measurements.")
release = _stage_command("release", "Publish the accepted instructions as Parquet with a dataset card.")


bins_app = typer.Typer(
    name="bins", help="Look at the rulers that turn measurements into categories.", no_args_is_help=True
)
app.add_typer(bins_app)


@bins_app.command("show")
def bins_show(
    source: Annotated[
        str, typer.Argument(metavar="CONFIG|BINS", help="the job's YAML file, or a bins.json (s3:// too)")
    ],
    overrides: Overrides = None,
    attributes: Annotated[
        list[str] | None, typer.Option("--attribute", help="only this attribute; may be given again")
    ] = None,
    corpora: Annotated[
        list[str] | None, typer.Option("--corpus", help="only this corpus; '*' is all of them together")
    ] = None,
    idle: Annotated[bool, typer.Option("--idle", help="tables of rulers that judge no value too")] = False,
    debug: Debug = False,
) -> None:
    """Print each ruler as a table: where its categories begin and end, and how many values fall into them."""
    with _told(debug):
        from sift_ray.metadata.categories import ATTRIBUTES
        from sift_ray.report.bins_table import render, rulers_in
        from sift_ray.storage import LocalRoot, open_root, root_of

        for name in attributes or ():
            if name not in ATTRIBUTES:
                raise ConfigError(f"--attribute {name}: there is no such attribute; there are {', '.join(ATTRIBUTES)}")
        if source.endswith(".json"):
            folder, _, name = source.rpartition("/")
            rulers = rulers_in(open_root(folder) if "://" in source else LocalRoot(Path(source).parent), name)
        else:
            rulers = rulers_in(root_of(load_config(Path(source), overrides or (), check_paths=False)))
        render(rulers, _console(), attributes=attributes or (), corpora=corpora or (), idle=idle)


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
    with _told(debug):
        checked = load_config(config, overrides or ())
        from sift_ray.pipeline import build as stages

        made = stages.align_train(checked, languages or None)
        for language, folder in made.items():
            typer.echo(f"{language}  {folder}")
        if not made:
            typer.echo("no model: no language of the plan has as much speech as annotate.align.min_train_s asks for")


@app.command("export-textgrid")
def export_textgrid(
    config: ConfigPath,
    out: Annotated[Path, typer.Option("--out", help="the folder that TextGrids are written to")],
    overrides: Overrides = None,
    utterances: Annotated[
        list[str] | None, typer.Option("--utterance", help="only this utterance id; may be given again")
    ] = None,
    languages: Annotated[list[str] | None, typer.Option("--language", help="only this language")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many, spread over the whole output")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="write each clip beside its TextGrid, as WAV")] = False,
    debug: Debug = False,
) -> None:
    """Write Praat TextGrids of aligned utterances, so that a person can look."""
    with _told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.report.textgrid import Choice, export_textgrids

        choice = Choice(frozenset(utterances or ()), frozenset(languages or ()), limit)
        written = export_textgrids(checked, out, choice, audio=audio)
        typer.echo(f"{written} TextGrids in {out}")


@app.command()
def samples(
    config: ConfigPath,
    overrides: Overrides = None,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="only this task; may be given again")] = None,
    languages: Annotated[list[str] | None, typer.Option("--language", help="only this language")] = None,
    limit: Annotated[int, typer.Option(min=1, help="at most so many of each task, accepted and rejected")] = 10,
    accepted: Annotated[bool | None, typer.Option("--accepted/--rejected", help="only these; default both")] = None,
    reasons: Annotated[
        list[str] | None,
        typer.Option("--reason", help="only what was rejected for this, such as false_claim; may be given again"),
    ] = None,
    untold: Annotated[
        bool, typer.Option("--untold", help="only accepted answers which say that something can't be told")
    ] = False,
    debug: Debug = False,
) -> None:
    """Print question-answer pairs of each task, with what they rest on or why they were rejected."""
    with _told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.report.samples import Wanted, draw_samples, render
        from sift_ray.schema import LANGUAGES, TASKS
        from sift_ray.storage import root_of

        for given, there, what in ((tasks, TASKS, "task"), (languages, LANGUAGES, "language")):
            for name in given or ():
                if name not in there:
                    raise ConfigError(f"--{what} {name}: there is no such {what}; there are {', '.join(there)}")
        told = {True} if accepted or untold else set()
        if accepted is False or reasons:
            told |= {False}
        if len(told) == 2:
            raise ConfigError(
                "--accepted and --untold ask for accepted pairs, --rejected and --reason for others; drop one of them"
            )
        wanted = Wanted(
            tasks=frozenset(tasks or ()),
            languages=frozenset(languages or ()),
            fates=frozenset(told or {True, False}),
            rules=frozenset(reasons or ()),
            untold=untold,
            limit=limit,
        )
        render(draw_samples(root_of(checked), wanted), _console())


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
    with _told(debug):
        checked = load_config(config, overrides or ())
        from sift_ray.pipeline import build as stages

        stages.build(checked, restart_from)
        _report(checked)


@app.command()
def status(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    debug: Debug = False,
) -> None:
    """Show how far a job is, from its manifests alone; works while it runs, from any machine."""
    with _told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.report import summary
        from sift_ray.storage import root_of

        state = summary.summarise(root_of(checked))
        if as_json:
            typer.echo(json.dumps(summary.as_json(state), indent=1))
        else:
            summary.render(state, _console())


if __name__ == "__main__":
    app()
