"""Written words to spoken ones: abbreviations, initials, numbers and signs as they are read out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from sift_ray.align.abbreviations import abbreviations
from sift_ray.align.number_words import Numbers, numbers
from sift_ray.align.text import APOSTROPHE, LONGEST_WORD

_MOST_READINGS = 8
_MOST_GROUPS = 4
_INITIALS = re.compile(r"(?P<elided>[^\W\d_]{1,6}')?(?P<letters>(?:[^\W\d_]\.){2,}|(?:[^\W\d_]\.)+[^\W\d_])")
_CAPITALS = re.compile(r"([A-Za-z]{1,6}')?([A-ZÄÖÜ]{2,5})('?s)?")  # l'ONU, USA's, CDs
_VOWEL = re.compile(r"[AEIOUYÄÖÜ]")
_NO_WORD = re.compile(r"[B-DF-HJ-NP-TV-XZ]{2,5}|II|[IVX]{3,5}")  # BBC, XIV
_RUNS = re.compile(r"\d+|[^\W\d_]+(?:'[^\W\d_]+)*'?|[^\w\s]")
_HEADED = re.compile(r"(\D+)(\d.*)")
_GROUP = re.compile(r"[0-9]{3}")
_HEAD = re.compile(r"[1-9][0-9]{0,2}")


def readings(words: Sequence[str], language: str) -> list[tuple[str, ...]]:
    """Return how each of a transcript's `words` may be read out, likeliest first; empty for a word read as written.

    A reading is one or more words parted by spaces. Single capitals are letter names. Words of more than
    `LONGEST_WORD` characters are not read at all.
    """
    shouted = not any(c.islower() for word in words for c in word)
    counted = any(c.isdigit() for word in words for c in word)
    found: list[tuple[str, ...]] = []
    for index, word in enumerate(words):
        if len(word) > LONGEST_WORD:
            found.append(())
        elif counted and (near := _by_number(words, index, numbers(language))):
            found.append(_distinct(near, _reading(word, language)))
        else:
            found.append(_in_place(words, index, language, shouted))
    return found


def is_no_word(capitals: str) -> bool:
    """Say whether `capitals` must be initials or a numeral, even where everything is in capitals."""
    return _NO_WORD.fullmatch(capitals) is not None


def _distinct(*ways: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(itertools.chain.from_iterable(ways)))[:_MOST_READINGS]


def _in_place(words: Sequence[str], index: int, language: str, shouted: bool) -> tuple[str, ...]:
    """Return the readings of one word between its neighbours."""
    rules, word = abbreviations(language), words[index]
    before = words[index - 1] if index else ""
    after = words[index + 1] if index + 1 < len(words) else ""
    if read := rules.readings(word, before, after):
        bare = word[:-1]
        if after or word[-1] != "." or "." in bare or len(bare) == 1 or before[:1].isdigit():
            return read
        # its full stop may be the sentence's
        itself = _reading(bare, language) or (bare,)
        return _distinct(itself, read) if bare.isupper() or bare.lower() in rules.words else _distinct(read, itself)
    if rules.is_ordinal(word, before, after):
        digits, number = word.rstrip("."), numbers(language)
        ordinals, cardinals = number.ordinal(int(digits)), number.cardinal(digits)
        return _distinct(ordinals, cardinals) if after else _distinct(cardinals, ordinals)
    read = _reading(word, language)
    if shouted and (capitals := _CAPITALS.fullmatch(word)) and not is_no_word(capitals[2]):
        return _distinct([word.lower()], read)
    return read


def _by_number(words: Sequence[str], index: int, number: Numbers) -> tuple[str, ...]:
    """Return the readings that a word has by the number before or behind it, or as a part of a number."""
    found = _by_unit(words, index, number) or _by_money(words, index, number) or _by_clock(words, index, number)
    if not found and number.spaced and (place := _spaced(words, index)):
        return number.spaced_group(*place)  # or these are numbers of their own after all
    return found


def _by_unit(words: Sequence[str], index: int, number: Numbers) -> tuple[str, ...]:
    """5 km, 120 km/h: the unit's word, or its letters."""
    word, before = words[index], words[index - 1] if index else ""
    touching = before[:1].isdigit() and before[-1].isalpha()
    if touching or (index > 1 and words[index - 2][:1].isdigit() and number.unit(before, "")):
        return number.per(word)
    unit = number.unit(word, before) if before[:1].isdigit() else None
    if not unit:
        return ()
    letters = [" ".join(word.upper())] if len(word) < 3 else []
    return _distinct([unit], letters, [word] if len(word) > 1 else []) if word.isalpha() else (unit,)


