"""Abbreviations of a language, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

_DAY = re.compile(r"\d{1,2}\.")


@dataclass(frozen=True, slots=True)
class Abbreviations:
    """One language's part of `abbreviations.yaml`, which says what the fields hold."""

    anywhere: Mapping[str, tuple[str, ...]]
    before_number: Mapping[str, str]
    beside_number: Mapping[str, str]
    before_capital: Mapping[str, str]
    words: frozenset[str]
    pairs: Mapping[str, tuple[str, str]]
    ordinal_after: frozenset[str]
    ordinal_before: frozenset[str]
    letter_names: Mapping[str, str]
    inner: re.Pattern[str] | None

    def readings(self, word: str, before: str = "", after: str = "") -> tuple[str, ...]:
        """Return what the abbreviation `word` stands for between its neighbours; empty if it is none."""
        folded = word.lower()
        if self.pairs and (word[-1] == "." or after[-1:] == "."):
            if pair := self.pairs.get(f"{folded} {after.lower()}"):
                return (pair[0],)
            if pair := self.pairs.get(f"{before.lower()} {folded}"):
                return (pair[1],)
        if after[:1].isdigit() and folded in self.before_number:
            return (self.before_number[folded],)
        if folded in self.beside_number and (after[:1].isdigit() or before[:1].isdigit()):
            return (self.beside_number[folded],)
        if word in self.before_capital and after[:1].isupper():
            return (self.before_capital[word],)
        return self.anywhere.get(word) or self.anywhere.get(folded) or ()

    def is_ordinal(self, word: str, before: str = "", after: str = "") -> bool:
        """Say whether `word` is a number whose full stop makes an ordinal of it: am 2. Mai."""
        if word[-1] != "." or not self.ordinal_after or not _DAY.fullmatch(word):
            return False
        if _DAY.fullmatch(before) or before.lower() in self.ordinal_after:
            return True
        return after.rstrip(".").lower() in self.ordinal_before


@cache
def abbreviations(language: str) -> Abbreviations:
    """Return the abbreviations of `language`; KeyError without any."""
    source = resources.files("sift_ray.align").joinpath("abbreviations.yaml").read_text(encoding="utf-8")
    rules: dict[str, Any] = yaml.safe_load(source)[language]
    return Abbreviations(
        anywhere={key: (read,) if isinstance(read, str) else tuple(read) for key, read in rules["anywhere"].items()},
        before_number=rules["before_number"],
        beside_number=rules.get("beside_number", {}),
        before_capital=rules.get("before_capital", {}),
        words=frozenset(rules["words"]),
        pairs={key: (first, second) for key, (first, second) in rules["pairs"].items()},
        ordinal_after=frozenset(rules.get("ordinal_after", ())),
        ordinal_before=frozenset(rules.get("ordinal_before", ())),
        letter_names=rules.get("letter_names", {}),
        inner=re.compile(rules["inner"]) if "inner" in rules else None,
    )
