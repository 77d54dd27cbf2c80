"""A validation as a table for the terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from sift_ray.report.tables import count_text, grid
from sift_ray.validate.findings import Example, Finding, Severity
from sift_ray.validate.rules import RULES
from sift_ray.validate.run import Validation


def render(validation: Validation, console: Console) -> None:
    """Print what was found, worst first, each with its first examples."""
    for of in validation.looked:
        layout = "with evidence" if of.verified else "the published four keys"
        what = f"{count_text(of.rows)} rows in {of.files:,} files ({of.form}, {layout}; {', '.join(of.languages)})"
        console.print(Text(f"{of.path}: {what}"), soft_wrap=True)
    if validation.against is not None:
        console.print(Text(f"held against {validation.against}"), soft_wrap=True)
    for other in validation.others:
        console.print(Text(f"not looked at: {other}"), soft_wrap=True)
    console.print()
    if validation.findings:
        heads = ("severity", "format", "rule", "found", "share", "first")
        rows = [_row(finding) for finding in validation.findings]
        console.print(grid("", heads, rows, words=("format", "rule"), sentences=("first",)))
        console.print()
    counts = {s: sum(f.severity is s for f in validation.findings) for s in Severity}
    told = ", ".join(f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items())
    rate = validation.rows / max(validation.seconds, 1e-9)
    console.print(Text(f"{told}, of {len(RULES)} rules; {validation.seconds:.1f} s, {count_text(rate)} rows a second"))


def _row(finding: Finding) -> tuple[str, ...]:
    shown = [_text(example) for example in finding.examples[:2]]
    return (
        finding.severity.value,
        finding.form,
        finding.rule,
        count_text(finding.count),
        f"{finding.share:.2%} of {finding.unit}",
        "\n".join([RULES[finding.rule].says, *shown]),
    )


def _text(example: Example) -> str:
    where = example.file if example.row is None else f"{example.file}:{example.row}"
    return f"{where}  {example.detail}".rstrip()


def as_json(validation: Validation) -> dict[str, Any]:
    """Return the validation as JSON values."""
    made = asdict(validation)
    made["looked"] = [{"format": of.pop("form"), **of} for of in made["looked"]]
    made["rows"] = validation.rows
    made["findings"] = [
        {
            "format": finding.form,
            **{name: getattr(finding, name) for name in ("rule", "severity", "count", "of", "unit")},
            "says": RULES[finding.rule].says,
            "share": finding.share,
            "examples": [example._asdict() for example in finding.examples],
        }
        for finding in validation.findings
    ]
    return made
