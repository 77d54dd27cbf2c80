"""Simulated rooms: impulse responses by the image-source method, and the clarity that each truly has.

J. B. Allen, D. A. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65 (1979), as
pyroomacoustics computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyroomacoustics as pra
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from sift_ray.schema import SAMPLE_RATE

# Sabine's reverberation time in s, and a room in m: from a booth, which alone can be so dry, to a small hall
SHOEBOXES = (
    (0.1, (3.1, 2.6, 2.3)),
    (0.2, (3.6, 3.1, 2.5)),
    (0.3, (4.3, 3.4, 2.6)),
    (0.45, (5.2, 4.1, 2.8)),
    (0.6, (6.1, 4.7, 3.0)),
    (0.8, (7.3, 5.4, 3.3)),
    (1.0, (8.7, 6.4, 3.6)),
    (1.2, (10.3, 7.7, 4.1)),
)
DISTANCES_M = (0.25, 0.6, 1.4)


@dataclass(frozen=True)
class Room:
    """A place in a room.

    Attributes:
        t60_s: reverberation time that Sabine's formula promises; long ones come out a quarter longer.
        distance_m: from the voice to the microphone.
        response: float64 [n], 16 kHz; the direct sound peaks 2.5 ms after the start.
        c50_db: clarity of `response`.
    """

    t60_s: float
    distance_m: float
    response: NDArray[np.float64]
    c50_db: float

    def hear(self, clip: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `clip` (float32 [n]) and its reverberation to the end, with a peak of 0.5."""
        wet = fftconvolve(clip, self.response)
        return np.asarray(0.5 * wet / np.abs(wet).max(), np.float32)


def simulate(distances_m: Sequence[float] = DISTANCES_M) -> list[Room]:
    """Return every room of `SHOEBOXES`, heard from each of `distances_m`; the least reverberant room comes first."""
    rooms = []
    for t60_s, size in SHOEBOXES:
        absorption, order = pra.inverse_sabine(t60_s, size)
        shoebox = pra.ShoeBox(size, fs=SAMPLE_RATE, materials=pra.Material(absorption), max_order=order)
        voice = np.array([0.31 * size[0], 0.43 * size[1], 1.2])  # nowhere near a plane of symmetry
        shoebox.add_source(voice)
        direction = np.array([0.79, 0.6, 0.12]) / np.linalg.norm([0.79, 0.6, 0.12])
        shoebox.add_microphone_array(np.stack([voice + distance * direction for distance in distances_m], axis=1))
        shoebox.compute_rir()
        for distance, (response,) in zip(distances_m, shoebox.rir, strict=True):
            arrival = round(distance / pra.constants.get("c") * SAMPLE_RATE)
            heard = np.asarray(response, np.float64)[arrival:]
            rooms.append(Room(t60_s, distance, heard, _clarity_db(heard)))
    return rooms


def _clarity_db(response: NDArray[np.float64]) -> float:
    """Return C50 (ISO 3382-1): energy up to 50 ms after the direct sound over that of the rest, in dB."""
    # pyroomacoustics delays all by half of its fractional delay filter: the direct sound lies there
    late = pra.constants.get("frac_delay_length") // 2 + round(0.05 * SAMPLE_RATE)
    energy = response**2
    return 10.0 * float(np.log10(energy[:late].sum() / energy[late:].sum()))
