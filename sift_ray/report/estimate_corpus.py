"""How much audio an estimate is for: by the plan that there is, by a dry look at the corpora, or as told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sift_ray.config_file import ConfigError
from sift_ray.pipeline.plan_preview import Preview
from sift_ray.report.estimate_terms import HOUR_S, Corpus, EstimateError, Rates
from sift_ray.report.state import summarise
from sift_ray.schema import LANGUAGES
from sift_ray.storage import OutputRoot


def told_corpus(text: str, rates: Rates) -> Corpus:
    """Return the corpus of `en=6000,de=2000`: hours by language.

    Raises:
        ConfigError: the text is not of that form.
    """
    hours: dict[str, float] = {}
    for part in text.split(","):
        language, _, number = (piece.strip() for piece in part.partition("="))
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if language not in LANGUAGES or language in hours or not 0 < amount < float("inf"):
            raise ConfigError(
                f"--hours {text}: {part.strip()!r} is not LANGUAGE=HOURS, each of {', '.join(LANGUAGES)} once at most"
            )
        hours[language] = amount
    return Corpus(
        hours=hours,
        utterances=sum(hours.values()) * HOUR_S / rates.utterance_s,
        source=f"--hours; utterances of {rates.utterance_s:.3g} s ({rates.length.basis}: {rates.length.where})",
    )


def planned_corpus(root: OutputRoot) -> Corpus | None:
    """Return the corpus of the plan in `root`, by its manifests; None where there is no whole plan.

    Raises:
        EstimateError: no utterance's duration is known there.
    """
    summary = summarise(root)
    planned = summary.stages["utterances"]
    if summary.waves is None or planned.waves_done < summary.waves:
        return None
    measured = summary.stages["annotations"]
    decoded = measured.waves_done == summary.waves  # then all durations are known
    counts = (measured if decoded else planned).counts
    return _corpus(
        ((label.split("/")[1], hours) for label, hours in counts.get("hours", {}).items()),
        sum(counts.get("utterances", {}).values()),
        f"the {'annotations' if decoded else 'plan'} in {summary.output}",
    )


def previewed_corpus(preview: Preview) -> Corpus:
    """Return the corpus that would be planned; utterances of unknown duration are taken to be as long as others.

    Raises:
        EstimateError: no utterance's duration is known.
    """
    cells = preview.cells.values()
    known = sum(cell.utterances - cell.no_duration for cell in cells)
    utterances = sum(cell.utterances for cell in cells)
    scale = utterances / known if known else 0.0
    unknown = f"; the length of {utterances - known:,} utterances is taken from the others"
    return _corpus(
        ((language, cell.hours * scale) for (_, language, _), cell in preview.cells.items()),
        utterances,
        f"the corpora as they would be planned{unknown if known < utterances else ''}",
    )


def _corpus(hours: Iterable[tuple[str, float]], utterances: float, source: str) -> Corpus:
    sums: defaultdict[str, float] = defaultdict(float)
    for language, number in hours:
        sums[language] += number
    there = {language: number for language, number in sums.items() if number > 0}
    if not there:
        raise EstimateError(f"by {source}, no utterance's duration is known: say what there is, with --hours en=6000")
    return Corpus(there, utterances, source)
