"""Samples as the page shows them: what is heard, what was asked and answered, and what the answer rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.config_instruct import NO_ANSWER
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import Rulers
from sift_ray.report.page.clips import LONGEST_S, Sound, SoundReader, Span, spans_of
from sift_ray.report.page.marks import mark
from sift_ray.report.page.picks import Cell, Pick
from sift_ray.report.page.strips import draw_strips
from sift_ray.report.page.survey import BACKENDS, Refused, backend_of, unit_of
from sift_ray.report.page.views import FactView, Group, Player, RefusedView, SampleView
from sift_ray.storage import OutputRoot, read_manifest, read_table, wave_files

LANGUAGE_NAMES: Final = {"en": "English", "de": "German", "fr": "French", "it": "Italian", "es": "Spanish"}

_NEEDED: Final = [
    *("unit_id", "utterance_id", "corpus", "language", "split", "gender", "transcript", "audio_uri"),
    *("reject_reason", "reject_detail", "alignment_reason", "alignment_detail", "words"),
    *BACKENDS,
    *(attribute.column for attribute in ATTRIBUTES.values()),
]

Row = Mapping[str, Any]
_Lookup = Mapping[tuple[str, str], Row]


class Source(NamedTuple):
    """What cards are made from: the job's folder, its rulers where there are any, and what reads clips."""

    root: OutputRoot
    rulers: Rulers | None
    reader: SoundReader


def sample_groups(source: Source, picked: Mapping[Cell, Sequence[Pick]]) -> list[Group[SampleView]]:
    """Return accepted pairs by task, in the order of `picked`."""
    by_task: dict[str, list[Pick]] = {}
    for cell, picks in picked.items():
        if cell.task:
            by_task.setdefault(cell.task, []).extend(picks)
    return _groups(source, "task", by_task)


def refused_pairs(source: Source, picked: Mapping[Cell, Sequence[Pick]]) -> list[Group[SampleView]]:
    """Return refused pairs by rule, those rules first that refused most."""
    return _groups(source, "rule", {cell.rule: picks for cell, picks in picked.items() if not cell.task})


def _groups(source: Source, kind: str, picks: Mapping[str, Sequence[Pick]]) -> list[Group[SampleView]]:
    rows = _rows_of_picks(source.root, [pick for some in picks.values() for pick in some])
    return [
        Group(name, f"{kind}-{name}", [_sample(source, pick, rows) for pick in some])
        for name, some in picks.items()
        if some
    ]


def refused_clips(source: Source, found: Iterable[Sequence[Refused]]) -> list[RefusedView]:
    """Return utterances that were refused, or whose word spans were, each with why."""
    shown = [refused for some in found for refused in some]
    files: dict[str, list[int]] = {}
    for refused in shown:
        files.setdefault(refused.file, []).append(refused.unit_id)
    rows: dict[int, Row] = {}
    for file, units in files.items():
        chosen = pc.field("unit_id").isin(pa.array(units, pa.int64()))
        rows |= {row["unit_id"]: row for row in read_table(source.root, file, _NEEDED, chosen).to_pylist()}
    views = []
    for refused in sorted(shown, key=lambda one: (one.what, one.reason, one.rank)):
        row = rows[refused.unit_id]
        detail = row["reject_detail"] if refused.what == "utterance" else row["alignment_detail"]
        reason = f"{refused.what}: {refused.reason}"
        views.append(RefusedView(reason, detail or "no more is known", _player(source, row)))
    return views


def _rows_of_picks(root: OutputRoot, picks: Sequence[Pick]) -> _Lookup:
    """Return the annotations of all utterances of `picks`, by id and address; a request's lie in its own wave."""
    waves: dict[int, set[str]] = {}
    for pick in picks:
        waves.setdefault(pick.wave, set()).update(pick.row["utterance_ids"])
    rows: dict[tuple[str, str], Row] = {}
    for wave, ids in waves.items():
        manifest = read_manifest(root, "annotations", wave)
        chosen = pc.field("utterance_id").isin(pa.array(sorted(ids), pa.string()))
        for file in wave_files(root, manifest) if manifest is not None else ():
            for row in read_table(root, file, _NEEDED, chosen).to_pylist():
                rows[row["utterance_id"], row["audio_uri"]] = row
    return rows


