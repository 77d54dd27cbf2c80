"""The rule about what is told of a transcript without quotation marks: it must be a faithful excerpt of it.

All words of content that an answer tells lie on one stretch of the transcript, in its order, each behind the same
prepositions, conjunctions and denials; only articles, pronouns, auxiliaries and endings may differ. What the question
restates must lie beside that stretch. Nothing of it is told of the one who speaks, unless that one says so of himself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from sift_ray.instruct.verify.claims import Reading
from sift_ray.instruct.verify.excerpts import GRAMMAR, NUMBERS, TALKING, Grammar, forms_of_one, recast
from sift_ray.instruct.verify.known import Known
from sift_ray.instruct.verify.lexicon import Lexicon
from sift_ray.instruct.verify.text import Text, Token
from sift_ray.instruct.verify.verdict import Refused

_TRIES: Final = 64
"""So many ways of finding an answer's words in a transcript are looked at."""


class _Word(NamedTuple):
    """A told word of content: where it stands in its text, and the links (prepositions and such) right before it."""

    at: int
    text: str
    links: tuple[str, ...]


class _Group(NamedTuple):
    """Words told in one go, behind a word of telling (`frame`: "tell", "name", or "" for none)."""

    words: list[_Word]
    frame: str


class _Told(NamedTuple):
    """What a sentence tells of a transcript."""

    groups: list[_Group]
    foreign: list[int]  # words that are neither of the transcript nor of telling, though the language knows them
    strange: list[int]
    speaks: bool  # it has the speaker do something
    claims: bool  # it tells of the voice or the recording too, outside of what introduces the telling


def framed(text: Text, words: Lexicon, run: Collection[int]) -> frozenset[int]:
    """Return those of the tokens `run` that stand behind a word of telling in their sentence.

    A stretch of them that speaks of the speaker or the recording is not among them: its claims count.
    """
    grammar = GRAMMAR[words.language]
    found: set[int] = set()
    for stretch in _stretches(sorted(run)):
        first = text.tokens[stretch[0]]
        ahead = [t for t in text.tokens[: stretch[0]] if t.sentence == first.sentence and t.quote < 0]
        topic = False
        while ahead and ahead[-1].text not in grammar.telling and ahead[-1].text in words.function_words | grammar.that:
            topic |= grammar.links.get(ahead.pop().text) in grammar.topics
        own = {text.tokens[i].text for i in stretch}
        introduced = bool(ahead) and ahead[-1].text in grammar.telling and (topic or ahead[-1].text not in TALKING)
        if introduced and own.isdisjoint(grammar.audio):
            found.update(stretch)
    return frozenset(found)


def _stretches(places: Sequence[int]) -> Iterator[list[int]]:
    stretch: list[int] = []
    for place in places:
        if stretch and place != stretch[-1] + 1:
            yield stretch
            stretch = []
        stretch.append(place)
    if stretch:
        yield stretch


def check_faithful(answer: Reading, question: Reading, words: Lexicon, known: Known, *, described: bool) -> None:
    """Refuse what is told of a transcript and is no faithful excerpt of it.

    Args:
        answer: without any claim that is false.
        question: what it answers.
        words: the language's.
        known: the facts; only the first audio's transcript is looked at.
        described: whether the recording is described: a sentence of words that descriptions have tells nothing then.

    Raises:
        Refused: `quote_not_in_transcript`.
    """
    said = known.transcripts.get(0)
    if not said:
        return
    fault: Refused | None = None
    for version in (said, *recast(said, words.language)):
        try:
            _check_sentences(_Transcript(version, words), answer, question, described=described)
        except Refused as refused:
            fault = fault or refused
        else:
            return
    if fault is not None:
        raise fault


