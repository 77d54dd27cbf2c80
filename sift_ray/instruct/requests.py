"""Which task is asked of which utterance, and about what: decided by hashes of `unit_id`, so that a re-run repeats.

Rows of one wave go in, requests come out, one a (unit, task). Nothing depends on the order of the rows or on what
else lies in the wave, except comparisons, whose partners come from the same wave.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from sift_ray.config_instruct import UNANSWERABLE_TASKS, WORD_TIMES, InstructConfig
from sift_ray.instruct.unanswerable import askable_topics
from sift_ray.metadata.categories import ATTRIBUTES, TIME_KEYS, WORD_ATTRIBUTES, WORD_KEY
from sift_ray.metadata.mapping import OrdinalSource
from sift_ray.metadata.record import Fact, facts_of
from sift_ray.schema import REQUESTS, TASKS

ACOUSTIC: Final = "closed_ended_acoustic_level"
CONTENT: Final = "closed_ended_content_level"
WORD_ALIGN: Final = "closed_ended_word_align"
COMPARISON: Final = "closed_ended_comparison"
OPEN_ENDED: Final = "open_ended"
CONTROLLABLE: Final = "controllable_generation"

SPEAKER_KEYS: Final = ("gender", "age_category", "accent")
RECORDING_KEYS: Final = ("noise_level", "reverberation", "distortion_level", "speech_quality")
COMPARED_KEYS: Final = (*ATTRIBUTES, *SPEAKER_KEYS)
SPOKEN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    ACOUSTIC: (*ATTRIBUTES, "language"),
    CONTENT: ("phonemes", "age_category", "accent", "gender", "transcript", "language"),
    WORD_ALIGN: ("transcript",),
    WORD_TIMES: ("transcript",),
    COMPARISON: COMPARED_KEYS,
    OPEN_ENDED: (*ATTRIBUTES, *SPEAKER_KEYS, "transcript", "language"),
    CONTROLLABLE: ("average_pitch", "pitch_variation", "speaking_rate", "average_intensity", *SPEAKER_KEYS),
}
"""Utterance-level keys that a task's texts may speak of (words come with word-align alone)."""

_WORD_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    WORD_ALIGN: (WORD_KEY, *WORD_ATTRIBUTES),
    WORD_TIMES: (WORD_KEY, *TIME_KEYS),
}
_NOT_ASKED = ("phonemes",)  # known to the model, but nobody who uploads audio asks for IPA
_PARTNER_WINDOW = 16  # how far along the ring a comparison looks for a partner that differs


