"""Rules about what may not be said at all: leaks, hedges, denials, comparisons, what is known of no audio."""

from __future__ import annotations

from typing import Final

from sift_ray.instruct.verify import telling, wording
from sift_ray.instruct.verify.assertions import (
    ACOUSTIC,
    COMPARISON,
    CONTENT,
    CONTROLLABLE,
    OPEN,
    WORD_ALIGN,
)
from sift_ray.instruct.verify.claims import Reading, grade_words_left
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import Hit, lexicon
from sift_ray.instruct.verify.question import (
    is_polar,
)
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.instruct.verify.word_forms import alike

_PLACES: Final = frozenset({"ordinal", "last", "before", "after", "rise", "fall"})
_AUDIOS: Final = frozenset({"first", "second", "both"})
_ALWAYS_IGNORED: Final = frozenset({"affirm", "deny", "than", "last"})
_IGNORED: Final = {
    WORD_ALIGN: _ALWAYS_IGNORED | _AUDIOS,
    COMPARISON: _ALWAYS_IGNORED | _PLACES,
}
_IGNORED_ELSEWHERE: Final = _ALWAYS_IGNORED | _PLACES | _AUDIOS | {"same", "differ"}
_SIGNALS: Final = (("leak", "leak"), ("negation", "negation"), ("hedge", "hedge"), ("comparative", "comparative"))
_RELATIONS: Final = tuple((kind, "comparative") for kind in ("up", "down", "most", "least"))
_FORBIDDEN: Final = frozenset({kind for kind, _ in (*_SIGNALS, *_RELATIONS)} | {"unknowable", "simile"})


def ignored(task: str) -> frozenset[str]:
    """Return the kinds of phrases that count for nothing in a task: places of words in one of whole recordings."""
    return _IGNORED.get(task, _IGNORED_ELSEWHERE)


def check_signals(
    task: str, asked: Reading, said: Reading, known: Known, runs: tuple[frozenset[int], frozenset[int]]
) -> None:
    """Refuse what may not be said; `runs` are the places of words that repeat the transcript, in the two texts."""
    free = task in (CONTENT, OPEN)
    for reading, run in zip((asked, said), runs, strict=True):
        if reading.by_kind.keys().isdisjoint(_FORBIDDEN):
            continue
        repeated = run | {hit.start for hit in telling.denials(reading, known)} if free else frozenset[int]()
        rules = _SIGNALS if task in (COMPARISON, WORD_ALIGN) else (*_SIGNALS, *_RELATIONS)
        mine = rules if reading is said else tuple(rule for rule in rules if rule[0] != "hedge")
        wording.check_signals(reading, mine, repeated)
        claimed = reading.claimed()
        for hit in reading.with_kind("unknowable", "simile"):
            if (
                hit.start in run
                or (hit.end in claimed and "simile" in hit.kinds())
                or (task == COMPARISON and "both" in hit.kinds())
            ):
                continue
            told = free and (
                (task == CONTENT and _asked_in_these_words(asked, reading, hit, known))
                or telling.is_told(reading, hit.start)
            )
            if not (told and _transcribed(reading, hit, known)):
                raise Refused("unknown_claim", f"{reading.words(hit)!r} is not known of the audio")
    wording.check_signals(said, (("causal", "causal"),))


def _asked_in_these_words(asked: Reading, reading: Reading, hit: Hit, known: Known) -> bool:
    """Say whether a question asks what is said of something, as it stands; that may be told in the question's words."""
    words = lexicon(asked.language)
    if not is_polar(asked, words) and set(asked.text.words).issuperset(reading.text.words[hit.start : hit.end]):
        return True
    asked_words = set(asked.text.words) - words.function_words
    return any(alike(one, word) for one in asked_words for word in known.vocabulary)


def _transcribed(reading: Reading, hit: Hit, known: Known) -> bool:
    tokens = reading.text.tokens[hit.start : hit.end]
    return all(any(alike(token.text, word) for word in known.vocabulary) for token in tokens)


def check_left(task: str, reading: Reading, known: Known) -> None:
    """Refuse what grades something and was not understood as a claim.

    Raises:
        Refused: `ungraded_claim`.
    """
    free = task in (CONTENT, OPEN)
    for hit in grade_words_left(reading, strict=task in (ACOUSTIC, CONTROLLABLE)):
        spoken = reading.keys("mention", "hint") & hit.keys("watch")
        if free and not spoken and _transcribed(reading, hit, known):
            continue
        raise Refused("ungraded_claim", f"{reading.words(hit)!r} is outside any known category")
