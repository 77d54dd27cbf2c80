"""What made the data: versions, fingerprints, backends, models."""

from __future__ import annotations

from sift_ray.config import Config
from sift_ray.config_instruct import TEMPLATE
from sift_ray.report.page.views import TableView
from sift_ray.report.state import STAGES, Summary
from sift_ray.storage import OutputRoot, read_manifest


def provenance(config: Config, root: OutputRoot, summary: Summary) -> TableView:
    """Return the table of what the data rests on, by the first finished wave of each stage and the config."""
    rows: list[tuple[str, str]] = []
    for stage in STAGES:
        waves = range(summary.waves or 0)
        manifest = next((m for wave in waves if (m := read_manifest(root, stage, wave)) is not None), None)
        if manifest is not None:
            versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))
            rows += [(f"{stage}: fingerprint", manifest.fingerprint), (f"{stage}: versions", versions)]
    features, align = config.annotate.features, config.annotate.align
    rows.append(("quality and distortion", features.quality))
    rows.append(("noise and reverberation", features.room))
    rows.append(("alignment", align.backend))
    rows.append(("bins", config.bin.method if config.bin.frozen is None else f"frozen, {config.bin.frozen}"))
    asked = summary.stages["instructions"].counts.get("asked", {})
    models = sorted({label.partition("/")[2] for label in asked} - {TEMPLATE})
    rows.append(("language models", ", ".join(models) or "none: templates"))
    return TableView("What the data rests on", ("what", "which"), rows, frozenset({1}))
