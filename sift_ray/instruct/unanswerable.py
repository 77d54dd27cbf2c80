"""Questions about what nobody can tell who only hears the audio, and answers that say so.

A model that is only ever asked what is known learns to answer everything. `unanswerable/<language>.yaml` holds the
topics and the sentences; a topic that the transcript might tell after all is left out for that utterance.
`unanswerable/en.yaml` explains the notation.
"""

from __future__ import annotations

import functools
import hashlib
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from sift_ray.instruct.items import Dice, Item, sentence
from sift_ray.metadata.data_files import parse_data
from sift_ray.metadata.patterns import PatternError, expand
from sift_ray.metadata.phrases import Listed
from sift_ray.schema import LANGUAGES

if TYPE_CHECKING:
    from sift_ray.instruct.requests import Request

TOPICS: Final = (
    *("name", "height", "weight", "eye_colour", "hair_colour", "clothing", "shoe_size", "profession", "income"),
    *("education", "marital_status", "siblings", "residence", "phone_number", "religion", "politics", "hobby"),
    *("favourite_food", "recording_date", "time_of_day", "microphone"),
)
"""All topics, the same in every language: none that a listener might hear, as age, gender, accent or the room."""

LEAST_QUESTIONS: Final = 4
LEAST_ANSWERS: Final = 8
"""How many phrasings of a topic's question, and of the answer, there are at least."""

MACRO: Final = "@"
"""Marks the name of a macro in an expanded phrase."""

_TOPIC: Final = "topic"
_WORD: Final = re.compile(r"[^\W\d_]+")
_STEM: Final = re.compile(r"[^\W\d_]+\*?")


def _stems(stems: tuple[str, ...]) -> tuple[str, ...]:
    if not stems:
        raise ValueError("name at least one word that would tell")
    for stem in stems:
        if not _STEM.fullmatch(stem):
            raise ValueError(f"{stem!r}: expected one word in letters, or its beginning and *")
    return tuple(_plain(stem) for stem in stems)


def _different(texts: tuple[str, ...], least: int) -> tuple[str, ...]:
    if len(set(texts)) < least:
        raise ValueError(f"at least {least} different phrasings are needed, not {len(set(texts))}")
    return texts


def _questions(texts: tuple[str, ...]) -> tuple[str, ...]:
    return _different(texts, LEAST_QUESTIONS)


