"""Why a clip can't be used."""

from __future__ import annotations


class DecodeError(Exception):
    """A clip can't be used.

    Attributes:
        reason: A slug. Of the bytes: missing_audio, empty_audio, storage_error, unreadable_shard, truncated_shard,
            too_large, bad_address. Of the encoding: unreadable_audio, unsupported_format, truncated_audio,
            wrong_length. Of the part that is asked for: span_outside, no_such_channel, too_short, too_long. Of the
            samples: silent, non_finite, out_of_range. Of the decoder: decoder_crash, decoder_timeout.
        detail: For a person: names the file.
    """

    def __init__(self, reason: str, detail: str) -> None:
        # both arguments go to Exception, so that the error survives pickling between processes
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class DecoderStartError(RuntimeError):
    """No process can be started to decode in: nothing is known of the clip."""
