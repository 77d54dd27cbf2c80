"""The question of a controllable generation: a synthesis prompt, then the text to be spoken, set apart.

The model (or template) writes the prompt alone; the transcript is put behind it here, after verification. The answer
of such a pair is the audio itself, so its text is empty.
"""

from __future__ import annotations

from typing import Final

_MARKS: Final = {"en": "Text", "de": "Text", "fr": "Texte", "it": "Testo", "es": "Texto"}


def attach_transcript(language: str, prompt: str, transcript: str) -> str:
    """Return `prompt`, an empty line, and `transcript` under its heading."""
    return f"{prompt}\n\n{_MARKS[language]}: {' '.join(transcript.split())}"


def split_transcript(language: str, question: str) -> tuple[str, str]:
    """Undo `attach_transcript`: return the prompt and the transcript.

    Raises:
        ValueError: `question` has no transcript attached.
    """
    prompt, mark, transcript = question.partition(f"\n\n{_MARKS[language]}: ")
    if not mark:
        raise ValueError(f"no transcript is attached to {question[:80]!r}")
    return prompt, transcript
