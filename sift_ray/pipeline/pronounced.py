"""What the lexicon says of a transcript: its phones, and the words that it does not know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from sift_ray.align.lexicon import LexicalWord, Lexicon


@dataclass(frozen=True, slots=True)
class Pronounced:
    """One transcript as its likeliest pronunciation has it.

    Attributes:
        phonemes: IPA, words apart by spaces, unpronounceable words left out; None: there are no others.
        phones: how many phones that are.
        oov_words: words that the dictionary lacks; None: no dictionary is given.
        unpronounced_words: words that nothing can pronounce.
    """

    phonemes: str | None
    phones: int
    oov_words: int | None
    unpronounced_words: int

    @classmethod
    def of(cls, words: Sequence[LexicalWord], *, has_dictionary: bool) -> Self:
        """Sum up the words of one transcript as looked up."""
        said = [word.pronunciations[0] for word in words if word.pronunciations]
        return cls(
            phonemes=" ".join("".join(phones) for phones in said) or None,
            phones=sum(len(phones) for phones in said),
            oov_words=sum(not word.from_dictionary for word in words) if has_dictionary else None,
            unpronounced_words=len(words) - len(said),
        )


def pronounced(lexicon: Lexicon, transcripts: Iterable[str]) -> dict[str, Pronounced]:
    """Return what `lexicon` says of each different transcript, asking it once for all of them."""
    texts = list(dict.fromkeys(transcripts))
    looked_up = lexicon.lookup_many(texts)
    return {
        text: Pronounced.of(words, has_dictionary=lexicon.has_dictionary)
        for text, words in zip(texts, looked_up, strict=True)
    }
