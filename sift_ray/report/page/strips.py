"""A clip drawn in strips of equal time, which a page lays beside and below one another like lines of a score.

Each strip shows the words, the waveform and the F0 curve. As strips wrap, the drawing fits a phone, a desk and paper
alike without being scaled, and its letters stay readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from sift_ray.features.pitch import median_hz
from sift_ray.features.tracks import STEP_S
from sift_ray.report.page.clips import PEAKS_PER_S, Sound, Span
from sift_ray.report.page.svg import number, tag

_STRIP_S: Final = (1.2, 2.4)  # the least and the most that one shows
_WIDTH: Final = 336.0  # px of a strip: a phone shows one
_WAVE: Final = (34.0, 84.0)  # top and bottom of the waveform, px; above it stand the words
_PITCH: Final = (92.0, 166.0)
_HEIGHT: Final = 184.0
_CHAR: Final = 7.0  # px that a character of a label takes at most, nearly always
_LINE: Final = 11.0  # px from one number to the next below
_TICK_S: Final = 0.4
_ROUND_HZ: Final = (50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 800.0)

F0 = NDArray[np.float32]


def draw_strips(sound: Sound, words: Sequence[Span]) -> list[Markup]:
    """Return the strips, as SVG elements of one size.

    Frames more than an octave from the median are left out, as they are from the statistics of pitch.
    """
    count = max(1, math.ceil(round(sound.seconds / _STRIP_S[1], 6)))
    strip_s = max(sound.seconds / count, _STRIP_S[0])
    centre = median_hz(sound.f0_hz) or 0.0
    f0 = np.where((sound.f0_hz > centre / 2) & (sound.f0_hz < centre * 2), sound.f0_hz, 0.0)
    scale = _Scale.of(f0)
    return [_Strip(place * strip_s, strip_s).drawn(sound, f0, words, scale) for place in range(count)]


class _Scale:
    """F0 to px, logarithmic, from a round value below all to one above all."""

    def __init__(self, low_hz: float, high_hz: float) -> None:
        self.low_hz, self.high_hz = low_hz, high_hz

    @classmethod
    def of(cls, f0_hz: F0) -> _Scale:
        voiced = f0_hz[f0_hz > 0]
        if not len(voiced):
            return cls(100.0, 300.0)
        low, high = float(voiced.min()), float(voiced.max())
        below = max((hz for hz in _ROUND_HZ if hz <= low), default=low)
        above = min((hz for hz in _ROUND_HZ if hz >= high), default=high)
        return cls(below, above if above > below else below * 1.5)

    def y(self, hz: float) -> float:
        share = math.log(hz / self.low_hz) / math.log(self.high_hz / self.low_hz)
        return _PITCH[1] - share * (_PITCH[1] - _PITCH[0])

    def lines(self) -> list[float]:
        return [hz for hz in _ROUND_HZ if self.low_hz <= hz <= self.high_hz] or [self.low_hz, self.high_hz]


class _Strip:
    """One strip: the time that it shows, s."""

    def __init__(self, start_s: float, length_s: float) -> None:
        self._start_s, self._end_s = start_s, start_s + length_s
        self._px_per_s = _WIDTH / length_s

    def drawn(self, sound: Sound, f0_hz: F0, words: Sequence[Span], scale: _Scale) -> Markup:
        """Return the strip, of a clip with this F0 (Hz, 0 where there is none)."""
        step = self._px_per_s / PEAKS_PER_S
        lines, numbers = self._grid(scale)
        parts = [
            *self._words(words),
            tag("path", d=self._wave(sound, step), class_="wave", stroke_width=1.02 * step),
            *lines,
            tag("path", d=self._pitch(f0_hz, sound.f0_start_s, scale), class_="f0"),
            *numbers,  # (their halo must lie over the curve, which goes through them where strips join)
        ]
        box = f"0 0 {number(_WIDTH)} {number(_HEIGHT)}"
        return tag("svg", *parts, viewBox=box, width=_WIDTH, height=_HEIGHT, class_="strip", aria_hidden="true")

    def _x(self, time_s: float) -> float:
        return (min(max(time_s, self._start_s), self._end_s) - self._start_s) * self._px_per_s

    def _words(self, words: Sequence[Span]) -> list[Markup]:
        """Return a box over each word's time, down to the F0 curve, and its label, in two rows where they would touch.

        A word that goes on in the next strip has its label where most of it is.
        """
        drawn = []
        free = [0.0, 0.0]  # where the labels of each row end
        for place, word in enumerate(words):
            left, right = self._x(word.start_s), self._x(word.end_s)
            if right <= left:
                continue
            box = {"x": left, "y": _WAVE[0], "width": right - left, "height": _PITCH[1] - _WAVE[0]}
            drawn.append(tag("rect", **box, class_=f"word w{place % 2}"))
            if right - left < (word.end_s - word.start_s) * self._px_per_s / 2:
                continue
            length = len(word.word) * _CHAR
            at = max(min(left + 1.0, _WIDTH - length), 0.0)
            row = 0 if free[0] <= at else 1
            free[row] = at + length + 3.0
            y = 12.0 + 14.0 * row
            drawn.append(tag("line", x1=left, x2=left, y1=y + 3.0, y2=_WAVE[0], class_="lead"))
            drawn.append(tag("text", word.word, x=at, y=y, class_="label"))
        return drawn

    def _wave(self, sound: Sound, step: float) -> str:
        middle, half = sum(_WAVE) / 2, (_WAVE[1] - _WAVE[0]) / 2
        loudest = float(sound.peaks.max(initial=0.0)) or 1.0
        first, last = round(self._start_s * PEAKS_PER_S), round(self._end_s * PEAKS_PER_S)
        heights = np.maximum(sound.peaks[first:last] / loudest * half, 0.3)
        return "".join(
            f"M{number((place + 0.5) * step)} {number(middle - height)}v{number(2 * height)}"
            for place, height in enumerate(heights)
        )

    def _grid(self, scale: _Scale) -> tuple[list[Markup], list[Markup]]:
        """Return the lines of both axes, and their numbers."""
        lines, numbers = [], []
        free = _HEIGHT  # down to where no number stands yet
        for hz in scale.lines():
            y = scale.y(hz)
            lines.append(tag("line", x1=0, x2=_WIDTH, y1=y, y2=y, class_="grid"))
            if free - y >= _LINE:
                numbers.append(tag("text", f"{hz:.0f}", x=1, y=y - 1.5, class_="hz"))
                free = y
        first, last = (math.ceil(round(time_s / _TICK_S, 6)) for time_s in (self._start_s, self._end_s))
        for tick in range(first, last):
            x = self._x(tick * _TICK_S)
            lines.append(tag("line", x1=x, x2=x, y1=_PITCH[1], y2=_PITCH[1] + 4.0, class_="tick"))
            if x < _WIDTH - 20.0:
                numbers.append(tag("text", f"{tick * _TICK_S:.1f} s", x=x + 1.5, y=_HEIGHT - 5.0, class_="hz"))
        return lines, numbers

    def _pitch(self, f0_hz: F0, first_s: float, scale: _Scale) -> str:
        """Return the path of the F0 curve, with a gap wherever the voice pauses or has no pitch."""
        times = first_s + STEP_S * np.arange(len(f0_hz))
        inside = np.flatnonzero((times >= self._start_s) & (times <= self._end_s) & (f0_hz > 0)).tolist()
        drawn = []
        for before, place in pairwise([-2, *inside]):
            command = "L" if place == before + 1 else "M"
            x, y = self._x(float(times[place])), scale.y(float(f0_hz[place]))
            # (a line to where it is: a frame alone is seen as a dot)
            drawn.append(f"{command}{number(x)} {number(y)}" + ("h.1" if command == "M" else ""))
        return "".join(drawn)
