"""Speaking rate."""

from __future__ import annotations

from typing import Final

from sift_ray.features.feasible import feasible

_MIN_SPEECH_S: Final = 0.1  # a rate over less is chance


def speaking_rate(phones: int, speech_s: float | None) -> tuple[float | None, str | None]:
    """Return phones per second of speech, pauses left out.

    Args:
        phones: phones spoken, from the alignment or the pronunciation of the transcript.
        speech_s: seconds of speech; None where unknown.

    Returns:
        Phones per second and None, or None and the reason: `no_phones`, `too_little_speech` (unknown, or under 0.1 s),
        or `out_of_range`.
    """
    if phones <= 0:
        return None, "no_phones"
    if speech_s is None or not speech_s >= _MIN_SPEECH_S:
        return None, "too_little_speech"
    rate = feasible("speaking_rate_pps", phones / speech_s)
    return rate, None if rate is not None else "out_of_range"
