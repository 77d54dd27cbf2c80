"""The tables of `estimate`, and the same as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from sift_ray.report.estimate_terms import Estimate, Line, Source
from sift_ray.report.tables import grid

_SCALES: Final = ((1e9, 1e9, "bn"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))
"""From what number on a unit is used, the unit, and its sign."""


def render(estimate: Estimate, console: Console, note: str | None = None) -> None:
    """Print what a job will take, and what the numbers rest on."""
    for table in (_step_table(estimate), _storage_table(estimate), _yield_table(estimate), _source_table(estimate)):
        console.print(table)
        console.print()
    sentences = [
        f"For {sum(estimate.corpus.hours.values()):,.1f} hours, {_amount(estimate.corpus.utterances)} utterances: "
        f"{estimate.corpus.source}.",
        "Core-hours are of the cores that rates were measured on. Wall hours are at the largest pools of the config, "
        "steps of one stage beside each other; machines are priced as always full, so add what starts, waits or is "
        "lost.",
        *estimate.notes,
        *([note] if note else []),
    ]
    if estimate.machine_money is None:
        sentences.append("No prices: name machines in the section `estimate` of the config.")
    assumed = [step for step, line in estimate.lines.items() if line.rate.source.basis == "assumed"]
    if assumed:
        sentences.append(
            f"Assumed, never measured: the rates of {', '.join(assumed)}. Measure your own: build a few hours, then "
            "`estimate --from` that output."
        )
    for sentence in sentences:
        console.print(sentence, highlight=False, markup=False)


def as_json(estimate: Estimate) -> dict[str, Any]:
    """Return the estimate as JSON values."""
    return {
        "corpus": {
            "hours": dict(estimate.corpus.hours),
            "utterances": estimate.corpus.utterances,
            "source": estimate.corpus.source,
        },
        "steps": {step: asdict(line) for step, line in estimate.lines.items()},
        "core_hours": estimate.core_hours,
        "gpu_hours": estimate.gpu_hours,
        "wall_hours": estimate.wall_hours,
        "storage_bytes": dict(estimate.storage),
        "currency": estimate.currency,
        "machine_money": estimate.machine_money,
        "storage_money": estimate.storage_money,
        "money": estimate.money,
        "requests": estimate.requests,
        "pairs": estimate.pairs,
        "tokens": estimate.tokens,
        "accepted": dict(estimate.accepted),
        "accepted_pairs": sum(estimate.accepted.values()),
        "tokens_per_accepted_pair": estimate.tokens_per_accepted,
        "tasks": {task: asdict(rate) for task, rate in estimate.rates.tasks.items()},
        "sizes": {
            table: {"bytes": size, "source": asdict(estimate.rates.sizes[table])}
            for table, size in estimate.rates.bytes.items()
        },
        "notes": list(estimate.notes),
    }


def _amount(number: float) -> str:
    """Return a number as it is told: its first three digits or a few more, and a unit."""
    for least, unit, sign in _SCALES:
        if number >= least:
            return f"{_three_digits(number / unit)} {sign}"
    return _three_digits(number)


def _three_digits(number: float) -> str:
    if number >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.3g}"


def _hours(hours: float | None) -> str:
    if not hours:
        return ""
    if hours < 0.005:
        return "<0.01"
    return f"{hours:,.0f}" if hours >= 99.5 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def _bytes(number: float) -> str:
    for unit, sign in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number >= unit:
            return f"{_three_digits(number / unit)} {sign}"
    return f"{_three_digits(number / 1e3)} kB"


def _money(amount: float | None) -> str:
    return "" if amount is None else f"{amount:,.2f}" if amount < 100 else f"{amount:,.0f}"


def _step_table(estimate: Estimate) -> Table:
    rows = [_step_row(step, line) for step, line in estimate.lines.items()]
    totals = (_hours(estimate.core_hours), _hours(estimate.gpu_hours), _hours(estimate.wall_hours), "")
    rows.append(("all", "", "", "", "", *totals, _money(estimate.machine_money)))
    heads = ("step", "work", "", "a second", "rate is", "core-h", "GPU-h", "wall h", "machine", estimate.currency)
    return grid("What it takes", heads, rows, words=("", "rate is", "machine"))


def _step_row(step: str, line: Line) -> tuple[str, ...]:
    each = f"{_amount(line.rate.per_second)}/{'GPU' if line.rate.gpu else 'core'}"
    hours = (_hours(line.core_hours), _hours(line.gpu_hours), _hours(line.wall_hours))
    work = (_amount(line.amount), line.rate.unit)
    return step, *work, each, line.rate.source.basis, *hours, line.machine or "", _money(line.money)


def _storage_table(estimate: Estimate) -> Table:
    whole = sum(estimate.storage.values())
    rows: list[tuple[str, ...]] = [
        (table, _bytes(size), estimate.rates.sizes[table].basis, _money(estimate.storage_money * size / whole))
        for table, size in estimate.storage.items()
    ]
    rows.append(("all", _bytes(whole), "", _money(estimate.storage_money)))
    return grid("What is stored", ("table", "Parquet", "size is", estimate.currency), rows, words=("size is",))


def _yield_table(estimate: Estimate) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            task,
            _amount(estimate.corpus.utterances * rate.requests),
            _amount(estimate.corpus.utterances * rate.requests * rate.pairs),
            _amount(estimate.corpus.utterances * rate.requests * rate.tokens),
            _amount(estimate.accepted[task]),
            rate.source.basis,
        )
        for task, rate in estimate.rates.tasks.items()
    ]
    each = estimate.tokens_per_accepted
    sums = map(_amount, (estimate.requests, estimate.pairs, estimate.tokens, sum(estimate.accepted.values())))
    rows.append(("all", *sums, ""))
    title = "What comes of it" + ("" if each is None else f" ({each:,.0f} tokens for an accepted pair of a model)")
    heads = ("task", "requests", "pairs", "tokens", "accepted", "yield is")
    return grid(title, heads, rows, words=("yield is",))


def _source_table(estimate: Estimate) -> Table:
    told: dict[Source, list[str]] = {}
    for step, line in estimate.lines.items():
        told.setdefault(line.rate.source, []).append(step)
    for rate in estimate.rates.tasks.values():
        told.setdefault(rate.source, [])
        if "yields" not in told[rate.source]:
            told[rate.source].append("yields")
    for table, source in estimate.rates.sizes.items():
        told.setdefault(source, []).append(f"size of {table}")
    rows = [(", ".join(names), source.basis, source.where) for source, names in told.items()]
    return grid("Where the numbers come from", ("of", "", "how"), rows, words=("",), sentences=("of", "how"))