def _sample(source: Source, pick: Pick, rows: _Lookup) -> SampleView:
    row, pair = pick.row, pick.pair
    language = row["language"]
    heard = [rows.get(key) for key in zip(row["utterance_ids"], row["audio_uris"], strict=True)]
    players = [
        _player(source, of) if of is not None else _nothing(name)
        for name, of in zip(row["utterance_ids"], heard, strict=True)
    ]
    evidence = pair["evidence"] or ()
    by_recording = row["task"] == NO_ANSWER
    title = f"{LANGUAGE_NAMES.get(language, language)}, written by {pair['generator']}"
    if pair["attempt"]:
        title += f", attempt {pair['attempt'] + 1}"
    return SampleView(
        title=title,
        language=language,
        players=players,
        question=mark(pair["question"], evidence if by_recording else (), language),
        answer=mark(pair["answer"], () if by_recording else evidence, language),
        by_recording=by_recording,
        facts=[_fact(fact, heard, source.rulers) for fact in evidence],
        rule="" if pair["accepted"] else pair["reason"] or "unknown",
    )


def _nothing(name: str) -> Player:
    return Player(name, "", "", None, "", (), "", "its annotation is no longer there")


def _player(source: Source, row: Row) -> Player:
    origin = f"{row['corpus']}, {LANGUAGE_NAMES.get(row['language'], row['language'])}, {row['split']}"
    sound = source.reader.read(row["audio_uri"])
    if isinstance(sound, str):
        told = f"It can't be heard: {sound}"
        return Player(row["utterance_id"], origin, row["language"], row["transcript"], "", (), "", told)
    words = spans_of(row["words"])
    note = "" if sound.source else "The page has no room for its audio."
    if sound.cut:
        note = f"{note} Only its first {LONGEST_S:g} s are shown.".strip()
    return Player(
        row["utterance_id"],
        origin,
        row["language"],
        row["transcript"],
        sound.source,
        draw_strips(sound, words),
        _described(sound, words),
        note,
    )


def _described(sound: Sound, words: Sequence[Span]) -> str:
    voiced = sound.f0_hz[sound.f0_hz > 0]
    pitch = f"F0 from {voiced.min():.0f} to {voiced.max():.0f} Hz" if len(voiced) else "no voiced frame"
    spans = f"{len(words)} words placed in time" if words else "no words placed in time"
    return f"Waveform and F0 curve, {sound.seconds:.1f} s: {pitch}, {spans}."


def _fact(fact: Row, heard: Sequence[Row | None], rulers: Rulers | None) -> FactView:
    of = heard[fact["audio"]] if fact["audio"] < len(heard) else None
    word = _word(of, fact["position"])
    name = fact["key"].replace("_", " ")
    if len(heard) > 1:
        name += ", second recording" if fact["audio"] else ", first recording"
    if fact["position"]:
        name += f", word {fact['position']}" + ("" if word is None else f" “{word['word']}”")
    value = "can't be told" if fact["value"] is None else fact["value"]
    return FactView(name, value, "" if of is None else _measured(fact, of, word, rulers))


def _word(of: Row | None, position: int) -> Row | None:
    words = () if of is None or not position else of["words"] or ()
    return next((word for word in words if word["position"] == position), None)


def _measured(fact: Row, of: Row, word: Row | None, rulers: Rulers | None) -> str:
    """Return the number behind a category, with its unit and where the category begins and ends."""
    attribute = ATTRIBUTES.get(fact["key"])
    if attribute is None or fact["value"] is None:
        return ""
    if fact["position"]:
        number = word[attribute.word_column] if word is not None and attribute.word_column else None
    else:
        number = of[attribute.column]
    if number is None:
        return ""
    told = f"{number:.4g} {unit_of(attribute.column, of.get(backend_of(attribute.column)))}"
    ruler = rulers and rulers.ruler(attribute.key, of["corpus"], of["gender"], of["language"])
    if not ruler or fact["value"] not in attribute.labels:
        return told
    place = attribute.ordinal(fact["value"])
    low, high = ruler.edges[place], ruler.edges[place + 1]
    if place == 0:
        return f"{told}; the category ends at {high:.4g}"
    if place == len(attribute.labels) - 1:
        return f"{told}; the category begins at {low:.4g}"
    return f"{told}; the category goes from {low:.4g} to {high:.4g}"
