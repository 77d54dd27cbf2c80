"""The phrase dictionaries: how each language words keys and categories, and by which forms it is read back.

One YAML file a language in `phrases/`. Patterns in them are those of `metadata.patterns`; lists may be written as
one string with commas. A file is checked when it is first loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sift_ray.metadata.accents import accent_phrase
from sift_ray.metadata.categories import KEYS, labels_of
from sift_ray.metadata.data_files import parse_data
from sift_ray.metadata.patterns import expand
from sift_ray.schema import LANGUAGES


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Listed = Annotated[tuple[str, ...], BeforeValidator(_split)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Forms(_Part):
    """Patterns by which a category is recognised.

    Attributes:
        forms: say the category by themselves ("very low pitch").
        short: say it only where the text speaks of the attribute ("very low").
    """

    forms: Listed = ()
    short: Listed = ()


class Label(Forms):
    """One category: its canonical phrase and its forms.

    With `grade` and `pole`, the pole's patterns are the label's too, `{g}` being that grade's macro.
    """

    phrase: str
    noun: str | None = None  # gender: the person ("woman")
    grade: str | None = None
    pole: str | None = None


class Key(_Part):
    """One metadata key.

    Attributes:
        name: how a text names the key ("average pitch").
        mentions: patterns by which a text speaks of it.
        hints: words that decide between attributes where no mention does ("voice" for pitch).
        watch: grade words: outside a recognised form they make a text uncheckable ("high").
        up, down: comparatives towards the higher, lower ordinal; `most`, `least`: superlatives.
    """

    name: str
    mentions: Listed = ()
    hints: Listed = ()
    watch: Listed = ()
    up: Listed = ()
    down: Listed = ()
    most: Listed = ()
    least: Listed = ()
    poles: Mapping[str, Forms] = Field(default_factory=dict)
    labels: Mapping[str, Label] = Field(default_factory=dict)


class Signals(_Part):
    """Words that tell how a text is to be read; patterns all.

    Attributes:
        harmless: set phrases whose grade words grade nothing.
        negation, hedge, degree, comparative: outside a recognised form they make a claim uncheckable.
        simile: "like a": only a category may follow ("like a woman").
        topic: "about": what follows must be in the transcript.
        leak: talk of the metadata itself.
        causal: reasons, which no measurement gives.
        unknowable: claims about what is not measured (mood, place, …).
        either, affirm, deny, question, degree_question, free_degree_question: how a question is put. After a
            `degree_question` ("how") a grade word asks ("how high"); a free one need not stand next to it.
        openings: first words of questions that ask for more than yes or no, though no word of asking is in them.
        requests: first words of an instruction that is no question ("Describe …").
        boundary: words that part clauses.
        first, second, both: references to the two audios of a comparison.
        last, before, after, rise, fall, same, differ: relations between words or audios; `than` joins them.
        towards: before a word, they make it the one that another comes before or after ("auf X folgt Y").
        verbs: what a speaker does; a name may stand before them.
        passing: with `rise` and `fall`, what tells of a change or of a part of the audio ("at the end").
        unreal: what should be, must be or used to be.
        alone: that nothing else is so ("only").
        nesting: words that put what follows inside what stands before them ("that", "whether").
    """

    harmless: Listed
    negation: Listed
    hedge: Listed
    simile: Listed
    topic: Listed
    degree: Listed
    comparative: Listed
    leak: Listed
    causal: Listed
    unknowable: Listed
    either: Listed
    affirm: Listed
    deny: Listed
    question: Listed
    degree_question: Listed
    free_degree_question: Listed = ()
    openings: Listed = ()
    requests: Listed
    boundary: Listed
    first: Listed
    second: Listed
    both: Listed
    last: Listed
    before: Listed
    after: Listed
    rise: Listed
    fall: Listed
    same: Listed
    than: Listed
    towards: Listed = ()
    verbs: Listed
    differ: Listed
    passing: Listed = ()
    unreal: Listed = ()
    alone: Listed = ()
    nesting: Listed = ()


class Times(_Part):
    """How a text says when words are spoken: patterns all, for the task that asks for times in numbers.

    Attributes:
        seconds, milliseconds: units.
        start, end, lasts: tell that a number is when a word starts, when it ends, how long it lasts.
        during: tell the last where a number follows ("for 0.4 seconds").
        pause: the silence between two words.
        spoken: that a word is spoken at a time.
        pair_from, pair_to: before and between two numbers, from one to the other.
        since, until: before one number: a word is spoken from then on, up to then.
        at: before one number: what follows is a time, not a length of time.
        before, after: the order of two words; `after` may stand before a number too ("after 1.2 seconds").
        about: may stand before a number, and changes nothing of what it must be.
        span, when: ask for both times, for any; `length` for how long, `which` for a word.
        affirm: opens an answer that confirms.
        particles: words that may end a sentence as half of a verb.
        words: all other words that such a text may have.
    """

    seconds: Listed
    milliseconds: Listed
    start: Listed
    end: Listed
    lasts: Listed
    during: Listed
    pause: Listed
    spoken: Listed
    pair_from: Listed
    pair_to: Listed
    since: Listed
    until: Listed
    at: Listed
    before: Listed
    after: Listed
    about: Listed
    span: Listed
    when: Listed
    length: Listed
    which: Listed
    affirm: Listed
    particles: Listed = ()
    words: Listed


class _File(_Part):
    language: str
    name: str
    macros: Mapping[str, str] = Field(default_factory=dict)
    grades: Mapping[str, str]
    keys: Mapping[str, Key]
    signals: Signals
    times: Times
    ordinals: Listed  # canonical, from the first
    ordinal_forms: Listed = ()  # patterns, one for each of `ordinals`
    ordinal_pattern: str  # beyond those: "{n}th"
    ordinal_endings: Mapping[str, str] = Field(default_factory=dict)  # by last digit, but after a 1: "{n}st"
    word_nouns: Listed  # what an ordinal counts: "word"
    words_key: str  # in the record: the list of words
    position_key: str  # in the record: a word's place
    function_words: Listed
    dangling: Listed  # words that no sentence ends in
    vocabulary: Listed = ()  # ordinary words of texts about recordings
    determiners: Listed = ()  # German: a capitalised word after one is a common noun
    noun_endings: Listed = ()  # German: so end common nouns
    letters: str = ""  # letters and signs that, among the five, speak for this language

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if missing := set(KEYS) - set(self.keys):
            raise ValueError(f"no entry for {', '.join(sorted(missing))}")
        if extra := set(self.keys) - set(KEYS):
            raise ValueError(f"unknown keys {', '.join(sorted(extra))}")
        for name, key in self.keys.items():
            wanted = set(labels_of(name))
            if wanted != set(key.labels):
                differing = ", ".join(sorted(wanted ^ set(key.labels)))
                raise ValueError(f"{name}: labels missing or unknown: {differing}")
            for label, entry in key.labels.items():
                if (entry.grade is None) != (entry.pole is None):
                    raise ValueError(f"{name}: {label}: grade and pole go together")
                if entry.grade is not None and entry.grade not in self.grades:
                    raise ValueError(f"{name}: {label}: no grade {entry.grade!r}")
                if entry.pole is not None and entry.pole not in key.poles:
                    raise ValueError(f"{name}: {label}: no pole {entry.pole!r}")
        if self.ordinal_forms and len(self.ordinal_forms) != len(self.ordinals):
            raise ValueError("ordinal_forms must have one pattern for each of ordinals")
        return self


class Phrases:
    """The phrases of one language. Get it from `phrases(language)`."""

    def __init__(self, data: _File) -> None:
        self.language = data.language
        self.name = data.name
        self.data = data

    def phrase(self, key: str, label: str) -> str:
        """Return the canonical phrase of `label`, an accent's name in this language, other free text as it is.

        Raises:
            KeyError: no such key, or no such label of a key with a closed set.
        """
        entry = self._key(key)
        if key == "accent":
            return accent_phrase(self.language, label)
        if not entry.labels:
            return label
        if label not in entry.labels:
            raise KeyError(f"{key} has no label {label!r}; it has {', '.join(entry.labels)}")
        return entry.labels[label].phrase

    def noun(self, key: str, label: str) -> str:
        """Return the noun for `label` where there is one ("woman"), else its phrase."""
        entry = self._key(key).labels.get(label)
        return entry.noun if entry is not None and entry.noun is not None else self.phrase(key, label)

    def key_name(self, key: str) -> str:
        """Return how a text names `key`, such as "average pitch"."""
        return self._key(key).name

    def record_key(self, key: str) -> str:
        """Return the key as it stands in the record given to a model, such as "average_pitch"."""
        return self.key_name(key).replace(" ", "_")

    def ordinal(self, position: int) -> str:
        """Return the ordinal of a position from 1, such as "third"."""
        if position < 1:
            raise ValueError(f"positions start at 1, not {position}")
        if position <= len(self.data.ordinals):
            return self.data.ordinals[position - 1]
        digits = f"{position:02d}"
        ending = None if digits[-2] == "1" else self.data.ordinal_endings.get(digits[-1])
        return (ending or self.data.ordinal_pattern).replace("{n}", str(position))

    def expressions(self, key: str, label: str, *, short: bool = False) -> frozenset[str]:
        """Return every wording accepted for `label`, lower case: those that stand alone, or the `short` ones."""
        entry = self._key(key)
        if label not in entry.labels:
            raise KeyError(f"{key} has no label {label!r}")
        mine = entry.labels[label]
        patterns = list(mine.short if short else (*mine.forms,))
        macros = dict(self.data.macros)
        found: set[str] = set()
        if mine.pole is not None and mine.grade is not None:
            pole = entry.poles[mine.pole]
            macros["g"] = self.data.grades[mine.grade]
            patterns += pole.short if short else pole.forms
        for pattern in patterns:
            found |= expand(pattern, macros)
        if not short:
            found.add(mine.phrase.lower())
        return frozenset(found)

    def expand(self, patterns: Listed) -> frozenset[str]:
        """Return every wording of `patterns`, with this language's macros inserted."""
        found: set[str] = set()
        for pattern in patterns:
            found |= expand(pattern, self.data.macros)
        return frozenset(found)

    def _key(self, key: str) -> Key:
        if key not in self.data.keys:
            raise KeyError(f"no metadata key {key!r}; there are {', '.join(KEYS)}")
        return self.data.keys[key]


@functools.cache
def phrases(language: str) -> Phrases:
    """Load the dictionary of `language`, once.

    Raises:
        ValueError: there is none, or its file is incomplete; the message names language and entry.
    """
    if language not in LANGUAGES:
        raise ValueError(f"no phrases for language {language!r}; there are {', '.join(LANGUAGES)}")
    data = parse_data(phrase_file(language))
    return Phrases(_File.model_validate(data))


def phrase_file(language: str) -> str:
    """Return the text of a language's dictionary, for fingerprints too."""
    folder = resources.files("sift_ray.metadata").joinpath("phrases")
    return folder.joinpath(f"{language}.yaml").read_text(encoding="utf-8")
