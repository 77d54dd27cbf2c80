"""May words be told in this order? Only as a language moves them without a change of who does what."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

from sift_ray.instruct.verify.retold import Word
from sift_ray.instruct.verify.transcript import Grammar, Transcript


def moved(transcript: Transcript, words: Sequence[Word], places: Sequence[int], answer: Sequence[str]) -> str:
    """Return a fault where the order is another than the transcript's, but for what may be moved."""
    own = answer[words[0].at : words[-1].at]
    if list(places) == sorted(places):
        turned = _is_passive(transcript.grammar, words, own) and not _passive_said(transcript, places)
        return "it is turned into a passive" if turned else ""
    if _is_passive(transcript.grammar, words, own) and _turned_round(places):
        return ""
    rest = list(zip(places, words, strict=True))
    first = min(places)
    head = [pair for pair in rest if pair[0] == first and transcript.links(first) and pair[1].links]
    if head:  # "at noon he came", "he came at noon"
        block = first
        while block + 1 in {place for place, _ in rest} and not transcript.links(block + 1):
            block += 1
        tail = [place for place, _ in rest if place > block]
        if len(tail) + (block - first + 1) == len(rest) and _in_order(rest, tail):
            return ""
        rest = [pair for pair in rest if pair[0] != first]
    elif rest[0][1].links and transcript.links(rest[0][0]):
        rest = rest[1:]
    if transcript.lexicon.language == "de":  # the verb stands second or last
        falls = [i for i, ((one, _), (other, _)) in enumerate(pairwise(rest)) if one > other]
        for i in {i + step for i in falls for step in (0, 1)}:
            left = [place for place, _ in rest[:i] + rest[i + 1 :]]
            if left == sorted(left) and _is_verb(transcript, rest[i][0]):
                return ""
    elif [place for place, _ in rest] == sorted(place for place, _ in rest):
        return ""
    return "the transcript has another order"


def _in_order(rest: Sequence[tuple[int, Word]], tail: Collection[int]) -> bool:
    left = [place for place, _ in rest if place in tail]
    return left == sorted(left)


def _is_verb(transcript: Transcript, place: int) -> bool:
    """Say whether a German word may be a verb: behind no article, before no noun that it describes."""
    before = transcript.said[place - 1] if place else ""
    return before not in transcript.lexicon.determiners and before not in transcript.grammar.links


def _is_passive(grammar: Grammar, words: Sequence[Word], own: Sequence[str]) -> bool:
    if grammar.words.passive.isdisjoint(own):
        return False
    last = [word.text for word in words if not word.links]
    participle = any(word.endswith(grammar.words.participles) for word in last)
    return participle and len(last) > 1


def _passive_said(transcript: Transcript, places: Sequence[int]) -> bool:
    inside = transcript.said[max(0, min(places) - 2) : max(places) + 2]
    return not transcript.grammar.words.passive.isdisjoint(inside)


def _turned_round(places: Sequence[int]) -> bool:
    """Say whether an object is told first, and then its verb: "the old boat was sold to him"."""
    verb = min(places)
    number = list(places).index(verb)
    ahead, behind = list(places[:number]), list(places[number + 1 :])
    return ahead == sorted(ahead) and behind == sorted(behind) and (not behind or max(ahead) < behind[0])
