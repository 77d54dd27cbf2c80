"""The small words of each language by what they do where a transcript is retold, from `small_words/<language>.yaml`."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from sift_ray.metadata.data_files import parse_data
from sift_ray.schema import LANGUAGES


def _split(value: Any) -> Any:
    """Take in a list whose entries are parted by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _some(found: frozenset[str]) -> frozenset[str]:
    if not found:
        raise ValueError("name at least one word")
    return found


Words = Annotated[frozenset[str], BeforeValidator(_split)]
Some = Annotated[Words, AfterValidator(_some)]
Endings = Annotated[tuple[str, ...], BeforeValidator(_split)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Excerpts(_Part):
    """What an excerpt of a transcript may drop or change, and must keep.

    Attributes:
        prepositions, other_links: prepositions; conjunctions and denials: all of them links, which an excerpt keeps.
        contracted: other forms of links, by their plain form.
        droppable: links that an excerpt may begin behind.
        topics: links that may stand before what is talked about.
        telling: words of telling: "says", "about".
        talking: those of them that tell only before what is talked about: "talks about", but not "talks fast".
        named: those that stand behind what is told too: "are mentioned".
        that: stands between a word of telling and what is told.
        speakers: the one who speaks.
        genitive: before a speaker: it is his, or according to him.
        first_person: in a transcript: the speaker tells of himself.
        pronouns: may stand for what the question names.
        free: other articles, pronouns, auxiliaries.
        asking: words of questions, with what they ask for: "what colour"; `when` asks for a time.
        acts: verbs that are used of answers too, but in a question tell what happened.
        audio: speak of the recording.
        passive: auxiliaries of a passive; `agent` stands before the one who acts in it.
        participles, adverbs: endings of such words.
        numbers: in words.
        verbs: forms of one irregular word each, parted by spaces.
    """

    prepositions: Some
    other_links: Some
    contracted: Mapping[str, Some]
    droppable: Some
    topics: Some
    telling: Some
    talking: Words = frozenset()
    named: Some
    that: Some
    speakers: Some
    genitive: Some
    first_person: Some
    pronouns: Some
    free: Some
    asking: Some
    when: Some
    acts: Some
    audio: Some
    passive: Some
    agent: str
    participles: Endings
    adverbs: Endings = ()
    numbers: Some
    verbs: tuple[str, ...]


class Roles(_Part):
    """What gives away who does what to whom.

    Attributes:
        who: asks for a person; for the one who acts unless something else says otherwise.
        whom: asks for another than the one who acts.
        what: asks for a thing.
        towards: stands before one to whom something is given, told or done.
        agent: stands before the one who acts in a passive.
        passive: auxiliaries of a passive.
        asking: verbs behind "who" that a subject of its own follows.
        articles: and possessives.
        contracted: prepositions with an article in them.
    """

    who: Some
    whom: Words = frozenset()
    what: Some
    towards: Some
    agent: Some
    passive: Some
    asking: Words = frozenset()
    articles: Words = frozenset()
    contracted: Words = frozenset()


class Pronouns(_Part):
    """Pronouns that tell what a speaker is, where they can stand for nothing else.

    None in a language where they always do, for then they are in the phrase dictionary.

    Attributes:
        female, male: pronouns of one person.
        female_articles, male_articles: and other words that a noun of that gender may follow.
        idle: near these a pronoun is impersonal, or stands for several.
    """

    female: Words = frozenset()
    male: Words = frozenset()
    female_articles: Words = frozenset()
    male_articles: Words = frozenset()
    idle: Words = frozenset()

    @functools.cached_property
    def either(self) -> frozenset[str]:
        """All the pronouns."""
        return self.female | self.male


class Speakers(_Part):
    """Words that tell of one speaker before the other (`turns`), or maybe of the later one first (`backwards`)."""

    turns: Some
    backwards: Some


class Questions(_Part):
    """Words that ask where, when or why (`place_or_time`), and those that ask for a reason (`reasons`)."""

    place_or_time: Some
    reasons: Some


class SmallWords(_Part):
    """All of one language. Get it from `small_words(language)`."""

    language: str
    excerpts: Excerpts
    roles: Roles
    pronouns: Pronouns = Pronouns()
    speakers: Speakers
    questions: Questions


@functools.cache
def small_words(language: str) -> SmallWords:
    """Load the words of `language`, once.

    Raises:
        ValueError: there is no such file, or it is incomplete; the message names file and key.
    """
    data: Any = parse_data(_source(language))
    try:
        return SmallWords.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"small_words/{language}.yaml: {error}") from error


@functools.cache
def small_words_hash(language: str) -> str:
    """Return the hash of the file of `language`."""
    return hashlib.sha256(_source(language).encode()).hexdigest()[:16]


def _source(language: str) -> str:
    if language not in LANGUAGES:
        raise ValueError(f"no language {language!r}; there are {', '.join(LANGUAGES)}")
    file = resources.files("sift_ray.instruct.verify") / "small_words" / f"{language}.yaml"
    return file.read_text(encoding="utf-8")
