"""Measuring one file: what was cut off it, and what is no fault of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sift_ray.audio.errors import DecodeError
from sift_ray.config import Config, DecodeConfig, FeaturesConfig
from sift_ray.evaluate import measured
from sift_ray.evaluate.generation import Outcome
from sift_ray.evaluate.measured import CUT, NO_PHONES, Clip, ClipMeasurer
from sift_ray.evaluate.origin import Measuring
from sift_ray.evaluate.samples import Sample
from sift_ray.storage import StorageError

NOBODY = 65_534


def measurer(decode: DecodeConfig | None = None) -> ClipMeasurer:
    features = FeaturesConfig(quality="none", room="none")
    return ClipMeasurer(Measuring(decode or DecodeConfig(), features, "the test's settings"))


@pytest.fixture
def clip(spoken: Config) -> Path:
    """A recording of 1.5 s or more."""
    return min((Path(spoken.output) / "clips").glob("*.wav"))


def test_of_a_clip_that_is_cut_nobody_knows_the_rate(clip: Path) -> None:
    [whole] = measurer().measure([Clip(clip, 20)])
    assert whole.values["speaking_rate_pps"] is not None
    [cut, unknown] = measurer(DecodeConfig(max_s=1.2, long_clips="cut")).measure([Clip(clip, 20), Clip(clip, None)])
    assert (cut.values["speaking_rate_pps"], cut.reasons["speaking_rate_pps"]) == (None, CUT)
    assert unknown.reasons["speaking_rate_pps"] == NO_PHONES
    # what needs no text is measured on what is there
    assert cut.fault is None
    assert cut.values["intensity_db"] is not None
    nobody = Sample("s", "controllable_generation", "en", "vctk_en", ("a",), "?", None, ())
    assert not Outcome(nobody, "speaking_rate", "slow speed", None, CUT).judged


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "x.wav"
    broken.write_bytes(b"no audio")
    os.mkfifo(tmp_path / "pipe.wav")
    names = ("x.wav", "y.wav", "pipe.wav")
    made, gone, pipe = measurer().measure([Clip(tmp_path / name, None) for name in names])
    assert (made.fault, gone.fault, pipe.fault) == ("unreadable_audio", "missing_audio", "missing_audio")
    assert str(broken) in str(made.detail)
    assert "y.wav" in str(gone.detail)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to read everything, where the tests run as root."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read_ends_the_measuring(clip: Path, tmp_path: Path) -> None:
    ours = measurer()
    ours.measure([Clip(clip, None)])  # (whatever is loaded late is loaded now)
    locked = tmp_path / "locked.wav"
    locked.write_bytes(clip.read_bytes())
    locked.chmod(0)
    with unprivileged(), pytest.raises(StorageError, match=r"locked.wav: Permission denied; it is not the model's"):
        ours.measure([Clip(locked, None)])


def test_a_store_that_fails_ends_the_measuring(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(uri: str, *_: object, **__: object) -> None:
        raise DecodeError("storage_error", f"{uri}: Stale file handle")

    monkeypatch.setattr(measured, "decode", failing)
    with pytest.raises(StorageError, match="Stale file handle; evaluate again when the storage answers"):
        measurer().measure([Clip(clip, None)])
