"""The words of a transcript and how each may be pronounced: dictionary, then a G2P model, then espeak-ng."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sift_ray.align.dictionary import MOST_FORMS, Dictionary, Forms, read_dictionary
from sift_ray.align.g2p import Phones, espeak, in_context
from sift_ray.align.g2p_model import G2PModel
from sift_ray.align.spoken import is_no_word, readings
from sift_ray.align.text import LONGEST_WORD, is_latin, text_rules, written_words

__all__ = ["LexicalWord", "Lexicon", "read_dictionary"]

_CACHED_WORDS = 200_000
_LONGEST_SENTENCE = 400
"""Most phones that are laid against their words at once, which is quadratic: a longer sentence is read in pieces."""

_MOST_PHONES = 2000
"""No clip has more: the words of a longer sentence are read by themselves alone."""

_MOST_SHOUTED = 3
_LETTER = re.compile(r"(?<!\S)[A-Z](?!\S)")


@dataclass(frozen=True, slots=True)
class LexicalWord:
    """A word as written and its pronunciations, likeliest first; none if nobody knows how to say it.

    `from_dictionary` says that the dictionary has it; without that, a word is out of a given dictionary's vocabulary.
    """

    word: str
    pronunciations: tuple[Phones, ...]
    from_dictionary: bool = False


@dataclass(frozen=True, slots=True)
class _Said:
    """A word as written, and the texts that it may be read as, likeliest first."""

    word: str
    texts: tuple[str, ...]
    plain: bool
    """Whether it is read as it is written."""

    @property
    def looked_up(self) -> tuple[str, ...]:
        """What to look for in a dictionary."""
        folded = self.word.lower()
        if self.plain:
            return (folded, folded.upper()) if len(folded) == 1 else (folded,)  # a word, or the letter's name
        # as it stands it may be an entry too (dr., 100, %), but initials are none: US is not "us"
        return self.texts if self.word.isupper() else tuple(dict.fromkeys((folded, *self.texts)))


class Lexicon:
    """Words and phones of one language. One process's instances share espeak: use from one thread."""

    def __init__(self, language: str, dictionary: Path | None = None, g2p: Path | None = None) -> None:
        """Load the text rules of `language`, and `dictionary` (MFA or CMU format) and `g2p` (MFA's zip) if given.

        Their phones and espeak's IPA are different symbols unless they are IPA themselves, so a dictionary in
        another alphabet should come with a G2P model or cover nearly all words.

        Raises:
            ValueError: no text rules for the language.
            AlignError: a file can't be read, a dictionary holds no entry, or espeak-ng or pynini is missing.
        """
        self.language = language
        self._rules = text_rules(language)
        self._espeak = espeak(self._rules.voice)
        self.has_dictionary = dictionary is not None
        """Whether a dictionary was given, so that a word may be out of its vocabulary."""
        self._dictionary = Dictionary({} if dictionary is None else read_dictionary(dictionary), self._rules)
        self._g2p = None if g2p is None else G2PModel(g2p)
        self._alone: dict[str, Phones] = {}
        self._respelt: dict[str, str] = {}
        self._guessed: dict[str, Forms] = {}

    def words(self, transcript: str) -> list[str]:
        """Return the words of `transcript` as written, without the punctuation around them."""
        return written_words(transcript, self._rules)

    def pronounce(self, words: Sequence[str]) -> list[list[str]]:
        """Return the likeliest phones of each word by itself; an empty list where there is no pronunciation."""
        said = [self._said([word])[0] for word in words]
        entries = [self._entry(each) for each in said]
        self._learn([text for each, entry in zip(said, entries, strict=True) if not entry for text in each.texts])
        found = [entry or self._by_espeak(each, ()) for each, entry in zip(said, entries, strict=True)]
        return [list(next(iter(entry.pronunciations), ())) for entry in found]

    def lookup(self, transcript: str) -> list[LexicalWord]:
        """Return every word of `transcript` with all its pronunciations.

        The first is the dictionary's, or else the G2P model's, or else that of the word in this sentence.
        """
        return self.lookup_many([transcript])[0]

    def lookup_many(self, transcripts: Sequence[str]) -> list[list[LexicalWord]]:
        """As `lookup`, for many transcripts with few calls of espeak; each comes out as it does alone."""
        texts = [self._said(self.words(transcript)) for transcript in transcripts]
        entries = [[self._entry(said) for said in text] for text in texts]
        asked = [number for number, text in enumerate(entries) if None in text]
        # of the words around one that espeak is asked for, their place in the sentence matters, nothing else
        firsts = [said.texts[0] for number in asked for said in texts[number]]
        others = [
            further
            for number in asked
            for said, entry in zip(texts[number], entries[number], strict=True)
            if entry is None
            for further in said.texts[1:]
        ]
        self._learn([*firsts, *others])
        for number, cut in zip(asked, self._in_sentence([texts[number] for number in asked]), strict=True):
            entries[number] = [
                entry or self._by_espeak(said, phones)
                for said, entry, phones in zip(texts[number], entries[number], cut, strict=True)
            ]
        return [[entry for entry in text if entry is not None] for text in entries]

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

    def _said(self, words: Sequence[str]) -> list[_Said]:
        """Return how the `words` of one transcript are read; one in capitals throughout as if in small letters."""
        # a transcript that is capitals throughout has no abbreviations to be told by them: IT is the word "it"
        shouted = len(words) > _MOST_SHOUTED and not any(c.islower() for word in words for c in word)
        plain = [word if is_no_word(word) else word.lower() for word in words] if shouted else words
        return [
            _Said(word, texts or (as_written,), plain=not texts)
            for word, as_written, texts in zip(words, plain, readings(plain, self.language), strict=True)
        ]

    def _entry(self, said: _Said) -> LexicalWord | None:
        """Return the entry of a word that needs no espeak."""
        if not _short(said.word):
            return LexicalWord(said.word, ())
        likeliest, known = self._known(said)
        if likeliest:
            return LexicalWord(said.word, known, from_dictionary=True)
        if guessed := self._guess(said):
            return LexicalWord(said.word, tuple(dict.fromkeys((*guessed, *known)))[:MOST_FORMS])
        return None

    def _known(self, said: _Said) -> tuple[bool, Forms]:
        """Return what the dictionary has of a word, and whether that is how the word is likeliest read."""
        if not self.has_dictionary:
            return False, ()
        found = {text: self._dictionary.find(text) for text in said.looked_up}
        # 100 or dr. may be entries themselves; a dictionary without "thousand" must not make "1999" its digits
        likeliest = set(said.looked_up) if said.plain else {said.looked_up[0], said.texts[0]}
        if said.word.isupper() and len(said.word) > 2:  # usb, an entry that can be no other word
            likeliest |= {text for text in said.texts if text == said.word.lower()}
        forms = dict.fromkeys(form for forms in found.values() for form in forms)
        return any(found[text] for text in likeliest), tuple(forms)[:MOST_FORMS]

    def _guess(self, said: _Said) -> Forms:
        """Ask the G2P model for what the dictionary doesn't have of a word."""
        if self._g2p is None:
            return ()
        texts = said.looked_up if said.plain else said.texts
        found = (form for text in texts for form in self._dictionary.find(text, self._by_model))
        return tuple(dict.fromkeys(found))[:MOST_FORMS]

    def _by_model(self, word: str) -> Forms:
        assert self._g2p is not None
        if word not in self._guessed:
            if len(self._guessed) >= _CACHED_WORDS:
                self._guessed.clear()
            self._guessed[word] = tuple(self._g2p.pronounce([word])[0])
        return self._guessed[word]

    def _by_espeak(self, said: _Said, in_sentence: Phones) -> LexicalWord:
        alone = [self._alone[text] for text in said.texts]
        if not alone[0]:
            return LexicalWord(said.word, ())
        further = (*self._rules.variants.get(said.word.lower(), ()), *self._known(said)[1])
        # in this order, and each once
        forms = dict.fromkeys(form for form in (in_sentence, *alone, *further) if form)
        return LexicalWord(said.word, tuple(forms)[:MOST_FORMS])

    def _for_espeak(self, text: str) -> str:
        """Return `text` as espeak takes it: without what its voice would read wrongly."""
        for pattern, better in self._rules.respell:
            text = pattern.sub(better, text)
        names = self._rules.abbreviations.letter_names
        return _LETTER.sub(lambda letter: names.get(letter[0], letter[0]), text) if names and " " in text else text

    def _learn(self, texts: Sequence[str]) -> None:
        """Ask espeak for the texts not asked for before, in one call."""
        new = [text for text in dict.fromkeys(texts) if text not in self._alone]
        if not new:
            return
        if len(self._alone) + len(new) > _CACHED_WORDS:
            self._alone.clear()
            self._respelt.clear()
            new = list(dict.fromkeys(texts))
        readable = [text for text in new if _readable(text)]
        self._alone.update(dict.fromkeys(new, ()))
        self._respelt.update((text, self._for_espeak(text)) for text in readable)
        asked = [self._respelt[text] for text in readable]
        for text, groups in zip(readable, self._espeak.groups(asked), strict=True):
            self._alone[text] = tuple(phone for group in groups for phone in group)

    def _in_sentence(self, texts: Sequence[Sequence[_Said]]) -> list[list[Phones]]:
        """Return each word's phones as its sentence is read; empty for a word that has none."""
        asked = [(n, piece) for n, text in enumerate(texts) for piece in self._pieces(text) if len(piece) > 1]
        sentences = [" ".join(self._respelt[texts[n][index].texts[0]] for index in piece) for n, piece in asked]
        found: list[list[Phones]] = [[()] * len(text) for text in texts]
        for (number, indices), groups in zip(asked, self._espeak.groups(sentences), strict=True):
            firsts = [texts[number][index].texts[0] for index in indices]
            joined = len(groups) != len(indices) or any(" " in text for text in firsts)
            cut = in_context([self._alone[text] for text in firsts], groups) if joined else groups
            for index, phones in zip(indices, cut, strict=True):
                found[number][index] = phones
        return found

    def _pieces(self, text: Sequence[_Said]) -> list[list[int]]:
        """Return the places of a sentence's words that have phones, cut into pieces of `_LONGEST_SENTENCE` phones."""
        lengths = [len(self._alone[said.texts[0]]) for said in text]
        if sum(lengths) > _MOST_PHONES:
            return []
        pieces: list[list[int]] = [[]]
        length = 0
        for index, phones in enumerate(lengths):
            if pieces[-1] and length + phones > _LONGEST_SENTENCE:
                pieces.append([])
                length = 0
            if phones:
                pieces[-1].append(index)
                length += phones
        return pieces


def _readable(text: str) -> bool:
    """Say whether espeak can read `text` rather than name its letters in English, or overflow."""
    return all(is_latin(c) for c in text if c.isalpha()) and all(map(_short, text.split()))


def _short(word: str) -> bool:
    return len(word) <= LONGEST_WORD // 4 or len(word.encode(errors="replace")) <= LONGEST_WORD
