"""Audio in the rows of a release: as users load it, it is what lay on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.release import run_release
from sift_ray.pipeline.session import RaySession
from sift_ray.storage import LocalRoot

from ..release.instruction_waves import config_of, put_wave, wave_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]

UTTERANCES = 10  # three in five of train; the second clips of comparisons come on top
LONG_S = 20  # 0.64 MB, more than a piece of a small file is to have


def write_clips(uris: set[str], *, noise: np.random.Generator) -> None:
    """Write a clip at each address, no two alike: some seconds of noise, then silence to `LONG_S` in those of train."""
    for uri in sorted(uris):
        Path(uri).parent.mkdir(exist_ok=True)
        train = int(Path(uri).stem.removeprefix("clip")) % 5 < 3
        clip = np.zeros((LONG_S if train else 1) * 16_000, np.int16)
        clip[:300_000] = noise.integers(-3_000, 3_000, min(300_000, len(clip)))
        soundfile.write(uri, clip, 16_000, subtype="PCM_16")


@pytest.fixture(scope="module")
def embedded(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A release with the sound of its clips, in files of a megabyte, and its record."""
    folder = tmp_path_factory.mktemp("embedded")
    instructions, annotations = wave_of(0, UTTERANCES, ("en",))
    instructions = [row for row in instructions if row["task"] in ("open_ended", "closed_ended_comparison")]
    for row in instructions:
        row["audio_uris"] = [where(folder, uri, row["split"]) for uri in row["audio_uris"]]
    for row in annotations:
        row["audio_uri"] = where(folder, row["audio_uri"], row["split"])
    write_clips({uri for row in instructions for uri in row["audio_uris"]}, noise=np.random.default_rng(3))
    config = config_of(folder / "out", audio="embedded", file_mb=1)
    put_wave(LocalRoot(config.output), 0, instructions, annotations)
    with RaySession(config) as session:
        return folder / "out", run_release(session, config, LocalRoot(config.output), Plan(1, UTTERANCES, "0"))


def where(folder: Path, uri: str, split: str) -> str:
    """Clips of the benchmark are FLAC, all others WAV."""
    return str(folder / "clips" / f"{Path(uri).stem}{'.flac' if split == 'test' else '.wav'}")


def test_audio_in_the_rows_loads_as_it_lay_on_the_disk(
    embedded: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    output, record = embedded
    release = output / "release"
    files = sorted((output / record["folders"]["parquet"] / "train/open_ended/en").iterdir())
    assert [file.name for file in files] == [f"part-{number:05d}.parquet" for number in range(len(files))]
    assert len(files) > 2
    # (a clip with its noise has 0.6 MB of Parquet, so that no file is larger by more than the last one's)
    assert all(1e6 <= file.stat().st_size < 1.7e6 for file in files[:-1]), [file.stat().st_size for file in files]
    heard = 0
    for task, audios in (("open_ended", 1), ("closed_ended_comparison", 2)):
        for name, split in (("train", "train"), ("validation", "dev"), ("EvalSIFT", "test")):
            given: dict[str, Any] = {"split": name, "cache_dir": str(tmp_path)}
            rows = datasets.load_dataset(str(release), task, **given)
            assert len(rows) == record["rows"][f"{split}/{task}/en"] > 0
            for row in rows:
                said = [part["audio_path"] for m in row["messages"] for part in m["content"] if part["audio_path"]]
                assert [audio["path"] for audio in row["audio"]] == said
                assert len(said) == len(row["audio_uris"]) == audios
                for audio, uri, utterance in zip(row["audio"], row["audio_uris"], row["utterance_ids"], strict=True):
                    assert audio["bytes"] == Path(uri).read_bytes()
                    assert Path(audio["path"]).name == Path(uri).name
                    assert Path(audio["path"]).stem == utterance
                    heard += 1
    assert heard == sum(n * (2 if "comparison" in label else 1) for label, n in record["rows"].items())
    first = next(iter(datasets.load_dataset(str(release), "open_ended", split="EvalSIFT", streaming=True)))
    assert first["audio"][0]["bytes"] == Path(first["audio_uris"][0]).read_bytes()
    assert first["audio"][0]["bytes"][:4] == b"fLaC"
