"""Which task is asked of which utterance, and about what: decided by hashes of `unit_id`, so that a re-run repeats.

Rows of one wave go in, requests come out, one a (unit, task). Nothing depends on the order of the rows or on what
else lies in the wave, except comparisons, whose partners come from the same wave.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sift_ray.config_instruct import UNANSWERABLE_TASKS, WORD_TIMES, InstructConfig, TaskConfig
from sift_ray.instruct.unanswerable import askable_topics
from sift_ray.metadata.categories import ATTRIBUTES, TIME_KEYS, WORD_ATTRIBUTES, WORD_KEY
from sift_ray.metadata.mapping import OrdinalSource, fact_lists
from sift_ray.metadata.record import Fact
from sift_ray.schema import FACT, REQUESTS, TASKS

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
_OF_EACH = ("utterance_id", "audio_uri")  # columns that have a value of each of a request's units
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
    wave = _Wave(annotations, rulers, times=config.task(WORD_TIMES).fraction > 0.0)
    asked: list[_Asked] = []
    for task in TASKS:
        section = config.task(task)
        if section.fraction == 0.0:
            continue
        if task == COMPARISON:
            asked.extend(_comparisons(wave, section, config))
        else:
            singles = (_single(unit, task, wave, section, config) for unit in wave.units)
            asked.extend(one for one in singles if one is not None)
    asked.sort(key=lambda one: (TASKS.index(one.task), one.seed, one.units[0].unit_id))
    return wave.table(asked)


@dataclass(frozen=True, slots=True)
class _Unit:
    """An utterance, what is known of it as a whole, and where its facts stand among the wave's.

    `first` is the place of the first of `facts`, `words` those of its words' facts, `counts` how many of these there
    are of each key.
    """

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
    first: int
    words: range
    counts: Mapping[str, int]


class _Asked(NamedTuple):
    """A request before its facts are put together: `places` of them among the wave's, for each of its units."""

    units: tuple[_Unit, ...]
    task: str
    places: tuple[Sequence[int], ...]
    focus: tuple[str, ...]
    engine: str
    pairs_wanted: int
    seed: int
    unknown: tuple[str, ...] = ()


class _Wave:
    """A wave's usable utterances and all its facts.

    There are many times more facts of words than of utterances, and few requests ask for them: they stay in Arrow.
    """

    def __init__(self, annotations: pa.Table, rulers: OrdinalSource, *, times: bool) -> None:
        lists = fact_lists(annotations, rulers, times=times)
        self._facts = lists.flatten()
        keys = self._facts.field("key")
        self._of_words = {
            task: pc.is_in(keys, value_set=pa.array(of)).to_numpy(zero_copy_only=False)
            for task, of in _WORD_KEYS.items()
        }
        self.units = self._usable(annotations, lists.offsets.to_numpy())

    def _usable(self, annotations: pa.Table, ends: npt.NDArray[np.int32]) -> list[_Unit]:
        names = ["unit_id", "language", "split", "data_source", "corpus", "speaker_id", "gender"]
        names += ["utterance_id", "audio_uri"]
        rows = annotations.select([*names, "status"]).to_pylist()
        in_words = self._facts.field("position").to_numpy() > 0
        row_of = np.repeat(np.arange(len(rows)), np.diff(ends))
        own = np.flatnonzero(~in_words)
        table = pa.table(self._facts.take(pa.array(own)).flatten(), names=[field.name for field in FACT])
        known = list(map(Fact, *(table[name].to_pylist() for name in Fact._fields)))
        # a row's own facts come first, then those of its words
        owned = np.bincount(row_of[own], minlength=len(rows))
        known_ends = np.concatenate([[0], np.cumsum(owned)]).tolist()
        counts = self._counts(row_of, len(rows))
        firsts, owned_by, lasts = ends[:-1].tolist(), owned.tolist(), ends[1:].tolist()
        units = []
        for place, row in enumerate(rows):
            # without audio there is nothing that a question could be about
            if row.pop("status") == "ok" and row["audio_uri"] is not None:
                facts = tuple(known[known_ends[place] : known_ends[place + 1]])
                words = range(firsts[place] + owned_by[place], lasts[place])
                units.append(_Unit(**row, facts=facts, first=firsts[place], words=words, counts=counts[place]))
        return units

    def _counts(self, row_of: npt.NDArray[np.int64], rows: int) -> list[dict[str, int]]:
        """Return how many facts of each key the words of each row have."""
        keys = self._facts.field("key")
        columns = {}
        for key in (*WORD_ATTRIBUTES, *TIME_KEYS):
            mine = pc.and_(pc.equal(keys, key), pc.greater(self._facts.field("position"), 0))
            columns[key] = np.bincount(row_of[mine.to_numpy(zero_copy_only=False)], minlength=rows).tolist()
        return [dict(zip(columns, counts, strict=True)) for counts in zip(*columns.values(), strict=True)]

    def words(self, unit: _Unit, task: str) -> Sequence[int]:
        """Return the places of the facts of a unit's words that `task` may speak of."""
        wanted = self._of_words[task][unit.words.start : unit.words.stop]
        places: list[int] = (np.flatnonzero(wanted) + unit.words.start).tolist()
        return places

    def table(self, asked: Sequence[_Asked]) -> pa.Table:
        """Return `schema.REQUESTS`, with the facts."""
        leads = [one.units[0] for one in asked]
        columns = {
            **{
                name: [getattr(lead, name) for lead in leads]
                for name in ("unit_id", "language", "split", "data_source")
            },
            **{f"{name}s": [[getattr(unit, name) for unit in one.units] for one in asked] for name in _OF_EACH},
            **{name: [getattr(one, name) for one in asked] for name in _Asked._fields[3:]},
            "task": [one.task for one in asked],
            "facts": self._facts_of(asked),
        }
        arrays = [pa.array(columns[field.name], field.type) for field in REQUESTS]
        return pa.Table.from_arrays(arrays, schema=REQUESTS)

    def _facts_of(self, asked: Sequence[_Asked]) -> pa.ListArray:
        lengths = [sum(map(len, one.places)) for one in asked]
        parts = [(audio, places) for one in asked for audio, places in enumerate(one.places)]
        places = np.fromiter(chain.from_iterable(places for _, places in parts), np.int64, sum(lengths))
        audios = np.repeat([audio for audio, _ in parts], [len(places) for _, places in parts]).astype(np.int8)
        taken = self._facts.take(pa.array(places))
        fields = [pa.array(audios) if field.name == "audio" else taken.field(field.name) for field in FACT]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(
            pa.array(offsets), pa.StructArray.from_arrays(fields, fields=list(FACT)), type=pa.list_(FACT)
        )


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


