"""Which part of a recording is asked for, in frames of its own rate, and what a decoder gives of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.audio.errors import DecodeError

OVERSHOOT_S: Final = 0.05
"""A span may end so much after the recording: tables round their times."""

_MOST_CHANNELS: Final = 64
_RATES: Final = range(1_000, 768_001)


@dataclass(frozen=True, slots=True)
class NativeClip:
    """A clip as its decoder gave it.

    Attributes:
        samples: [n], or [n, channels] where there are several; int16, or float32 with full scale at 1.
        rate: Frames in a second.
        full_scale: The least |sample|, with full scale at 1, that counts as full scale.
        cut: Whether only the first `max_s` were kept.
    """

    samples: NDArray[np.int16] | NDArray[np.float32]
    rate: int
    full_scale: float
    cut: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of a recording that a clip is.

    Attributes:
        name: What errors call the clip.
        start_s: Where it starts.
        end_s: Where it ends; None: at the end of the recording.
        channel: One channel, from 0; None: all of them.
        max_s: The longest clip.
        cut: Whether a longer one is cut to that; else it is refused.
    """

    name: str
    start_s: float
    end_s: float | None
    channel: int | None
    max_s: float
    cut: bool

    def first(self, rate: int) -> int:
        """Return the frame at which the clip starts."""
        return round(self.start_s * rate)

    def most(self, rate: int) -> int:
        """Return the frames of the longest clip."""
        return round(self.max_s * rate)

    def span(self, rate: int) -> int | None:
        """Return how many frames are asked for; None: all from the first on."""
        return None if self.end_s is None else round((self.end_s - self.start_s) * rate)

    def reaches(self, held: int, rate: int) -> bool:
        """Whether the clip takes in the last of a recording's `held` frames, so that its end must be sound."""
        span = self.span(rate)
        if span is None and not self.cut:
            return True
        wanted = self.most(rate) if span is None else min(span, self.most(rate)) if self.cut else span
        return self.first(rate) + wanted >= held

    def frames(self, held: int, rate: int) -> tuple[int, int, bool]:
        """Return (first frame, number of frames, whether they are fewer than asked for) in a recording of `held`.

        Raises:
            DecodeError: span_outside or too_long.
        """
        first, span = self.first(rate), self.span(rate)
        if span is None:
            span = held - first
        elif first + span > held + round(OVERSHOOT_S * rate):
            raise self.outside(held, rate)
        count = min(span, held - first)
        if count <= 0:
            raise self.outside(held, rate)
        if count <= self.most(rate):
            return first, count, False
        if not self.cut:
            raise self.too_long(count / rate)
        return first, self.most(rate), True

    def check_layout(self, channels: int, rate: int) -> None:
        """Refuse headers that no recording has, and channels that are not there.

        Raises:
            DecodeError: unreadable_audio or no_such_channel.
        """
        if not 1 <= channels <= _MOST_CHANNELS or rate not in _RATES:
            detail = f"{self.name}: the header claims {channels} channels at {rate} Hz"
            raise DecodeError("unreadable_audio", detail)
        if self.channel is not None and self.channel >= channels:
            detail = f"{self.name}: channel {self.channel} is asked for, counted from 0, and there are {channels}"
            raise DecodeError("no_such_channel", detail)

    def of_channel(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return the samples [n] of the channel that is asked for, or all as they are: [n] or [n, channels]."""
        if samples.ndim == 1 or (self.channel is None and samples.shape[1] > 1):
            return samples
        return np.ascontiguousarray(samples[:, self.channel or 0])

    def outside(self, held: int, rate: int) -> DecodeError:
        """Return the error of a span that a recording of `held` frames does not have."""
        end = "its end" if self.end_s is None else f"{self.end_s:g} s"
        detail = f"{self.name}: {self.start_s:g} s to {end} is asked for, of {held / rate:.3f} s"
        return DecodeError("span_outside", detail)

    def too_long(self, seconds: float) -> DecodeError:
        """Return the error of a clip longer than the longest."""
        return DecodeError("too_long", f"{self.name}: {seconds:.1f} s, the most is {self.max_s:g} s")
