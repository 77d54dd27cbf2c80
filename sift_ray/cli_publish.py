"""`sift-ray publish`: the release to the Hugging Face hub, when somebody asks for it and never else."""

from __future__ import annotations

from typing import Annotated

import typer

from sift_ray.cli_options import ConfigPath, Debug, Overrides, told
from sift_ray.config_file import ConfigError, load_config

publishing = typer.Typer()


@publishing.command()
def publish(
    config: ConfigPath,
    repository: Annotated[str, typer.Option("--repo", metavar="ORG/NAME", help="dataset repository of the hub")],
    overrides: Overrides = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="parquet or jsonl; by default the release's first")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="make a new repository public; else only you can see it")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="delete what else the repository holds; without it, that is refused")
    ] = False,
    debug: Debug = False,
) -> None:
    """Put the finished release on the Hugging Face hub, in one commit; the token is that of `hf auth login`."""
    with told(debug):
        checked = load_config(config, overrides or (), check_paths=False)
        from sift_ray.release.hub import upload
        from sift_ray.storage import root_of

        formats = checked.release.formats
        for asked in formats:
            if asked == (form or formats[0]):
                root = root_of(checked)
                typer.echo(upload(root, repository, form=asked, private=not public, replace=replace))
                return
        raise ConfigError(f"--format {form}: the config's release.formats has {', '.join(formats)}")