def _engine(unit_id: int, task: str, section: TaskConfig, config: InstructConfig) -> str:
    if config.engine == "template":
        return "template"
    return config.engine if _falls_within(section.engine_share, unit_id, task, "engine") else "template"


def _single(unit: _Unit, task: str, wave: _Wave, section: TaskConfig, config: InstructConfig) -> _Asked | None:
    """Return the request of `task` about one utterance; None if not enough is known or it is not its turn."""
    if not _falls_within(section.fraction, unit.unit_id, task, "fraction"):
        return None
    keys = _focusable(unit, task)
    if not keys:
        return None
    if task == CONTROLLABLE:
        return _controllable(unit, keys, section, config)
    places = [place for place, _ in _speakable(unit, task)]
    if task in _WORD_KEYS:
        places += wave.words(unit, task)
    if task in UNANSWERABLE_TASKS and _falls_within(section.unanswerable, unit.unit_id, task, "unanswerable"):
        unanswerable = _unanswerable(unit, task, places, section, config)
        if unanswerable is not None:
            return unanswerable
    focus: tuple[str, ...] = ()
    if config.facts_per_request is not None:
        focus = _choose(keys, config.facts_per_request, unit.unit_id, task, "focus")
    return _asked([unit], task, [places], focus, section, config)


def _unanswerable(
    unit: _Unit, task: str, places: Sequence[int], section: TaskConfig, config: InstructConfig
) -> _Asked | None:
    """Ask about what nobody can tell from the audio; nothing that the transcript may tell after all.

    None where it may tell everything, or where nobody knows what it says.
    """
    transcript = next((f.value for f in unit.facts if f.key == "transcript"), None)
    topics = askable_topics(unit.language, transcript)
    chosen = _choose(topics, section.pairs, unit.unit_id, task, "unknown")
    if not chosen:
        return None
    return _asked([unit], task, [places], (), section, config)._replace(unknown=chosen, pairs_wanted=len(chosen))


