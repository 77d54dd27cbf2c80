"""From a transcript to what a model can align: tokens for words, and reasons where there is nothing to align."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sift_ray.align.g2p import Phones
from sift_ray.align.inventory import Inventory
from sift_ray.align.lexicon import LexicalWord, Lexicon
from sift_ray.align.protocol import AlignmentFailure
from sift_ray.align.text import LONGEST_WORD, letters_in_script

MOST_UNPRONOUNCEABLE: Final = 1 / 3
"""Greatest share of a transcript's words that may have no pronunciation."""

MOST_PHONES_PER_SECOND: Final = 35.0
"""More than this nobody says: fast speech has 20 to 25."""

MOST_WORDS_PER_SECOND: Final = 25.0
"""More words nobody says: the fastest speech has 10, and a word that is counted may be a sign by itself."""

MOST_LETTERS_PER_SECOND: Final = 100.0
"""Letters and digits; French spells a phone with up to three letters."""


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word and its pronunciations in the model's phones; none if it can't be pronounced."""

    word: str
    pronunciations: tuple[Phones, ...]


def prepare(
    lexicon: Lexicon, inventory: Inventory | None, transcripts: Sequence[str], durations_s: Sequence[float]
) -> list[list[SpokenWord] | AlignmentFailure]:
    """Return the words of each transcript, or why it can't be aligned to a clip of its duration.

    With an `inventory`, pronunciations are told in its phones.
    """
    refused = [_too_much(text, duration) for text, duration in zip(transcripts, durations_s, strict=True)]
    looked_up = iter(lexicon.lookup_many([text for text, no in zip(transcripts, refused, strict=True) if not no]))
    return [
        no or _check(text, [spoken_word(word, lexicon, inventory) for word in next(looked_up)], duration)
        for text, no, duration in zip(transcripts, refused, durations_s, strict=True)
    ]


def _too_much(transcript: str, duration_s: float) -> AlignmentFailure | None:
    """Refuse what is too long by its letters alone, before they are looked up, which takes time."""
    words = len(transcript.split())
    signs = sum(map(str.isalnum, transcript))
    if words <= MOST_WORDS_PER_SECOND * duration_s + 1 and signs <= MOST_LETTERS_PER_SECOND * duration_s + LONGEST_WORD:
        return None
    return AlignmentFailure(
        "transcript_too_long",
        f"{words} words of {signs} letters can't be said in {duration_s:.2f} s; is it this clip's text?",
    )


def spoken_word(word: LexicalWord, lexicon: Lexicon, inventory: Inventory | None) -> SpokenWord:
    """Return `word` in the phones of `inventory`, or in its own without one.

    Phones of a dictionary are left as they are: it tells them apart, and so may a model that goes with it.
    """
    fold = (lambda phones: phones) if word.from_dictionary else lexicon.folded
    forms = [fold(phones) for phones in word.pronunciations]
    if inventory is not None:
        forms = [own for phones in forms if (own := inventory.translate(phones)) is not None]
    return SpokenWord(word.word, tuple(dict.fromkeys(forms)))


def _check(transcript: str, words: list[SpokenWord], duration_s: float) -> list[SpokenWord] | AlignmentFailure:
    if not transcript.strip():
        return AlignmentFailure("empty_transcript", "the transcript is empty")
    if not words:
        return AlignmentFailure("no_words", f"nothing in {transcript[:60]!r} is a word")
    latin, letters = letters_in_script(transcript)
    if letters and latin < letters / 2:
        return AlignmentFailure("other_script", f"{letters - latin} of {letters} letters are not Latin")
    silent = [word.word for word in words if not word.pronunciations]
    if len(silent) == len(words) or len(silent) > MOST_UNPRONOUNCEABLE * len(words):
        return AlignmentFailure(
            "unpronounceable",
            f"{len(silent)} of {len(words)} words have no pronunciation: {', '.join(silent[:5])[:80]}",
        )
    phones = sum(min(map(len, word.pronunciations)) for word in words if word.pronunciations)
    if phones > MOST_PHONES_PER_SECOND * duration_s:
        return AlignmentFailure(
            "transcript_too_long", f"{phones} phones can't be said in {duration_s:.2f} s; is it this clip's text?"
        )
    return words
