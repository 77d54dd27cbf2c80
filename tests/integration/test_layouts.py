"""Every layout, on disk and in a bucket: the same utterances, and the same audio, as in the demo's own trees."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sift_ray.audio.decode import decode
from sift_ray.config import CorpusConfig
from sift_ray.config_storage import StorageConfig
from sift_ray.corpora import Reading, Utterance, read_corpus
from sift_ray.schema import SAMPLE_RATE, SPLITS

from ..conftest import rows_of, run_stages
from ..layouts import LAYOUTS, Demo, Expected, Layout, read_demo
from ..seaweed import Seaweed

PLACES = ["local", pytest.param("s3", marks=pytest.mark.integration)]


@pytest.fixture(scope="module")
def demo(demo_corpora: Path) -> Demo:
    return read_demo(demo_corpora)


@dataclass
class Read:
    """What the reader made of a layout."""

    layout: Layout
    reading: Reading
    rows: list[Utterance]


def build_in_bucket(name: str, demo: Demo, seaweed: Seaweed, folder: Path) -> Layout:
    """Put a layout into the bucket, and nowhere else."""
    prefix = f"layouts/{folder.name}/{name}"
    layout = LAYOUTS[name](demo, folder, f"s3://{seaweed.bucket}/{prefix}")
    seaweed.upload(folder, prefix)
    shutil.rmtree(folder)
    return layout


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=LAYOUTS)
def read(request: pytest.FixtureRequest, place: str, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Read:
    folder = tmp_path_factory.mktemp(request.param)
    storage = StorageConfig()
    if place == "s3":
        seaweed: Seaweed = request.getfixturevalue("seaweed")
        storage = StorageConfig(endpoint_url=seaweed.endpoint)
        layout = build_in_bucket(request.param, demo, seaweed, folder)
    else:
        layout = LAYOUTS[request.param](demo, folder, str(folder))
    reading = Reading(storage=storage)
    config: CorpusConfig = TypeAdapter(CorpusConfig).validate_python(layout.corpus)
    return Read(layout, reading, list(read_corpus(config, reading)))


def test_the_reader_yields_exactly_these_utterances(read: Read) -> None:
    assert [(row.utterance_id, row.reject_detail) for row in read.rows if row.reject_reason] == []
    rows = {row.utterance_id: row for row in read.rows}
    expected = {row.utterance_id: row for row in read.layout.utterances}
    assert len(rows) == len(read.rows)
    assert set(rows) == set(expected)
    assert sum(read.reading.skipped.values()) == read.layout.skipped
    for name, row in rows.items():
        want = expected[name]
        assert (row.language, row.transcript) == (want.language, want.transcript)
        assert row.split in ((want.split,) if want.split else SPLITS)
        assert row.duration_s == pytest.approx(sf.info(want.audio).duration, abs=0.03)


def test_the_audio_is_the_same(read: Read) -> None:
    expected = {row.utterance_id: row for row in read.layout.utterances}
    for row in read.rows:
        assert row.audio_uri is not None
        clip = decode(row.audio_uri, read.reading.source, min_s=0.3, max_s=40.0, long_clips="reject")
        assert_same_audio(clip.samples, expected[row.utterance_id])


def assert_same_audio(samples: NDArray[np.int16], want: Expected) -> None:
    reference = independently_decoded(want.audio)
    assert samples.dtype == np.int16
    assert abs(samples.size - reference.size) <= 1
    size = min(samples.size, reference.size)
    if want.lossy:
        assert np.corrcoef(samples[:size], reference[:size])[0, 1] > 0.99
    else:
        # one step of 16 bits: two ways to round
        assert np.abs(samples[:size].astype(np.float32) - reference[:size]).max() <= 1


def independently_decoded(file: Path) -> NDArray[np.float32]:
    """Return a whole file at 16 kHz in steps of 16 bits, by the bare libraries."""
    samples, rate = sf.read(file, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    steps: NDArray[np.float32] = np.clip(mono * np.float32(32768), -32768, 32767)
    return steps


@pytest.mark.integration
def test_a_job_streams_its_audio_from_the_bucket(
    seaweed: Seaweed, demo: Demo, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = ("mls_hub", "common_voice_17", "webdataset")
    layouts = [build_in_bucket(name, demo, seaweed, tmp_path_factory.mktemp(f"job-{name}")) for name in names]
    config = f"""\
output: {tmp_path / "out"}
corpora: {json.dumps([layout.corpus for layout in layouts])}
annotate: {{align: {{backend: none}}, features: {{quality: none}}}}
storage: {{endpoint_url: '{seaweed.endpoint}'}}
ray: {{num_cpus: 6}}
"""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with watched(temporary) as seen:
        # (sockets have short names, so Ray stays where it would be)
        elsewhere = {"TMPDIR": str(temporary), "RAY_TMPDIR": tempfile.gettempdir()}
        run_stages(config, tmp_path, ("plan", "annotate"), elsewhere)
    # the plan's own tables, phonemizer's copies of its library, the mark that onnxruntime leaves of a session, the
    # file of a moment by which Python's tempfile finds out whether a folder can be written to
    known = re.compile(r"sift-ray-plan-.*|tmp\w+/lib[^/]*\.so[^/]*|\.ses|[a-z0-9_]{8}")
    assert {name for name in seen if not known.fullmatch(name)} == set()
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} == {".parquet", ".json"}
    rows = rows_of("annotations", tmp_path / "out")
    expected = Counter((layout.corpus["name"], row.utterance_id) for layout in layouts for row in layout.utterances)
    assert Counter((row["corpus"], row["utterance_id"]) for row in rows) == expected
    assert [(row["utterance_id"], row["reject_detail"]) for row in rows if row["status"] != "ok"] == []
    assert all(row["audio_uri"].startswith("s3://") for row in rows)
    assert all(row["pitch_median_hz"] is not None for row in rows)


@contextmanager
def watched(folder: Path) -> Iterator[set[str]]:
    """Give a set that gathers the paths of all files that appear under a folder, however soon they go again."""
    seen: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for place, _, names in os.walk(folder):
                seen.update(os.path.relpath(f"{place}/{name}", folder) for name in names)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
