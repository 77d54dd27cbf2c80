"""Rules on what a question or an answer may look like, whatever it says."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.instruct.verify import wording
from sift_ray.metadata.categories import ATTRIBUTES, KEYS
from sift_ray.schema import ANNOTATIONS, WORD
from sift_ray.validate.findings import Findings, shown
from sift_ray.validate.ids import flags
from sift_ray.validate.reading import Batch

_CONTROLLABLE: Final = "controllable_generation"
_LIMITS: Final = {"closed_ended_content_level": wording.CONTENT, "open_ended": wording.OPEN}
_UNVERIFIED_CHARACTERS: Final = 4000
"""The most characters of a text that nobody verified, and of a synthesis prompt with its text to be spoken."""

_COLUMNS: Final = sorted(
    {name for name in (*ANNOTATIONS.names, *(field.name for field in WORD), *ATTRIBUTES, *KEYS) if "_" in name}
    | {"audio_path", "sample_id"}
)
_NAME: Final = rf'(?i)\b(?:{"|".join(_COLUMNS)})\b|[{{}}]|\[\s*"|"\s*:|</?\w+>|```'

# in all five languages: who only hears an audio has no metadata
_WORD: Final = r"(?i)\b(?:json|m[eé]ta[- ]?(?:data|daten|donn[eé]es|dati|datos))\b"

_UNIT: Final = (
    r"(?:k?Hz|dB|(?i:kilo)?(?i:hertz)|(?i:d[eé]cibels?|dezibel|decibelios?)|"
    r"(?i:phon(?:e|eme)s|phonemen?|fonemi|fonemas) (?:per|pro|par|al|por) )"
)
_NUMBER: Final = rf"\d\s*{_UNIT}"
_TIMES: Final = r"\d\s*(?i:seconds?|sekunden?|secondes?|secondi|secondo|segundos?|ms)\b|\d\s+s\b"  # ("20s" is an age)

_QUOTED: Final = r"\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|»[^«]*«"
_SPOKEN: Final = r"(?s)\n\n(?:Text|Texte|Testo|Texto): .*$"


class Texts:
    """Looks at each text by itself; quotations and the text to be spoken may hold any word."""

    def look(self, batch: Batch, found: Findings) -> None:
        """Look at some rows."""
        for what, texts in (("question", batch.said.question), ("answer", batch.said.answer)):
            there = np.asarray(texts.is_valid())
            if not there.any():
                continue
            self._form(batch, what, texts, found)
            self._leaks(batch, texts, found)

    def _form(self, batch: Batch, what: str, texts: pa.Array, found: Findings) -> None:
        shard, numbers = batch.shard, batch.numbers
        empty = flags(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0))
        found.rows("empty_text", shard.path, numbers, empty, lambda i: f"{what} {shown(texts[i].as_py())}")
        lengths = pc.utf8_length(texts)
        most = _most(batch, what)
        long = flags(pc.greater(lengths, most))
        found.rows(
            "long_text",
            shard.path,
            numbers,
            long,
            lambda i: f"{what} of {lengths[i]} characters, more than {most}: {shown(texts[i].as_py(), 40)}",
        )

    def _leaks(self, batch: Batch, texts: pa.Array, found: Findings) -> None:
        rules = [("leaked_name", _NAME), ("leaked_word", _WORD), ("leaked_number", _NUMBER)]
        if batch.shard.task not in (WORD_TIMES, "open_ended", "closed_ended_content_level"):
            rules.append(("leaked_number", _TIMES))
        suspects = np.zeros(len(batch), np.bool_)
        for _, pattern in rules:
            suspects |= _matches(texts, pattern)
        if not suspects.any():
            return
        # (few: so only these are freed of what they quote)
        at = np.flatnonzero(suspects)
        own = texts.take(pa.array(at))
        if batch.shard.task == _CONTROLLABLE:
            own = pc.replace_substring_regex(own, _SPOKEN, "")
        own = pc.replace_substring_regex(own, _QUOTED, "")
        for rule, pattern in rules:
            compiled = re.compile(pattern)
            mask = _matches(own, pattern)
            found.rows(
                rule,
                batch.shard.path,
                batch.numbers[at],
                mask,
                lambda i, compiled=compiled: _around(compiled, own[i].as_py()),  # type: ignore[misc]
            )


def _most(batch: Batch, what: str) -> int:
    """Return the most characters that a text may have: what the verifier allows, where it was asked."""
    task = batch.shard.task
    if not batch.has("evidence") or task == _CONTROLLABLE:
        return _UNVERIFIED_CHARACTERS
    return (wording.QUESTION if what == "question" else _LIMITS.get(task, wording.CLOSED)).characters


def _matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    return flags(pc.match_substring_regex(texts, pattern))


def _around(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    start = max(0, match.start() - 20) if match else 0
    return shown(text[start:])
