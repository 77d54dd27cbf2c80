"""A decoder that dies of some files; apart from its tests, so that the process that runs it starts soon."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np

from sift_ray.audio.decode import DecodedClip, decode
from sift_ray.corpora.audio_source import AudioSource


def brittle_decode(uri: str, source: AudioSource, **options: Any) -> DecodedClip:
    """Decodes most clips, in the child."""
    if "segfault" in uri:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "bug" in uri:
        raise ZeroDivisionError
    if "sleep" in uri:
        time.sleep(1000)
    if "pid" in uri:
        return DecodedClip(np.array(divmod(os.getpid(), 10_000), dtype=np.int16), 0.0, False)
    return decode(uri, source, **options)
