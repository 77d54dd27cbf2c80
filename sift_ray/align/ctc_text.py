"""The tokens of a CTC checkpoint, and how a word is told in them: by its letters, or by its phones."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sift_ray.align.protocol import AlignError
from sift_ray.align.text import APOSTROPHE

Tokens = tuple[int, ...]

_DELIMITER: Final = "|"
_SPECIAL: Final = re.compile(r"<.+>|\[.+\]")  # what transformers and its users call tokens that are no text
_PHONEME_TOKENIZER: Final = "Wav2Vec2PhonemeCTCTokenizer"
_IPA_LETTERS: Final = re.compile("[\u0250-\u02af]")  # the block IPA Extensions: no letter of our languages
_FEWEST_IPA_TOKENS: Final = 5
_LEFT_OUT: Final = frozenset(f"-.,:{APOSTROPHE}")  # not said, so left out where the checkpoint does not write them
_LIGATURES: Final = {"œ": "oe", "æ": "ae", "ß": "ss"}


@dataclass(frozen=True, slots=True)
class CtcVocabulary:
    """What a checkpoint's outputs mean.

    Attributes:
        tokens: letters, or phones in IPA, to their number; without blank, delimiter and other special ones.
        blank: number of the blank.
        delimiter: number of what stands between words; None if the checkpoint has no such token.
        phonetic: whether `tokens` are phones.
    """

    tokens: Mapping[str, int]
    blank: int
    delimiter: int | None
    phonetic: bool

    @classmethod
    def read(cls, folder: Path, blank: int, size: int) -> CtcVocabulary:
        """Read the vocabulary of the checkpoint in `folder`, whose outputs are `size`, number `blank` the blank.

        Raises:
            AlignError: there is no vocabulary, or not one that fits.
        """
        document = _json(folder / "vocab.json")
        if document is None:
            raise AlignError(f"{folder}: holds no vocab.json; name a checkpoint whose tokens are letters or phones")
        nested = [part for part in document.values() if isinstance(part, dict)]
        if len(nested) > 1:
            raise AlignError(
                f"{folder}: its vocab.json holds a vocabulary for each of {len(nested)} languages; such a checkpoint "
                "with adapters does not serve, name one of a single language"
            )
        document = nested[0] if nested else document
        document |= _json(folder / "added_tokens.json") or {}
        numbers = {
            str(token): number for token, number in document.items() if isinstance(number, int) and 0 <= number < size
        }
        settings = _json(folder / "tokenizer_config.json") or {}
        named = settings.get("word_delimiter_token", _DELIMITER)
        delimiter = next((numbers[token] for token in (named, _DELIMITER, " ") if token in numbers), None)
        tokens = {
            # of two ways to write one letter in Unicode the shorter
            unicodedata.normalize("NFC", token): number
            for token, number in numbers.items()
            if number not in (blank, delimiter) and token.strip() and not _SPECIAL.fullmatch(token)
        }
        if not 0 <= blank < size or not tokens:
            raise AlignError(f"{folder}: {len(tokens)} tokens in vocab.json, {size} outputs, blank {blank}: do not fit")
        ipa = sum(bool(_IPA_LETTERS.search(token)) for token in tokens)
        phonetic = settings.get("tokenizer_class") == _PHONEME_TOKENIZER or ipa >= _FEWEST_IPA_TOKENS
        return cls(tokens, blank, delimiter, phonetic)

    def spell(self, word: str, readings: Sequence[str] = ()) -> Tokens:
        """Return `word` in tokens of letters; none if it can't be written in them.

        A letter is taken as it is written, else in the other case, else without its accent. What is read otherwise than
        it is written (1984, Dr.) is spelled as in the first of its `readings` that can be; with digits of its own the
        checkpoint writes numbers as they are. Initials are what they are written as.
        """
        written = self._letters(word)
        if written and any(c.isdigit() for c in word):
            return written
        between = () if self.delimiter is None else (self.delimiter,)
        own = _bare(word)
        for reading in readings:
            parts = [self._letters(part) for part in reading.split()]
            if _bare(reading) != own and parts and all(parts):
                return tuple(number for part in parts for number in (*between, *part))[len(between) :]
        return written

    def _letters(self, word: str) -> Tokens:
        found: list[int] = []
        for character in unicodedata.normalize("NFC", word):
            numbers = self._character(character)
            if numbers is None:
                return ()
            found += numbers
        return tuple(found)

    def _character(self, character: str) -> Tokens | None:
        """Return the tokens of one character; None if it has none and must not be left out."""
        plain = _LIGATURES.get(character.lower()) or "".join(
            c for c in unicodedata.normalize("NFD", character) if not unicodedata.combining(c)
        )
        for form in (character, plain):
            for text in (form, form.lower(), form.upper()):
                if text and all(c in self.tokens for c in text):
                    return tuple(self.tokens[c] for c in text)
        return () if character in _LEFT_OUT or unicodedata.combining(character) else None


def _bare(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file of JSON, None where there is no file."""
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AlignError(f"{path}: can't be read: {error}") from error
    if not isinstance(document, dict):
        raise AlignError(f"{path}: holds no object of JSON")
    return document
