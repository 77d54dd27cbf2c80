"""Sounds and files that the tests of decoding share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sift_ray.audio.decode import DecodedClip, decode
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora.audio_source import AudioSource

SOURCE = AudioSource(StorageConfig())
NOISE: NDArray[np.float64] = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000)


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> NDArray[np.float64]:
    """440 Hz at half of full scale, float64 [n, channels]."""
    one = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    return np.stack([one] * channels, axis=1)


def decoded(path: Path | str, **options: Any) -> DecodedClip:
    """Decode what an address names."""
    return decode(str(path), SOURCE, **options)


def write_av(
    path: Path,
    samples: NDArray[np.float64],
    rate: int,
    *,
    codec: str = "aac",
    container: str = "mp4",
    options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Encode float64 [n], [n, 2] or [n, 8] with FFmpeg."""
    packed = samples.reshape(len(samples), -1).astype(np.float32)
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[packed.shape[1]]
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        file.metadata.update(tags or {})
        stream = file.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate)
        for start in range(0, len(packed), 1024):
            part = packed[start : start + 1024].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for piece in resampler.resample(frame):
                file.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
