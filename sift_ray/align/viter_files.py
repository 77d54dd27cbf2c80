"""A trained viter model as a folder of files: written whole or not at all, checked when read.

model.viter      viter's own file
phones.npz       the phone classifier of `phone_model`
model.json       what the aligner must know: language, recipe, phones, whether it hears echoes
dict.txt         every training word as pronounced, for a person
dictionary.txt   the dictionary given by the user, when one was
g2p.zip          the G2P model given by the user, when one was
report.json      how training went, for a person
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from sift_ray.align.g2p import Phones
from sift_ray.align.inventory import Inventory
from sift_ray.align.phone_model import SILENCE, PhoneModel
from sift_ray.align.protocol import AlignError

FORMAT: Final = 2
SILENT_WORD: Final = "padx"
MODEL, PHONES, FACTS = "model.viter", "phones.npz", "model.json"
DICTIONARY, G2P = "dictionary.txt", "g2p.zip"
REPORT, SPOKEN = "report.json", "dict.txt"

PAUSE_PROBABILITY: Final = 0.05
"""Of a pause after a word. The 0.5 that viter takes by itself makes a pause of the closure of every stop that begins a
word (in Spanish synthetic speech, [k] was laid 40 ms late), and of breathy vowels in noise. A true pause lasts many
frames and needs no such help."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model's folder, read and checked; viter itself loads `model`.

    A model that `hears_echoes` was trained on clips as they are, elsewhere; others are to be given clips
    `without_echoes`.
    """

    language: str
    recipe: str
    inventory: Inventory
    phone_model: PhoneModel
    hears_echoes: bool
    model: Path
    dictionary: Path | None
    g2p: Path | None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the folder that `train_model` wrote.

        Raises:
            AlignError: a file is missing or damaged, or is of another version; the message names it.
        """
        path = folder / FACTS
        try:
            facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if facts["format"] != FORMAT:
                raise AlignError(f"{path}: format {facts['format']}, but this version reads {FORMAT}; train it anew")
            language, recipe, phones = facts["language"], facts["recipe"], facts["phones"]
            hears_echoes = bool(facts["hears_echoes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AlignError(f"{path}: not the description of an alignment model: {error!r}") from error
        model, dictionary, g2p = folder / MODEL, folder / DICTIONARY, folder / G2P
        if not model.is_file():
            raise AlignError(f"{model}: the model is missing; train it anew")
        return cls(
            language=language,
            recipe=recipe,
            inventory=Inventory(phones),
            phone_model=PhoneModel.load(folder / PHONES),
            hears_echoes=hears_echoes,
            model=model,
            dictionary=dictionary if dictionary.is_file() else None,
            g2p=g2p if g2p.is_file() else None,
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` for reading by a person too."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


class TokenDictionary:
    """Neutral words for viter: one token for each set of pronunciations.

    viter folds case and strips punctuation from words; tokens that hold nothing to fold keep ours one to one,
    and let the same spelling be pronounced as its own sentence has it.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._tokens: dict[tuple[Phones, ...], str] = {}

    def token(self, pronunciations: tuple[Phones, ...]) -> str:
        """Return the token that stands for `pronunciations`."""
        return self._tokens.setdefault(pronunciations, f"w{len(self._tokens)}x")

    def line(self, words: Iterable[tuple[Phones, ...]]) -> str:
        """Return what viter is given for an utterance of `words`, each its pronunciations.

        Clips are padded, so silence at both ends is certain: it is written out as a word of its own.
        """
        return " ".join([SILENT_WORD, *(self.token(word) for word in words), SILENT_WORD])

    def write(self, path: Path) -> None:
        """Write a dictionary in MFA's format: token, probability, that of a pause after it, phones."""
        path.write_text(
            "".join(
                f"{token} 1.0 {PAUSE_PROBABILITY} {' '.join(phones)}\n"
                for forms, token in [(((SILENCE,),), SILENT_WORD), *self._tokens.items()]
                for phones in forms
            ),
            encoding="utf-8",
        )


def write_spoken(path: Path, entries: Iterable[tuple[str, tuple[Phones, ...]]]) -> None:
    """Write words and their pronunciations in MFA's format, each once, sorted."""
    lines = {f"{word.lower()}\t{' '.join(phones)}\n" for word, forms in entries for phones in forms}
    path.write_text("".join(sorted(lines)), encoding="utf-8")
