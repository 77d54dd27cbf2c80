from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import soundfile as sf

from sift_ray.audio.decode import DecodeError
from sift_ray.audio.isolate import IsolatedDecoder
from sift_ray.config import DecodeConfig
from sift_ray.config_storage import StorageConfig
from tests.audio.brittle import brittle_decode
from tests.audio.make import NOISE, decoded, tone

STORAGE = StorageConfig()


def isolated(**options: Any) -> IsolatedDecoder:
    return IsolatedDecoder(STORAGE, DecodeConfig(), decode=brittle_decode, **options)


def pid_of(decoder: IsolatedDecoder) -> int:
    high, low = decoder.decode("pid").samples
    return int(high) * 10_000 + int(low)


def refused(decoder: IsolatedDecoder, uri: str) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decoder.decode(uri)
    assert uri in caught.value.detail
    return caught.value


@pytest.fixture
def clip(tmp_path: Path) -> str:
    sf.write(tmp_path / "é b.flac", np.tile(NOISE, 4), 48_000)
    return str(tmp_path / "é b.flac")


def test_a_clip_is_the_same_as_decoded_here(clip: str) -> None:
    config = DecodeConfig(min_s=0.5, max_s=2.0, long_clips="cut")
    with IsolatedDecoder(STORAGE, config) as decoder:
        apart = decoder.decode(clip)
        here = decoded(clip, max_s=2.0, long_clips="cut")
        np.testing.assert_array_equal(apart.samples, here.samples)
        assert (apart.clipping_ratio, apart.cut) == (here.clipping_ratio, True)
        assert refused(decoder, f"{clip}#t=1,1.4").reason == "too_short"
        assert refused(decoder, "/absent.wav").reason == "missing_audio"


def test_what_kills_the_decoder_is_refused_and_the_next_clip_gets_another(clip: str) -> None:
    with isolated() as decoder:
        first = pid_of(decoder)
        assert first != os.getpid()
        assert pid_of(decoder) == first
        error = refused(decoder, "/segfault.flac")
        assert error.reason == "decoder_crash"
        assert "Segmentation fault" in error.detail
        second = pid_of(decoder)
        assert second not in (first, os.getpid())
        assert "exit code 1" in refused(decoder, "/bug.flac").detail
        assert len(decoder.decode(clip).samples) == 64_000


def test_one_that_hangs_is_ended(clip: str) -> None:
    with isolated(timeout_s=1.5) as decoder:
        hung = pid_of(decoder)
        start = time.monotonic()
        assert refused(decoder, "/sleep.flac").reason == "decoder_timeout"
        assert 1.0 < time.monotonic() - start < 10
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)
        assert len(decoder.decode(clip).samples) == 64_000


def test_the_child_goes_with_its_decoder() -> None:
    with isolated() as decoder:
        child = pid_of(decoder)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.integration
def test_in_a_worker_of_ray(local_ray: None, tmp_path: Path) -> None:
    sf.write(tmp_path / "a.flac", tone(16_000, 2.0), 16_000)

    def work(path: str) -> list[tuple[int, str]]:
        results = []
        with isolated() as decoder:
            for uri in (path, "/segfault.flac", path):
                try:
                    results.append((len(decoder.decode(uri).samples), ""))
                except DecodeError as error:
                    results.append((0, error.reason))
        return [*results, (os.getpid(), "")]

    task = ray.remote(num_cpus=1, max_retries=0)(work)
    *results, (worker, _) = ray.get(task.remote(str(tmp_path / "a.flac")), timeout=120)
    assert results == [(32_000, ""), (0, "decoder_crash"), (32_000, "")]
    assert worker != os.getpid()