def _controllable(unit: _Unit, keys: tuple[str, ...], section: TaskConfig, config: InstructConfig) -> _Asked | None:
    """Ask for a synthesis prompt from a random subset of the characteristics; needs the text to be spoken."""
    transcript = next((place for place, f in enumerate(unit.facts, unit.first) if f.key == "transcript"), None)
    if transcript is None:
        return None
    most = min(len(keys), config.facts_per_request or len(keys))
    count = 1 + _hash(unit.unit_id, CONTROLLABLE, "count") % most
    focus = _choose(keys, count, unit.unit_id, CONTROLLABLE, "focus")
    given = [place for place, key in _speakable(unit, CONTROLLABLE) if key in focus]
    return _asked([unit], CONTROLLABLE, [[*given, transcript]], focus, section, config)


def _speakable(unit: _Unit, task: str) -> list[tuple[int, str]]:
    """Return place and key of what is known of an utterance as a whole and may be spoken of in `task`."""
    allowed = SPOKEN_KEYS[task]
    return [(place, fact.key) for place, fact in enumerate(unit.facts, unit.first) if fact.key in allowed]


def _focusable(unit: _Unit, task: str) -> tuple[str, ...]:
    """Return the keys that a question of `task` can be about, given what is known."""
    if task in _WORD_KEYS:
        # a change needs two words
        least = 2 if task == WORD_ALIGN else 1
        return tuple(key for key in _WORD_KEYS[task] if unit.counts.get(key, 0) >= least)
    known = {fact.key for fact in unit.facts}
    unasked = {*_NOT_ASKED, *(("language",) if task == OPEN_ENDED else ())}  # which needs no open answer
    return tuple(key for key in SPOKEN_KEYS[task] if key in known and key not in unasked)


def _comparisons(wave: _Wave, section: TaskConfig, config: InstructConfig) -> list[_Asked]:
    """Pair utterances of one corpus, split and language that differ, each used at most `comparison_uses` times.

    Labels are relative to a corpus, so across corpora "higher" could be said of the lower voice. Both must be of one
    data source too: a sample has one, by which the audio of both is found.
    The units of a group stand in a ring in the order of their hashes; each in turn leads a comparison with the next
    one along the ring that may still be used and differs from it.
    """
    groups: dict[tuple[str, str, str, str], list[_Unit]] = defaultdict(list)
    for unit in wave.units:
        groups[unit.corpus, unit.data_source, unit.split, unit.language].append(unit)
    asked = []
    for group in groups.values():
        ring = sorted(group, key=lambda u: (_hash(u.unit_id, COMPARISON, "ring"), u.unit_id))
        uses: dict[int, int] = defaultdict(int)
        paired: set[frozenset[int]] = set()
        for place, lead in enumerate(ring):
            if not _falls_within(section.fraction, lead.unit_id, COMPARISON, "fraction"):
                continue
            for step in range(1, min(_PARTNER_WINDOW, len(ring) - 1) + 1):
                if uses[lead.unit_id] >= config.comparison_uses:
                    break
                partner = ring[(place + step) % len(ring)]
                both = frozenset((lead.unit_id, partner.unit_id))
                if uses[partner.unit_id] >= config.comparison_uses or both in paired:
                    continue
                one = _comparison(lead, partner, section, config)
                if one is not None:
                    asked.append(one)
                    paired.add(both)
                    uses[lead.unit_id] += 1
                    uses[partner.unit_id] += 1
                    break
    return asked


def _comparison(lead: _Unit, partner: _Unit, section: TaskConfig, config: InstructConfig) -> _Asked | None:
    kept = _comparable(lead, partner)
    left, right = ({fact.key: fact.value for fact in unit.facts if fact.key in kept} for unit in (lead, partner))
    shared = [key for key in COMPARED_KEYS if key in left and key in right]
    differing = [key for key in shared if left[key] != right[key]]
    if not differing:
        return None
    focus: tuple[str, ...] = ()
    if config.facts_per_request is not None:
        focus = _choose(differing, config.facts_per_request, lead.unit_id, COMPARISON, "focus")
    places = [[place for place, key in _speakable(unit, COMPARISON) if key in kept] for unit in (lead, partner)]
    return _asked([lead, partner], COMPARISON, places, focus, section, config)


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


def _asked(
    units: Sequence[_Unit],
    task: str,
    places: Sequence[Sequence[int]],
    focus: tuple[str, ...],
    section: TaskConfig,
    config: InstructConfig,
) -> _Asked:
    lead = units[0]
    return _Asked(
        units=tuple(units),
        task=task,
        places=tuple(places),
        focus=focus,
        engine=_engine(lead.unit_id, task, section, config),
        pairs_wanted=section.pairs,
        # vLLM takes seeds as C longs; 31 bits are plenty to tell requests apart
        seed=_hash(lead.unit_id, task, "seed") >> 32,
    )
