"""Whether a trained model learnt what it should: that silence is silence, and that no phone is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sift_ray.align.phone_model import SILENCE, frame_labels
from sift_ray.align.signal import PAD_S, STEP_S, energy_db
from sift_ray.align.viter_engine import RawAlignment, is_stop

LEAST_SILENCE_DROP_DB: Final = 6.0
"""Silence must lie at least so far below the phones, in the middle clip."""
MOST_LOUD_SILENCE: Final = 0.35
"""Greatest share of the silence inside clips that may be as loud as speech."""
MOST_SILENT_FRAMES: Final = 0.5
"""Greatest share of a phone's frames that may be as quiet as the background."""

_LEAST_INTERVALS = 8  # of a phone that is judged
_CLEAR_DB = 15.0  # speech over background: in noisier clips a weak phone is no louder than the noise
_QUIET = 0.2  # of the way from the background to the phones' middle level, in dB


@dataclass(frozen=True, slots=True)
class SilenceCheck:
    """Whether what the model calls silence is.

    Attributes:
        drop_db: median over clips of the phones' median level less that of silence.
        loud_share: share of the silence inside the clips that is louder than its clip's median phone.
    """

    drop_db: float
    loud_share: float


def check_silence(aligned: Iterable[tuple[NDArray[np.float32], RawAlignment]]) -> SilenceCheck:
    """Compare the level under silence with that under phones, over `(padded clip, alignment)`."""
    drops, loud, inside = [], 0, 0
    for clip, raw in aligned:
        levels, silent, spoken = _levels(clip, raw)
        if not spoken.any():
            continue
        level = float(np.median(levels[spoken]))
        if silent.any():
            drops.append(level - float(np.median(levels[silent])))
        edge = round(PAD_S / STEP_S)
        own = silent[edge:-edge]
        inside += int(own.sum())
        loud += int((levels[edge:-edge][own] > level).sum())
    return SilenceCheck(round(float(np.median(drops)), 2) if drops else 0.0, round(loud / inside, 4) if inside else 0.0)


def silent_phones(aligned: Iterable[tuple[NDArray[np.float32], RawAlignment]]) -> dict[str, float]:
    """Return the phones that lie on background, each with the share of its frames that do, over clear clips.

    A frame is background that lies less than a fifth of the way from the clip's silence to its phones' middle level,
    in dB. Stops and affricates, which are silent inside, and phones that were seldom aligned are not judged.
    """
    quiet: dict[str, int] = defaultdict(int)
    frames: dict[str, int] = defaultdict(int)
    intervals: dict[str, int] = defaultdict(int)
    for clip, raw in aligned:
        levels, silent, spoken = _levels(clip, raw)
        if not silent.any() or not spoken.any():
            continue
        background, loud = float(np.median(levels[silent])), float(np.median(levels[spoken]))
        if loud - background < _CLEAR_DB:
            continue
        low = levels < background + _QUIET * (loud - background)
        labels = frame_labels(raw.intervals, levels.size)
        for index, interval in enumerate(raw.intervals):
            own = labels == index
            quiet[interval.phone] += int(low[own].sum())
            frames[interval.phone] += int(own.sum())
            intervals[interval.phone] += 1
    shares = {
        phone: quiet[phone] / frames[phone]
        for phone in sorted(frames)
        if intervals[phone] >= _LEAST_INTERVALS and frames[phone] and phone != SILENCE and not is_stop(phone)
    }
    return {phone: round(share, 4) for phone, share in shares.items() if share > MOST_SILENT_FRAMES}


def _levels(
    clip: NDArray[np.float32], raw: RawAlignment
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the level of each frame in dB, and whether silence and whether a phone lies there."""
    levels = energy_db(clip)
    labels = frame_labels(raw.intervals, levels.size)
    silent = np.array([i.phone == SILENCE for i in raw.intervals] + [False])[labels]
    spoken = np.array([i.phone != SILENCE for i in raw.intervals] + [False])[labels]
    return levels, silent, spoken
