"""Which clips are trained on: so many hours of the plan's first, with as many of its speakers as there is room for."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from sift_ray import storage
from sift_ray.align.protocol import TrainingError
from sift_ray.config import Config, DecodeConfig
from sift_ray.config_file import parse_config
from sift_ray.config_storage import StorageConfig
from sift_ray.pipeline import training_speech
from sift_ray.pipeline.plan import run_plan
from sift_ray.pipeline.training_speech import POOL_FACTOR, TrainingClips, choose_clips, training_rows
from sift_ray.schema import SAMPLE_RATE
from sift_ray.storage import LocalRoot

Row = tuple[str, str | None, float]
durations = st.floats(0.25, 20.0)
rows = st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from([None, *"abcde"]), durations), max_size=60)


def pool_of(content: list[Row]) -> pa.Table:
    corpora, speakers, seconds = zip(*content, strict=True) if content else ((), (), ())
    columns = {
        "unit_id": pa.array(range(len(content)), pa.int64()),
        "corpus": pa.array(corpora, pa.string()),
        "speaker_id": pa.array(speakers, pa.string()),
        "duration_s": pa.array(seconds, pa.float64()),
    }
    return pa.table(columns)


def speakers_of(table: pa.Table) -> list[tuple[str, str]]:
    """The speaker of each row; one that is unknown is told by the row itself."""
    return [
        (row["corpus"], row["speaker_id"] or f"unknown {row['unit_id']}")
        for row in table.select(["corpus", "speaker_id", "unit_id"]).to_pylist()
    ]


@given(rows, st.floats(1.0, 400.0))
def test_so_much_is_taken_and_no_clip_more(content: list[Row], seconds: float) -> None:
    pool = pool_of(content)
    chosen = choose_clips(pool, seconds)
    ids = chosen["unit_id"].to_pylist()
    assert ids == sorted(set(ids))  # in the plan's order, each once
    assert chosen.equals(pool.take(pa.array(ids, pa.int64())))
    total, longest = float(np.sum(chosen["duration_s"])), max(chosen["duration_s"].to_pylist(), default=0.0)
    assert total - longest < seconds
    assert total >= seconds - 1e-6 or chosen.num_rows == pool.num_rows


@given(rows, st.floats(1.0, 400.0))
def test_speakers_take_turns(content: list[Row], seconds: float) -> None:
    """Nobody has two clips more than another who has clips left; one speaker's clips are her first ones."""
    pool = pool_of(content)
    all_clips: dict[tuple[str, str], list[int]] = {}
    for row, speaker in enumerate(speakers_of(pool)):
        all_clips.setdefault(speaker, []).append(row)
    chosen = choose_clips(pool, seconds)
    taken: dict[tuple[str, str], list[int]] = {speaker: [] for speaker in all_clips}
    for row, speaker in zip(chosen["unit_id"].to_pylist(), speakers_of(chosen), strict=True):
        taken[speaker].append(row)
    most = max(map(len, taken.values()), default=0)
    for speaker, clips in taken.items():
        assert clips == all_clips[speaker][: len(clips)]
        assert len(clips) >= min(most - 1, len(all_clips[speaker]))
    if sum(pool["duration_s"][clips[0]].as_py() for clips in all_clips.values()) < seconds:
        assert all(taken.values()), "there was room for every speaker"


def test_one_loud_mouth_does_not_crowd_out_the_others() -> None:
    content: list[Row] = [*[("x", "a", 10.0)] * 50, ("x", "b", 10.0), ("y", "a", 10.0), *[("x", None, 10.0)] * 2]
    chosen = choose_clips(pool_of(content), 60.0)
    assert chosen["unit_id"].to_pylist() == [0, 1, 50, 51, 52, 53]