def _answers(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from error
        if unknown := names - {_TOPIC}:
            raise ValueError(f"{text!r}: unknown placeholder {', '.join(sorted(unknown))}; there is {_TOPIC}")
    return _different(texts, LEAST_ANSWERS)


def _listed(value: Any) -> Any:
    """Take in a list whose entries may hold several patterns, parted by commas."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        return value
    return [pattern.strip() for part in value for pattern in part.split(",") if pattern.strip()]


Patterns = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Topic(_Part):
    """What nobody can hear.

    Attributes:
        name: how a text names it; the object of "to tell".
        asks: patterns by which a question is recognised, or the object of an answer.
        polar: patterns of a question by yes or no; an answer that held one would claim it.
        told_by: words, or beginnings of words with `*`, in a transcript that might tell it.
        questions: phrasings of the template engine.
    """

    name: str
    asks: Patterns
    polar: Patterns = ()
    told_by: Annotated[Listed, AfterValidator(_stems)]
    questions: Annotated[tuple[str, ...], AfterValidator(_questions)]


class _Telling(NamedTuple):
    """Which topics a word might tell: by the whole word, and by its beginning."""

    by_word: Mapping[str, frozenset[str]]
    by_beginning: Mapping[str, frozenset[str]]
    lengths: frozenset[int]
    """Of the beginnings."""

    def topics(self, words: Iterable[str]) -> set[str]:
        """Return the topics that any of `words`, in plain lower case, might tell."""
        told: set[str] = set()
        for word in words:
            told.update(self.by_word.get(word, ()))
            for length in self.lengths:
                told.update(self.by_beginning.get(word[:length], ()))
        return told


class Unanswerable(_Part):
    """All of one language. Get it from `unanswerable(language)`.

    Attributes:
        macros: named patterns, for use as a word of other patterns: `{name}`.
        cannot_tell: patterns of saying that something can't be told.
        beside: patterns of what may stand beside those in an answer, claiming nothing.
        refusing: patterns of a "no" before the answer to a question whether something can be told.
        asking: patterns of what may stand in a question beside what it asks about.
        asking_to_tell: such as ask whether it can be told at all.
        answers: sentences of the template engine, with `{topic}` or without.
        topics: by slug, in the order of `TOPICS`.
    """

    language: str
    macros: Mapping[str, str]
    cannot_tell: Patterns
    beside: Patterns
    refusing: Patterns
    asking: Patterns
    asking_to_tell: Patterns
    answers: Annotated[tuple[str, ...], AfterValidator(_answers)]
    topics: Mapping[str, Topic]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if differing := sorted(set(self.topics) ^ set(TOPICS)):
            raise ValueError(f"topics: missing or unknown: {', '.join(differing)}; expected {', '.join(TOPICS)}")
        for name, pattern in self.macros.items():
            if "{" in pattern or "" in expand(pattern):
                raise ValueError(f"macros.{name}: must hold no macro, and always a word")
        for field in ("cannot_tell", "beside", "refusing", "asking", "asking_to_tell"):
            self._expandable(field, getattr(self, field))
        for slug, topic in self.topics.items():
            self._expandable(f"topics.{slug}.asks", topic.asks)
            self._expandable(f"topics.{slug}.polar", topic.polar)
        return self

    def _expandable(self, where: str, patterns: Sequence[str]) -> None:
        try:
            self.expand(patterns)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def expand(self, patterns: Sequence[str]) -> frozenset[str]:
        """Return all phrases that `patterns` stand for; a macro is left in them as a word, `MACRO` and its name."""
        marks = {name: MACRO + name for name in self.macros}
        phrases = frozenset[str]().union(*(expand(pattern, marks) for pattern in patterns))
        for phrase in phrases:
            if any(MACRO in word[1:] for word in phrase.split()):
                raise PatternError(f"{phrase.replace(MACRO, '')!r}: a macro must stand as a word of its own")
        return phrases


@functools.cache
def unanswerable(language: str) -> Unanswerable:
    """Load what is asked in `language`, once.

    Raises:
        ValueError: there is no such file, or it is incomplete or has a bad pattern; the message names file and key.
    """
    data: Any = parse_data(_source(language))
    try:
        return Unanswerable.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"unanswerable/{language}.yaml: {error}") from error


def askable_topics(language: str, transcript: str | None) -> tuple[str, ...]:
    """Return the topics that neither voice nor words can tell; none where the words are unknown.

    Raises:
        ValueError: no such language.
    """
    telling = _telling(language)
    words = set(_WORD.findall(_plain(transcript or "")))
    if not words:
        return ()
    told = telling.topics(words)
    return tuple(slug for slug in TOPICS if slug not in told)


@functools.cache
def _telling(language: str) -> _Telling:
    topics_of: dict[str, frozenset[str]] = {}
    for slug, topic in unanswerable(language).topics.items():
        for stem in topic.told_by:
            topics_of[stem] = topics_of.get(stem, frozenset()) | {slug}
    by_word = {stem: topics for stem, topics in topics_of.items() if not stem.endswith("*")}
    by_beginning = {stem[:-1]: topics for stem, topics in topics_of.items() if stem.endswith("*")}
    return _Telling(by_word, by_beginning, frozenset(map(len, by_beginning)))


def topic_names(language: str, topics: Sequence[str]) -> list[str]:
    """Return how a text in `language` names each topic, such as "the speaker's name".

    Raises:
        ValueError: no such language or topic.
    """
    return [_topic(language, slug).name for slug in topics]


def unanswerable_items(request: Request, dice: Dice) -> list[Item]:
    """Return an item for each of `request.unknown`, in an order that the dice decide."""
    return [_item(request.language, slug) for slug in dice.shuffled(request.unknown)]


@functools.cache  # (topics are few)
def _item(language: str, slug: str) -> Item:
    topic = _topic(language, slug)
    answers = unanswerable(language).answers
    return Item(topic.questions, tuple(sentence(answer.format(topic=topic.name)) for answer in answers))


@functools.cache
def unanswerable_hash(language: str) -> str:
    """Return the hash of the file of `language`."""
    return hashlib.sha256(_source(language).encode()).hexdigest()[:16]


def _topic(language: str, slug: str) -> Topic:
    topics = unanswerable(language).topics
    if slug not in topics:
        raise ValueError(f"no topic {slug!r}; there are {', '.join(TOPICS)}")
    return topics[slug]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower()


def _source(language: str) -> str:
    if language not in LANGUAGES:
        raise ValueError(f"no unanswerable questions in language {language!r}; there are {', '.join(LANGUAGES)}")
    folder = resources.files("sift_ray.instruct").joinpath("unanswerable")
    return folder.joinpath(f"{language}.yaml").read_text(encoding="utf-8")
