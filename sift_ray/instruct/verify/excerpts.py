"""Where an excerpt lies in a transcript, and whether it leaves out, adds or turns what it may not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from sift_ray.instruct.verify.retold import Group, Word
from sift_ray.instruct.verify.transcript import Transcript
from sift_ray.instruct.verify.word_forms import forms_of_one
from sift_ray.instruct.verify.word_order import moved

_TRIES: Final = 64
"""So many ways of finding an answer's words in a transcript are looked at."""
_NONE: Final = ("\0",)  # an ending that no word has


class Excerpts:
    """What can be said of words taken for an excerpt of a transcript. Places are indices of its words."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._said, self._content = transcript.said, transcript.content
        self._grammar, self._lexicon = transcript.grammar, transcript.lexicon

    def ways(self, words: Sequence[Word]) -> Iterator[tuple[int, ...]]:
        """Yield the ways of finding the words in the transcript, no place twice."""
        ways: list[tuple[int, ...]] = [()]
        for word in words:
            ways = [(*way, place) for way in ways for place in self._transcript.places(word.text) if place not in way][
                :_TRIES
            ]
        yield from ways

    def fault(
        self, group: Group, places: Sequence[int], answer: Sequence[str], own: Sequence[str], asked: Sequence[str]
    ) -> str:
        """Return what is wrong with taking a group's words for those at `places`, "" for nothing."""
        if fault := moved(self._transcript, group.words, places, answer):
            return fault
        chosen = set(places)
        if not self._grammar.words.pronouns.isdisjoint(own):  # "he sold it", the boat being asked about
            between = [place for place in self._content if min(places) < place < max(places)]
            chosen |= {p for p in between if any(forms_of_one(w, self._said[p], self._lexicon.language) for w in asked)}
        for place in range(min(places), max(places)):
            if place not in self._transcript.number or place in chosen or self._modifies(place, chosen):
                continue
            final = self._lexicon.language == "de" and max(places) == self._content[-1]  # the verb, behind all else
            if not (final and self._in_phrase(place, chosen)):
                return f"{self._said[place]!r} is left out"
        return self.unlinked(group, places, chosen, asked)

    def unlinked(self, group: Group, places: Sequence[int], chosen: Collection[int], asked: Sequence[str]) -> str:
        """Return the first word that stands behind other prepositions and such than in the transcript, "" for none."""
        for number, (word, place) in enumerate(zip(group.words, places, strict=True)):
            wanted = self._links_past_skipped(place, chosen)
            if word.links == wanted:
                continue
            timed = (
                not word.links and not self._transcript.links(place) and not self._grammar.words.when.isdisjoint(asked)
            )
            if number == 0 and (timed or self._may_begin(group.frame, word.links, wanted, asked)):
                continue
            return f"{' '.join((*word.links, word.text))!r} is said as {' '.join((*wanted, self._said[place]))!r}"
        return ""

    def _links_past_skipped(self, place: int, chosen: Collection[int]) -> tuple[str, ...]:
        number = self._transcript.number[place]
        while number and self._content[number - 1] not in chosen and self._modifies(self._content[number - 1], chosen):
            number -= 1
        start = self._content[number - 1] + 1 if number else 0
        return self._transcript.linked(self._said[start:place])

    def _may_begin(self, frame: str, mine: Sequence[str], wanted: Sequence[str], asked: Sequence[str]) -> bool:
        grammar = self._grammar
        asked_links = {grammar.links[word] for word in asked if word in grammar.links}
        if not mine:
            loose = {*grammar.words.droppable, *asked_links}
            return frame == "name" or all(link in loose for link in wanted)
        return frame == "name" and all(link in grammar.words.topics for link in mine)

    def _modifies(self, place: int, chosen: Collection[int]) -> bool:
        """Say whether a word left out is one before a noun that is told ("the old boat"), or an adverb."""
        number = self._transcript.number[place]
        if self._said[place].endswith(self._grammar.words.adverbs or _NONE):
            return True
        following = self._content[number + 1] if number + 1 < len(self._content) else -1
        before = self._said[place - 1] if place else ""
        if following != place + 1 or following not in chosen:
            return False
        counted = any(word in self._grammar.words.numbers or word[:1].isdigit() for word in (self._said[place], before))
        return counted or before in self._lexicon.determiners or before in self._grammar.free

    def beside(self, places: Sequence[int], restated: Sequence[Word], asked: Sequence[str]) -> str:
        """Return a fault where the words of a question do not lie beside those of the answer, "" for none."""
        joined = set(places)
        middle = (min(places) + max(places)) / 2
        for word in restated:
            near = sorted(self._transcript.places(word.text), key=lambda place: abs(place - middle))
            if not near or near[0] in joined:
                continue
            wanted = self._links_past_skipped(near[0], joined)
            by = (
                word.links == (self._grammar.words.agent,)
                and not wanted
                and not self._grammar.words.passive.isdisjoint(asked)
            )
            if by and near[0] < min(joined):  # "by whom", of a sentence that is no passive
                joined.add(near[0])
                continue
            if word.links != wanted and not all(link in self._grammar.words.droppable for link in wanted):
                return f"the question has {word.text!r} in another part"
            if word.links and not wanted:
                return f"the question has {' '.join((*word.links, word.text))!r}"
            joined.add(near[0])
        verbs = len({word.text for word in restated}) > 1 or any(self._asked_alone(word) for word in restated)
        for place in range(min(joined), max(joined)):
            if place in joined or place not in self._transcript.number or self._modifies(place, joined):
                continue
            if not (verbs and self._in_phrase(place, joined)):
                return f"{self._said[place]!r} stands between what is asked and what is told"
        return ""

    def _asked_alone(self, word: Word) -> bool:
        places = self._transcript.places(word.text)
        return bool(places) and self._said[places[0] - 1 if places[0] else 0] not in self._lexicon.determiners

    def _in_phrase(self, place: int, joined: Collection[int]) -> bool:
        """Say whether a word belongs to a phrase that a preposition begins, all of it left out."""
        number = self._transcript.number[place]
        while number >= 0 and self._content[number] not in joined:
            links = self._transcript.links(self._content[number])
            if links:
                return self._grammar.words.prepositions.issuperset(links)
            number -= 1
        return False