def planned(folder: Path, wave_rows: int) -> tuple[Config, LocalRoot]:
    text = f"output: {folder}/out{wave_rows}\ncorpora: [{{type: manifest, name: m, path: {folder}/m.tsv}}]\n"
    config = parse_config(text + f"plan: {{wave_rows: {wave_rows}, read_headers: false}}\n", "job.yaml")
    return config, LocalRoot(config.output)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """400 clips of two languages and uneven speakers, some of them of no use."""
    random = np.random.default_rng(0)
    lines = ["id\taudio\ttranscript\tlanguage\tspeaker_id\tduration"]
    for number in range(400):
        text = "" if number % 17 == 0 else "hello"
        seconds = "" if number % 13 == 0 else f"{random.uniform(0.1, 9):.3f}"
        speaker = "" if number % 11 == 0 else f"s{int(random.integers(30) ** 0.5)}"
        lines.append(f"u{number}\tu{number}.wav\t{text}\t{('en', 'de')[number % 2]}\t{speaker}\t{seconds}")
    for number in range(400):
        (tmp_path / f"u{number}.wav").write_bytes(b"not read")
    (tmp_path / "m.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_waves_size_changes_nothing(manifest: Path) -> None:
    found: list[dict[str, Any]] = []
    for wave_rows in (7, 60, 1000):
        config, root = planned(manifest, wave_rows)
        plan = run_plan(config, root)
        chosen = training_rows(config, root, plan, {"en": 60.0, "de": 1e6})
        found.append({language: table.to_pylist() for language, table in chosen.items()})
    assert found[0] == found[1] == found[2]
    english, german = found[0]["en"], found[0]["de"]
    assert 60 <= sum(row["duration_s"] for row in english) < 70
    assert len(german) > 150
    for row in (*english, *german):
        assert row["transcript"]
        assert row["duration_s"] >= 0.3
    assert {row["language"] for row in english} == {"en"}


def test_only_the_first_of_the_plan_are_looked_at(manifest: Path) -> None:
    config, root = planned(manifest, 5)
    plan = run_plan(config, root)
    seconds = 20.0
    pool = training_rows(config, root, plan, {"en": POOL_FACTOR * seconds * 10})["en"]
    chosen = set(training_rows(config, root, plan, {"en": seconds})["en"]["unit_id"].to_pylist())
    within = np.cumsum(pool["duration_s"].to_numpy()) <= POOL_FACTOR * seconds + 10
    assert chosen <= set(pool["unit_id"].to_numpy()[within].tolist())
    # and of these more than one speaker's
    assert len(set(pool.filter(pa.array(np.isin(pool["unit_id"], list(chosen))))["speaker_id"].to_pylist())) > 2


def test_waves_without_a_wanted_language_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["id\taudio\ttranscript\tlanguage\tduration"]
    for number in range(40):
        (tmp_path / f"u{number}.wav").write_bytes(b"not read")
        lines.append(f"u{number}\tu{number}.wav\thello\t{'de' if number == 7 else 'en'}\t3.0")
    (tmp_path / "m.tsv").write_text("\n".join(lines) + "\n")
    config, root = planned(tmp_path, 4)
    plan = run_plan(config, root)
    read: list[str] = []

    def read_table(*arguments: Any) -> pa.Table:
        read.append(arguments[1])
        return storage.read_table(*arguments)

    monkeypatch.setattr(training_speech, "read_table", read_table)
    (german,) = training_rows(config, root, plan, {"de": 1e6})["de"].to_pylist()
    assert german["utterance_id"] == "u7"
    assert len(read) == 1
    assert training_rows(config, root, plan, {"fr": 1e6}) == {}


def clips_of(folder: Path, lengths_s: list[float | None], **bounds: float) -> TrainingClips:
    """Clips of noise of these lengths; None: a file that is no audio."""
    random = np.random.default_rng(0)
    rows: list[dict[str, str | None]] = []
    for number, seconds in enumerate(lengths_s):
        path = folder / f"u{number}.wav"
        if seconds is None:
            path.write_bytes(b"no audio")
        else:
            sf.write(path, random.normal(0, 0.1, round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
        row = {"utterance_id": f"u{number}", "audio_uri": str(path), "transcript": "hello", "language": "en"}
        rows.append({**row, "speaker_id": None})
    asked = {"least_s": 0.0, "most_s": 1e6} | bounds
    return TrainingClips(pa.Table.from_pylist(rows), DecodeConfig(max_s=5.0), StorageConfig(), **asked)


def test_what_is_decoded_is_counted_and_what_is_not_too(tmp_path: Path) -> None:
    clips = clips_of(tmp_path, [1.0, None, 2.0, 0.1, 9.0, 1.5], least_s=4.5)
    names = [clip.utterance_id for clip in clips]
    assert names == ["u0", "u2", "u5"]
    assert (clips.clips, clips.seconds, clips.undecoded) == (3, 4.5, 1)
    assert clips.first_error.startswith("u1: ")
    assert "u1.wav" in clips.first_error


def test_a_corpus_that_can_hardly_be_decoded_is_an_error(tmp_path: Path) -> None:
    told = r"^en: more than 20% of the 10 clips .* of the 6 tried so far 3 could not be decoded, the first of them u1: "
    with pytest.raises(TrainingError, match=told):
        list(clips_of(tmp_path, [1.0, None, 1.0, None, 1.0, None, 1.0, 1.0, 1.0, 1.0]))


@pytest.mark.parametrize("lengths", [[1.0, None, 1.0], [1.0, None, None, *[1.0] * 7]])
def test_a_few_bad_clips_are_none(tmp_path: Path, lengths: list[float | None]) -> None:
    assert len(list(clips_of(tmp_path, lengths))) == lengths.count(1.0)


def test_less_speech_than_the_plan_promised_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"hold 2\.0 s of usable speech, less than .*min_train_s \(15\); of the 3 tr"
    ):
        list(clips_of(tmp_path, [1.0, None, 1.0], least_s=15.0))


def test_no_more_is_decoded_than_asked_for(tmp_path: Path) -> None:
    clips = clips_of(tmp_path, [4.0] * 5, least_s=15.0, most_s=8.0)
    assert [clip.utterance_id for clip in clips] == ["u0", "u1"]
    assert clips.seconds == 8.0
