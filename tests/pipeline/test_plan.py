import csv
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.corpora import CorpusError, Reading, Utterance
from sift_ray.pipeline import plan_draft, plan_rows
from sift_ray.pipeline.plan import PlanError, check_plan, read_plan, run_plan
from sift_ray.pipeline.plan_rows import unit_id
from sift_ray.pipeline.spool import SortedSpool
from sift_ray.pipeline.waves import StaleOutputError
from sift_ray.storage import LocalRoot, put_json, read_json, read_manifest


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    sf.write(folder / "a.wav", np.zeros(16_000, dtype=np.float32), 16_000)
    return folder


def manifest(folder: Path, ids: list[str], name: str = "m.tsv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["id", "audio", "transcript", "language"])
        writer.writerows([i, "a.wav", f"text of {i}", "en"] for i in ids)
    return path


def job(output: Path, *manifests: Path, wave_rows: int = 3) -> Config:
    corpora = "\n".join(f"  - {{type: manifest, name: c{n}, path: {p}}}" for n, p in enumerate(manifests))
    return parse_config(f"output: {output}\ncorpora:\n{corpora}\nplan: {{wave_rows: {wave_rows}}}\n", "job.yaml")


def ids_by_wave(root: LocalRoot, waves: int) -> list[list[int]]:
    return [
        pq.read_table(Path(root.uri) / f"utterances/wave={wave:05d}", partitioning=None)["unit_id"].to_pylist()
        for wave in range(waves)
    ]


def test_waves_are_full_sorted_and_hold_every_row_once(clips: Path, tmp_path: Path) -> None:
    names = [f"u{i}" for i in range(11)]
    config = job(tmp_path / "out", manifest(clips, names))
    root = LocalRoot(config.output)
    plan = run_plan(config, root)
    waves = ids_by_wave(root, plan.waves)
    assert [len(wave) for wave in waves] == [3, 3, 3, 2]
    flat = [number for wave in waves for number in wave]
    assert flat == sorted(flat)
    assert set(flat) == {unit_id("c0", "", name) for name in names}
    assert read_plan(root) == plan


def test_the_order_of_reading_does_not_matter(clips: Path, tmp_path: Path) -> None:
    names = [f"u{i}" for i in range(10)]
    first = job(tmp_path / "one", manifest(clips, names, "one.tsv"))
    other = job(tmp_path / "two", manifest(clips, names[::-1], "two.tsv"))
    roots = [LocalRoot(c.output) for c in (first, other)]
    plans = [run_plan(c, r) for c, r in zip((first, other), roots, strict=True)]
    assert ids_by_wave(roots[0], plans[0].waves) == ids_by_wave(roots[1], plans[1].waves)


def test_small_scratch_pieces_give_the_same_plan(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(clips, [f"u{i}" for i in range(20)])
    whole = LocalRoot(tmp_path / "whole")
    plan = run_plan(job(tmp_path / "whole", path), whole)
    monkeypatch.setattr(plan_draft, "_BATCH_ROWS", 3)
    monkeypatch.setattr(plan_draft, "SortedSpool", partial(SortedSpool, run_bytes=1000, batch_bytes=300, fan_in=2))
    pieces = LocalRoot(tmp_path / "pieces")
    assert run_plan(job(tmp_path / "pieces", path), pieces) == plan
    assert ids_by_wave(pieces, plan.waves) == ids_by_wave(whole, plan.waves)


def test_two_corpora_may_share_ids(clips: Path, tmp_path: Path) -> None:
    path = manifest(clips, ["same", "other"])
    config = job(tmp_path / "out", path, manifest(clips, ["same"], "b.tsv"), wave_rows=10)
    plan = run_plan(config, LocalRoot(config.output))
    assert plan.rows == 3
    counts = read_manifest(LocalRoot(config.output), "utterances", 0)
    assert counts is not None
    assert counts.counts["status"] == {"ok": 3}


def test_an_id_that_a_corpus_repeats_is_a_reject_not_a_loss(clips: Path, tmp_path: Path) -> None:
    config = job(tmp_path / "out", manifest(clips, ["a", "b", "a", "a"]), wave_rows=10)
    run_plan(config, LocalRoot(config.output))
    table = pq.read_table(tmp_path / "out/utterances/wave=00000", partitioning=None)
    assert table.num_rows == 4
    assert len(set(table["unit_id"].to_pylist())) == 4
    columns = (table[name].to_pylist() for name in ("utterance_id", "status", "reject_reason", "reject_detail"))
    assert sorted(zip(*columns, strict=True), key=str) == [
        ("a", "ok", None, None),
        ("a", "rejected", "duplicate_id", f"{clips}/m.tsv:4: {clips}/m.tsv:2 has the same id"),
        ("a", "rejected", "duplicate_id", f"{clips}/m.tsv:5: {clips}/m.tsv:2 has the same id"),
        ("b", "ok", None, None),
    ]


def test_a_usable_row_stands_before_an_earlier_one_that_is_not(clips: Path, tmp_path: Path) -> None:
    path = clips / "m.tsv"
    path.write_text("id\taudio\ttranscript\tlanguage\na\tgone.wav\t\ten\na\ta.wav\ttext\ten\n")
    config = job(tmp_path / "out", path)
    run_plan(config, LocalRoot(config.output))
    rows = pq.read_table(tmp_path / "out/utterances/wave=00000", partitioning=None).to_pylist()
    assert {row["transcript"]: row["reject_reason"] for row in rows} == {"text": None, None: "duplicate_id"}
    assert {row["unit_id"] for row in rows if row["status"] == "ok"} == {unit_id("c0", "", "a")}


def test_a_clip_that_is_in_train_and_in_test_stays_in_test(clips: Path, tmp_path: Path) -> None:
    path = clips / "m.tsv"
    lines = ("a\ttrain\tanna", "c\ttrain\tcarl", "d\ttrain\tdora", "a\ttest\tanna", "b\ttest\tanna", "c\ttest\tdora")
    rows = "".join(f"{line.split(chr(9))[0]}\ta.wav\ttext\ten\t{line.split(chr(9), 1)[1]}\n" for line in lines)
    path.write_text(f"id\taudio\ttranscript\tlanguage\tsplit\tspeaker_id\n{rows}")
    config = job(tmp_path / "out", path, wave_rows=10)
    run_plan(config, LocalRoot(config.output))
    table = pq.read_table(tmp_path / "out/utterances/wave=00000", partitioning=None).to_pylist()
    ok = {(row["utterance_id"], row["split"]) for row in table if row["status"] == "ok"}
    assert ok == {("a", "test"), ("b", "test"), ("c", "test")}
    reasons = {(row["utterance_id"], row["split"]): row["reject_reason"] for row in table if row["status"] != "ok"}
    duplicates = dict.fromkeys([("a", "train"), ("c", "train")], "duplicate_id")
    assert reasons == {**duplicates, ("d", "train"): "speaker_in_two_splits"}


def test_a_plan_that_failed_does_not_hold_its_config_fast(clips: Path, tmp_path: Path) -> None:
    path = clips / "m.tsv"
    path.write_text("id\taudio\ttranscript\n")
    with pytest.raises(CorpusError, match="no column 'language'"):
        run_plan(job(tmp_path / "out", path), LocalRoot(tmp_path / "out"))
    mended = manifest(clips, ["a"], "mended.tsv")
    assert run_plan(job(tmp_path / "out", mended), LocalRoot(tmp_path / "out")).rows == 1


def test_clips_of_one_recording_lie_together(clips: Path, tmp_path: Path) -> None:
    path = clips / "m.jsonl"
    # every third clip is a span of long.wav
    lines = []
    for i in range(60):
        row = {"id": f"u{i}", "audio": "a.wav", "language": "en", "transcript": "x"}
        lines.append(row | {"audio": "long.wav", "offset": i / 100, "duration": 0.01} if i % 3 == 0 else row)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sf.write(clips / "long.wav", np.full(16_000, 0.1, dtype=np.float32), 16_000)
    config = job(tmp_path / "out", path, wave_rows=7)
    plan = run_plan(config, LocalRoot(config.output))
    rows = [
        row
        for wave in range(plan.waves)
        for row in pq.read_table(tmp_path / f"out/utterances/wave={wave:05d}", partitioning=None).to_pylist()
    ]
    places = [place for place, row in enumerate(rows) if "long.wav" in row["audio_uri"]]
    assert {row["reject_detail"] for row in rows} == {None}
    assert places == list(range(places[0], places[0] + 20))
    spans = [rows[place]["unit_id"] for place in places]
    others = [row["unit_id"] for place, row in enumerate(rows) if place not in places]
    assert spans == sorted(spans)
    assert others == sorted(others)


def test_a_speaker_in_two_splits_is_dropped_from_the_less_held_out(clips: Path, tmp_path: Path) -> None:
    path = clips / "m.tsv"
    rows = [
        ("a", "both", "train", "en"),
        ("b", "both", "dev", "en"),
        ("c", "both", "test", "de"),
        ("d", "other", "dev", "en"),
        ("e", "other", "train", "en"),
        ("f", "good", "train", "en"),
        ("g", "", "train", "en"),
        ("h", "", "test", "en"),
    ]
    text = "".join(f"{i}\ta.wav\tx\t{language}\t{who}\t{split}\n" for i, who, split, language in rows)
    path.write_text("id\taudio\ttranscript\tlanguage\tspeaker_id\tsplit\n" + text)
    config = job(tmp_path / "out", path, wave_rows=100)
    run_plan(config, LocalRoot(config.output))
    table = pq.read_table(tmp_path / "out/utterances/wave=00000", partitioning=None)
    dropped = {row["utterance_id"]: row["reject_detail"] for row in table.to_pylist() if row["status"] != "ok"}
    assert dropped == {
        "a": f"{path}:2: speaker both of train is also in test",
        "b": f"{path}:3: speaker both of dev is also in test",
        "e": f"{path}:6: speaker other of train is also in dev",
    }
    counts = read_manifest(LocalRoot(config.output), "utterances", 0)
    assert counts is not None
    assert counts.counts["rejects"] == {"plan/speaker_in_two_splits": 3}


def hours_job(output: Path, path: Path, hours: str, plan: str = "{}") -> Config:
    corpora = f"[{{type: manifest, name: c0, path: {path}, hours: {hours}}}]"
    return parse_config(f"output: {output}\ncorpora: {corpora}\nplan: {plan}\n", "job.yaml")


def test_hours_take_the_first_rows_of_the_order_and_the_rest_is_told(clips: Path, tmp_path: Path) -> None:
    path = manifest(clips, [f"u{i}" for i in range(50)])  # a second each
    everything = LocalRoot(tmp_path / "all")
    run_plan(job(tmp_path / "all", path, wave_rows=100), everything)
    whole = ids_by_wave(everything, 1)[0]
    for seconds in (1, 10, 29, 50):
        config = hours_job(tmp_path / f"out{seconds}", path, f"{{en: {seconds / 3600}, de: 1}}")
        root = LocalRoot(config.output)
        run_plan(config, root)
        assert ids_by_wave(root, 1)[0] == whole[:seconds]
        record = read_json(root, "plan.json")
        assert record is not None
        left = {"utterances": 50 - seconds, "hours": round((50 - seconds) / 3600, 3)}
        assert record["left_out"] == ({"c0/en": left} if seconds < 50 else {})


def test_hours_of_unknown_durations_are_an_error_that_says_what_to_set(clips: Path, tmp_path: Path) -> None:
    config = hours_job(tmp_path / "out", manifest(clips, ["a"]), "1.0", "{read_headers: false}")
    with pytest.raises(PlanError, match=r"m.tsv:2: its duration is not known.*plan.read_headers: true"):
        run_plan(config, LocalRoot(config.output))


def test_fewer_hours_than_asked_for_are_told(clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = hours_job(tmp_path / "out", manifest(clips, ["a"]), "{en: 2}")
    run_plan(config, LocalRoot(config.output))
    assert "corpus c0: 0.00 hours of en are usable, `hours` asks for 2" in caplog.text


def test_what_readers_skip_is_told(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(corpus: Config, reading: Reading) -> Iterator[Utterance]:
        reading.skip("c0", "language nl is none of the five", 3)
        yield Utterance("a", "c0", "c0", "en", "train", where="m.tsv:2")

    monkeypatch.setattr(plan_draft, "read_corpus", read)
    config = job(tmp_path / "out", manifest(clips, ["a"]))
    run_plan(config, LocalRoot(config.output))
    record = read_json(LocalRoot(config.output), "plan.json")
    assert record is not None
    assert record["skipped"] == {"c0": {"language nl is none of the five": 3}}


def test_different_utterances_of_one_hash_are_an_error(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_rows, "unit_id", lambda *_: 7)
    config = job(tmp_path / "out", manifest(clips, ["a", "b"]))
    with pytest.raises(PlanError, match="have one hash: set `version`"):
        run_plan(config, LocalRoot(config.output))
    assert read_plan(LocalRoot(config.output)) is None


def test_a_corpus_with_nothing_in_it(clips: Path, tmp_path: Path) -> None:
    config = job(tmp_path / "out", manifest(clips, []))
    with pytest.raises(PlanError, match="no corpus holds a single utterance"):
        run_plan(config, LocalRoot(config.output))


def test_another_wave_size_is_refused_with_the_ways_on(clips: Path, tmp_path: Path) -> None:
    path = manifest(clips, ["a", "b"])
    root = LocalRoot(tmp_path / "out")
    run_plan(job(tmp_path / "out", path), root)
    with pytest.raises(StaleOutputError, match=r"plan.wave_rows: was 3, is 5(.|\n)*--restart-from"):
        run_plan(job(tmp_path / "out", path, wave_rows=5), root)


def test_a_table_that_has_changed_is_named_with_the_ways_on(clips: Path, tmp_path: Path) -> None:
    first, second = manifest(clips, ["a", "b"]), manifest(clips, ["c"], "n.tsv")
    config = job(tmp_path / "out", first, second)
    root = LocalRoot(config.output)
    plan = run_plan(config, root)
    before = root.read("plan.json")
    manifest(clips, ["c", "d"], "n.tsv")
    with pytest.raises(
        StaleOutputError, match=r"n\.tsv: it says something else now(.|\n)*--restart-from plan"
    ) as error:
        run_plan(config, root)
    assert str(first) not in str(error.value)
    with pytest.raises(StaleOutputError, match=r"n\.tsv"):
        check_plan(config, root)
    assert root.read("plan.json") == before
    manifest(clips, ["c"], "n.tsv")  # (as it was, but later)
    assert run_plan(config, root) == plan


def test_a_plan_outlives_its_corpora_and_plans_of_older_versions_are_taken(clips: Path, tmp_path: Path) -> None:
    config = job(tmp_path / "out", manifest(clips, ["a"]))
    root = LocalRoot(config.output)
    plan = run_plan(config, root)
    shutil.move(clips, tmp_path / "elsewhere")
    assert run_plan(config, root) == plan
    record = read_json(root, "plan.json")
    assert record is not None
    assert list(record.pop("tables")) == [str(clips / "m.tsv")]
    put_json(root, "plan.json", record)
    clips.mkdir()
    assert run_plan(config, root) == plan


def test_a_plan_that_was_cut_off_is_made_again(clips: Path, tmp_path: Path) -> None:
    config = job(tmp_path / "out", manifest(clips, ["a", "b", "c", "d"]))
    root = LocalRoot(config.output)
    plan = run_plan(config, root)
    before = ids_by_wave(root, plan.waves)
    root.delete("plan.json")
    root.put("utterances/wave=00009/part-00000.parquet", b"left over")
    assert run_plan(config, root) == plan
    assert ids_by_wave(root, plan.waves) == before
    assert root.names("utterances") == ["_STAGE.json", "wave=00000", "wave=00001"]
