"""The commands that look at a job and change nothing in its output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sift_ray.cli_options import ConfigPath, Debug, Overrides, console, told
from sift_ray.config_file import ConfigError, load_config

if TYPE_CHECKING:
    from sift_ray.storage import OutputRoot

reports = typer.Typer()


@reports.command()
def status(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    debug: Debug = False,
) -> None:
    """Show how far a job is, from its manifests alone; works while it runs, from any machine."""
    with told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.report import summary
        from sift_ray.storage import root_of

        state = summary.summarise(root_of(checked))
        if as_json:
            typer.echo(json.dumps(summary.as_json(state), indent=1))
        else:
            summary.render(state, console())


@reports.command()
def estimate(
    config: ConfigPath,
    overrides: Overrides = None,
    hours: Annotated[
        str | None, typer.Option(metavar="en=6000,de=2000", help="how much audio there is; no corpus is looked at")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="OUTPUT", help="take rates from the job that was written there")
    ] = None,
    cpus: Annotated[float | None, typer.Option(min=0.1, help="with --from: CPUs that the job had")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="with --from: GPUs that the job had")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    debug: Debug = False,
) -> None:
    """Tell core-hours, GPU-hours, storage and money that a job will take, and the pairs that will come of it."""
    with told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.report import estimate_table
        from sift_ray.report.estimate import estimate as estimated
        from sift_ray.report.estimate_corpus import planned_corpus, previewed_corpus, told_corpus
        from sift_ray.report.estimate_job import rates_of_job
        from sift_ray.report.estimate_rates import default_rates
        from sift_ray.storage import open_root, root_of

        if source is None and (cpus, gpus) != (None, None):
            raise ConfigError("--cpus and --gpus say what the job of --from had; add it")
        if source is None:
            rates = default_rates(checked)
        else:
            rates = rates_of_job(open_root(source, checked.storage), checked, cpus, gpus)
        corpus = told_corpus(hours, rates) if hours else planned_corpus(root_of(checked))
        if corpus is None:
            from sift_ray.pipeline.plan import preview_plan

            corpus = previewed_corpus(preview_plan(load_config(config, overrides or ())))
        made = estimated(corpus, rates, checked)
        if as_json:
            typer.echo(json.dumps(estimate_table.as_json(made), indent=1))
        else:
            estimate_table.render(made, console(), checked.estimate.note)


@reports.command()
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
    with told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.report.samples import Wanted, draw_samples, render
        from sift_ray.schema import LANGUAGES, TASKS
        from sift_ray.storage import root_of

        for given, there, what in ((tasks, TASKS, "task"), (languages, LANGUAGES, "language")):
            for name in given or ():
                if name not in there:
                    raise ConfigError(f"--{what} {name}: there is no such {what}; there are {', '.join(there)}")
        fates = {True} if accepted or untold else set()
        if accepted is False or reasons:
            fates |= {False}
        if len(fates) == 2:
            raise ConfigError(
                "--accepted and --untold ask for accepted pairs, --rejected and --reason for others; drop one of them"
            )
        wanted = Wanted(
            tasks=frozenset(tasks or ()),
            languages=frozenset(languages or ()),
            fates=frozenset(fates or {True, False}),
            rules=frozenset(reasons or ()),
            untold=untold,
            limit=limit,
        )
        render(draw_samples(root_of(checked), wanted), console())


@reports.command()
def report(
    config: ConfigPath,
    overrides: Overrides = None,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="FILE", help="where to, s3:// too; default report/index.html in the output"),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, max=50, help="pairs of each task, and utterances of each reason")] = 5,
    seed: Annotated[int, typer.Option(help="another draws other samples")] = 0,
    debug: Debug = False,
) -> None:
    """Write one HTML page that shows what the job made: yields, measurements, samples to hear; needs no network."""
    with told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.report.page.write import Choice, write_page

        typer.echo(write_page(checked, Choice(samples, seed), output))


@reports.command("export-textgrid")
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
    with told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.report.textgrid import Choice, export_textgrids

        choice = Choice(frozenset(utterances or ()), frozenset(languages or ()), limit)
        written = export_textgrids(checked, out, choice, audio=audio)
        typer.echo(f"{written} TextGrids in {out}")


ERRORS_FOUND = 3
WARNINGS_FOUND = 4


@reports.command()
def validate(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH|CONFIG", help="a release, or a job's output: a folder or s3://…; or the job's YAML file"
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="OUTPUT", help="the job (or its annotations) whose measurements evidence must agree with"),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="only parquet, or only jsonl; default all there is"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit with 4 where there are warnings")] = False,
    texts: Annotated[
        int,
        typer.Option(min=1, help="texts whose language is told, of each file and of every 30,000 or so of its rows"),
    ] = 200,
    scratch: Annotated[
        Path | None, typer.Option(help="an existing folder for what memory can't hold; default the system's")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    output: Annotated[Path | None, typer.Option(help="write the JSON to this file too")] = None,
    debug: Debug = False,
) -> None:
    """Look for defects in a release, ours or one in the published layout, in each format that it has.

    Exit codes: 0 no errors; 1 it could not be looked at; 2 the command line is wrong; 3 there are errors, or no rows
    (of a format); 4 there are warnings, with --strict.
    """
    with told(debug):
        from sift_ray.storage import open_root, root_of
        from sift_ray.validate import table
        from sift_ray.validate.findings import Severity, worst
        from sift_ray.validate.run import validate as validated
        from sift_ray.validate.shards import FORMATS

        def opened(uri: str) -> OutputRoot:
            if uri.endswith((".yaml", ".yml")):
                return root_of(load_config(Path(uri), check_paths=False))
            return open_root(uri)

        if form is not None and form not in FORMATS:
            raise ConfigError(f"--format {form}: there is no such format; there are {', '.join(FORMATS)}")
        if scratch is not None and not scratch.is_dir():
            raise ConfigError(f"--scratch {scratch}: there is no such folder")
        measured = None if against is None else opened(against.rstrip("/").removesuffix("/annotations"))
        made = validated(opened(path), measured, form=form, texts=texts, scratch=scratch)
        text = json.dumps(table.as_json(made), indent=1, ensure_ascii=False)
        if output is not None:
            output.write_text(f"{text}\n", encoding="utf-8")
        if as_json:
            typer.echo(text)
        else:
            table.render(made, console())
        found = worst(made.findings)
    if found is Severity.ERROR or not all(of.rows for of in made.looked):
        raise typer.Exit(ERRORS_FOUND)
    if strict and found is Severity.WARNING:
        raise typer.Exit(WARNINGS_FOUND)


bins_app = typer.Typer(
    name="bins", help="Look at the rulers that turn measurements into categories.", no_args_is_help=True
)
reports.add_typer(bins_app)


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
    with told(debug):
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
        render(rulers, console(), attributes=attributes or (), corpora=corpora or (), idle=idle)
