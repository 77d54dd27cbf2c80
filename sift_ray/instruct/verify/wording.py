"""Rules about how a text is written: length, markup, leaks, names, numbers, quotations, duplicates."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Collection, Sequence
from itertools import pairwise, zip_longest
from typing import Final, NamedTuple

from wordfreq import zipf_frequency

from sift_ray.instruct.verify.claims import Reading, loose_tokens
from sift_ray.instruct.verify.known import Known, Place
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.text import TEXTS_KEPT, Text, Token, find_run, normal
from sift_ray.instruct.verify.verdict import Refused
from sift_ray.instruct.verify.word_forms import STEM, alike
from sift_ray.metadata.record import Fact


class Limits(NamedTuple):
    """Bounds of a text: words, characters, and the share of words that may be strange (see `check_familiar`)."""

    words: int
    characters: int
    strange: float


CLOSED: Final = Limits(60, 420, 0.0)
CONTENT: Final = Limits(120, 900, 0.0)
OPEN: Final = Limits(220, 1600, 0.0)
QUESTION: Final = Limits(70, 480, 0.5)
PROMPT: Final = Limits(70, 480, 0.0)

_RUN: Final = 4  # words in a row that a text should not have again and again
_DOUBLED_LETTERS: Final = 5  # (shorter words may stand twice: "nous nous", "die die")

_UNSEEN: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ud800-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000e0000-\U0010ffff"
)
"""Characters that are not seen or turn others round: controls, joiners, directions, tags, private use."""
_MARKUP: Final = re.compile(
    rf"^\s*[\W]*[aqAQ]\s*:|[{_UNSEEN}]|[<>]|&#?\w{{1,10}};|https?://|[{{}}\[\]`|\\]|_\w+_|\w_\w"
)
_SUSPECT: Final = re.compile(rf"[{_UNSEEN}<>&:{{}}\[\]`|\\_]")
"""One of these is in all markup, and a lone class of characters is found several times as fast."""
_WORD: Final = re.compile(r"\w+")


@functools.lru_cache(maxsize=TEXTS_KEPT)
def check_form(source: str, text: Text, limits: Limits) -> None:
    """Refuse what is no prose: nothing, too much, markup, one phrase over and over."""
    if not text.tokens:
        raise Refused("length", "it has no words")
    if len(source) > limits.characters or len(text.tokens) > limits.words:
        raise Refused("length", f"{len(text.tokens)} words, {len(source)} characters: too long")
    if _SUSPECT.search(source) and (match := _MARKUP.search(source)):
        raise Refused("markup", f"{match[0]!r} is no part of prose")
    own = text.own
    repeated = len(own) - len(set(own))
    if repeated > _RUN:  # (each run that is there again takes its words with it)
        runs = [tuple(own[i : i + _RUN]) for i in range(len(own) - _RUN + 1)]
        again = len(runs) - len(set(runs))
        if again > max(3, len(runs) // 3) or (len(runs) > 3 and 2 * again >= len(runs)):
            raise Refused("repetitive", "it repeats itself")
    if repeated and any(map(operator.eq, own, own[1:])):
        unquoted = (token for token in text.tokens if token.quote < 0)
        if any(
            a.text == b.text and a.clause == b.clause and len(a.text) >= _DOUBLED_LETTERS for a, b in pairwise(unquoted)
        ):
            raise Refused("repetitive", "it repeats a word")


@functools.lru_cache(maxsize=TEXTS_KEPT)
def check_ends(text: Text, words: Lexicon) -> None:
    """Refuse a sentence that ends in a word which none can end in: an article, a conjunction."""
    for token, following in zip_longest(text.tokens, text.tokens[1:]):
        ends = following is None or following.sentence != token.sentence
        if ends and token.quote < 0 and token.text in words.dangling:
            raise Refused("broken_off", f"a sentence ends in {token.raw!r}")


def check_signals(reading: Reading, kinds: tuple[tuple[str, str], ...], excused: frozenset[int] = frozenset()) -> None:
    """Refuse the first hit of a forbidden kind; `kinds` pairs kinds with the rule's slug, `excused` are starts."""
    by_kind = reading.by_kind
    for kind, slug in kinds:
        for hit in by_kind.get(kind, ()):
            if kind == "comparative" and hit.kinds() & {"up", "down", "most", "least"}:
                continue  # (where those may not stand, they are forbidden by themselves)
            if hit.start not in excused and not any(m.kind in ("claim", "short") for m in hit.meanings):
                raise Refused(slug, f"{reading.words(hit)!r}")


def check_numbers(reading: Reading, known: Known) -> None:
    """Refuse digits that the transcript does not hold."""
    if not any(word[0].isdigit() for word in reading.text.words):
        return
    for token in loose_tokens(reading):
        if token.text[0].isdigit() and token.text.rstrip(".,:%") not in known.vocabulary:
            raise Refused("number_not_in_transcript", f"{token.raw!r}")


def check_quotes(text: Text, known: Known) -> list[Fact]:
    """Refuse quotations that no transcript holds; return the transcripts quoted from."""
    evidence: list[Fact] = []
    for quote in text.quotes:
        if not quote or quote in known.accents.values():
            continue
        holders = [audio for audio, said in known.transcripts.items() if find_run(quote, said)]
        if not holders and not known.positions(quote):
            raise Refused("quote_not_in_transcript", f"{' '.join(quote)!r}")
        if known.positions(quote):
            continue  # what is said of single words rests on those
        if len(quote) > 1 or len(known.transcripts.get(0, ())) <= 2:
            evidence += [f for a in holders if (f := known.get(Place(a), "transcript")) is not None]
    return evidence


