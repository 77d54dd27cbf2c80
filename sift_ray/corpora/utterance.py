"""One row of a corpus as its reader hands it on, and the error for a corpus that can't be read at all."""

from __future__ import annotations

from dataclasses import dataclass, field

from sift_ray.corpora.values import one_line, printable


class CorpusError(Exception):
    """A corpus can't be read as a whole; the message names the file, what is wrong and what to do."""


@dataclass(slots=True)
class Utterance:
    """One utterance of a corpus. Unknown is None; a row that can't be used carries a reject reason.

    Attributes:
        utterance_id: The corpus's own id, which the reference publishes (not unique across corpora).
        corpus: Name of the corpus in the config.
        data_source: The reference's name of corpus and language, like `common_voice_de`.
        language: One of `schema.LANGUAGES`; in a rejected row, what the corpus said (`und`: nothing).
        split: train, dev or test.
        speaker_id: The corpus's own speaker id.
        gender: female or male.
        gender_withheld: The corpus has a word for it that is neither, like `other` or `do_not_wish_to_say`.
        age: One of `schema.AGES`.
        accent: As the corpus words it.
        transcript: NFC, whitespace collapsed; None when empty.
        audio_uri: Address of the audio, as `audio_uri` writes it.
        duration_s: Seconds, from the corpus's table or the file's header; no audio is decoded.
        license: SPDX identifier or the config's text.
        reject_reason: A slug, or None for a usable row.
        reject_detail: For a person: names the file and the line.
        where: The file and line (or row) that name the utterance; for details, not stored.
    """

    utterance_id: str
    corpus: str
    data_source: str
    language: str
    split: str
    speaker_id: str | None = None
    gender: str | None = None
    gender_withheld: bool = False
    age: str | None = None
    accent: str | None = None
    transcript: str | None = None
    audio_uri: str | None = None
    duration_s: float | None = None
    license: str | None = None
    reject_reason: str | None = None
    reject_detail: str | None = None
    where: str = field(default="", compare=False)

    def reject(self, reason: str, detail: str) -> None:
        """Mark the row as unusable; the first reason given stands."""
        if self.reject_reason is None:
            self.reject_reason = reason
            self.reject_detail = one_line(printable(detail))
