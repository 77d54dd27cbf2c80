"""Files and rows as people really have them: the run goes on, and what can't be used is a row with its reason."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline.annotate import run_annotate
from sift_ray.pipeline.build import annotate, plan
from sift_ray.pipeline.plan import run_plan
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import BudgetExceededError
from sift_ray.storage import LocalRoot

pytestmark = pytest.mark.integration

HEADER = ["id", "audio", "transcript", "language", "speaker_id", "gender"]


@pytest.fixture(scope="module")
def speech(demo_corpora: Path) -> tuple[np.ndarray, int, str]:
    """One good English clip of the demo, and what is said in it."""
    folder = next(demo_corpora.glob("mls_english*")) / "train"
    name, text = (folder / "transcripts.txt").read_text(encoding="utf-8").splitlines()[0].split("\t")
    samples, rate = sf.read(next(folder.rglob(f"{name}.flac")), dtype="float32")
    return samples, rate, text


@pytest.fixture(scope="module")
def annotated(
    local_ray: None, speech: tuple[np.ndarray, int, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Every case in one manifest, planned and annotated; rows by the id in the manifest."""
    folder = tmp_path_factory.mktemp("bad")
    clips = folder / "clips"
    clips.mkdir()
    samples, rate, text = speech
    rows: list[list[str]] = []

    def add(name: str, audio: str, transcript: str = text) -> None:
        rows.append([name, audio, transcript, "en", "speaker1", "female"])

    sf.write(clips / "good.flac", samples, rate)
    add("good", "good.flac")
    whole = (clips / "good.flac").read_bytes()
    (clips / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    add("truncated", "truncated.flac")
    (clips / "empty.wav").write_bytes(b"")
    add("zero_length", "empty.wav")
    (clips / "text.wav").write_text("this is no audio at all\n" * 50)
    add("text_as_wav", "text.wav")
    add("missing", "nowhere.wav")
    sf.write(clips / "eight.wav", samples, rate, subtype="PCM_U8")
    add("eight_bit", "eight.wav")
    sf.write(clips / "stereo.wav", np.stack([samples, samples * 0.5], axis=1), rate)
    add("stereo", "stereo.wav")
    import soxr

    sf.write(clips / "high.wav", soxr.resample(samples, rate, 96_000), 96_000)
    add("96_khz", "high.wav")
    sf.write(clips / "short.wav", samples[: rate // 20], rate)
    add("50_ms", "short.wav")
    sf.write(clips / "silence.wav", np.zeros(2 * rate, dtype=np.float32), rate)
    add("silence", "silence.wav")
    add("empty_transcript", "good.flac", "")
    add("digits_and_emoji", "good.flac", text + " 42 😀🎉")
    add("another_script", "good.flac", "Это совсем другая письменность")
    add("twice", "good.flac")
    add("twice", "good.flac")
    secret = folder / "outside.wav"
    sf.write(secret, samples, rate)
    add("climbs_out", "../outside.wav")
    (clips / "link.wav").symlink_to(secret)
    add("linked_out", "link.wav")
    add("../../climbing", "good.flac")
    manifest = clips / "clips.tsv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, lineterminator="\n", quotechar=None)
        writer.writerow(HEADER)
        writer.writerows(rows[:5])
        writer.writerow(["too_few", "good.flac"])
        writer.writerows(rows[5:])
    config = parse_config(
        f"""\
output: {folder / "out"}
corpora: [{{type: manifest, name: bad, path: {manifest}}}]
annotate: {{error_budget: 1.0, align: {{min_train_s: 3600}}}}
""",
        "bad.yaml",
    )
    plan(config)
    annotate(config)
    files = sorted((folder / "out/annotations").glob("wave=*/*.parquet"))
    table = [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]
    assert len(table) == len(rows) + 1, "a row was lost or made up"
    # (of two rows with one id the plan rejects one, and both keep the id)
    again = {"duplicate_id": " again"}
    return {row["utterance_id"] + again.get(row["reject_reason"], ""): row for row in table}


@pytest.mark.parametrize(
    "name", ["good", "eight_bit", "stereo", "96_khz", "digits_and_emoji", "empty_transcript", "twice"]
)
def test_what_can_be_measured_is(annotated: dict[str, dict[str, Any]], name: str) -> None:
    row = annotated[name]
    assert (row["status"], row["reject_reason"]) == ("ok", None)
    # the same speech in another container: the same pitch, whatever depth, rate and channels it came in
    assert row["pitch_median_hz"] == pytest.approx(annotated["good"]["pitch_median_hz"], rel=0.01)
    assert row["duration_s"] == pytest.approx(annotated["good"]["duration_s"], abs=0.01)


@pytest.mark.parametrize(
    ("name", "stage", "reason"),
    [
        ("truncated", "decode", "truncated_audio"),
        ("zero_length", "plan", "empty_audio"),
        ("text_as_wav", "plan", "unreadable_header"),
        ("missing", "plan", "missing_audio"),
        ("50_ms", "decode", "too_short"),
        ("silence", "decode", "silent"),
        ("another_script", "plan", "transcript_script"),
        ("climbs_out", "plan", "path_outside_root"),
        ("linked_out", "plan", "path_outside_root"),
        ("../../climbing", "plan", "unsafe_id"),
    ],
)
def test_what_can_not_is_a_row_with_its_reason(
    annotated: dict[str, dict[str, Any]], name: str, stage: str, reason: str
) -> None:
    row = annotated[name]
    assert (row["status"], row["reject_stage"], row["reject_reason"]) == ("rejected", stage, reason)
    assert row["reject_detail"]
    assert row["pitch_median_hz"] is None
    assert row["words"] is None


def test_a_row_with_too_few_columns_names_its_line(annotated: dict[str, dict[str, Any]]) -> None:
    rows = [row for row in annotated.values() if row["reject_reason"] == "too_few_columns"]
    assert len(rows) == 1
    assert "clips.tsv" in rows[0]["reject_detail"]
    assert "7" in rows[0]["reject_detail"]


def test_of_two_rows_with_one_id_the_first_is_kept(annotated: dict[str, dict[str, Any]]) -> None:
    rows = [row for name, row in annotated.items() if name.startswith("twice")]
    assert sorted(row["status"] for row in rows) == ["ok", "rejected"]
    (second,) = [row for row in rows if row["status"] == "rejected"]
    assert second["reject_reason"] == "duplicate_id"


def test_nothing_is_read_outside_the_root(annotated: dict[str, dict[str, Any]]) -> None:
    read = [Path(row["audio_uri"]).resolve() for row in annotated.values() if row["status"] == "ok"]
    assert read
    assert {path.parent.name for path in read} == {"clips"}


def test_an_empty_transcript_is_no_word_spans_not_a_lost_clip(annotated: dict[str, dict[str, Any]]) -> None:
    row = annotated["empty_transcript"]
    assert (row["transcript"], row["alignment_reason"]) == (None, "no_transcript")
    assert row["speaking_rate_pps"] is None
    assert row["quality"] is not None


def test_too_many_rejects_stop_the_wave_and_say_why(local_ray: None, tmp_path: Path) -> None:
    sf.write(tmp_path / "silence.wav", np.zeros(16_000, dtype=np.float32), 16_000)
    manifest = tmp_path / "clips.jsonl"
    lines = [{"id": f"c{i}", "audio": "silence.wav", "transcript": "nothing", "language": "en"} for i in range(4)]
    manifest.write_text("\n".join(json.dumps(line) for line in lines))
    config: Config = parse_config(
        f"output: {tmp_path / 'out'}\ncorpora: [{{type: manifest, name: quiet, path: {manifest}}}]\n", "quiet.yaml"
    )
    root = LocalRoot(config.output)
    with (
        RaySession(config) as session,
        pytest.raises(BudgetExceededError, match=r"100.0% was rejected.*decode/silent 4"),
    ):
        list(run_annotate(session, config, root, run_plan(config, root), {}))
    assert not root.exists("annotations/wave=00000/_MANIFEST.json")