def said_tokens(text: Text, known: Known) -> tuple[frozenset[int], list[Fact]]:
    """Return the indices of unquoted tokens that repeat a transcript, and that transcript.

    A run counts from `SAID_RUN` words on, or when it is the whole transcript.
    """
    own = text.words
    found: set[int] = set()
    evidence: list[Fact] = []
    for audio, grams in known.runs.items():
        if not grams:
            continue
        size = len(next(iter(grams)))
        mine: set[int] = set()
        for i in range(len(own) - size + 1):
            if tuple(own[i : i + size]) in grams:
                mine.update(range(i, i + size))
        if mine:
            found |= mine
            fact = known.get(Place(audio), "transcript")
            evidence += [] if fact is None else [fact]
    return frozenset(found), evidence


def check_names(reading: Reading, words: Lexicon, known: Known) -> None:
    """Refuse names that the transcript does not hold, as far as capitals tell them."""
    tokens = reading.text.tokens
    german = words.language == "de"
    for index in _capitalised(reading, words):
        token = tokens[index]
        if token.text in known.vocabulary or (german and _inflected(token.text, known.vocabulary)):
            continue
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.initial:
            alone = following is not None and following.text in words.verbs
            if not alone or (german and _common_noun(token.text, words)):
                continue
        elif german and (_common_noun(token.text, words) or _after_determiner(index, reading, words)):
            continue
        raise Refused("unknown_name", f"{token.raw!r} is not in the transcript")


@functools.lru_cache(maxsize=TEXTS_KEPT)
def _capitalised(reading: Reading, words: Lexicon) -> tuple[int, ...]:
    """Return the places of words with a capital that are neither understood nor known, nor quoted."""
    covered = reading.covered()
    return tuple(
        index
        for index, token in enumerate(reading.text.tokens)
        if token.raw[0].isupper()
        and token.quote < 0
        and index not in covered
        and token.text not in words.known
        and not token.raw.endswith("'")
        and token.text not in ("i", "i'm", "i'd")
    )


def _common_noun(word: str, words: Lexicon) -> bool:
    return len(word) > 4 and word.endswith(tuple(words.wording.data.noun_endings))


def _after_determiner(index: int, reading: Reading, words: Lexicon) -> bool:
    """Say whether a German noun has its article, maybe with one adjective between."""
    tokens = reading.text.tokens
    before = tokens[index - 1].text
    if before in words.determiners:
        return True
    inflected = before.endswith(("e", "en", "er", "es", "em")) and before not in words.function_words
    return inflected and index >= 2


def check_familiar(reading: Reading, words: Lexicon, allowed: Sequence[Collection[str]], share: float) -> None:
    """Refuse a text with words that nothing vouches for: neither language, nor facts, nor question.

    With a `share` of 0 every word must be known or among the `allowed`, be it as another form of one; else at most
    that share of the words, or one, may be strange.
    """
    strange = [
        token.raw
        for token in _unlisted(reading, words)
        if not any(token.text in some or _inflected(token.text, some) for some in allowed)
    ]
    if not strange:
        return
    total = sum(1 for token in reading.text.tokens if token.quote < 0)
    # "veryhighpuff": what small models run together is in no list of a language's words
    made_up = [raw for raw in strange if zipf_frequency(raw, words.language) == 0]
    if made_up:
        raise Refused("not_a_word", " ".join(made_up[:8]))
    if not share or len(strange) > max(1, share * total):
        raise Refused("ungrounded", f"{len(strange)} of {total} words: {' '.join(strange[:8])}")


@functools.lru_cache(maxsize=TEXTS_KEPT)
def _unlisted(reading: Reading, words: Lexicon) -> tuple[Token, ...]:
    """Return the loose words that the language's lists do not know."""
    # (elided articles and pronouns, and letters, say nothing)
    return tuple(t for t in loose_tokens(reading) if len(t.text) > 2 and t.text not in words.known)


def _inflected(word: str, known: Collection[str]) -> bool:
    """Say whether `word` looks like another form of a known one: "forgot", "forgotten"."""
    return len(word) > STEM and any(alike(word, other) for other in known)


def squeezed(text: str) -> str:
    """Return the words of `text` in lower case, one space apart."""
    return " ".join(_WORD.findall(normal(text).lower()))


class Duplicates:
    """The pairs already accepted for one utterance (or pair of them)."""

    def __init__(self, nearness: float = 0.9) -> None:
        self._nearness = nearness
        self._seen: list[tuple[str, frozenset[str]]] = []
        self._latest: tuple[tuple[str, str], tuple[str, frozenset[str]]] | None = None

    def check(self, question: str, answer: str) -> Refused | None:
        """Return why the pair is a duplicate, None where it is new. It is not remembered: see `add`."""
        asked, said = self._keys(question, answer)
        for earlier, bag in self._seen:
            if earlier == asked:
                return Refused("duplicate", "the same question was asked before")
            union = len(bag | said)
            if union and len(bag & said) / union >= self._nearness:
                return Refused("duplicate", "nearly the same pair was accepted before")
        return None

    def add(self, question: str, answer: str) -> None:
        """Remember an accepted pair."""
        self._seen.append(self._keys(question, answer))

    def words_asked(self, question: str, answer: str) -> str:
        """Return the words of a pair's question as they are compared."""
        return self._keys(question, answer)[0]

    def _keys(self, question: str, answer: str) -> tuple[str, frozenset[str]]:
        pair = question, answer
        if self._latest is None or self._latest[0] != pair:  # (what is added was checked right before)
            asked = squeezed(question)
            self._latest = pair, (asked, frozenset(f"{asked} {squeezed(answer)}".split()))
        return self._latest[1]
