"""A dictionary's words for kalpy: pronunciations with their probabilities, and neutral tokens that stand for words.

MFA folds case, strips punctuation and splits clitics; tokens that hold nothing to fold keep our words one to one, and
let the same spelling be pronounced as its own sentence has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sift_ray.align.dictionary import dictionary_lines
from sift_ray.align.g2p import Phones
from sift_ray.align.lexicon import Lexicon
from sift_ray.align.text import normalise
from sift_ray.align.transcripts import SpokenWord

UNKNOWN: Final = "<unk>"
"""The token of a word without a pronunciation; kalpy says it as the model's own phone for the unknown."""


@dataclass(frozen=True, slots=True)
class WeightedForm:
    """A pronunciation and what MFA's dictionary format says of it; None where it says nothing.

    `probability` is of this form of the word, `silence_after` of a pause after it; the corrections weigh a pause, and
    none, before it (McAuliffe et al., Interspeech 2017, after Chen et al., Interspeech 2015).
    """

    phones: Phones
    probability: float | None = None
    silence_after: float | None = None
    silence_before: float | None = None
    no_silence_before: float | None = None


Token = tuple[WeightedForm, ...]


class MfaLexicon(Lexicon):
    """The words of a dictionary of MFA. Its phones are the model's own, so none are made one."""

    def __init__(self, language: str, dictionary: Path, g2p: Path | None = None) -> None:
        """As `Lexicon`, and read the probabilities too."""
        super().__init__(language, dictionary, g2p)
        self._weights = read_weights(dictionary)

    def folded(self, phones: Phones) -> Phones:
        """Return `phones`."""
        return phones

    def weighted(self, word: SpokenWord) -> Token:
        """Return the pronunciations of `word` with the dictionary's probabilities where it has them.

        They are looked up by the word as written. A form found otherwise (by parts, another spelling, an abbreviation)
        has none: beside forms that have one it takes their mean, since kalpy would take it for certain.
        """
        known = self._weights.get(normalise(word.word).lower(), {})
        told = [
            form.probability for p in word.pronunciations if (form := known.get(p)) and form.probability is not None
        ]
        other = sum(told) / len(told) if told else None
        return tuple(known.get(phones, WeightedForm(phones, other)) for phones in word.pronunciations)


def read_weights(path: Path) -> dict[str, dict[Phones, WeightedForm]]:
    """Read the pronunciations of a dictionary in MFA's format that have a probability, by lower-case NFC word.

    Raises:
        AlignError: the file can't be read or a line is no entry.
    """
    weights: dict[str, dict[Phones, WeightedForm]] = {}
    for word, probabilities, phones in dictionary_lines(path):
        if probabilities:
            # the first line of a word's form counts, as in MFA
            weights.setdefault(word, {}).setdefault(phones, WeightedForm(phones, *probabilities))
    return weights


class Tokens:
    """Neutral words, one for each set of weighted pronunciations, that an aligner's lexicon has learnt."""

    def __init__(self) -> None:
        """Start empty."""
        self._names: dict[Token, str] = {}

    def __len__(self) -> int:
        """Return how many tokens there are."""
        return len(self._names)

    def add(self, words: Iterable[Token]) -> list[tuple[str, WeightedForm]]:
        """Name those of `words` not named yet; return the new names, each with each of its pronunciations."""
        new = [word for word in dict.fromkeys(words) if word and word not in self._names]
        for word in new:
            self._names[word] = f"w{len(self._names)}x"
        return [(self._names[word], form) for word in new for form in word]

    def text(self, words: Sequence[Token]) -> str:
        """Return the names of `words` in a row, `UNKNOWN` for one without pronunciations.

        Raises:
            KeyError: a word was not added before.
        """
        return " ".join(self._names[word] if word else UNKNOWN for word in words)
