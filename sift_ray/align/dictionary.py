"""Pronunciation dictionaries: files in MFA's and CMU's format, and finding the words of a text in them.

A dictionary holds a word in one of its shapes. A word is looked for as it is written, then in its parts
(l'eau, well-known, dog's) and other spellings (Strasse, oeuvre) by the language's part of `text_rules.yaml`.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from sift_ray.align.g2p import Phones
from sift_ray.align.protocol import AlignError
from sift_ray.align.text import APOSTROPHE, TextRules, normalise

MOST_FORMS = 8
"""Most pronunciations of one word."""

LEAST_LIKELY = 0.01
"""A pronunciation less probable than this share of the word's likeliest is left out."""

_CACHED_WORDS = 200_000
_MOST_CUTS = 4
"""How often a word is cut into parts, and they again, when it is looked for: d'l'air's twice."""

_VARIANT_MARK = re.compile(r"\(\d+\)$")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+")
_NUMBER_THEN_SPACE = re.compile(r"^\S+\s+[\d.eE+-]+ ", re.MULTILINE)
_MARKED_WORD = re.compile(r"<.*>|\[.*\]|\{.*\}|!sil|sil|sp|spn", re.IGNORECASE)
_SILENCES = frozenset({"sil", "sp", "spn", "nsn", "SIL", "SP", "SPN", "NSN"})

Forms = tuple[Phones, ...]
Guess = Callable[[str], Forms]


class Dictionary:
    """The entries of a dictionary, and words found in them by the rules of a language."""

    def __init__(self, entries: Mapping[str, Forms], rules: TextRules) -> None:
        """Take `entries` as `read_dictionary` returns them."""
        self._entries = entries
        self._rules = rules
        self._found: dict[str, Forms] = {}
        self.phones = frozenset(phone for forms in entries.values() for phones in forms for phone in phones)
        self._plain: dict[str, list[str]] = {}
        if rules.accents_dropped:
            for word in entries:
                if not word.isascii():
                    self._plain.setdefault(_without_accents(word), []).append(word)

    def find(self, text: str, guess: Guess | None = None) -> Forms:
        """Return the pronunciations of `text`, which is one word or several parted by spaces.

        Args:
            text: what is said; a single capital is the name of a letter.
            guess: asked for a part that the dictionary doesn't have.

        Returns:
            At most `MOST_FORMS` forms, likeliest first; empty if a part of it is not found.
        """
        if guess is not None:
            return self._sequence(text.split(), guess)
        if text not in self._found:
            if len(self._found) >= _CACHED_WORDS:
                self._found.clear()
            self._found[text] = self._sequence(text.split(), None)
        return self._found[text]

    def _sequence(self, words: Iterable[str], guess: Guess | None, cuts: int = _MOST_CUTS) -> Forms:
        """Return the forms of `words` said one after the other; empty unless all are found."""
        parts = []
        for word in words:
            forms = self._word(word, guess, cuts)
            if not forms:
                return ()
            parts.append(forms)
        return _joined(parts)

    def _word(self, word: str, guess: Guess | None, cuts: int) -> Forms:
        key = _key(word)
        if len(word) == 1 and word.isupper():  # the letter's name, which is no G2P model's business
            return self._entries.get(f"{key}.") or self._entries.get(key, ())
        bare = key.strip(APOSTROPHE)
        for spelling in (key, bare, f"{bare}."):
            if forms := self._entries.get(spelling):
                return forms
        found = self._other_spelling(bare)
        if not found and cuts:
            found = (
                self._ended(bare, guess, cuts - 1)
                or self._elided(bare, guess, cuts - 1)
                or self._hyphenated(bare, guess, cuts - 1)
            )
        return found or (guess(key) if guess else ())

    def _other_spelling(self, word: str) -> Forms:
        spellings = {word: None}
        for old, new in self._rules.spellings:
            spellings |= {known.replace(old, new): None for known in spellings if old in known}
        for spelling in spellings:
            if forms := self._entries.get(spelling):
                return forms
        alike = (self._entries[entry] for entry in self._plain.get(word, ()))
        return tuple(dict.fromkeys(form for forms in alike for form in forms))[:MOST_FORMS]

    def _ended(self, word: str, guess: Guess | None, cuts: int) -> Forms:
        """dog's: the word and an ending whose sound depends on the word's last phone."""
        for written, sounds in self._rules.endings.items():
            stem = word.removesuffix(written)
            if stem in ("", word):
                continue
            found = []
            for phones in self._word(stem, guess, cuts):
                sound = next((s for s in sounds if not s.after or phones[-1] in s.after), None)
                ending = sound and next((form for form in sound.say if self.phones.issuperset(form)), None)
                if ending:
                    found.append((*phones, *ending))
            return tuple(found)
        return ()

    def _elided(self, word: str, guess: Guess | None, cuts: int) -> Forms:
        """l'eau: a word that lost its vowel before the apostrophe, and a word."""
        head, mark, rest = word.partition(APOSTROPHE)
        if not mark or not head or not rest:
            return ()
        before = self._entries.get(head + mark, ())
        if not before and head in self._rules.elided:
            whole = self._entries.get(self._rules.elided[head], ())
            before = tuple(dict.fromkeys(phones[:-1] if len(phones) > 1 else phones for phones in whole))
        if not before:
            return ()
        behind = self._word(rest, guess, cuts)
        return _joined([before, behind]) if behind else ()

    def _hyphenated(self, word: str, guess: Guess | None, cuts: int) -> Forms:
        parts = [part for part in word.split("-") if part]
        return self._sequence(parts, guess, cuts) if len(parts) > 1 else ()


