"""Questions about when words are spoken, in seconds: the separate partition of word-align with numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sift_ray.instruct.items import Dice, Item, sentence
from sift_ray.instruct.prompts import focus_positions
from sift_ray.instruct.templates import MOST_ORDINAL, TimedText, templates
from sift_ray.metadata.categories import TIME_KEYS, WORD_KEY

if TYPE_CHECKING:
    from sift_ray.instruct.requests import Request

LEAST_PAUSE: Final = 15
"""Hundredths of a second that a pause must last to be asked about; the verifier believes in none of under 10."""

_LEAST_WORD: Final = 10
"""Hundredths of a second that a word must last for it to be asked what is spoken while it is."""


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A word with its times in hundredths of a second, None where unknown or not in focus."""

    text: str
    position: int
    start: int | None
    end: int | None


def word_time_items(request: Request, dice: Dice) -> list[Item]:
    """Return what can be asked about the times of words, each word in one of the ways that it allows.

    With a focus only what rests on its keys, of the words that a prompt would show. A word that is spoken more than
    once is spoken of by its place: "the third word".
    """
    words = _words(request)
    shown = set(focus_positions(request)) if request.focus else {word.position for word in words}
    items = []
    for index in dice.shuffled(range(len(words))):
        if words[index].position in shown and (ways := list(_Asker(request, words, dice).ways(index))):
            items.append(dice.pick(ways)())
    return items[: 2 * request.pairs_wanted]


def _words(request: Request) -> list[_Spoken]:
    values: dict[int, dict[str, str]] = {}
    keys = {WORD_KEY, *(set(request.focus) & set(TIME_KEYS) if request.focus else TIME_KEYS)}
    for fact in request.facts:
        if fact.position and fact.audio == 0 and fact.key in keys:
            values.setdefault(fact.position, {})[fact.key] = fact.value
    return [
        _Spoken(known[WORD_KEY], position, *(_hundredths(known.get(key)) for key in TIME_KEYS))
        for position, known in sorted(values.items())
        if WORD_KEY in known
    ]


def _hundredths(seconds: str | None) -> int | None:
    return None if seconds is None else round(100 * float(seconds))


class _Asker:
    def __init__(self, request: Request, words: Sequence[_Spoken], dice: Dice) -> None:
        self.words = words
        self.dice = dice
        self.texts = templates(request.language)
        self.times = self.texts.times
        self.count = Counter(word.text.casefold() for word in words)

    def ways(self, index: int) -> Iterator[Callable[[], Item]]:
        """Yield the makers of all that can be asked about a word."""
        word, times = self.words[index], self.times
        quoted = self._quoted(word)
        names = self._names(index, quoted)
        if not names:
            return
        start, end = word.start, word.end
        if start is not None:
            yield lambda: self._item(times.start, names, {}, s=start)
        if end is not None:
            yield lambda: self._item(times.end, names, {}, e=end)
        if start is not None and end is not None and end > start:
            yield lambda: self._item(times.span, names, {}, s=start, e=end)
            yield lambda: self._item(times.lasts, names, {}, d=end - start)
        if quoted is None:
            return
        own = [times.named.format(w=quoted)]
        if start is not None and self._alone(index, start):
            yield lambda: self._item(times.starting, own, {"w": quoted}, s=start)
        if start is None or end is None:
            return
        middle = (start + end) // 2
        if end - start >= _LEAST_WORD and self._alone(index, middle):
            yield lambda: self._item(times.at, own, {"w": quoted}, t=middle)
        following = self.words[index + 1] if index + 1 < len(self.words) else None
        if following is None or following.start is None or following.position != word.position + 1:
            return
        gap, second = following.start - end, self._quoted(following)
        if gap >= LEAST_PAUSE and second is not None:
            yield lambda: self._item(times.pause, own, {"w": quoted, "v": second}, d=gap)

    def _quoted(self, word: _Spoken) -> str | None:
        """Return a word in quotation marks; None where it is spoken again elsewhere."""
        return self.texts.quoted(word.text) if self.count[word.text.casefold()] == 1 else None

    def _names(self, index: int, quoted: str | None) -> list[str]:
        """Return the ways of speaking of a word: as quoted, by its place."""
        word, last = self.words[index], index == len(self.words) - 1
        names = [] if quoted is None else [self.times.named.format(w=quoted)]
        if last or word.position <= MOST_ORDINAL:
            names.append(self.texts.nth_word(word.position, last=last))
        return names

    def _alone(self, index: int, moment: int) -> bool:
        """Say whether no other word is known to be spoken, or to start, near a moment."""
        near = [w for w in self.words if w.start is not None and abs(w.start - moment) <= _LEAST_WORD]
        during = [w for w in self.words if w.start is not None and w.end is not None and w.start <= moment <= w.end]
        mine = self.words[index]
        return all(word is mine for word in near) and all(w is mine or w.end == moment for w in during)

    def _item(self, text: TimedText, names: Sequence[str], words: Mapping[str, str], **hundredths: int) -> Item:
        values = dict(words)
        for name, value in hundredths.items():
            values[name] = self.times.amount(value)
            values[f"{name}n"] = self.times.number(value)
        questions = [q.format(x=name, **values) for q in text.questions for name in names]
        answers = [a.format(x=name, **values) for a in text.answers for name in names]
        slots: tuple[tuple[str, ...], ...] = ()
        if text.slot is not None:
            starts = tuple(sentence(text.slot.format(x=name, **values)) for name in names)
            slots = (starts, (values[[*hundredths][-1]],))
        return Item(tuple(dict.fromkeys(map(sentence, questions))), tuple(dict.fromkeys(map(sentence, answers))), slots)
