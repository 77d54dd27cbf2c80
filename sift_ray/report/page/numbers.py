"""The parts of the page that are told by the manifests' counts alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sift_ray.report.page.charts import bar, parts_bar
from sift_ray.report.page.views import TableView
from sift_ray.report.page.yield_views import (
    accepted_by_language,
    mix,
    refused_by_rule,
    share_bar,
    yields,
    yields_by_language,
)
from sift_ray.report.state import Summary
from sift_ray.report.tables import count_text, largest_first, percent_text
from sift_ray.report.yields import pairs_told
from sift_ray.schema import LANGUAGES, SPLITS
from sift_ray.storage import Counts


def headline(summary: Summary) -> list[tuple[str, str]]:
    """Return the few numbers that tell most, each with what it counts."""
    counts = _source(summary)
    places = [label.split("/") for label in counts.get("utterances", {})]
    pairs = sum(pairs.number for pairs in pairs_told(_instructed(summary)) if pairs.accepted)
    return [
        ("utterances", count_text(sum(counts.get("utterances", {}).values()))),
        ("hours", hours_text(sum(counts.get("hours", {}).values()))),
        ("corpora", count_text(len({place[0] for place in places}))),
        ("languages", count_text(len({place[1] for place in places}))),
        ("accepted pairs", count_text(pairs)),
    ]


def progress(summary: Summary) -> list[str]:
    """Return a sentence for each thing that is not done yet; what the page shows is then only a part."""
    told = []
    for name, state in summary.stages.items():
        if summary.waves is not None and state.waves_done < summary.waves:
            told.append(f"{name}: {state.waves_done:,} of {summary.waves:,} waves are done.")
    if summary.bins is None:
        told.append("bins.json: not made yet, so there are no categories.")
    if summary.release is None:
        told.append("release: not made yet.")
    return told


def funnels(summary: Summary) -> list[TableView]:
    """Return what was left after each step: of utterances, of requests, and of pairs."""
    planned, measured = summary.stages["utterances"], summary.stages["annotations"]
    utterances: list[tuple[str, float]] = [("planned", planned.rows)]
    utterances.append(("accepted by the plan", planned.counts.get("status", {}).get("ok", 0)))
    if measured.rows:
        utterances.append(("measured", measured.counts.get("status", {}).get("ok", 0)))
        utterances.append(("with word spans", sum(measured.counts.get("aligned", {}).values())))
    made = [_funnel("Utterances that were left after each step", utterances)]
    counts = _instructed(summary)
    if asked := counts.get("requests", {}):
        steps = [("asked", asked.get("all", 0)), ("answered by an accepted pair", asked.get("answered", 0))]
        made.append(_funnel("Requests, each for pairs of a task about an utterance (or two)", steps))
        pairs = list(pairs_told(counts))
        steps = [("written", sum(p.number for p in pairs))]
        steps.append(("accepted by the verifier", sum(p.number for p in pairs if p.accepted)))
        if summary.release is not None:
            steps.append(("released", sum(summary.release["rows"].values())))
        made.append(_funnel("Question-answer pairs that were left after each step", steps))
    return made


def _funnel(caption: str, steps: Sequence[tuple[str, float]]) -> TableView:
    first = steps[0][1]
    shares = [n / first if first else None for _, n in steps]
    rows = [(name, count_text(n), percent_text(of), share_bar(of)) for (name, n), of in zip(steps, shares, strict=True)]
    return TableView(caption, ("step", "number", "of the first", ""), rows)


def rejects(summary: Summary) -> list[TableView]:
    """Return what was refused or could not be told, by reason; and pairs by the rule that refused them."""
    measured = summary.stages["annotations"].counts
    rows: list[tuple[str, str, float]] = [("utterance", *r) for r in largest_first(_source(summary).get("rejects", {}))]
    rows += [("word spans", *r) for r in largest_first(measured.get("unaligned", {}))]
    rows += [("measurement", *r) for r in largest_first(measured.get("unknown", {}))]
    tables: list[TableView] = []
    if rows:
        most = max(number for _, _, number in rows)
        shown = [(reason, what, count_text(n), bar(n / most)) for what, reason, n in rows]
        caption = "Refused utterances, word spans and measurements, by reason"
        tables.append(TableView(caption, ("reason", "what", "number", ""), shown, frozenset({1})))
    return [*tables, *refused_by_rule(_instructed(summary))]


def hours(summary: Summary) -> TableView:
    """Return hours and utterances by corpus and language, and how the splits share them."""
    counts = _source(summary)
    utterances: defaultdict[tuple[str, str], float] = defaultdict(float)
    spent: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0.0))
    for label, number in counts.get("utterances", {}).items():
        corpus, language, _ = label.split("/")
        utterances[corpus, language] += number
    for label, number in counts.get("hours", {}).items():
        corpus, language, split = label.split("/")
        spent[corpus, language][split] = spent[corpus, language].get(split, 0.0) + number
    places = sorted(utterances, key=lambda place: (place[0], LANGUAGES.index(place[1])))
    most = max((sum(spent[place].values()) for place in places), default=0.0)
    rows: list[tuple[str, ...]] = []
    for corpus, language in places:
        parts = [spent[corpus, language][split] for split in SPLITS]
        numbers = (count_text(utterances[corpus, language]), *map(hours_text, (*parts, sum(parts))))
        rows.append((corpus, language, *numbers, parts_bar(parts, most)))
    sums = [sum(spent[place][split] for place in places) for split in SPLITS]
    rows.append(("all", "", count_text(sum(utterances.values())), *map(hours_text, (*sums, sum(sums))), ""))
    heads = ("corpus", "language", "utterances", *(f"{split}, h" for split in SPLITS), "all, h", "")
    return TableView("Hours of usable audio by corpus, language and split", heads, rows, frozenset({1}))


def instructions(summary: Summary) -> list[TableView]:
    """Return the mix of tasks beside the reference's, accepted pairs by language, and the yields."""
    counts = _instructed(summary)
    if not counts.get("pairs"):
        return []
    return [mix(counts), accepted_by_language(counts), yields(counts), yields_by_language(counts)]


def _source(summary: Summary) -> Counts:
    """Return the counts of the last stage that looked at utterances."""
    measured = summary.stages["annotations"]
    return measured.counts if measured.rows else summary.stages["utterances"].counts


def _instructed(summary: Summary) -> Counts:
    return summary.stages["instructions"].counts


def hours_text(number: float) -> str:
    """Return hours as tables show them: the fewer, the more decimals."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:,.1f}" if number >= 10 else f"{number:.3f}"
