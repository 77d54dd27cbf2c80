"""How the corpora's words for gender, age, accent, text and split become the schema's."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from sift_ray.schema import AGES, SPLITS

_GENDERS = {
    "f": "female",
    "female": "female",
    "female_feminine": "female",  # Common Voice from 17.0
    "m": "male",
    "male": "male",
    "male_masculine": "male",
}
_AGE_SPELLINGS = {"fourties": "forties"}  # Common Voice's own
_SPLITS = {"train": "train", "dev": "dev", "test": "test", "validation": "dev", "valid": "dev", "val": "dev"}
# up to U+024F all letters are Latin but µ, which is a letter without LATIN in its name
_NOT_SURELY_LATIN = re.compile("[^\x00-\xb4\xb6-\u024f]")
_UNKNOWN = frozenset(("", "na", "n/a", "nan", "none", "null", "unknown"))
_LANGUAGES = {
    **dict.fromkeys(("en", "eng", "english"), "en"),
    **dict.fromkeys(("de", "deu", "ger", "german"), "de"),
    **dict.fromkeys(("fr", "fra", "fre", "french"), "fr"),
    **dict.fromkeys(("it", "ita", "italian"), "it"),
    **dict.fromkeys(("es", "spa", "spanish"), "es"),
}


def gender_of(text: str | None) -> str | None:
    """Return female or male; everything else (other, do_not_wish_to_say, empty) is unknown."""
    return _GENDERS.get((text or "").strip().lower())


def gender_withheld(text: str | None) -> bool:
    """Whether a speaker declined to say a gender, or said one that is neither female nor male: none may be guessed."""
    return gender_of(text) is None and known(text) is not None


def agreed_gender(one: str, other: str) -> str:
    """Return the word that two for one speaker's gender come to: one that withholds it, else none if they differ."""
    for word in (one, other):
        if gender_withheld(word):
            return word
    return one if gender_of(one) == gender_of(other) else ""


def age_of(text: str | None) -> str | None:
    """Return the decade group of a label ("fourties") or of a number of years ("41"); else None.

    Years below 13 have no label in the reference's categories and stay unknown.
    """
    label = (text or "").strip().lower()
    number = label.removesuffix(".0")  # (a table's column of numbers with gaps is one of floats)
    if number.isascii() and number.isdigit():
        years = int(number)
        return AGES[years // 10 - 1] if 13 <= years <= 99 else None
    label = _AGE_SPELLINGS.get(label, label)
    return label if label in AGES else None


def known(text: str | None) -> str | None:
    """Return the text, or None for what tables write where nothing is known ("NA", "nan", "unknown")."""
    return None if (text or "").strip().lower() in _UNKNOWN else text


def text_of(text: str | None) -> str | None:
    """Return the text in NFC with runs of whitespace as one space, or None when nothing is left."""
    return " ".join(unicodedata.normalize("NFC", text or "").split()) or None


def language_of(text: str) -> str | None:
    """Return the code of one of the five languages for an English name or an ISO 639 code, else None.

    A region or variety may follow: `en-US`, `de_DE`, `English-Nigeria`.
    """
    return _LANGUAGES.get(re.split("[-_]", text.strip().lower(), maxsplit=1)[0])


def split_of(text: str) -> str | None:
    """Return the schema's split for a corpus's name of one ("validation" is dev), or None."""
    return _SPLITS.get(text.strip().lower())


def split_by_speaker(speaker_id: str | None, utterance_id: str, *, dev: float = 0.05, test: float = 0.05) -> str:
    """Return a split that depends on the speaker alone, so that no speaker stands in two.

    An utterance without a speaker is its own speaker. The hash (BLAKE2b, 64 bits) is stable across
    machines and Python versions.

    Args:
        speaker_id: The corpus's speaker id, or None.
        utterance_id: Used when there is no speaker.
        dev: Share of the speakers in dev.
        test: Share of the speakers in test.
    """
    key = f"utterance:{utterance_id}" if speaker_id is None else f"speaker:{speaker_id}"
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    train, dev_name, test_name = SPLITS
    if place < test:
        return test_name
    return dev_name if place < test + dev else train


def foreign_share(text: str) -> float:
    """Return the share, 0 to 1, of the text's letters that are not Latin; 0 for a text without letters."""
    if _NOT_SURELY_LATIN.search(text) is None:
        return 0.0
    letters = [c for c in text if c.isalpha()]
    foreign = sum(not c.isascii() and not _is_latin(c) for c in letters)
    return foreign / len(letters) if letters else 0.0


def _is_latin(letter: str) -> bool:
    # the ordinal signs of Spanish and Italian (1ª, 2º) are letters without LATIN in their names
    return letter in "ªº" or unicodedata.name(letter, "").startswith("LATIN")


def is_language_code(text: str) -> bool:
    """Whether the text could be an ISO 639 code, in lower case, of any language."""
    return len(text) in (2, 3) and text.isascii() and text.isalpha() and text != "und"


def one_line(text: str) -> str:
    """Return the text with its lines joined by spaces: what libraries say of an error often spans several."""
    return " ".join(part for line in text.splitlines() if (part := line.strip()))


def damaged(text: str) -> bool:
    """Return whether the text holds bytes that were not UTF-8 (kept as lone surrogates)."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def printable(text: str) -> str:
    """Return the text with every byte that was not UTF-8 as U+FFFD."""
    if not damaged(text):
        return text
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
