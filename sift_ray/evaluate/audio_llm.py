"""What an audio language model is to this package: audio and a question in, a text out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from sift_ray.evaluate.decoding_settings import DecodingSettings
from sift_ray.instruct.engine import Generation, Message, Prompt
from sift_ray.instruct.openai_calls import disarm
from sift_ray.schema import SAMPLE_RATE

PAUSE_S: Final = 1.0
"""Silence between two audios that are joined for a model that takes one (arXiv 2504.09081)."""

_STEPS: Final = 32768.0


@dataclass(frozen=True, slots=True, eq=False)
class AudioPrompt(Prompt):
    """One question about audio.

    Attributes:
        audios: float32 [n] each, mono at 16 kHz, in [-1, 1); they come before the text, in order.
    """

    audios: tuple[NDArray[np.float32], ...] = ()


class AudioLLM(Protocol):
    """An audio language model that serves concurrent calls; an `Engine` that hears."""

    name: str
    notes: dict[str, str]
    """Settings of the decoding that it does not apply or may not, and why; see `decoding_settings.applied`."""

    async def generate(self, prompt: AudioPrompt) -> Generation:
        """Answer `prompt`.

        Raises:
            RequestFailed: this prompt can't be served (too long, refused); others can.
            EngineDied: nothing can be served any more.
        """
        ...

    async def close(self) -> None:
        """Free the model; a second call does nothing."""
        ...


def audio_prompt(
    question: str, audios: Sequence[NDArray[np.float32]], settings: DecodingSettings, *, one_audio: bool
) -> AudioPrompt:
    """Return the prompt of a question: its audios, joined if the model takes one, then the text, and nothing else."""
    heard = (joined(audios),) if one_audio and len(audios) > 1 else tuple(audios)
    return AudioPrompt(
        messages=(Message("user", question),),
        seed=settings.seed,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        audios=heard,
    )


def joined(audios: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return audios (float32 [n] at 16 kHz) one after the other with `PAUSE_S` of silence between them."""
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    parts = [part for audio in audios for part in (pause, audio)][1:]
    return np.concatenate(parts)


def content_parts(prompt: AudioPrompt) -> list[dict[str, Any]]:
    """Return the content of the user's turn as OpenAI's chat API has it: `input_audio` parts, then one `text` part."""
    return [
        *(_audio_part(audio) for audio in prompt.audios),
        {"type": "text", "text": disarm(prompt.messages[-1].content)},
    ]


def _audio_part(audio: NDArray[np.float32]) -> dict[str, Any]:
    # (16 bits are all that a decoded clip has: scaled like this, its samples come back as they were)
    samples = np.clip(np.rint(audio * np.float32(_STEPS)), -_STEPS, _STEPS - 1).astype(np.int16)
    encoded = BytesIO()
    soundfile.write(encoded, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(encoded.getvalue()).decode("ascii"), "format": "wav"},
    }
