"""Pronunciations from a G2P model of the Montreal Forced Aligner, run by pynini.

Such a model is a zip with `meta.json`, the transducer `model.fst` and the tables of its symbols, in one of two
architectures. `pynini` (a pair n-gram model) reads a word's code points. `phonetisaurus` (Novak, Minematsu and
Hirose 2016) reads its graphemes, several as one symbol where the model learnt so, joined by a separator, and
writes phones, several as one symbol in older models.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sift_ray.align.archive import read_members
from sift_ray.align.g2p import Phones
from sift_ray.align.protocol import AlignError

_FILES = ("model.fst", "meta.json", "meta.yaml", "phones.txt", "phones.sym", "graphemes.txt", "graphemes.sym")
_MARKS = "'-."
_MOST_COST = 4.6
"""Costs are negative logarithms of probabilities: a form 100 times less likely than the best is left out."""


class G2PModel:
    """A G2P model. Not for use from several threads at a time."""

    def __init__(self, path: Path) -> None:
        """Load the model from the zip at `path`, of which nothing is written to disk.

        Raises:
            AlignError: pynini is missing, or the file is no G2P model of MFA.
        """
        try:
            import pynini
            import pywrapfst
        except ImportError as error:
            raise AlignError(
                "a G2P model needs pynini; install sift-ray[g2p], or conda-forge's pynini where PyPI has no wheel"
            ) from error
        self._pynini, self._pywrapfst = pynini, pywrapfst
        members = read_members(path, _FILES, "model.fst")
        try:
            meta = _meta(members)
            self._fst = pynini.Fst.read_from_string(members["model.fst"]).arcsort("ilabel")
            self._phones = self._table(members, "phones", path)
            self._phonetisaurus = meta.get("architecture", "phonetisaurus") == "phonetisaurus"
            self._letters = self._table(members, "graphemes", path) if self._phonetisaurus else None
            self._graphemes = frozenset(meta.get("graphemes") or ())
        except KeyError as error:
            raise AlignError(f"{path}: not a G2P model of MFA: it has no {error.args[0]}") from error
        except (ValueError, TypeError, yaml.YAMLError, RuntimeError, pywrapfst.FstError) as error:
            raise AlignError(f"{path}: the G2P model can't be read: {error}") from error
        self._separator = str(meta.get("sequence_separator", "|"))
        self._decomposed = bool(meta.get("unicode_decomposition", False))
        self._order = 1
        if self._letters is not None:
            symbols = [symbol for _, symbol in self._letters if symbol != self._separator]
            if not symbols:
                raise AlignError(f"{path}: the G2P model's table of graphemes is empty")
            self._order = max(symbol.count(self._separator) for symbol in symbols) + 1
            self._graphemes = self._graphemes or frozenset(symbol for symbol in symbols if len(symbol) == 1)
        if not self._graphemes:
            raise AlignError(f"{path}: the G2P model doesn't say which graphemes it reads")

    def pronounce(self, words: Sequence[str], most: int = 3) -> list[list[Phones]]:
        """Return up to `most` pronunciations of each word, likeliest first.

        A word with a letter that the model doesn't know has none; apostrophes, hyphens and full stops that it
        doesn't know are passed over.
        """
        return [self._pronounce(word, most) for word in words]

    def _pronounce(self, word: str, most: int) -> list[Phones]:
        word = unicodedata.normalize("NFKD" if self._decomposed else "NFC", word.lower())
        letters = [c for c in word if c in self._graphemes or c not in _MARKS]
        if not letters or not self._graphemes.issuperset(letters):
            return []
        # as pynini.lib.rewrite does it; the filter keeps one order of ε moves, so that no path comes twice
        lattice = self._pynini.compose(self._acceptor(letters), self._fst, compose_filter="alt_sequence")
        if lattice.start() == self._pywrapfst.NO_STATE_ID:
            return []
        best = self._pynini.shortestpath(lattice.project("output").rmepsilon(), nshortest=most, unique=True)
        paths = best.paths(output_token_type=self._phones)
        found: dict[Phones, float] = {}
        while not paths.done():
            phones = tuple(paths.ostring().replace(self._separator, " ").split())
            if phones:
                found[phones] = min(float(paths.weight()), found.get(phones, float("inf")))
            paths.next()
        ranked = sorted(found, key=lambda phones: found[phones])
        return [phones for phones in ranked if found[phones] <= found[ranked[0]] + _MOST_COST]

    def _acceptor(self, letters: Sequence[str]) -> Any:
        """Return the acceptor of `letters`, with every way to read neighbours as one symbol of the model."""
        if self._letters is None:
            return self._pynini.accep(self._pynini.escape("".join(letters)), token_type="utf8")  # noqa: S106
        fst = self._pynini.Fst()
        fst.add_states(len(letters) + 1)
        fst.set_start(0).set_final(len(letters))
        for start in range(len(letters)):
            for end in range(start + 1, min(start + self._order, len(letters)) + 1):
                label = self._letters.find(self._separator.join(letters[start:end]))
                if label != self._pywrapfst.NO_SYMBOL:
                    fst.add_arc(start, self._pywrapfst.Arc(label, label, 0, end))
        return fst

    def _table(self, members: Mapping[str, bytes], name: str, path: Path) -> Any:
        """Return a table of symbols: `symbol number` a line."""
        file = f"{name}.sym" if f"{name}.txt" not in members and f"{name}.sym" in members else f"{name}.txt"
        table = self._pywrapfst.SymbolTable()
        for number, line in enumerate(members[file].decode("utf-8").split("\n"), 1):
            if not line.strip():
                continue
            fields = line.split()
            if len(fields) != 2:
                raise AlignError(f"{path}: {file}, line {number}: not a symbol and its number: {line!r}")
            table.add_symbol(fields[0], int(fields[1]))
        return table


def _meta(members: Mapping[str, bytes]) -> dict[str, Any]:
    if "meta.json" in members:
        meta = json.loads(members["meta.json"])
    elif "meta.yaml" in members:
        meta = yaml.safe_load(members["meta.yaml"])
    else:
        meta = {}  # the oldest models have none
    if not isinstance(meta, dict):
        raise ValueError("its meta file holds no mapping")
    return meta