@dataclass(frozen=True, slots=True)
class Request:
    """One row of `schema.REQUESTS`: a task asked about one utterance, or two in a comparison."""

    unit_id: int
    task: str
    language: str
    split: str
    data_source: str
    utterance_ids: tuple[str, ...]
    audio_uris: tuple[str, ...]
    engine: str
    facts: tuple[Fact, ...]
    focus: tuple[str, ...]
    pairs_wanted: int
    seed: int
    unknown: tuple[str, ...] = ()
    """Topics that are asked about though nobody can tell; with any, nothing else is asked for."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Request:
        """Read a row of the requests table, as `to_pylist` gives it."""
        facts = tuple(Fact.from_row(fact) for fact in row["facts"])
        values = {name: row[name] for name in cls.__slots__}
        for name in ("utterance_ids", "audio_uris", "focus", "unknown"):
            values[name] = tuple(values[name])
        return cls(**{**values, "facts": facts})

    def to_row(self) -> dict[str, Any]:
        """Return the row of `schema.REQUESTS`."""
        row = {name: getattr(self, name) for name in self.__slots__}
        return {**row, "facts": [fact.to_row() for fact in self.facts]}

    def identity(self) -> dict[str, Any]:
        """Return the columns that `schema.INSTRUCTIONS` repeats."""
        return {
            "unit_id": self.unit_id,
            "task": self.task,
            "language": self.language,
            "split": self.split,
            "data_source": self.data_source,
            "utterance_ids": list(self.utterance_ids),
            "audio_uris": list(self.audio_uris),
        }

    def fact(self, key: str, audio: int = 0, position: int = 0) -> str | None:
        """Return the value known for `key`, or None."""
        for fact in self.facts:
            if fact.key == key and fact.audio == audio and fact.position == position:
                return fact.value
        return None


def plan_requests(annotations: pa.Table, rulers: OrdinalSource, config: InstructConfig) -> pa.Table:
    """Return the requests of one wave (`schema.REQUESTS`) for its annotated utterances (`schema.ANNOTATIONS`).

    A task is asked of an utterance if enough is known for it and its hash falls within the task's `fraction`;
    of those, `engine_share` go to the config's engine and the rest to the templates. Sorted by task, then by hash.
    """
    units = _usable_units(annotations, rulers, times=config.task(WORD_TIMES).fraction > 0.0)
    requests: list[Request] = []
    for task in TASKS:
        if config.task(task).fraction == 0.0:
            continue
        if task == COMPARISON:
            requests.extend(_comparisons(units, config))
        else:
            asked = (_single(unit, task, config) for unit in units)
            requests.extend(request for request in asked if request is not None)
    requests.sort(key=lambda r: (TASKS.index(r.task), r.seed, r.unit_id))
    return pa.Table.from_pylist([request.to_row() for request in requests], schema=REQUESTS)


@dataclass(frozen=True, slots=True)
class _Unit:
    unit_id: int
    language: str
    split: str
    data_source: str
    corpus: str
    speaker_id: str | None
    gender: str | None
    utterance_id: str
    audio_uri: str
    facts: tuple[Fact, ...]


def _usable_units(annotations: pa.Table, rulers: OrdinalSource, *, times: bool) -> list[_Unit]:
    columns = [name for name in _Unit.__slots__ if name != "facts"]
    rows = annotations.select([*columns, "status"]).to_pylist()
    facts = facts_of(annotations, rulers, times=times)
    units = []
    for row, known in zip(rows, facts, strict=True):
        # without audio there is nothing that a question could be about
        if row.pop("status") == "ok" and row["audio_uri"] is not None:
            units.append(_Unit(**row, facts=tuple(known)))
    return units


def _hash(unit_id: int, *purpose: str) -> int:
    """Return 63 well-mixed bits that depend on the unit and the purpose alone."""
    data = "\0".join((str(unit_id), *purpose)).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1


def _falls_within(share: float, unit_id: int, *purpose: str) -> bool:
    return _hash(unit_id, *purpose) < share * 2**63


def _choose(keys: Sequence[str], count: int, unit_id: int, *purpose: str) -> tuple[str, ...]:
    """Choose `count` of `keys`, each as likely as any other; in the order of `keys`."""
    ranked = sorted(keys, key=lambda key: _hash(unit_id, *purpose, key))
    chosen = set(ranked[:count])
    return tuple(key for key in keys if key in chosen)


def _engine(unit_id: int, task: str, config: InstructConfig) -> str:
    if config.engine == "template":
        return "template"
    share = config.task(task).engine_share
    return config.engine if _falls_within(share, unit_id, task, "engine") else "template"


def _single(unit: _Unit, task: str, config: InstructConfig) -> Request | None:
    """Return the request of `task` about one utterance; None if not enough is known or it is not its turn."""
    if not _falls_within(config.task(task).fraction, unit.unit_id, task, "fraction"):
        return None
    facts = _facts_for(unit.facts, task)
    keys = _focusable(facts, task)
    if not keys:
        return None
    if task == CONTROLLABLE:
        return _controllable(unit, facts, keys, config)
    if task in UNANSWERABLE_TASKS and _falls_within(config.task(task).unanswerable, unit.unit_id, task, "unanswerable"):
        unanswerable = _unanswerable(unit, task, facts, config)
        if unanswerable is not None:
            return unanswerable
    focus: tuple[str, ...] = ()
    if config.facts_per_request is not None:
        focus = _choose(keys, config.facts_per_request, unit.unit_id, task, "focus")
    return _request([unit], task, facts, focus, config)


def _unanswerable(unit: _Unit, task: str, facts: tuple[Fact, ...], config: InstructConfig) -> Request | None:
    """Ask about what nobody can tell from the audio; nothing that the transcript may tell after all.

    None where it may tell everything, or where nobody knows what it says.
    """
    transcript = next((f.value for f in unit.facts if f.key == "transcript"), None)
    topics = askable_topics(unit.language, transcript)
    chosen = _choose(topics, config.task(task).pairs, unit.unit_id, task, "unknown")
    if not chosen:
        return None
    request = _request([unit], task, facts, (), config)
    return replace(request, unknown=chosen, pairs_wanted=len(chosen))


def _controllable(
    unit: _Unit, facts: tuple[Fact, ...], keys: tuple[str, ...], config: InstructConfig
) -> Request | None:
    """Ask for a synthesis prompt from a random subset of the characteristics; needs the text to be spoken."""
    transcript = next((f for f in unit.facts if f.key == "transcript"), None)
    if transcript is None:
        return None
    most = min(len(keys), config.facts_per_request or len(keys))
    count = 1 + _hash(unit.unit_id, CONTROLLABLE, "count") % most
    focus = _choose(keys, count, unit.unit_id, CONTROLLABLE, "focus")
    given = tuple(fact for fact in facts if fact.key in focus)
    return _request([unit], CONTROLLABLE, (*given, transcript), focus, config)


def _facts_for(facts: Iterable[Fact], task: str) -> tuple[Fact, ...]:
    keys = SPOKEN_KEYS[task]
    of_words = _WORD_KEYS.get(task, ())
    return tuple(f for f in facts if f.key in (keys if f.position == 0 else of_words))


def _focusable(facts: Sequence[Fact], task: str) -> tuple[str, ...]:
    """Return the keys that a question of `task` can be about, given what is known."""
    if task in _WORD_KEYS:
        counts: dict[str, int] = defaultdict(int)
        for fact in facts:
            if fact.position and fact.key != WORD_KEY:
                counts[fact.key] += 1
        # a change needs two words
        least = 2 if task == WORD_ALIGN else 1
        return tuple(key for key in _WORD_KEYS[task] if counts[key] >= least)
    known = {f.key for f in facts if f.position == 0}
    unasked = {*_NOT_ASKED, *(("language",) if task == OPEN_ENDED else ())}  # which needs no open answer
    return tuple(key for key in SPOKEN_KEYS[task] if key in known and key not in unasked)


def _comparisons(units: Sequence[_Unit], config: InstructConfig) -> list[Request]:
    """Pair utterances of one corpus, split and language that differ, each used at most `comparison_uses` times.

    Labels are relative to a corpus, so across corpora "higher" could be said of the lower voice.
    The units of a group stand in a ring in the order of their hashes; each in turn leads a comparison with the next
    one along the ring that may still be used and differs from it.
    """
    groups: dict[tuple[str, str, str], list[_Unit]] = defaultdict(list)
    for unit in units:
        groups[unit.corpus, unit.split, unit.language].append(unit)
    requests = []
    for group in groups.values():
        ring = sorted(group, key=lambda u: (_hash(u.unit_id, COMPARISON, "ring"), u.unit_id))
        uses: dict[int, int] = defaultdict(int)
        paired: set[frozenset[int]] = set()
        for place, lead in enumerate(ring):
            if not _falls_within(config.task(COMPARISON).fraction, lead.unit_id, COMPARISON, "fraction"):
                continue
            for step in range(1, min(_PARTNER_WINDOW, len(ring) - 1) + 1):
                if uses[lead.unit_id] >= config.comparison_uses:
                    break
                partner = ring[(place + step) % len(ring)]
                both = frozenset((lead.unit_id, partner.unit_id))
                if uses[partner.unit_id] >= config.comparison_uses or both in paired:
                    continue
                request = _comparison(lead, partner, config)
                if request is not None:
                    requests.append(request)
                    paired.add(both)
                    uses[lead.unit_id] += 1
                    uses[partner.unit_id] += 1
                    break
    return requests


def _comparison(lead: _Unit, partner: _Unit, config: InstructConfig) -> Request | None:
    kept = _comparable(lead, partner)
    first, second = ([f for f in _facts_for(u.facts, COMPARISON) if f.key in kept] for u in (lead, partner))
    left, right = {f.key: f.value for f in first}, {f.key: f.value for f in second}
    shared = [key for key in COMPARED_KEYS if key in left and key in right]
    differing = [key for key in shared if left[key] != right[key]]
    if not differing:
        return None
    focus: tuple[str, ...] = ()
    if config.facts_per_request is not None:
        focus = _choose(differing, config.facts_per_request, lead.unit_id, COMPARISON, "focus")
    facts = (*first, *(fact._replace(audio=1) for fact in second))
    # (the same corpus and language: both have the lead's data source)
    return _request([lead, partner], COMPARISON, facts, focus, config)


def _comparable(lead: _Unit, partner: _Unit) -> frozenset[str]:
    """Return the keys by which two utterances may be compared.

    What each gender has its own ruler for says nothing across genders; and of one speaker nobody should say "the first
    speaker … the second speaker", so there only the recordings are compared.
    """
    keys = set(COMPARED_KEYS)
    if lead.gender != partner.gender:
        keys -= {attribute.key for attribute in ATTRIBUTES.values() if attribute.by_gender}
    if lead.speaker_id is not None and lead.speaker_id == partner.speaker_id:
        keys &= set(RECORDING_KEYS)
    return frozenset(keys)


def _request(
    units: Sequence[_Unit], task: str, facts: tuple[Fact, ...], focus: tuple[str, ...], config: InstructConfig
) -> Request:
    lead = units[0]
    return Request(
        unit_id=lead.unit_id,
        task=task,
        language=lead.language,
        split=lead.split,
        data_source=lead.data_source,
        utterance_ids=tuple(unit.utterance_id for unit in units),
        audio_uris=tuple(unit.audio_uri for unit in units),
        engine=_engine(lead.unit_id, task, config),
        facts=facts,
        focus=focus,
        pairs_wanted=config.task(task).pairs,
        # vLLM takes seeds as C longs; 31 bits are plenty to tell requests apart
        seed=_hash(lead.unit_id, task, "seed") >> 32,
    )