def _joined(parts: list[Forms]) -> Forms:
    """Return the forms of parts said one after the other, those of the likeliest parts first."""
    if len(parts) == 1:
        return parts[0]
    ways = itertools.islice(itertools.product(*parts), MOST_FORMS)
    return tuple(dict.fromkeys(tuple(itertools.chain.from_iterable(way)) for way in ways))


def _key(word: str) -> str:
    word = word.lower()
    return word if word.isascii() and "`" not in word else normalise(word)


def _without_accents(word: str) -> str:
    decomposed = unicodedata.normalize("NFD", word)
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")


def read_dictionary(path: Path) -> dict[str, Forms]:
    """Read the pronunciations of a dictionary in MFA's or CMU's format (see `dictionary_lines`).

    Forms come likeliest first where all forms of the word have a probability, else in the file's order.

    Returns:
        Lower-case NFC words and their forms, `MOST_FORMS` at most, none below `LEAST_LIKELY`.

    Raises:
        AlignError: the file can't be read, a line is no entry, or there is no entry at all.
    """
    entries: dict[str, dict[Phones, float | None]] = {}
    for word, probabilities, phones in dictionary_lines(path):
        entries.setdefault(word, {}).setdefault(phones, probabilities[0] if probabilities else None)
    if not entries:
        raise AlignError(f"{path}: no dictionary entry found; a line is: word phone phone …")
    return {word: _likely(forms) for word, forms in entries.items()}


def dictionary_lines(path: Path) -> Iterator[tuple[str, tuple[float, ...], Phones]]:
    """Read the entries of a dictionary: `word [probabilities] phone phone …` a line, `word(2)` for variants.

    MFA's up to four columns of probabilities, parted by tabs or spaces, are told from phones that are digits:
    behind a tab, a column that is a number is one; between spaces, a whole number is a phone where the file has
    whole numbers among its phones. Words in brackets and those of silence and noise are left out.

    Yields:
        The word (lower case, NFC), its probabilities as they stand (0 to 4) and its phones.

    Raises:
        AlignError: the file can't be read or a line is no entry.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AlignError(f"{path}: the dictionary can't be read: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    lines = [(number, line) for number, line in lines if not line.startswith((";;;", "; ", "# ", "##"))]
    doubtful = _NUMBER_THEN_SPACE.search(text) is not None
    digits_are_phones = doubtful and any(_has_digit_phone(line.split()[1:]) for _, line in lines)
    for number, line in lines:
        word, *rest = line.split(maxsplit=1)
        probabilities, phones = _pronunciation(line[line.index(word) + len(word) :], digits_are_phones)
        if not rest or not phones:
            raise AlignError(f"{path}, line {number}: {word!r} has no phones; a line is: word phone phone …")
        if not _MARKED_WORD.fullmatch(word) and _SILENCES.isdisjoint(phones):
            yield _key(_VARIANT_MARK.sub("", word)), probabilities, phones


def _has_digit_phone(fields: list[str]) -> bool:
    """Say whether a whole number stands behind a phone, where no probability can be."""
    behind = itertools.dropwhile(_NUMBER.fullmatch, fields)
    return any(field.isdigit() for field in itertools.takewhile(lambda field: not field.startswith("#"), behind))


def _pronunciation(text: str, digits_are_phones: bool) -> tuple[tuple[float, ...], Phones]:
    """Cut what follows the word into the pronunciation's probabilities and its phones."""
    columns = [column.strip() for column in text.split("\t") if column.strip()]
    if "\t" in text and columns and _NUMBER.fullmatch(columns[-1]) and not columns[-1].isdigit():
        return (), ()  # a probability and no phones behind it
    probabilities: list[float] = []
    while len(columns) > 1 and len(probabilities) < 4 and _NUMBER.fullmatch(columns[0]):
        probabilities.append(float(columns.pop(0)))
    phones = " ".join(columns).split()
    if not probabilities:
        leading = list(itertools.takewhile(_NUMBER.fullmatch, phones[:-1]))[:4]
        while leading and digits_are_phones and leading[-1].isdigit():
            leading.pop()
        probabilities, phones = [float(number) for number in leading], phones[len(leading) :]
    if "#" in text:  # CMU's remarks
        phones = list(itertools.takewhile(lambda phone: not phone.startswith("#"), phones))
    return tuple(probabilities), tuple(phones)


def _likely(forms: Mapping[Phones, float | None]) -> Forms:
    if len(forms) == 1:
        return tuple(forms)
    known = {phones: probability for phones, probability in forms.items() if probability is not None}
    if len(known) < len(forms):
        return tuple(forms)[:MOST_FORMS]
    best = max(known.values())
    ranked = sorted(known, key=lambda phones: -known[phones])  # stable: the file's order among equals
    return tuple(phones for phones in ranked if known[phones] >= LEAST_LIKELY * best)[:MOST_FORMS]
