"""The sentences of the template engine: one YAML file a language, checked when it is first loaded.

`templates/en.yaml` explains the notation. A list holds several phrasings of one thing; at least `LEAST` questions and
answers of each kind, so that the data doesn't repeat itself.
"""

from __future__ import annotations

import functools
import hashlib
import re
import string
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, PrivateAttr, model_validator

from sift_ray.metadata.categories import ATTRIBUTES, WORD_ATTRIBUTES
from sift_ray.metadata.data_files import parse_data
from sift_ray.metadata.phrases import phrases
from sift_ray.schema import LANGUAGES

LEAST: Final = 4
"""How many phrasings of a question or an answer there are at least."""

MOST_ORDINAL: Final = 20
"""The position up to which words are counted; beyond, languages count as nobody does."""

_ELIDED: Final = re.compile(r"\bla (?=[aeiou])")  # "l'ottava parola"

PLACEHOLDERS: Final = frozenset(
    {"subject", "verb", "rest", "verb2", "rest2", "name", "n", "nth", "w", "v", "m", "m2", "x", "x2", "p"}
    | {"who", "list"}
    | {"s", "sn", "e", "en", "d", "t"}
)


def _known_placeholders(text: str) -> str:
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    if unknown := names - PLACEHOLDERS:
        raise ValueError(f"{text!r}: unknown placeholder {', '.join(sorted(unknown))}")
    return text


def _several(texts: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(texts)) < LEAST:
        raise ValueError(f"at least {LEAST} different phrasings are needed, not {len(set(texts))}")
    return texts