def _check_sentences(transcript: _Transcript, answer: Reading, question: Reading, *, described: bool) -> None:
    tokens = answer.text.tokens
    asked = _asked(transcript, question)
    for sentence in range(tokens[-1].sentence + 1):
        told = transcript.told(answer, sentence)
        hard = any(tokens[w.at].text not in transcript.lexicon.known for g in told.groups for w in g.words)
        single = sum(len(group.words) for group in told.groups) == 1
        if not told.groups or (described and single and not hard):
            continue
        bare = any(not group.frame for group in told.groups)
        if told.strange:
            raise Refused("quote_not_in_transcript", f"{tokens[told.strange[0]].raw!r} is not in the transcript")
        if bare and (told.claims or (told.speaks and not transcript.first_person)):
            raise Refused("quote_not_in_transcript", "what is said is told of who says it, or of the recording")
        for group in told.groups:
            inside = range(group.words[0].at, group.words[-1].at)
            if strange := [i for i in told.foreign if i in inside]:
                raise Refused("quote_not_in_transcript", f"{tokens[strange[0]].raw!r} is not said there")
            _check_group(transcript, group, answer, sentence, question, asked)


def _asked(transcript: _Transcript, question: Reading) -> list[_Told]:
    last = question.text.tokens[-1].sentence
    return [transcript.told(question, sentence, asks=True) for sentence in range(last + 1)]


def _check_group(
    transcript: _Transcript,
    group: _Group,
    answer: Reading,
    sentence: int,
    question: Reading,
    asked: Sequence[_Told],
) -> None:
    mine = [token for token in answer.text.tokens if token.sentence == sentence]
    own = [token.text for token in mine if token.quote < 0]
    quoted = len(own) < len(mine)
    asked_words = [t.text for t in question.text.tokens if t.quote < 0]
    restated = [word for told in asked for part in told.groups for word in part.words]
    again = {word.text for word in restated}
    if quoted and all(any(forms_of_one(w.text, o, answer.language) for o in again) for w in group.words):
        places = next(transcript.ways(group.words), ())
        if places and not transcript.unlinked(group, places, set(places), asked_words):
            return  # ("the dog barks" of the question, and then what is quoted)
    if not group.frame:
        grammar = transcript.grammar
        acts = [i for told in asked for i in told.foreign if question.text.tokens[i].text in grammar.acts]
        strange = [i for told in asked for i in told.strange] + acts
        if strange:
            raw = question.text.tokens[strange[0]].raw
            raise Refused("quote_not_in_transcript", f"the question's {raw!r} is not said")
        telling = not (grammar.telling - TALKING).isdisjoint(asked_words)
        if not restated and not telling and any(told.speaks or told.claims for told in asked):
            raise Refused("quote_not_in_transcript", "asked about the speaker, told what is said")
        if restated and any(told.speaks for told in asked) and not transcript.first_person:
            raise Refused("quote_not_in_transcript", "the question has the speaker do what another does")
    why = ""
    for places in transcript.ways(group.words):
        why = transcript.fault(group, places, answer.text.words, own, asked_words)
        if not why and not group.frame:
            why = transcript.beside(places, restated, asked_words)
        if not why:
            return
    raise Refused("quote_not_in_transcript", why or "the words are not one stretch of the transcript")


