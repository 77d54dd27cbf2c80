"""What all commands share: their options, and how an error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sift_ray import job_log
from sift_ray.config_file import ConfigError
from sift_ray.worker_errors import sentence_of

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="the job's YAML file")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override a key, such as --set plan.wave_rows=500"),
]
Debug = Annotated[bool, typer.Option("--debug", help="show tracebacks and debug lines")]

CONFIG_WRONG = 2
JOB_FAILED = 1


@contextmanager
def told(debug: bool) -> Iterator[None]:
    """Set up logging, and turn every error into a message and an exit code."""
    job_log.configure(debug=debug)
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


def console() -> Console:
    """Return what tables are printed to: as wide as the terminal, or as COLUMNS says."""
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or 110)
    return Console(width=width)
