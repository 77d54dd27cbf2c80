"""The second engine: questions and answers from templates, deterministic by seed, in the same JSON as a model's.

It serves scale runs and tests, and stands in where a model fails. Each thing that can be asked is an `Item` with all
its phrasings; the seed picks. What it writes goes through the same parser and verifier as a model's text.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.instruct.items import Dice, Item, sentence
from sift_ray.instruct.prompts import focus_positions
from sift_ray.instruct.requests import (
    ACOUSTIC,
    COMPARED_KEYS,
    COMPARISON,
    CONTENT,
    CONTROLLABLE,
    OPEN_ENDED,
    SPEAKER_KEYS,
    WORD_ALIGN,
    Request,
)
from sift_ray.instruct.templates import MOST_ORDINAL, QuestionsAnswers, Templates, templates
from sift_ray.instruct.unanswerable import unanswerable_items
from sift_ray.instruct.word_times import word_time_items
from sift_ray.metadata.accents import accent_phrase, known_name
from sift_ray.metadata.categories import ATTRIBUTES, WORD_ATTRIBUTES, WORD_KEY
from sift_ray.metadata.phrases import Phrases, phrases

_MOST_VOICE, _MOST_AUDIO = 3, 2  # facts in one open-ended answer
_BAR = " | "  # in an open question after "advice"; in a text of accents, before the wording for free names
_CONTENT_KEYS = ("gender", "age_category", "accent", "language", "transcript")
_JSON = json.JSONEncoder(ensure_ascii=False)


def write_pairs(request: Request, attempt: int = 0) -> str:
    """Return up to `pairs_wanted` pairs for `request`, a JSON object a line; fewer where less is known.

    A question or an answer occurs once; another `attempt` makes other choices.
    """
    dice = Dice(request.seed, request.task, attempt)
    questions: set[str] = set()
    answers: set[str] = set()
    lines: list[str] = []
    for item in _twice(_items(request, dice)):
        if len(lines) == request.pairs_wanted:
            break
        fresh = [q for q in item.questions if q not in questions]
        said = [a for a in item.answers if not a or a not in answers]
        if fresh and said:
            question, answer = dice.pick(fresh), dice.pick(said)
            questions.add(question)
            answers.add(answer)
            lines.append(_JSON.encode({"q": question, "a": answer}))
    return "\n".join(lines)


def items_of(request: Request, dice: Dice) -> list[Item]:
    """Return what can be asked in `request`, in an order that the dice decide."""
    return list(_items(request, dice))


def _twice(items: Iterable[Item]) -> Iterator[Item]:
    """Yield all items, then all again: every thing is asked once before any is asked in other words."""
    made = []
    for item in items:
        made.append(item)
        yield item
    yield from made


def _items(request: Request, dice: Dice) -> Iterable[Item]:
    """Return what `items_of` does; the dice are thrown, but not every text need be made yet."""
    if request.unknown:
        return unanswerable_items(request, dice)
    if request.task == WORD_TIMES:
        return word_time_items(request, dice)
    composer = _Composer(request, templates(request.language), phrases(request.language), dice)
    makers: Mapping[str, Callable[[], Iterable[Item]]] = {
        ACOUSTIC: composer.about_sound,
        CONTENT: composer.about_content,
        WORD_ALIGN: composer.about_words,
        COMPARISON: composer.about_differences,
        OPEN_ENDED: composer.openly,
        CONTROLLABLE: composer.as_synthesis_prompt,
    }
    return makers[request.task]()


@functools.cache  # (of the categories that there are)
def _of_category(language: str, key: str, label: str) -> Item:
    """Return what can be asked about an attribute, `label` being true of it."""
    texts = templates(language)
    text = texts.attributes[key]
    verb, rest = texts.predicate(key, label)
    statements = tuple(
        sentence(opener + (texts.after_opener if opener else texts.main).format(subject=subject, verb=verb, rest=rest))
        for opener in texts.openers
        for subject in texts.subjects[text.subject]
    )
    return Item(text.questions, statements, _slots(texts, text.subject, rest))


def _slots(texts: Templates, subject: str, rest: str) -> tuple[tuple[str, ...], ...]:
    return (texts.own_words.voice if subject == "voice" else texts.own_words.audio, (rest,))


@dataclass(frozen=True, slots=True)
class _Word:
    """A word in quotation marks (None: it can't be), its categories, and whether quoting it tells which is meant."""

    position: int
    values: Mapping[str, str]
    quoted: str | None
    alone: bool


class _Composer:
    def __init__(self, request: Request, texts: Templates, wording: Phrases, dice: Dice) -> None:
        self.request = request
        self.texts = texts
        self.wording = wording
        self.dice = dice
        self.known: tuple[dict[str, str], dict[str, str]] = (
            {f.key: f.value for f in request.facts if f.position == 0 and f.audio == 0},
            {f.key: f.value for f in request.facts if f.position == 0 and f.audio == 1},
        )

    def keys(self, allowed: Sequence[str]) -> list[str]:
        """Return the keys that are known and asked for, in an order that the dice decide."""
        wanted = [k for k in allowed if k in self.known[0] and (not self.request.focus or k in self.request.focus)]
        return self.dice.shuffled(wanted)

    # --- acoustic and content level -------------------------------------------------------------------------------

    def about_sound(self) -> list[Item]:
        return [item for key in self.keys((*ATTRIBUTES, "language")) for item in self._about(key)]

    def about_content(self) -> list[Item]:
        return [item for key in self.keys(_CONTENT_KEYS) for item in self._about(key)]

    def _about(self, key: str) -> list[Item]:
        value = self.known[0][key]
        if key in ATTRIBUTES:
            return [_of_category(self.request.language, key, value)]
        said = self._content_value(key, value)
        if said is None:
            return []
        text_of = self.texts.content[key]  # type: ignore[index]  # (its keys are literals)
        frames = self._of_accents(text_of.answers, value) if key == "accent" else text_of.answers
        answers = tuple(sentence(answer.format(x=said)) for answer in frames)
        carried = self._age(value, None) if key == "age_category" else said
        return [Item(text_of.questions, answers, _slots(self.texts, "voice", carried))]

    def _content_value(self, key: str, value: str) -> str | None:
        if key == "gender":
            return self.texts.who.nouns[value]
        if key == "transcript":
            return self._said(value)
        if key == "accent":
            return self._accent(value)
        return self.wording.phrase(key, value)

    def _accent(self, name: str) -> str | None:
        """Word an accent: the dictionary's phrase, or a free name in quotation marks."""
        return accent_phrase(self.request.language, name) if known_name(name) else self.texts.quoted(name)

    @staticmethod
    def _of_accents(texts: Sequence[str], *names: str) -> tuple[str, ...]:
        """Choose the side of each text's bar: the left one takes phrases of the dictionary alone."""
        free = not all(map(known_name, names))
        sides = (text.partition(_BAR) for text in texts)
        return tuple(right if free and bar else left for left, bar, right in sides)

    def _said(self, transcript: str) -> str | None:
        """Return a transcript in quotation marks; its full stop would meet the sentence's."""
        return self.texts.quoted(transcript.rstrip(". "))

    # --- words ----------------------------------------------------------------------------------------------------

    def about_words(self) -> Iterator[Item]:
        """Ask about words in turn, each in one of the ways that it allows; texts are filled when they are asked for."""
        shown = set(focus_positions(self.request)) if self.request.focus else None
        words = self._words(shown)
        keys = [k for k in WORD_ATTRIBUTES if not self.request.focus or k in self.request.focus]
        places = [
            (key, index)
            for key in keys
            for index, word in enumerate(words)
            if key in word.values and (shown is None or word.position in shown)
        ]
        chosen = self.dice.shuffled(places, most=2 * self.request.pairs_wanted)
        ways = [self._way(words, index, key) for key, index in chosen]
        return (way() for way in ways if way is not None)

    def _words(self, shown: AbstractSet[int] | None) -> list[_Word]:
        """Return the words; those alone stand for themselves that are spoken once, and at a position `shown`."""
        values: dict[int, dict[str, str]] = {}
        for fact in self.request.facts:
            if fact.position and fact.audio == 0:
                values.setdefault(fact.position, {})[fact.key] = fact.value
        spoken = [(known[WORD_KEY], place, known) for place, known in sorted(values.items()) if WORD_KEY in known]
        count = Counter(text.casefold() for text, _, _ in spoken)
        words = []
        for text, position, known in spoken:
            quoted = self.texts.quoted(text)
            alone = count[text.casefold()] == 1 and quoted is not None and (shown is None or position in shown)
            words.append(_Word(position, known, quoted, alone))
        return words

    def _way(self, words: Sequence[_Word], index: int, key: str) -> Callable[[], Item] | None:
        """Choose one of the ways of asking for `key` of a word, None where there is none."""
        word, last = words[index], index == len(words) - 1
        texts, ways = self.texts.words, []
        others: list[_Word] = []
        if word.quoted is not None and (last or word.position <= MOST_ORDINAL):
            ways.append(partial(self._word_item, texts.ordinal, key, word, last=last))
        if word.alone:
            ways.append(partial(self._word_item, texts.at, key, word))
            if index and words[index - 1].position == word.position - 1 and words[index - 1].alone:
                ways.append(partial(self._word_item, texts.after, key, words[index - 1], word))
            if not last and words[index + 1].position == word.position + 1 and words[index + 1].alone:
                ways.append(partial(self._word_item, texts.before, key, words[index + 1], word))
            others = [other for other in words[index + 1 :] if other.alone and key in other.values]
        if not ways and not others:
            return None
        chosen = self.dice.below(len(ways) + bool(others))
        return ways[chosen] if chosen < len(ways) else partial(self._change, key, word, self.dice.pick(others))

    def _word_item(
        self, text: QuestionsAnswers, key: str, word: _Word, said: _Word | None = None, *, last: bool = False
    ) -> Item:
        """Fill phrasings about `word`, or about `said` next to it."""
        texts = self.texts.words
        values = {
            "name": texts.names[key],
            "w": word.quoted,
            "v": said.quoted if said is not None else None,
            "m": self.texts.predicate(key, (said or word).values[key])[1],
            "nth": self.texts.nth_word(word.position, last=last),
        }
        return _filled(text.questions, text.answers, values, self._word_slots(values, values["v"] or values["w"]))

    def _word_slots(self, values: Mapping[str, str | None], word: str | None) -> tuple[tuple[str, ...], ...]:
        """Return slots of a word and how it is spoken; of a second word too, where `values` have its manner."""
        own = self.texts.own_words
        first, manner, second = own.word.format(w=word), values["m"] or "", values.get("m2")
        if second is None:
            return (first,), (manner,)
        return (first,), (own.then.format(**values),), (second,)

    def _change(self, key: str, word: _Word, other: _Word) -> Item:
        texts = self.texts.words
        values = {
            "name": texts.names[key],
            "w": word.quoted,
            "v": other.quoted,
            "m": self.texts.predicate(key, word.values[key])[1],
            "m2": self.texts.predicate(key, other.values[key])[1],
        }
        same = word.values[key] == other.values[key]
        slots = self._word_slots(values, values["w"])
        return _filled(texts.change.questions, (texts.same if same else texts.change).answers, values, slots)

    # --- two recordings -------------------------------------------------------------------------------------------

    def about_differences(self) -> list[Item]:
        first, second = self.known
        keys = [key for key in self.keys(COMPARED_KEYS) if key in second]
        # what differs is more worth asking than what does not
        keys.sort(key=lambda key: first[key] == second[key])
        return [self._compared(key, first[key], second[key]) for key in keys]

    def _compared(self, key: str, left: str, right: str) -> Item:
        texts = self.texts.comparison
        relation = "same" if left == right else "differs"
        if key in ATTRIBUTES:
            attribute = self.texts.attributes[key]
            (verb, rest), (verb2, rest2) = (self.texts.predicate(key, label) for label in (left, right))
            values: dict[str, str | None] = {"verb": verb, "rest": rest, "verb2": verb2, "rest2": rest2}
            values["name"] = attribute.name
            frames = getattr(texts, f"{attribute.subject}_{relation}")
            slots = self._two_slots(attribute.subject, rest, rest2)
        else:
            values = {"x": self._content_value(key, left), "x2": self._content_value(key, right)}
            values["name"] = texts.names[key]
            frames = getattr(texts, f"{key}_{relation}")
            frames = self._of_accents(frames, left, right) if key == "accent" else frames
            slots = self._two_slots("voice", values["x"], values["x2"])
        return _filled(texts.questions, frames, values, slots)

    def _two_slots(self, subject: str, left: str | None, right: str | None) -> tuple[tuple[str, ...], ...]:
        own = self.texts.own_words
        if left is None or right is None:
            return ()
        return (own.first[subject],), (own.second[subject].format(rest=left),), (right,)

    # --- longer texts ---------------------------------------------------------------------------------------------

    def openly(self) -> list[Item]:
        """Describe the person, the voice and the recording from a few facts; give advice where asked for it."""
        return [self._description() for _ in range(self.request.pairs_wanted)]

    def _description(self) -> Item:
        texts, keys = self.texts.open_ended, self.keys((*ATTRIBUTES, *SPEAKER_KEYS))
        voice = [k for k in keys if k in ATTRIBUTES and self.texts.attributes[k].subject == "voice"]
        audio = [k for k in keys if k in ATTRIBUTES and self.texts.attributes[k].subject == "audio"]
        person = [k for k in keys if k in SPEAKER_KEYS]
        values = {"who": self._who(person), "list": self._manners(voice[:_MOST_VOICE])}
        values["verb"] = self.texts.verbs["voice"]
        openings: tuple[str, ...] = ("",)
        if voice:
            openings = texts.answers
        elif person:
            openings = texts.person_only
        parts = []
        for key in audio[:_MOST_AUDIO]:
            verb, rest = self.texts.predicate(key, self.known[0][key])
            parts.append(self.dice.pick(texts.audio).format(verb=verb, rest=rest))
        if not keys and (said := self._said(self.known[0].get("transcript", ""))) is not None:
            parts.append(self.dice.pick(texts.words_said).format(x=said))
        asked = [question.rpartition(_BAR) for question in texts.questions]
        advised = bool(self.dice.pick(asked)[0])
        if advised:
            parts.append(self.dice.pick(texts.advice))
        answers = tuple(" ".join(filter(None, (sentence(opening.format(**values)), *parts))) for opening in openings)
        slots: tuple[tuple[str, ...], ...] = ()
        if voice or audio:
            key = (voice or audio)[0]
            slots = _slots(
                self.texts, self.texts.attributes[key].subject, self.texts.predicate(key, self.known[0][key])[1]
            )
        elif person:
            slots = _slots(self.texts, "voice", self._who(person))
        return Item(tuple(text for mark, _, text in asked if bool(mark) == advised), answers, slots)

    def as_synthesis_prompt(self) -> list[Item]:
        """Ask for a voice with the characteristics in focus; the answer is audio, so its text is empty."""
        texts, keys = self.texts.controllable, self.keys(COMPARED_KEYS)
        voice = [k for k in keys if k in ATTRIBUTES]
        person = [k for k in keys if k in SPEAKER_KEYS]
        if not keys:
            return []
        frames = texts.manner if not person else texts.both if voice else texts.person
        values = {"who": self._who(person, voice=True), "list": self._manners(voice)}
        own = self.texts.own_words
        said = values["list"] or values["who"]
        slots: tuple[tuple[str, ...], ...] = ()
        if not (voice and person):
            slots = (own.manner if voice else own.person, (said,))
        return [_filled(frames, ("",), values, slots)] * self.request.pairs_wanted

    def _who(self, keys: Sequence[str], *, voice: bool = False) -> str:
        """Word a person, or with `voice` that person's voice, where the language has nouns for it."""
        texts, known = self.texts.who, self.known[0]
        gender = known["gender"] if "gender" in keys else None
        noun = texts.anyone if gender is None else texts.nouns[gender]
        if voice:
            noun = texts.nouns.get(f"{gender or 'anyone'}_voice", noun)
        parts = [noun]
        if "age_category" in keys:
            parts.append(self._age(known["age_category"], gender))
        if "accent" in keys:
            (frame,) = self._of_accents((texts.accent,), known["accent"])
            parts.append(frame.format(x=self._accent(known["accent"])))
        return " ".join(parts)

    def _age(self, label: str, gender: str | None) -> str:
        text = self.texts.who.age
        frame = text if isinstance(text, str) else text[gender or "anyone"]
        return frame.format(x=self.wording.phrase("age_category", label))

    def _manners(self, keys: Sequence[str]) -> str:
        """Join how somebody speaks: "softly, very slowly and with a low pitch"."""
        manners = [self.texts.predicate(key, self.known[0][key])[1] for key in keys]
        if len(manners) < 2:
            return "".join(manners)
        return ", ".join(manners[:-1]) + self.texts.joint + manners[-1]


def _filled(
    questions: Sequence[str],
    answers: Sequence[str],
    values: Mapping[str, str | None],
    slots: tuple[tuple[str, ...], ...] = (),
) -> Item:
    return Item(
        tuple(sentence(text.format(**values)) for text in questions),
        tuple(sentence(text.format(**values)) for text in answers),
        slots,
    )