class _Transcript:
    """A transcript as words of content with the links before each."""

    def __init__(self, said: Sequence[str], words: Lexicon) -> None:
        self.grammar: Grammar = GRAMMAR[words.language]
        self.lexicon = words
        self.said = said
        self.first_person = not self.grammar.first_person.isdisjoint(said)
        self.content = [i for i, word in enumerate(said) if self._is_content(word)]
        self._number = {place: n for n, place in enumerate(self.content)}
        self._forms: dict[str, list[int]] = {}

    def _is_content(self, word: str) -> bool:
        if word in self.grammar.links or word in self.grammar.free or word.endswith("'"):
            return False
        return word not in self.lexicon.function_words and word not in self.lexicon.determiners

    def places(self, word: str) -> list[int]:
        """Return where the transcript has a word of content, in its form or another."""
        found = self._forms.get(word)
        if found is None:
            found = []
            if self._is_content(word):
                found = [i for i in self.content if forms_of_one(word, self.said[i], self.lexicon.language)]
                found = [i for i in found if self.said[i] == word] or found
            self._forms[word] = found
        return found

    def links(self, place: int) -> tuple[str, ...]:
        """Return the links between a word of content and the one before it."""
        number = self._number[place]
        start = self.content[number - 1] + 1 if number else 0
        return self._linked(self.said[start:place])

    def _linked(self, between: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.grammar.links[word] for word in between if word in self.grammar.links)

    def told(self, reading: Reading, sentence: int, *, asks: bool = False) -> _Told:  # noqa: PLR0912
        """Return what a sentence, with `asks` of a question, tells of the transcript, and what else it has."""
        grammar, words = self.grammar, self.lexicon
        tokens = reading.text.tokens
        covered, spoken = self._covered(reading)
        groups: list[_Group] = []
        found = _Told(groups, [], [], False, False)
        speaks = claims = False
        begun = 0  # where the last word of telling stands
        frame, links, current = "", [], None  # type: str, list[str], _Group | None
        for index, token in enumerate(tokens):
            if token.sentence != sentence:
                continue
            text = token.text
            if token.quote >= 0:
                frame, links, current = "", [], None
            elif self._is_speaker(tokens, index):
                genitive = self._is_genitive(tokens, index)
                speaks |= not genitive
                links = []
            elif asks and text in grammar.asking:
                links = []
            elif text in grammar.links and (index not in covered or text in self.said):
                links.append(grammar.links[text])
            elif text in grammar.telling and not (self.places(text) and current):
                named = text in grammar.named
                if groups and not groups[-1].frame:  # "three trees are mentioned", but not "Anna says"
                    near = tokens[groups[-1].words[-1].at].clause == token.clause
                    claims |= near and not named and not self.places(text)
                    if named:
                        groups[-1] = groups[-1]._replace(frame="name")
                frame, links, current = "name", [], None
                begun, speaks = index, speaks or (text in TALKING and asks)
            elif text in grammar.that and frame and current is None:
                frame = "tell"
            elif index in covered:
                near = current is not None and index - current.words[-1].at <= 3
                claims |= (
                    index in spoken and not frame and not (near and self._is_genitive(tokens, index, "von", "vom"))
                )
                links = links if text in grammar.free else []
            elif text in grammar.asking and not self.places(text):
                links = []
            elif self.places(text) and (asks or text not in words.known or text in self.said):
                if current is None:
                    talks = frame == "name" and tokens[begun].text in TALKING
                    current = _Group([], "" if talks and not grammar.topics.intersection(links) else frame)
                    groups.append(current)
                current.words.append(_Word(index, text, tuple(links)))
                links = []
            elif self._is_content(text) and len(text) > 2:
                (found.foreign if text in words.known else found.strange).append(index)
                links = []
        return found._replace(speaks=speaks, claims=claims)

    def _covered(self, reading: Reading) -> tuple[set[int], set[int]]:
        """Return the tokens that claims and mentions cover, and those of them that tell of voice or recording."""
        covered: set[int] = set()
        spoken: set[int] = set()
        for hit in reading.hits:
            kinds = hit.kinds()
            inside = range(hit.start, hit.end)
            own = [reading.text.tokens[i].text for i in inside]
            if kinds & {"claim", "short", "mention", "hint"} and "transcript" not in hit.keys("mention", "hint"):
                covered.update(inside)
                if any(word not in self.grammar.free for word in own):
                    spoken.update(inside)
        return covered, spoken

    def _is_speaker(self, tokens: Sequence[Token], index: int) -> bool:
        text = tokens[index].text
        before = tokens[index - 1].text if index else ""
        return text in self.grammar.speakers or f"{before} {text}" in self.grammar.speakers

    def _is_genitive(self, tokens: Sequence[Token], index: int, *others: str) -> bool:
        if index + 1 < len(tokens) and tokens[index + 1].text == "'s":
            return True
        before = {token.text for token in tokens[max(0, index - 3) : index]}
        return not before.isdisjoint((*self.grammar.genitive, *others))

    def ways(self, words: Sequence[_Word]) -> Iterator[tuple[int, ...]]:
        """Yield the ways of finding the words in the transcript, no place twice."""
        ways: list[tuple[int, ...]] = [()]
        for word in words:
            ways = [(*way, place) for way in ways for place in self.places(word.text) if place not in way][:_TRIES]
        yield from ways

    def fault(
        self, group: _Group, places: Sequence[int], answer: Sequence[str], own: Sequence[str], asked: Sequence[str]
    ) -> str:
        """Return what is wrong with taking a group's words for those at `places`, "" for nothing."""
        if moved := self._moved(group.words, places, answer):
            return moved
        chosen = set(places)
        if not self.grammar.pronouns.isdisjoint(own):  # "he sold it", the boat being asked about
            between = [place for place in self.content if min(places) < place < max(places)]
            chosen |= {p for p in between if any(forms_of_one(w, self.said[p], self.lexicon.language) for w in asked)}
        for place in range(min(places), max(places)):
            if place not in self._number or place in chosen or self._modifies(place, chosen):
                continue
            final = self.lexicon.language == "de" and max(places) == self.content[-1]  # the verb, behind all else
            if not (final and self._in_phrase(place, chosen)):
                return f"{self.said[place]!r} is left out"
        return self.unlinked(group, places, chosen, asked)

    def unlinked(self, group: _Group, places: Sequence[int], chosen: Collection[int], asked: Sequence[str]) -> str:
        """Return the first word that stands behind other prepositions and such than in the transcript, "" for none."""
        for number, (word, place) in enumerate(zip(group.words, places, strict=True)):
            wanted = self._links_past_skipped(place, chosen)
            if word.links == wanted:
                continue
            timed = not word.links and not self.links(place) and not self.grammar.when.isdisjoint(asked)
            if number == 0 and (timed or self._may_begin(group.frame, word.links, wanted, asked)):
                continue
            return f"{' '.join((*word.links, word.text))!r} is said as {' '.join((*wanted, self.said[place]))!r}"
        return ""

    def _links_past_skipped(self, place: int, chosen: Collection[int]) -> tuple[str, ...]:
        number = self._number[place]
        while number and self.content[number - 1] not in chosen and self._modifies(self.content[number - 1], chosen):
            number -= 1
        start = self.content[number - 1] + 1 if number else 0
        return self._linked(self.said[start:place])

    def _may_begin(self, frame: str, mine: Sequence[str], wanted: Sequence[str], asked: Sequence[str]) -> bool:
        grammar = self.grammar
        asked_links = {grammar.links[word] for word in asked if word in grammar.links}
        if not mine:
            loose = {*grammar.droppable, *asked_links}
            return frame == "name" or all(link in loose for link in wanted)
        return frame == "name" and all(link in grammar.topics for link in mine)

    def _modifies(self, place: int, chosen: Collection[int]) -> bool:
        """Say whether a word left out is one before a noun that is told ("the old boat"), or an adverb."""
        number = self._number[place]
        if self.said[place].endswith(self.grammar.adverbs):
            return True
        following = self.content[number + 1] if number + 1 < len(self.content) else -1
        before = self.said[place - 1] if place else ""
        if following != place + 1 or following not in chosen:
            return False
        counted = any(word in NUMBERS or word[:1].isdigit() for word in (self.said[place], before))
        return counted or before in self.lexicon.determiners or before in self.grammar.free

    def _moved(self, words: Sequence[_Word], places: Sequence[int], answer: Sequence[str]) -> str:
        """Return a fault where the order is another than the transcript's, but for what may be moved."""
        own = answer[words[0].at : words[-1].at]
        if list(places) == sorted(places):
            turned = self._is_passive(words, own) and not self._passive_said(places)
            return "it is turned into a passive" if turned else ""
        if self._is_passive(words, own) and self._turned_round(places):
            return ""
        rest = list(zip(places, words, strict=True))
        first = min(places)
        head = [pair for pair in rest if pair[0] == first and self.links(first) and pair[1].links]
        if head:  # "at noon he came", "he came at noon"
            block = first
            while block + 1 in {place for place, _ in rest} and not self.links(block + 1):
                block += 1
            tail = [place for place, _ in rest if place > block]
            if len(tail) + (block - first + 1) == len(rest) and self._in_order(rest, tail):
                return ""
            rest = [pair for pair in rest if pair[0] != first]
        elif rest[0][1].links and self.links(rest[0][0]):
            rest = rest[1:]
        if self.lexicon.language == "de":  # the verb stands second or last
            falls = [i for i, ((one, _), (other, _)) in enumerate(pairwise(rest)) if one > other]
            for i in {i + step for i in falls for step in (0, 1)}:
                left = [place for place, _ in rest[:i] + rest[i + 1 :]]
                if left == sorted(left) and self._is_verb(rest[i][0]):
                    return ""
        elif [place for place, _ in rest] == sorted(place for place, _ in rest):
            return ""
        return "the transcript has another order"

    def _in_order(self, rest: Sequence[tuple[int, _Word]], tail: Collection[int]) -> bool:
        left = [place for place, _ in rest if place in tail]
        return left == sorted(left)

    def _is_verb(self, place: int) -> bool:
        """Say whether a German word may be a verb: behind no article, before no noun that it describes."""
        before = self.said[place - 1] if place else ""
        return before not in self.lexicon.determiners and before not in self.grammar.links

    def _is_passive(self, words: Sequence[_Word], own: Sequence[str]) -> bool:
        if self.grammar.passive.isdisjoint(own):
            return False
        last = [word.text for word in words if not word.links]
        participle = any(word.endswith(self.grammar.participles) for word in last)
        return participle and len(last) > 1

    def _passive_said(self, places: Sequence[int]) -> bool:
        inside = self.said[max(0, min(places) - 2) : max(places) + 2]
        return not self.grammar.passive.isdisjoint(inside)

    def _turned_round(self, places: Sequence[int]) -> bool:
        """Say whether an object is told first, and then its verb: "the old boat was sold to him"."""
        verb = min(places)
        number = list(places).index(verb)
        ahead, behind = list(places[:number]), list(places[number + 1 :])
        return ahead == sorted(ahead) and behind == sorted(behind) and (not behind or max(ahead) < behind[0])

    def beside(self, places: Sequence[int], restated: Sequence[_Word], asked: Sequence[str]) -> str:
        """Return a fault where the words of a question do not lie beside those of the answer, "" for none."""
        joined = set(places)
        middle = (min(places) + max(places)) / 2
        for word in restated:
            near = sorted(self.places(word.text), key=lambda place: abs(place - middle))
            if not near or near[0] in joined:
                continue
            wanted = self._links_past_skipped(near[0], joined)
            by = word.links == (self.grammar.agent,) and not wanted and not self.grammar.passive.isdisjoint(asked)
            if by and near[0] < min(joined):  # "by whom", of a sentence that is no passive
                joined.add(near[0])
                continue
            if word.links != wanted and not all(link in self.grammar.droppable for link in wanted):
                return f"the question has {word.text!r} in another part"
            if word.links and not wanted:
                return f"the question has {' '.join((*word.links, word.text))!r}"
            joined.add(near[0])
        verbs = len({word.text for word in restated}) > 1 or any(self._asked_alone(word) for word in restated)
        for place in range(min(joined), max(joined)):
            if place in joined or place not in self._number or self._modifies(place, joined):
                continue
            if not (verbs and self._in_phrase(place, joined)):
                return f"{self.said[place]!r} stands between what is asked and what is told"
        return ""

    def _asked_alone(self, word: _Word) -> bool:
        places = self.places(word.text)
        return bool(places) and self.said[places[0] - 1 if places[0] else 0] not in self.lexicon.determiners

    def _in_phrase(self, place: int, joined: Collection[int]) -> bool:
        """Say whether a word belongs to a phrase that a preposition begins, all of it left out."""
        number = self._number[place]
        while number >= 0 and self.content[number] not in joined:
            links = self.links(self.content[number])
            if links:
                return self.grammar.prepositions.issuperset(links)
            number -= 1
        return False
