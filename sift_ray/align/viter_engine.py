"""Calls of viter: one batch of padded clips and tokens in, phone intervals out.

viter prints progress to the process's standard error when it aligns and has no switch for that; the calls here
set it aside, and give its last lines to the error if there is one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import viter
from numpy.typing import NDArray

from sift_ray.align.phone_model import SILENCE, PhoneInterval
from sift_ray.align.protocol import AlignError
from sift_ray.align.signal import Falls
from sift_ray.align.viter_files import SILENT_WORD
from sift_ray.schema import SAMPLE_RATE

_stderr_lock = threading.Lock()

# wider than viter's 10 and 40: noisy clips lost their path there; a wrong transcript is left to the score
_BEAM = 30.0
_RETRY_BEAM = 300.0

CLOSURE_S: Final = 0.05
"""How long a stop is silent before its burst: 52 to 69 ms on average in American English, by the stop (Byrd, 54,000
American stops, UCLA Working Papers in Phonetics 83, 1993)."""


_STOPS: Final = frozenset("pbtdkɡgqʔcɟʈɖ")


def is_stop(phone: str) -> bool:
    """Say whether `phone`, in IPA or ARPABET, begins with a stop's closure, as affricates do too."""
    return phone[:1].lower() in _STOPS and phone.rstrip("012") not in {"DH", "TH"}


def limit_threads(threads: int) -> None:
    """Bound viter's threads (rayon's). Only works before its first use in the process; a set variable wins."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))


@dataclass(frozen=True, slots=True)
class RawAlignment:
    """Intervals of one padded clip, silence among them, and each token's start and end; all in seconds."""

    intervals: list[PhoneInterval]
    words: list[tuple[float, float]]


class ViterModel:
    """One loaded viter model and the file that holds its dictionary of the moment."""

    def __init__(self, path: Path, dictionary: Path) -> None:
        """Load the model at `path`; `dictionary` must exist and may be rewritten between calls: viter reads it at each.

        Raises:
            AlignError: viter can't read the model.
        """
        try:
            # CPU always: a GPU's sums differ in the last bits, and spans must not depend on the worker
            self._model = viter.Model(path, dict=dictionary, cpu=True)
        except viter.ViterError as error:
            raise AlignError(f"{path}: viter can't load it: {error}") from error

    @property
    def phones(self) -> frozenset[str]:
        """The model's phones without marks of their place in a word, silences left out."""
        plain = {phone[:-2] if phone[-2:] in ("_B", "_I", "_E", "_S") else phone for phone in self._model.phones}
        return frozenset(plain - {SILENCE, "spn"})

    def align(self, clips: Sequence[NDArray[np.float32]], texts: Sequence[str]) -> list[RawAlignment | None]:
        """Align padded clips to texts of tokens; None where viter found no path.

        Every clip counts as a speaker of its own, so cepstral means are the clip's own and its company in the
        batch can't matter.

        Raises:
            AlignError: viter refused the whole batch.
        """
        items = [(clip, text, SAMPLE_RATE) for clip, text in zip(clips, texts, strict=True)]
        speakers = [str(index) for index in range(len(items))]
        with _progress_aside() as last_lines:
            try:
                found = self._model.align_many(items, speakers=speakers, beam=_BEAM, retry_beam=_RETRY_BEAM)
            except viter.ViterError as error:
                raise AlignError(f"viter: {error} {last_lines()}".rstrip()) from error
        return [None if one is None else _raw(clip, one) for clip, one in zip(clips, found, strict=True)]


def _raw(clip: NDArray[np.float32], alignment: viter.Alignment) -> RawAlignment:
    words = [word for word in alignment.words if word.label != SILENT_WORD]
    intervals = [
        PhoneInterval(phone.label, phone.start, phone.end, index)
        for index, word in enumerate(words)
        for phone in word.phones
    ]
    intervals += [PhoneInterval(SILENCE, p.start, p.end, -1) for p in alignment.phones if p.label == SILENCE]
    intervals.sort(key=lambda interval: (interval.start_s, interval.end_s))
    _end_words_where_they_fall_off(intervals, Falls(clip))
    _give_stops_their_closure(intervals)
    spans = [(np.inf, -np.inf)] * len(words)
    for interval in intervals:
        if interval.word >= 0:
            start_s, end_s = spans[interval.word]
            spans[interval.word] = min(start_s, interval.start_s), max(end_s, interval.end_s)
    return RawAlignment(intervals, spans)


def _end_words_where_they_fall_off(intervals: list[PhoneInterval], falls: Falls) -> None:
    for index in range(len(intervals) - 1):
        last, after = intervals[index : index + 2]
        if last.word >= 0 and after.word != last.word:
            end_s = falls.near(last.end_s, (last.start_s + last.end_s) / 2)
            intervals[index : index + 2] = replace(last, end_s=end_s), replace(after, start_s=end_s)


def _give_stops_their_closure(intervals: list[PhoneInterval]) -> None:
    """Let a stop after a pause begin before its burst, as one in running speech does; there only silence is heard."""
    for index in range(len(intervals) - 1):
        pause, stop = intervals[index : index + 2]
        if pause.word < 0 and is_stop(stop.phone):
            start_s = max(stop.start_s - CLOSURE_S, pause.start_s)
            intervals[index : index + 2] = replace(pause, end_s=start_s), replace(stop, start_s=start_s)


@contextmanager
def _progress_aside() -> Iterator[_LastLines]:
    with _stderr_lock, tempfile.TemporaryFile() as aside:
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            os.dup2(aside.fileno(), 2)
            yield _LastLines(aside.fileno())
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class _LastLines:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self) -> str:
        size = os.fstat(self._descriptor).st_size
        return os.pread(self._descriptor, 500, max(0, size - 500)).decode(errors="replace").strip()