Text = Annotated[str, AfterValidator(_known_placeholders)]
Several = Annotated[tuple[Text, ...], AfterValidator(_several)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AttributeText(_Part):
    """How one attribute is asked about and said; `labels` is one text for all categories, or one for each."""

    subject: Literal["voice", "audio"]
    name: str
    labels: Text | Mapping[str, Text]
    questions: Several


class QuestionsAnswers(_Part):
    """Phrasings of one thing to ask."""

    questions: Several
    answers: Several


class AnswersOnly(_Part):
    """Phrasings of an answer whose questions stand elsewhere."""

    answers: Several


class WordsText(_Part):
    """How single words are asked about; `same` answers the questions of `change` where nothing changes."""

    nth: Text
    last: str
    names: Mapping[str, str]
    at: QuestionsAnswers
    ordinal: QuestionsAnswers
    change: QuestionsAnswers
    same: AnswersOnly
    after: QuestionsAnswers
    before: QuestionsAnswers


class TimedText(QuestionsAnswers):
    """Phrasings of one thing to ask about times, and how an answer begins that a model ends."""

    slot: Text | None = None


class TimesText(_Part):
    """When words are spoken; `seconds` is the unit of less than two and of more, `point` parts the decimals."""

    named: Text
    seconds: Mapping[Literal["one", "many"], str]
    point: Literal[".", ","]
    start: TimedText
    end: TimedText
    span: TimedText
    lasts: TimedText
    at: TimedText
    starting: TimedText
    pause: TimedText

    def number(self, hundredths: int) -> str:
        """Return a number of seconds, given in hundredths, as the language writes it: "1,24"."""
        return f"{hundredths // 100}{self.point}{hundredths % 100:02d}"

    def amount(self, hundredths: int) -> str:
        """Return a number of seconds, given in hundredths, with its unit: "1,24 Sekunden"."""
        return f"{self.number(hundredths)} {self.seconds['one' if hundredths < 200 else 'many']}"


class ComparisonText(_Part):
    """How two recordings are compared."""

    questions: Several
    names: Mapping[str, str]
    voice_differs: Several
    audio_differs: Several
    voice_same: Several
    audio_same: Several
    gender_differs: Several
    gender_same: Several
    age_category_differs: Several
    age_category_same: Several
    accent_differs: Several
    accent_same: Several


class OpenText(_Part):
    """Longer answers: a person who speaks so, then the recording, then advice that claims nothing."""

    questions: Several
    answers: Several
    person_only: Several
    audio: tuple[Text, ...]
    words_said: tuple[Text, ...]
    advice: Several


class ControllableText(_Part):
    """Synthesis prompts: from manners of speaking, from a person, from both."""

    manner: Several
    person: Several
    both: Several


class WhoText(_Part):
    """A person: noun by gender, what age (by gender, or one text) and accent add, and the noun where unknown."""

    nouns: Mapping[str, str]
    age: Text | Mapping[str, Text]
    accent: Text
    anyone: str


class OwnWords(_Part):
    """Parts between which a model writes words of its own; see `grammar`."""

    voice: tuple[str, ...]
    audio: tuple[str, ...]
    word: Text
    first: Mapping[str, str]
    second: Mapping[str, Text]
    then: Text
    manner: tuple[str, ...]
    person: tuple[str, ...]


Content = Literal["gender", "age_category", "accent", "language", "transcript"]


class Templates(_Part):
    """All sentences of one language. Get it from `templates(language)`."""

    language: str
    joint: str
    own_words: OwnWords
    verbs: Mapping[str, str]
    quotes: tuple[tuple[str, str], ...]
    openers: Annotated[tuple[str, ...], AfterValidator(_several)]
    attributes: Mapping[str, AttributeText]
    subjects: Mapping[str, tuple[str, ...]]
    main: Text
    after_opener: Text
    content: Mapping[Content, QuestionsAnswers]
    words: WordsText
    times: TimesText
    comparison: ComparisonText
    open_ended: OpenText
    controllable: ControllableText
    who: WhoText
    _predicates: dict[tuple[str, str], tuple[str, str]] = PrivateAttr(default_factory=dict)  # one a category at most

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if set(self.attributes) != set(ATTRIBUTES):
            raise ValueError(f"attributes: expected {', '.join(ATTRIBUTES)}")
        for key, text in self.attributes.items():
            if not isinstance(text.labels, str) and set(text.labels) != set(ATTRIBUTES[key].labels):
                raise ValueError(f"attributes.{key}.labels: expected {', '.join(ATTRIBUTES[key].labels)}")
        if set(self.words.names) != set(WORD_ATTRIBUTES):
            raise ValueError(f"words.names: expected {', '.join(WORD_ATTRIBUTES)}")
        return self

    def predicate(self, key: str, label: str) -> tuple[str, str]:
        """Return verb and rest that say the category `label` of the attribute `key`."""
        if (known := self._predicates.get((key, label))) is not None:
            return known
        text = self.attributes[key]
        wording = text.labels if isinstance(text.labels, str) else text.labels[label]
        verb, bar, rest = wording.format(p=phrases(self.language).phrase(key, label)).partition(" | ")
        made = self._predicates[key, label] = (verb, rest) if bar else (self.verbs[text.subject], verb)
        return made

    def nth_word(self, position: int, *, last: bool) -> str:
        """Return how the word at `position`, or the last word, is spoken of: "the third word"."""
        if last:
            return self.words.last
        nth = self.words.nth.format(n=phrases(self.language).ordinal(position))
        return _ELIDED.sub("l'", nth) if self.language == "it" else nth

    def quoted(self, text: str) -> str | None:
        """Return `text` in quotation marks that do not occur in it; None if it holds them all."""
        for left, right in self.quotes:
            if left.strip() not in text and right.strip() not in text:
                return f"{left}{text}{right}"
        return None


@functools.cache
def templates(language: str) -> Templates:
    """Load the sentences of `language`, once.

    Raises:
        ValueError: there are none, or the file is incomplete or has a bad placeholder; the message names it.
    """
    if language not in LANGUAGES:
        raise ValueError(f"no templates for language {language!r}; there are {', '.join(LANGUAGES)}")
    data: Any = parse_data(_source(language))
    return Templates.model_validate(data)


@functools.cache
def templates_hash(language: str) -> str:
    """Return the hash of the file of `language`."""
    return hashlib.sha256(_source(language).encode()).hexdigest()[:16]


def _source(language: str) -> str:
    folder = resources.files("sift_ray.instruct").joinpath("templates")
    return folder.joinpath(f"{language}.yaml").read_text(encoding="utf-8")
