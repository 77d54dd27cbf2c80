"""Forms of one word: the same but for their endings, or of an irregular verb."""

from __future__ import annotations

import functools
import re
from typing import Final

from sift_ray.instruct.verify.small_words import small_words

STEM: Final = 4
_ENDING: Final = 3
"""Words are forms of one if they begin alike: by so many letters at least, and by all but so many."""

_SPANISH_ENDING: Final = re.compile("(ieron|aron|iendo|ando|aban|aba|ían|ía|ió|ó|id[oa]s?|ad[oa]s?|[aei]r|[ae]n?)$")
_ROOT: Final = 4


def alike(one: str, other: str) -> bool:
    """Say whether two words may be forms of one: the same but for their endings."""
    if one == other:
        return True
    if one[:1] != other[:1]:
        return False
    shorter, longer = sorted((len(one), len(other)))
    stem = max(STEM, longer - _ENDING)
    return shorter >= stem and one[:stem] == other[:stem]


@functools.cache
def _verb_of(language: str) -> dict[str, str]:
    rows = (row.split() for row in small_words(language).excerpts.verbs)
    return {form: row[0] for row in rows for form in row}


@functools.lru_cache(maxsize=65_536)
def forms_of_one(one: str, other: str, language: str) -> bool:
    """Say whether two words may be forms of one: `alike`, and the irregular verbs of a language."""
    if alike(one, other):
        return True
    verbs = _verb_of(language)
    if one in verbs and verbs.get(other) == verbs[one]:
        return True
    if language == "es":
        root, other_root = (_SPANISH_ENDING.sub("", word) for word in (one, other))
        return root == other_root and len(root) >= _ROOT
    if language == "de":  # "rettete", "gerettet"
        bare, other_bare = (word[2:] if word.startswith("ge") and len(word) > 5 else word for word in (one, other))
        return (bare, other_bare) != (one, other) and alike(bare, other_bare)
    return False