def _by_money(words: Sequence[str], index: int, number: Numbers) -> tuple[str, ...]:
    """$2.5 million: two point five | million dollars."""
    word = words[index]
    if index and word.lower() in number.scale_words and (money := number.scaled_money(words[index - 1])):
        return f"{word} {money[1]}", word
    followed = index + 1 < len(words) and words[index + 1].lower() in number.scale_words
    return tuple(money[0]) if followed and (money := number.scaled_money(word)) else ()


def _by_clock(words: Sequence[str], index: int, number: Numbers) -> tuple[str, ...]:
    """14.30 Uhr: vierzehn | Uhr dreißig; alle 14.30: quattordici e trenta."""
    word = words[index]
    before = words[index - 1] if index else ""
    after = words[index + 1] if index + 1 < len(words) else ""
    if word.lower() in number.clock_after and (time := number.pointed_time(before)):
        return f"{word} {time[1]}".strip(), word
    if after.lower() in number.clock_after and (time := number.pointed_time(word)):
        return time[0], *time[2]
    return tuple(time[2]) if before.lower() in number.clock_before and (time := number.pointed_time(word)) else ()


def _spaced(words: Sequence[str], index: int) -> tuple[Sequence[str], int] | None:
    """Return the groups of a number like 3 000 that `words[index]` is one of, and which one it is."""
    first, last = index, index
    while first and index - first < _MOST_GROUPS and _GROUP.fullmatch(words[first]):
        if not (_GROUP.fullmatch(words[first - 1]) or _HEAD.fullmatch(words[first - 1])):
            break
        first -= 1
    while last + 1 < len(words) and last - first < _MOST_GROUPS and _GROUP.fullmatch(words[last + 1]):
        last += 1
    if first == last or last - first >= _MOST_GROUPS or not _HEAD.fullmatch(words[first]):
        return None
    return words[first : last + 1], index - first


@lru_cache(maxsize=100_000)
def _reading(word: str, language: str) -> tuple[str, ...]:
    if word.isalpha() and word.islower():
        return ()
    known = numbers(language)
    if initials := _INITIALS.fullmatch(word):
        return ((initials["elided"] or "").lower() + " ".join(initials["letters"].replace(".", "").upper()),)
    if capitals := _CAPITALS.fullmatch(word):
        return _distinct(known.readings(word), _acronym(capitals[2], capitals[1] or "", capitals[3] or ""))
    if word[0] in "IVX" and (numeral := known.readings(word)):  # fr XIXe
        return _distinct(numeral)
    if word.isalpha() or not any(c.isdigit() or c in known.signs for c in word):
        return ()
    return _distinct(_number(word, language))


def _acronym(capitals: str, elided: str, ending: str) -> tuple[str, ...]:
    spelt = elided.lower() + " ".join(capitals) + (ending and "'s")
    said = elided.lower() + capitals.lower() + ending
    if len(capitals) > 3 and _VOWEL.search(capitals):
        return said, spelt
    return spelt, said


def _number(word: str, language: str) -> list[str]:
    """Return the readings of a word with digits or signs in it."""
    known = numbers(language)
    if found := known.readings(word.lstrip(APOSTROPHE)):
        return found
    headed = _HEADED.fullmatch(word)
    if headed and (head := abbreviations(language).readings(headed[1], after=headed[2])):  # n°5
        return [f"{head[0]} {tail}" for tail in _reading(headed[2], language)]
    if "-" in word.strip("-"):
        parts = [part for part in word.split("-") if part]
        ways = [_reading(part, language) or (part,) for part in parts]
        # all parts as they are likeliest read, all as they are unlikeliest (555-1234 digit by digit), then the rest
        some = [[way[0] for way in ways], [way[-1] for way in ways]]
        together = [" ".join(way) for way in (*some, *itertools.islice(itertools.product(*ways), _MOST_READINGS))]
        if len(parts) == 2 and all(part[:1].isdigit() for part in parts):
            return [f"{ways[0][0]} {known.range} {ways[1][0]}", *together]
        return together
    runs = [run for run in _RUNS.findall(word) if run.isalnum() or "'" in run or run in known.signs]
    if len(runs) < 2:
        return []
    read = [(_reading(run, language) or (run.upper() if len(run) == 1 else run,))[0] for run in runs]
    return [" ".join(read).replace(f"{APOSTROPHE} ", APOSTROPHE)]  # l'8: l'otto
