"""The job that faults strike: small, but through every stage, in several waves."""

from __future__ import annotations

from pathlib import Path

from ..conftest import DEMO_MINUTES


def job_config(output: str, corpora: Path, extra: str = "") -> str:
    """Return the YAML of a job on the demo's corpora with the template engine.

    It measures little and aligns nothing, as a worker that is killed has to load again what it measures with: most of
    the time would go there, and faults ask nothing of the measuring.

    Args:
        output: a folder, or `s3://bucket/prefix`.
        corpora: what `write_demo` has written.
        extra: further sections.
    """
    return f"""\
output: {output}
corpora:
  - {{type: demo, name: demo, path: {corpora}, minutes: {DEMO_MINUTES}}}
plan: {{wave_rows: 24}}
annotate:
  error_budget: 0.2
  decode: {{pool: {{batch_rows: 4}}}}
  features: {{quality: none, room: none, pool: {{actors: [1, 2], batch_rows: 4}}}}
  align: {{backend: none, pool: {{actors: [1, 2], batch_rows: 4}}}}
bin: {{min_count: 5}}
instruct:
  engine: template
  tasks:
    closed_ended_acoustic_level: {{pairs: 3}}
    closed_ended_content_level: {{pairs: 2}}
    closed_ended_comparison: {{pairs: 2}}
    open_ended: {{pairs: 1}}
    controllable_generation: {{pairs: 1}}
{extra}"""
