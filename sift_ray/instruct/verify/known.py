"""The facts of a request, by where they hold: what a claim is checked against."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sift_ray.instruct.verify.text import words
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.metadata.accents import accent_forms
from sift_ray.metadata.categories import WORD_KEY, ordinal_of
from sift_ray.metadata.record import Fact


class Place(NamedTuple):
    """Where a fact holds: an audio (0, 1), and 0 or a word's position."""

    audio: int = 0
    position: int = 0


SAID_RUN: Final = 3
"""So many transcript words in a row count as said, unquoted too."""
_KEPT: Final = 64

_kept: OrderedDict[tuple[int, str], tuple[Sequence[Fact], Known]] = OrderedDict()


def known_of(facts: Sequence[Fact], language: str) -> Known:
    """Return the facts of a request, read once for all its pairs; not to be changed."""
    # by identity, as hashing a hundred facts takes long; they are kept, so that no others come to have their id
    if not isinstance(facts, tuple):
        return Known(facts, language)
    key = id(facts), language
    if (found := _kept.get(key)) is None:
        found = _kept[key] = facts, Known(facts, language)
        if len(_kept) > _KEPT:
            _kept.popitem(last=False)
    return found[1]


@functools.lru_cache(maxsize=4096)
def accent_runs(name: str, language: str) -> frozenset[tuple[str, ...]]:
    """Return every wording of an accent as a run of words, its display name being one."""
    forms = accent_forms(language, name) | accent_forms(language, name, weak=True) | {name}
    return frozenset(run for form in forms if (run := tuple(words(form, language))))


class Known:
    """Facts by place and key, with the transcripts as words."""

    def __init__(self, facts: Sequence[Fact], language: str) -> None:
        self.language = language
        self.facts: dict[Place, dict[str, Fact]] = {}
        for fact in facts:
            self.facts.setdefault(Place(fact.audio, fact.position), {})[fact.key] = fact
        self.audios = sorted({place.audio for place in self.facts})
        self.transcripts: dict[int, list[str]] = {}
        for audio in self.audios:
            transcript = self.get(Place(audio), "transcript")
            if transcript is not None:
                self.transcripts[audio] = words(transcript.value, language)
        self.spoken: list[tuple[int, str]] = []  # (position, word) of word-level facts, words split as texts are
        for place in sorted(self.facts):
            word = self.facts[place].get(WORD_KEY)
            if word is not None and place.audio == 0:
                self.spoken += [(place.position, part) for part in words(word.value, language)]
        phonemes = self.get(Place(), "phonemes")
        self.phonemes = frozenset(() if phonemes is None else words(phonemes.value, language))
        self.last = max((position for position, _ in self.spoken), default=0)
        said = {word for transcript in self.transcripts.values() for word in transcript}
        self.vocabulary = frozenset(said | {word for _, word in self.spoken})
        self.written = self.vocabulary | self.phonemes
        values = {f.value for found in self.facts.values() for f in found.values() if f.key == "accent"}
        self.accent_of = {run: value for value in sorted(values) for run in accent_runs(value, language)}
        """The accent that each wording, a run of words, of a known one names."""
        self.accents = {" ".join(run): run for run in self.accent_of}
        self.accent_words: dict[str, list[tuple[str, ...]]] = {}
        """Those wordings by their first word."""
        for run in self.accent_of:
            self.accent_words.setdefault(run[0], []).append(run)
        self.place_of = {fact: number for number, fact in enumerate(dict.fromkeys(facts))}
        self._keys = {key for found in self.facts.values() for key in found}
        self._spoken_at: dict[str, list[int]] = {}
        for number, (_, part) in enumerate(self.spoken):
            self._spoken_at.setdefault(part, []).append(number)
        self.runs = {audio: self._runs(said) for audio, said in self.transcripts.items()}
        """The runs of words of each transcript that count as said wherever they stand (see `SAID_RUN`)."""

    def get(self, place: Place, key: str) -> Fact | None:
        """Return the fact of `key` at `place`, None where it is unknown."""
        return self.facts.get(place, {}).get(key)

    def has(self, key: str) -> bool:
        """Say whether `key` is known anywhere."""
        return key in self._keys

    def check(self, place: Place, key: str, label: str, said: str) -> Fact:
        """Return the fact that a claim rests on.

        Raises:
            Refused: `unknown_claim` where there is no such fact, `false_claim` where it is another.
        """
        fact = self.get(place, key)
        if fact is None:
            raise Refused("unknown_claim", f"{said!r}: {key} is unknown{_where(place)}")
        if fact.value != label:
            raise Refused("false_claim", f"{said!r}: {key} is {fact.value}, not {label}{_where(place)}")
        return fact

    def ordinal(self, place: Place, key: str, said: str) -> tuple[int, Fact]:
        """Return the ordinal of an attribute at `place`, and the fact.

        Raises:
            Refused: `unknown_claim`, or `unverifiable` for a key without order.
        """
        fact = self.get(place, key)
        if fact is None:
            raise Refused("unknown_claim", f"{said!r}: {key} is unknown{_where(place)}")
        place_in_order = ordinal_of(key, fact.value)
        if place_in_order is None:
            raise Refused("unverifiable", f"{said!r}: values of {key} have no order")
        return place_in_order, fact

    def positions(self, run: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the positions at which a run of words is spoken, one tuple for each time."""
        size, wanted = len(run), list(run)
        found = []
        for i in self._spoken_at.get(wanted[0], ()) if wanted else ():
            part = self.spoken[i : i + size]
            if [word for _, word in part] == wanted:
                found.append(tuple(dict.fromkeys(position for position, _ in part)))
        return found

    @staticmethod
    def _runs(said: Sequence[str]) -> frozenset[tuple[str, ...]]:
        size = min(SAID_RUN, len(said))
        return frozenset(tuple(said[i : i + size]) for i in range(len(said) - size + 1) if size)

    def graded(self, key: str) -> Iterable[tuple[Place, Fact]]:
        """Yield every word's place and fact of `key`."""
        for place, facts in self.facts.items():
            if place.position and key in facts:
                yield place, facts[key]


def _where(place: Place) -> str:
    word = f" at word {place.position}" if place.position else ""
    return f"{word} of audio {place.audio + 1}" if place.audio else word
