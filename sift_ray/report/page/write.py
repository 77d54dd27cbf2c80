"""Puts the page together: one HTML file with everything in it, that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
import logging
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from sift_ray.config import Config
from sift_ray.metadata.bins_file import read_bins
from sift_ray.metadata.rulers import Rulers
from sift_ray.report.page import measures, numbers
from sift_ray.report.page.balance import spoken_of
from sift_ray.report.page.cards import Source, refused_clips, refused_pairs, sample_groups
from sift_ray.report.page.clips import SoundReader
from sift_ray.report.page.picks import pick_pairs
from sift_ray.report.page.provenance import provenance
from sift_ray.report.page.survey import survey
from sift_ray.report.state import Summary, manifests_of, summarise
from sift_ray.storage import OutputRoot, StorageError, open_root, root_of

log = logging.getLogger(__name__)

PAGE_NAME: Final = "report/index.html"
SOUND_ROOM: Final = 14 << 20
"""Bytes that the clips of a page may take together, as they are heard and drawn."""

_TEMPLATES: Final = "sift_ray.report.page"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is shown of the data.

    Attributes:
        samples: pairs of each task, and utterances of each reason of refusal.
        seed: other seeds draw others; the same draws the same.
    """

    samples: int = 5
    seed: int = 0


def write_page(config: Config, choice: Choice, output: str | None = None) -> str:
    """Write the page of a job, finished or not, and return where it lies.

    The same data, seed and version give the same page.

    Args:
        config: the job.
        choice: what of its data is shown.
        output: the file, local or `s3://bucket/key`; default `report/index.html` in the job's output.

    Raises:
        StorageError: nothing is planned there, or a table or `output` can't be read or written.
    """
    root = root_of(config)
    text = page(config, root, choice)
    if output is None:
        target, name = root, PAGE_NAME
    elif "://" in output:
        folder, _, name = output.rpartition("/")
        target = open_root(folder, config.storage)
    else:
        path = Path(output).absolute()
        target, name = open_root(str(path.parent)), path.name
    target.put(name, text.encode())
    return f"{target.uri}/{name}"


def page(config: Config, root: OutputRoot, choice: Choice) -> str:
    """Return the page's HTML.

    Raises:
        StorageError: nothing is planned under `root`.
    """
    summary = summarise(root)
    if summary.waves is None:
        raise StorageError(f"{root.uri}: nothing is planned here; run `sift-ray build` first")
    rulers = None if summary.bins is None else read_bins(root.read("bins.json").decode(), f"{root.uri}/bins.json")
    with SoundReader(config, SOUND_ROOM) as reader:
        shown = _parts(root, summary, rulers, Source(root, rulers, reader), choice)
    style = _style()
    return _template().render(
        name=config.release.name,
        output=root.uri,
        style=Markup(style),  # noqa: S704 (our own file)
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        **shown,
        provenance=provenance(config, root, summary),
    )


def _parts(root: OutputRoot, summary: Summary, rulers: Rulers | None, source: Source, choice: Choice) -> dict[str, Any]:
    """Return what the template shows, by the names that it has there."""
    found = survey(root, manifests_of(root, "annotations"), rulers, choice.samples, choice.seed)
    instructed = manifests_of(root, "instructions")
    log.info("report: measurements read; now for the answers")
    spoken: Counter[tuple[str, str]] = spoken_of(root, instructed)
    picked = pick_pairs(root, instructed, choice.samples, choice.seed)
    log.info("report: %d pairs drawn; now for their audio", sum(map(len, picked.values())))
    return {
        "finished_at": max((state.finished_at or "" for state in summary.stages.values()), default=""),
        "headline": numbers.headline(summary),
        "progress": numbers.progress(summary),
        "funnels": numbers.funnels(summary),
        "rejects": numbers.rejects(summary),
        "hours": numbers.hours(summary),
        "durations": measures.duration_charts(found.shapes),
        "measures": [] if rulers is None else measures.measure_views(found.shapes, rulers, spoken, found.units()),
        "content": measures.content_balance(spoken),
        "alignment": measures.alignment_charts(found.shapes),
        "instructions": numbers.instructions(summary),
        "samples": sample_groups(source, picked),
        "refused_pairs": refused_pairs(source, picked),
        "refused_clips": refused_clips(source, found.refused.values()),
    }


def _style() -> str:
    return _text("page.css")


def _text(name: str) -> str:
    return resources.files(_TEMPLATES).joinpath(f"templates/{name}").read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
