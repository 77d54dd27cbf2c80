"""Numbers read out: the words of cardinals, ordinals, years, decimals, times and sums of money.

The words are in `numbers.yaml`. A number may be read in several ways (nineteen eighty-four, one thousand nine
hundred and eighty-four), so each function returns readings, likeliest first, as words parted by spaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

_POINTED = re.compile(r"(?P<sign>[€$£]?)(?P<whole>\d+)[.,](?P<decimals>\d+)(?P<unit>[€$£]?)")
_ROMAN = re.compile(r"X{0,3}(?:IX|IV|V?I{0,3})")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10}

GREATEST = 10**12 - 1
"""Greater numbers are read digit by digit."""


class Numbers:
    """The number words of one language."""

    def __init__(self, rules: dict[str, Any]) -> None:
        """Take one language's part of `numbers.yaml`."""
        self._rules = rules
        self._scales = [(int(size), str(one), str(many)) for size, one, many in rules["scales"]]
        self.spaced: str = rules.get("spaced", "")
        self.scale_words = {words.split()[-1].lower() for _, one, many in self._scales for words in (one, many)}
        self.clock_before = frozenset(rules.get("clock", {}).get("before", ()))
        self.clock_after = frozenset(rules.get("clock", {}).get("after", ()))
        self.range: str = rules["range"]
        self.signs: dict[str, list[str]] = {
            sign: [words] if isinstance(words, str) else words for sign, words in rules["signs"].items()
        }
        self._money_names: dict[str, list[str]] = rules["money"]
        self._units = {
            unit: (words, words) if isinstance(words, str) else (str(words[0]), str(words[1]))
            for unit, words in rules["units"].items()
        }
        ordinal, plural = rules["ordinal"]["mark"], rules.get("plural", {}).get("mark", "(?!)")
        groups, point = re.escape(rules["groups"]), re.escape(rules["point"])
        units = "|".join(map(re.escape, self._units))
        self._form = re.compile(
            rf"(?P<sign>[+#€$£]?)(?P<whole>\d{{1,3}}(?:{groups}\d{{3}})+|\d+)(?:{point}(?P<decimals>\d+))?"
            rf"(?:(?P<ordinal>{ordinal})|(?P<plural>{plural})|(?P<unit>{units}|[%€$£°+]))?"
        )
        hour = r"(?P<h>[01]?\d|2[0-4])"
        self._time = re.compile(hour + r"[:h](?P<m>[0-5]\d)(?:h|(?P<half>[ap])\.?m\.?)?")
        self._pointed_time = re.compile(hour + r"[.:](?P<m>[0-5]\d)")
        # V and X by themselves are letters, but fr Xe is the tenth
        self._roman = re.compile(rf"(?P<digits>[IVX]{{2,}}|[VX](?=e$)|I(?=[eèr]+$))(?P<ordinal>{ordinal})?")

    def readings(self, word: str) -> list[str]:
        """Return the readings of a number with the signs that touch it, of a time or a sign; empty if it is none."""
        if word in self.signs:
            return list(self.signs[word])
        if number := self._form.fullmatch(word):
            return self._number(number)
        if time := self._time.fullmatch(word):
            return self._clock(time)
        if foreign := _POINTED.fullmatch(word):  # another language's point
            return [
                reading.replace(str(self._rules["point_word"]), point)
                for point in (self._rules["other_point"], self._rules["point_word"])
                for reading in self._number(foreign)
            ]
        return self._of_roman(word)

    def _number(self, number: re.Match[str]) -> list[str]:
        digits = re.sub(r"\D", "", number["whole"])
        sign, decimals, unit = number["sign"], number["decimals"], number["unit"]
        if money := self._money_names.get(sign) or self._money_names.get(unit):
            return self._money(digits, decimals, money)
        if decimals:
            readings = self.decimal(digits, decimals)
        elif number["ordinal"]:
            readings = self._marked_ordinal(int(digits), number["ordinal"])
            if number["ordinal"] == "°":
                readings += [f"{count} {self.signs['°'][0]}" for count in self._counts(int(digits))]
        elif number["plural"]:
            endings = self._rules["plural"]["endings"]
            readings = [_last(reading, lambda last: _ending(last, endings)) for reading in self.cardinal(digits)]
        else:
            readings = self.cardinal(digits, grouped=digits != number["whole"] or bool(unit))
        word = self.unit(unit, "1" if digits == "1" and not decimals else "") or self.signs.get(unit, [None])[0]
        if word:
            rule = "feminine" if unit in self._rules.get("feminine_units", ()) else "before_noun"
            readings = [f"{self._before(reading, rule)} {word}" for reading in readings]
        if sign:
            readings = [f"{word} {reading}" for word in self.signs[sign] for reading in readings]
        return list(dict.fromkeys(readings))

    def unit(self, unit: str, count: str) -> str | None:
        """Return the word of an abbreviated `unit` behind the number `count`; None if it is no unit."""
        words = self._units.get(unit) or (self._units.get(unit.lower()) if unit and len(unit) > 1 else None)
        return words and words[0 if count == "1" else 1]

    def per(self, unit: str) -> tuple[str, ...]:
        """Return how `unit` is read behind a slash and another unit (km/h); empty if it never stands there."""
        return tuple(self._rules["per"].get(unit.lower(), ()))

    def scaled_money(self, word: str) -> tuple[list[str], str] | None:
        """Return the number's readings and the money's, as they stand before and behind a million ($2.5 million)."""
        money: dict[str, str] = self._rules["scaled_money"]
        return (self.readings(word[1:]), money[word[0]]) if word[:1] in money and word[1:] else None

    def pointed_time(self, word: str) -> tuple[str, str, list[str]] | None:
        """Return the hour, the minutes (empty on the hour) and the readings of a time like 14.30; None without one."""
        time = self._pointed_time.fullmatch(word)
        if not time:
            return None
        hour, minute = self._below_100(int(time["h"])), int(time["m"])
        return self._before(hour, "before_hour"), self._below_100(minute) if minute else "", self._clock(time)

    def _of_roman(self, word: str) -> list[str]:
        """Return the readings of a numeral in capitals: XIV, fr XIXe."""
        numeral = self._roman.fullmatch(word)
        if not numeral or not _ROMAN.fullmatch(numeral["digits"]):
            return []
        values = [_ROMAN_DIGITS[digit] for digit in numeral["digits"]]
        number = sum(-v if v < max(values[place:]) else v for place, v in enumerate(values))
        if numeral["ordinal"]:
            return self._marked_ordinal(number, numeral["ordinal"])
        cardinal, ordinals = self.words(number), self.ordinal(number)[:3]
        patterns: list[str] = self._rules["roman"]
        return list(dict.fromkeys(p.format(c=cardinal, o=ordinal) for p in patterns for ordinal in ordinals))

    def _marked_ordinal(self, number: int, mark: str) -> list[str]:
        readings = self.ordinal(number)
        feminine = self._rules["ordinal"].get("feminine")
        if feminine and re.fullmatch(feminine, mark):
            readings[:2] = readings[1::-1]
        return readings

    def cardinal(self, digits: str, *, grouped: bool = False) -> list[str]:
        """Return the readings of a whole number; as a year or digit by digit only where it is not `grouped`."""
        number = int(digits)
        one_by_one = " ".join(self._below_100(int(digit)) for digit in digits)
        if number > GREATEST:
            return [one_by_one]
        readings = self._counts(number)
        if grouped:
            return readings
        readings += self._rules.get("also", {}).get(number, ())
        if digits.startswith("0") and number:
            readings.insert(0, one_by_one)
        elif len(digits) > 2:
            readings.append(one_by_one)
        year = self.year(number) if len(digits) == 4 else None
        if year:
            readings.insert(1 if number % 1000 < 10 else 0, year)
        return list(dict.fromkeys(readings))

    def _counts(self, number: int) -> list[str]:
        readings = [self.words(number, joiner) for joiner in self._rules["joiners"]]
        if "elisions" in self._rules:  # said apart, too
            readings.append(self.words(number, elided=False))
        if number >= 100:
            for first, other in self._rules.get("leading", {}).items():
                readings += [f"{other}{r.removeprefix(first)}".strip() for r in readings if r.startswith(f"{first} ")]
        return list(dict.fromkeys(readings))

    def words(self, number: int, joiner: str = "", *, elided: bool = True) -> str:
        """Return the words of 0 ≤ `number` ≤ `GREATEST`, `joiner` before a rest below 100, vowels `elided` or not."""
        for size, one, many in self._scales:
            count, rest = divmod(number, size)
            if count:
                head = (
                    one if count == 1 else f"{self._before(self.words(count, joiner, elided=elided), 'inside')} {many}"
                )
                break
        else:
            count, rest = divmod(number, 100)
            if not count:
                return self._below_100(number)
            head = str(self._rules["hundreds"][count - 1])
            if number == 100:
                return str(self._rules.get("hundred", head))
            if rest:
                head = self._before(head, "inside")
        if not rest:
            return head
        words = " ".join(filter(None, (head, joiner if rest < 100 else "", self.words(rest, joiner, elided=elided))))
        for pattern, replacement in self._rules.get("elisions", ()) if elided else ():
            words = re.sub(pattern, replacement, words)
        return words

    def year(self, number: int) -> str | None:
        """Return the year read by its century, or None where nobody reads it so."""
        year = self._rules.get("year")
        if not year or not year["first"] <= number <= year["last"]:
            return None
        century, rest = divmod(number, 100)
        if not rest and not century % 10:
            return None
        pattern: str = year["whole" if not rest else "ones" if rest < 10 else "tens"]
        return pattern.format(c=self._below_100(century), r=self._below_100(rest))

    def decimal(self, digits: str, decimals: str) -> list[str]:
        """Return the readings of a number with decimals: digit by digit, and as a number."""
        one_by_one = " ".join(self._below_100(int(digit)) for digit in decimals)
        whole = [one_by_one]
        if not decimals.startswith("0") and len(decimals) <= 3:
            whole.insert(0 if self._rules["decimals"] else 1, self.words(int(decimals)))
        return [
            f"{head} {self._rules['point_word']} {tail}"
            for head in self._counts(int(digits))
            for tail in dict.fromkeys(whole)
        ]

    def ordinal(self, number: int) -> list[str]:
        """Return the readings of an ordinal; those of the cardinal where the language has none."""
        rules = self._rules["ordinal"]
        small: list[str] = rules.get("small", {}).get(number, [])
        if small:
            return list(small)
        if number > GREATEST or "endings" not in rules:
            return self.cardinal(str(number))
        readings = [
            _last(words, lambda last: rules["words"].get(last) or _ending(last, rules["endings"]))
            for words in self._counts(number)
        ]
        return readings + [readings[0] + ending for ending in rules.get("inflections", ())]

    def spaced_group(self, groups: Sequence[str], place: int) -> tuple[str, ...]:
        """Return the reading of one of the at most four `groups` of a number like 1 500 000.

        Three zeros say what the group before them counts, and three more "de" (deux | millions | d'habitants).
        """
        count, size = int(groups[place]), 1000 ** (len(groups) - 1 - place)
        if count and (size == 1 or int(groups[place + 1])):
            return (self.words(count * size),)
        if count:
            return (self._before(self.words(count), "inside"),)
        if not (before := int(groups[place - 1])):
            return (self.spaced,)
        return (self.words(before * size * 1000).removeprefix(f"{self._before(self.words(before), 'inside')} "),)

    def _clock(self, time: re.Match[str]) -> list[str]:
        hour, minute = self._below_100(int(time["h"])), int(time["m"])
        by_minutes: dict[str, list[str]] = self._rules["time"]
        patterns = by_minutes["whole"] if not minute else by_minutes["tens"]
        if 0 < minute < 10:
            patterns = by_minutes.get("ones", patterns)
        count = self._before(hour, "before_hour")
        readings = [pattern.format(h=hour, n=count, m=self._below_100(minute)) for pattern in patterns]
        if half := time.groupdict().get("half"):
            return [f"{reading} {half.upper()} M" for reading in (readings if minute else readings[-1:])]
        return readings

    def _money(self, digits: str, decimals: str | None, names: list[str]) -> list[str]:
        if decimals and len(decimals) != 2:
            return [f"{reading} {names[1]}" for reading in self.decimal(digits, decimals)]
        counts = self._counts(int(digits))
        name = names[0] if int(digits) == 1 else names[1]
        sums = [f"{self._before(count, 'before_noun')} {name}" for count in counts]
        if decimals and int(decimals):
            cents = self.words(int(decimals))
            return [pattern.format(w=sums[0], n=counts[0], f=cents) for pattern in self._rules["cents"]]
        return [*sums, counts[0]]

    def _below_100(self, number: int) -> str:
        return str(self._rules["below_100"][number])

    def _before(self, words: str, rule: str) -> str:
        changes: dict[str, str] = self._rules.get(rule) or self._rules.get("before_noun", {})
        return _last(words, lambda last: changes.get(last, last))


def _last(words: str, change: Callable[[str], str]) -> str:
    """Return `words` with the last of them, or the last part of it behind a hyphen, changed."""
    head = words[: max(words.rfind(" "), words.rfind("-")) + 1]
    return head + change(words[len(head) :])


def _ending(word: str, endings: list[list[str]]) -> str:
    for pattern, replacement in endings:
        if re.search(pattern, word):
            return re.sub(pattern, replacement, word, count=1)
    return word


@cache
def numbers(language: str) -> Numbers:
    """Return the number words of `language`; KeyError without any."""
    source = resources.files("sift_ray.align").joinpath("numbers.yaml").read_text(encoding="utf-8")
    return Numbers(yaml.safe_load(source)[language])
