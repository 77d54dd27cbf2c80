import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline import plan as planning
from sift_ray.pipeline.plan import PlanError, read_plan, run_plan, unit_id
from sift_ray.pipeline.waves import StaleOutputError
from sift_ray.storage import LocalRoot, read_manifest


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
    monkeypatch.setattr(planning, "_SPOOL_ROWS", 3)
    monkeypatch.setattr(planning, "_GROUP_ROWS", 4)
    pieces = LocalRoot(tmp_path / "pieces")
    run_plan(job(tmp_path / "pieces", path), pieces)
    assert ids_by_wave(pieces, plan.waves) == ids_by_wave(whole, plan.waves)


def test_two_corpora_may_share_ids(clips: Path, tmp_path: Path) -> None:
    path = manifest(clips, ["same", "other"])
    config = job(tmp_path / "out", path, manifest(clips, ["same"], "b.tsv"), wave_rows=10)
    plan = run_plan(config, LocalRoot(config.output))
    assert plan.rows == 3
    counts = read_manifest(LocalRoot(config.output), "utterances", 0)
    assert counts is not None
    assert counts.counts["status"] == {"ok": 3}


def test_an_id_that_a_corpus_repeats_is_a_reject_not_a_loss(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # (the manifest reader sees repeats itself; a tree's reader may not)
    utterances = list(planning.read_corpus(job(tmp_path / "x", manifest(clips, ["a", "b"])).corpora[0]))
    monkeypatch.setattr(planning, "read_corpus", lambda _: iter([*utterances, utterances[0], utterances[0]]))
    config = job(tmp_path / "out", manifest(clips, ["a", "b"]), wave_rows=10)
    run_plan(config, LocalRoot(config.output))
    table = pq.read_table(tmp_path / "out/utterances/wave=00000", partitioning=None)
    assert table.num_rows == 4
    assert len(set(table["unit_id"].to_pylist())) == 4
    reasons = sorted(zip(table["status"].to_pylist(), table["reject_reason"].to_pylist(), strict=True), key=str)
    assert reasons == [("ok", None)] * 2 + [("rejected", "duplicate_id")] * 2


def test_different_utterances_of_one_hash_are_an_error(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "unit_id", lambda *_: 7)
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
