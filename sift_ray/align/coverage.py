"""How many words of some clips a model's phones can tell, and by what they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sift_ray.align.inventory import Inventory
from sift_ray.align.lexicon import Lexicon
from sift_ray.align.protocol import AlignError
from sift_ray.align.transcripts import MOST_UNPRONOUNCEABLE, spoken_word

_SHOWN = 15  # phones in a message


class Coverage:
    """Counts words as transcripts come.

    Attributes:
        words: how many were counted, as often as they occur.
        unsaid: those without a pronunciation in the model's phones, in lower case.
        not_listed: those that the dictionary lacks, in lower case.
        foreign: the phones of their pronunciations that the model lacks.
    """

    def __init__(self, lexicon: Lexicon, inventory: Inventory) -> None:
        """Count nothing yet."""
        self._lexicon, self._inventory = lexicon, inventory
        self.words = 0
        self.unsaid: Counter[str] = Counter()
        self.not_listed: Counter[str] = Counter()
        self.foreign: set[str] = set()
        self._untold = 0  # those that have a pronunciation, but none in the model's phones

    def count(self, transcripts: Sequence[str]) -> None:
        """Count the words of `transcripts`."""
        for entry in (entry for entries in self._lexicon.lookup_many(transcripts) for entry in entries):
            # as alignment has them
            forms = spoken_word(entry, self._lexicon, None).pronunciations
            self.words += 1
            self.foreign |= {phone for phones in forms for phone in phones} - set(self._inventory.phones)
            if not entry.from_dictionary:
                self.not_listed[entry.word.lower()] += 1
            if not spoken_word(entry, self._lexicon, self._inventory).pronunciations:
                self.unsaid[entry.word.lower()] += 1
                self._untold += bool(forms)

    def check(self, source: Path) -> None:
        """Refuse phones that tell too little; a word that nobody can say (another script) tells nothing about them.

        Raises:
            AlignError: more than a third of the words that can be said have no pronunciation in the model's phones.
        """
        sayable = self.words - self.unsaid.total() + self._untold
        if self._untold <= MOST_UNPRONOUNCEABLE * sayable:
            return
        without = [phone for phone in sorted(self.foreign) if self._inventory.stand_in(phone) is None]
        raise AlignError(
            f"{source}: {self._untold} of {sayable} words of the clips have no pronunciation in the model's phones, "
            f"{_few(self._inventory.phones)}: nothing there stands for {_few(without)}; "
            "a dictionary in the model's phones is needed"
        )


def _few(phones: Iterable[str]) -> str:
    listed = list(phones)
    return " ".join(listed[:_SHOWN]) + (f" … ({len(listed)})" if len(listed) > _SHOWN else "")
