"""The words of a transcript and how each may be pronounced: dictionary first, then espeak-ng."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sift_ray.align.g2p import Phones, espeak, in_context
from sift_ray.align.protocol import AlignError
from sift_ray.align.text import is_latin, text_rules, written_words

_CACHED_WORDS = 200_000
_PROBABILITY = re.compile(r"\d+\.\d+")
_VARIANT_MARK = re.compile(r"\(\d+\)$")
_SILENCES = frozenset({"sil", "sp", "spn", "SIL", "SPN"})


@dataclass(frozen=True, slots=True)
class LexicalWord:
    """A word as written and its pronunciations, likeliest first; none if nobody knows how to say it."""

    word: str
    pronunciations: tuple[Phones, ...]
    from_dictionary: bool = False


class Lexicon:
    """Words and phones of one language. One process's instances share espeak: use from one thread."""

    def __init__(self, language: str, dictionary: Path | None = None) -> None:
        """Load the text rules of `language`, and `dictionary` (MFA or CMU format) if given.

        A dictionary's phones and espeak's IPA are different symbols unless it is an IPA dictionary, so a
        dictionary in another alphabet should cover nearly all words.

        Raises:
            ValueError: no text rules for the language.
            AlignError: the dictionary can't be read or holds no entry, or espeak-ng is missing.
        """
        self.language = language
        self._rules = text_rules(language)
        self._espeak = espeak(self._rules.voice)
        self._dictionary = read_dictionary(dictionary) if dictionary is not None else {}
        self._alone: dict[str, Phones] = {}

    def words(self, transcript: str) -> list[str]:
        """Return the words of `transcript` as written, without the punctuation around them."""
        return written_words(transcript, self._rules)

    def pronounce(self, words: Sequence[str]) -> list[list[str]]:
        """Return the phones of each word read by itself; an empty list where there is no pronunciation."""
        self._learn(words)
        return [
            list(self._dictionary[key][0]) if (key := word.lower()) in self._dictionary else list(alone)
            for word, alone in ((word, self._alone[word]) for word in words)
        ]

    def lookup(self, transcript: str) -> list[LexicalWord]:
        """Return every word of `transcript` with all its pronunciations.

        The first is the dictionary's or, without an entry there, that of the word in this sentence.
        """
        return self.lookup_many([transcript])[0]

    def lookup_many(self, transcripts: Sequence[str]) -> list[list[LexicalWord]]:
        """As `lookup`, for many transcripts with few calls of espeak; each comes out as it does alone."""
        texts = [self.words(transcript) for transcript in transcripts]
        self._learn([word for text in texts for word in text])
        sentences = self._in_sentence(texts)
        return [
            [self._entry(word, self._alone[word], phones) for word, phones in zip(text, cut, strict=True)]
            for text, cut in zip(texts, sentences, strict=True)
        ]

    def folded(self, phones: Phones) -> Phones:
        """Return `phones` with those made one that are one to an aligner (`fold` of the text rules)."""
        return tuple(self._rules.fold.get(phone, phone) for phone in phones)

    def phonemes(self, transcript: str) -> str:
        """Return `transcript` in IPA without stress, words apart by spaces; unpronounceable words are left out."""
        entries = self.lookup(transcript)
        return " ".join("".join(e.pronunciations[0]) for e in entries if e.pronunciations)

    def phone_count(self, transcript: str) -> int:
        """Return how many phones the likeliest pronunciation of `transcript` has."""
        return sum(len(e.pronunciations[0]) for e in self.lookup(transcript) if e.pronunciations)

    def _entry(self, word: str, alone: Phones, in_sentence: Phones) -> LexicalWord:
        known = self._dictionary.get(word.lower())
        if known:
            return LexicalWord(word, known, from_dictionary=True)
        if not alone:
            return LexicalWord(word, ())
        further = self._rules.variants.get(word.lower(), ())
        # in this order, and each once
        forms = dict.fromkeys(form for form in (in_sentence, alone, *further) if form)
        return LexicalWord(word, tuple(forms))

    def _learn(self, words: Sequence[str]) -> None:
        """Ask espeak for the words not asked for before, in one call."""
        new = [word for word in dict.fromkeys(words) if word not in self._alone]
        if not new:
            return
        if len(self._alone) + len(new) > _CACHED_WORDS:
            self._alone.clear()
            new = list(dict.fromkeys(words))
        readable = [word for word in new if _readable(word)]
        self._alone.update(dict.fromkeys(new, ()))
        for word, groups in zip(readable, self._espeak.groups(readable), strict=True):
            self._alone[word] = tuple(phone for group in groups for phone in group)

    def _in_sentence(self, texts: Sequence[Sequence[str]]) -> list[list[Phones]]:
        """Return each word's phones as its sentence is read; empty for a word that has none."""
        spoken = [[index for index, word in enumerate(text) if self._alone[word]] for text in texts]
        asked = [number for number, indices in enumerate(spoken) if len(indices) > 1]
        read = self._espeak.groups([" ".join(texts[number][index] for index in spoken[number]) for number in asked])
        found: list[list[Phones]] = [[()] * len(text) for text in texts]
        for number, groups in zip(asked, read, strict=True):
            indices = spoken[number]
            joined = len(groups) != len(indices)
            cut = in_context([self._alone[texts[number][i]] for i in indices], groups) if joined else groups
            for index, phones in zip(indices, cut, strict=True):
                found[number][index] = phones
        return found


def _readable(word: str) -> bool:
    """Say whether espeak can read `word` rather than name its letters in English."""
    return all(is_latin(c) for c in word if c.isalpha())


def read_dictionary(path: Path) -> Mapping[str, tuple[Phones, ...]]:
    """Read a pronunciation dictionary: `word [probabilities] phone phone …` a line, `word(2)` for variants.

    Raises:
        AlignError: the file can't be read or holds no entry.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AlignError(f"{path}: the dictionary can't be read: {error}") from error
    entries: dict[str, dict[Phones, None]] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 2 or line.startswith((";", "#")):
            continue
        phones = fields[1:]
        while len(phones) > 1 and _PROBABILITY.fullmatch(phones[0]):
            phones = phones[1:]
        word = _VARIANT_MARK.sub("", fields[0]).lower()
        if not set(phones) & _SILENCES:
            entries.setdefault(word, {})[tuple(phones)] = None
    if not entries:
        raise AlignError(f"{path}: no dictionary entry found; a line is: word phone phone …")
    return {word: tuple(forms) for word, forms in entries.items()}
