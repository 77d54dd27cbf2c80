"""Speaking rate."""

from __future__ import annotations

from typing import Final

from sift_ray.features.feasible import feasible

_MIN_SPEECH_S: Final = 0.1  # a rate over less is chance


def speaking_rate(phones: int, speech_s: float | None) -> float | None:
    """Return phones per second of speech, pauses left out.

    Args:
        phones: phones spoken, from the alignment or the pronunciation of the transcript.
        speech_s: seconds of speech; None where unknown.

    Returns:
        Phones per second; None without phones, with unknown or less than 0.1 s of speech, or where the rate is
        outside the feasible range.
    """
    if speech_s is None or not speech_s >= _MIN_SPEECH_S or phones <= 0:
        return None
    return feasible("speaking_rate_pps", phones / speech_s)
