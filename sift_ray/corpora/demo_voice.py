"""espeak-ng through ctypes, in a process of its own: `python -P demo_voice.py JOBS OUT`.

The library's state (voice, callback, event queue) is global to a process, and phonemizer and others load
it too; a child process keeps the demo's synthesis from meddling with theirs, and makes it repeatable.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

# values of speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
_PHONEME_EVENTS_IN_IPA: Final = 3
_EVENT_WORD: Final = 1
_EVENT_PHONEME: Final = 7
_PARAMETERS: Final = {"rate_wpm": 1, "pitch": 3, "pitch_range": 4}
_POSITION_IS_CHARACTER: Final = 1
_CHARS_UTF8: Final = 1


@dataclass(frozen=True, slots=True)
class VoiceJob:
    """What one clip says and how; numbers are espeak-ng's own parameters.

    Attributes:
        text: The sentence.
        voice: Language and variant, like `de+f2`.
        pitch: 0 to 99, 50 is the variant's own.
        pitch_range: 0 (monotone) to 99.
        rate_wpm: Words a minute, 80 to 450.
    """

    text: str
    voice: str
    pitch: int
    pitch_range: int
    rate_wpm: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """Dry synthetic speech with its events.

    Attributes:
        samples: int16 [n], mono.
        sample_rate: Hz.
        words: For each word event the place of its first character in the text, and its sample.
        phones: Each phone in IPA with its first sample; pauses have an empty name.
    """

    samples: NDArray[np.int16]
    sample_rate: int
    words: tuple[tuple[int, int], ...]
    phones: tuple[tuple[str, int], ...]


class SynthesisError(RuntimeError):
    """espeak-ng refused a voice or a text, or its process failed."""


def speak(jobs: Sequence[VoiceJob]) -> list[Spoken]:
    """Synthesise `jobs` in one child process, in their order; equal lists give equal samples.

    A clip does depend on those before it in the list, by the phase that its oscillators start in.

    Raises:
        SynthesisError: with what the child wrote.
    """
    with tempfile.TemporaryDirectory(prefix="sift-ray-demo-") as scratch:
        folder = Path(scratch)
        (folder / "jobs.json").write_text(json.dumps([asdict(job) for job in jobs]), encoding="utf-8")
        # as a script, not a module: importing the package would take longer than all the synthesis
        command = [sys.executable, "-P", __file__, str(folder / "jobs.json"), scratch]
        child = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
        if child.returncode != 0:
            raise SynthesisError(f"espeak-ng's process ended with {child.returncode}: {child.stderr[-2000:]}")
        spoken = []
        for index, line in enumerate((folder / "events.jsonl").read_text(encoding="utf-8").splitlines()):
            record = json.loads(line)
            spoken.append(
                Spoken(
                    samples=np.load(folder / f"{index:05d}.npy"),
                    sample_rate=record["sample_rate"],
                    words=tuple((place, sample) for place, sample in record["words"]),
                    phones=tuple((phone, sample) for phone, sample in record["phones"]),
                )
            )
    return spoken


class _EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Espeak:
    """The library, loaded and initialised; one a process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _PHONEME_EVENTS_IN_IPA
        )
        if self.sample_rate <= 0:
            raise SynthesisError(f"espeak_Initialize gave {self.sample_rate}; is espeakng-loader whole?")
        # the library keeps a pointer to it, so it must outlive the calls
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._chunks: list[NDArray[np.int16]] = []
        self._words: list[tuple[int, int]] = []
        self._phones: list[tuple[str, int]] = []

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            event = events[index]
            if event.type == _EVENT_WORD:
                self._words.append((event.text_position - 1, event.sample))
            elif event.type == _EVENT_PHONEME:
                raw = ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0]
                phone = raw.decode("utf-8", "ignore").strip("ˈˌ_:|!")  # 8 bytes may cut a letter
                self._phones.append((phone, event.sample))
            index += 1
        return 0

    def speak(self, job: VoiceJob) -> Spoken:
        self._chunks.clear()
        self._words.clear()
        self._phones.clear()
        if self._library.espeak_SetVoiceByName(job.voice.encode()) != 0:
            raise SynthesisError(f"no voice {job.voice!r}")
        for name, number in _PARAMETERS.items():
            if self._library.espeak_SetParameter(number, getattr(job, name), 0) != 0:
                raise SynthesisError(f"{name} {getattr(job, name)} is refused")
        # breathy variants draw noise, which the library seeds with the time of day
        if self._library.espeak_ng_SetRandSeed(ctypes.c_long(1)) != 0:
            raise SynthesisError("espeak-ng takes no seed; is espeakng-loader 0.2.4 or later?")
        text = job.text.encode() + b"\0"
        if self._library.espeak_Synth(text, len(text), 0, _POSITION_IS_CHARACTER, 0, _CHARS_UTF8, None, None):
            raise SynthesisError(f"{job.text!r} can't be spoken")
        self._library.espeak_Synchronize()
        if not self._chunks:
            raise SynthesisError(f"{job.text!r} gave no sound")
        return Spoken(np.concatenate(self._chunks), self.sample_rate, tuple(self._words), tuple(self._phones))


def _main(jobs_path: str, out: str) -> None:
    espeak = _Espeak()
    with (Path(out) / "events.jsonl").open("w", encoding="utf-8") as events:
        for index, record in enumerate(json.loads(Path(jobs_path).read_text(encoding="utf-8"))):
            spoken = espeak.speak(VoiceJob(**record))
            np.save(Path(out) / f"{index:05d}.npy", spoken.samples)
            line = {"sample_rate": spoken.sample_rate, "words": spoken.words, "phones": spoken.phones}
            events.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
