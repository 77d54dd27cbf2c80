"""Speaking rate."""

from __future__ import annotations

from typing import Any, Final

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


def speaking_rates(
    phones: int | None, aligned: int | None, speech_s: float | None, doubt: str | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return the columns of the speaking rate: by the phones that were aligned where they are, and by pronunciation.

    Args:
        phones: phones of the transcript's pronunciation; None without a transcript.
        aligned: phones that were aligned; None where none are.
        speech_s: seconds of speech; None where unknown.
        doubt: why the transcript is not believed (`schema.DOUBTED_TRANSCRIPT`); None where it is. A rate by the
            pronunciation of another text is no measurement of this clip.

    Returns:
        `speaking_rate_pps` and `speaking_rate_g2p_pps` (phones per second, None where unknown) and
        `speaking_rate_backend` (`aligned` or `g2p`, absent where the rate is unknown); and `column:reason` for
        each that is None, with the reasons of `speaking_rate`, `no_transcript` and `doubt`.
    """
    counts = {"speaking_rate_g2p_pps": phones, "speaking_rate_pps": phones if aligned is None else aligned}
    columns: dict[str, Any] = {}
    reasons = []
    rate: float | None
    reason: str | None
    for column, count in counts.items():
        if count is None or (doubt and column == "speaking_rate_pps"):
            rate, reason = None, doubt or "no_transcript"
        else:
            rate, reason = speaking_rate(count, speech_s)
        columns[column] = rate
        if reason is not None:
            reasons.append(f"{column}:{reason}")
    if columns["speaking_rate_pps"] is not None:
        columns["speaking_rate_backend"] = "g2p" if aligned is None else "aligned"
    return columns, reasons
