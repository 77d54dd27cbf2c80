"""Pronunciations from espeak-ng, through phonemizer and the library in the espeakng-loader wheel.

espeak reads a word differently by itself and in a sentence ("a", "the", French liaison), and in a sentence it
joins words ("of the" comes out as one). So a word is asked for by itself, which fixes its place, and in its
sentence, whose phones are then laid against the words by the cheapest edit path.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache, lru_cache

import espeakng_loader
import numpy as np
from numpy.typing import NDArray
from phonemizer.backend import EspeakBackend
from phonemizer.backend.espeak.wrapper import EspeakWrapper
from phonemizer.separator import Separator

from sift_ray.align.protocol import AlignError

Phones = tuple[str, ...]

_SEPARATOR = Separator(phone=" ", word="|", syllable="")
_IPA_VOWELS = frozenset("aeiouyæøœɐɑɒɔəɘɚɛɜɝɞɨɪɯɵɤʉʊʌʏᵻɶ")
_NOT_PHONE = re.compile(r"[\u0361\u035c\u200d'ˈˌ‿]|\(\w+\)")  # ties, stress, language marks

_GAP = 2.0  # what a phone without a match costs

logger = logging.getLogger("sift_ray.align.g2p")


class Espeak:
    """espeak-ng with the voice of one language. Not for use from several threads at a time."""

    def __init__(self, voice: str) -> None:
        """Load `voice`.

        Raises:
            AlignError: the espeak-ng library or the voice can't be loaded.
        """
        quiet = logging.getLogger("sift_ray.align.phonemizer")
        quiet.setLevel(logging.ERROR)  # it warns of every sentence whose words espeak joined: expected here
        try:
            EspeakWrapper.set_library(espeakng_loader.get_library_path())
            EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
            self._backend = EspeakBackend(voice, language_switch="remove-flags", words_mismatch="ignore", logger=quiet)
        except (RuntimeError, OSError) as error:
            raise AlignError(
                f"espeak-ng can't be loaded for the voice {voice!r}: {error}; "
                "is the espeakng-loader wheel installed for this platform?"
            ) from error

    def groups(self, texts: Sequence[str]) -> list[list[Phones]]:
        """Return for each text espeak's spoken words, each a tuple of IPA phones without stress."""
        if not texts:
            return []
        # a line break would part one text into two
        flat = [" ".join(text.split()) for text in texts]
        spoken = self._backend.phonemize(flat, separator=_SEPARATOR, strip=True)
        if len(spoken) != len(texts):
            raise AlignError(f"espeak-ng gave {len(spoken)} answers to {len(texts)} texts")
        return [[phones for group in line.split("|") if (phones := _phones(group))] for line in spoken]


@cache
def espeak(voice: str) -> Espeak:
    """Return the process's one `Espeak` of `voice`."""
    return Espeak(voice)


def _phones(group: str) -> Phones:
    return tuple(phone for raw in group.split() if (phone := _NOT_PHONE.sub("", raw).strip("-_")))


def is_vowel(phone: str) -> bool:
    """Say whether an IPA phone begins with a vowel."""
    return phone[:1] in _IPA_VOWELS


def in_context(alone: Sequence[Phones], sentence: Sequence[Phones]) -> list[Phones]:
    """Cut the phones of a whole sentence into words, given each word's phones by itself.

    Args:
        alone: a word's phones when read alone, a word an entry; empty for a word without any.
        sentence: espeak's groups of the sentence.

    Returns:
        One tuple a word. A word may come out empty where the sentence swallowed it.
    """
    read = [phone for group in sentence for phone in group]
    flat = [(phone, word) for word, phones in enumerate(alone) for phone in phones]
    owners = _owners(flat, read)
    words: list[list[str]] = [[] for _ in alone]
    for phone, owner in zip(read, owners, strict=True):
        words[owner].append(phone)
    return [tuple(word) for word in words]


def _owners(flat: Sequence[tuple[str, int]], read: Sequence[str]) -> list[int]:
    """Give each phone of `read` the word of the phone it is matched to by the cheapest edit path."""
    from sift_ray.align.edit_kernel import cheapest_owners

    apart = _distances([phone for phone, _ in flat], read)
    return cheapest_owners(apart, np.array([word for _, word in flat], np.int64), _GAP)


def _distances(ours: Sequence[str], theirs: Sequence[str]) -> NDArray[np.float64]:
    """Return how far each phone of `ours` is from each of `theirs`, float64 `[len(ours), len(theirs)]`."""
    kinds = list(dict.fromkeys([*ours, *theirs]))
    place = {phone: index for index, phone in enumerate(kinds)}
    table = np.array([[_distance(a, b) for b in kinds] for a in kinds], np.float64).reshape(len(kinds), len(kinds))
    return np.asarray(table[np.ix_([place[phone] for phone in ours], [place[phone] for phone in theirs])])


@lru_cache(maxsize=1 << 16)
def _distance(a: str, b: str) -> float:
    if a == b:
        return 0.0
    if a[0] == b[0]:
        return 0.5
    return 1.5 if is_vowel(a) == is_vowel(b) else 3.5
