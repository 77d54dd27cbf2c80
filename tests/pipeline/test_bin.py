from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sift_ray.config import BinConfig, Config
from sift_ray.config_file import parse_config
from sift_ray.metadata.bins import build_rulers, count
from sift_ray.metadata.bins_file import BinsError, read_bins, write_bins
from sift_ray.metadata.categories import ATTRIBUTES
from sift_ray.metadata.rulers import ALL, EVERYONE, Rulers
from sift_ray.pipeline.bin import (
    MOST_TASKS,
    ROWS_A_TASK,
    load_rulers,
    run_bin,
    shared_out,
)
from sift_ray.pipeline.frozen_bins import gaps, measured_by, raise_if_measured_otherwise
from sift_ray.pipeline.parquet_files import write_parquet
from sift_ray.pipeline.plan import Plan
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import StaleOutputError
from sift_ray.schema import ANNOTATIONS, MEASURES, conform
from sift_ray.storage import LocalRoot, ShardInfo, WaveManifest, wave_folder, write_manifest

from ..seaweed import Seaweed


def config(tmp_path: Path, section: str = "{}", features: str = "{}", more: str = "", aligner: str = "viter") -> Config:
    (tmp_path / "clips.tsv").touch()
    text = f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}]\n"
    text += f"bin: {section}\nannotate: {{features: {features}, align: {{backend: {aligner}}}}}\n{more}"
    return parse_config(text, "job.yaml", check_paths=False)


def annotations(rows: int, seed: int, corpora: str = "ab") -> pa.Table:
    """Annotated rows, one in ten of them rejected, with values that no ruler may see."""
    rng = np.random.default_rng(seed)
    data: dict[str, Any] = {}
    for attribute in ATTRIBUTES.values():
        measure = MEASURES[attribute.column]
        middle, width = (measure.low + measure.high) / 2, (measure.high - measure.low) / 10
        data[attribute.column] = rng.normal(middle, width, rows).clip(measure.low, measure.high).tolist()
    rejected = [index % 10 == 3 for index in range(rows)]
    data["snr_db"] = [-20.0 if out else max(value, -19.0) for out, value in zip(rejected, data["snr_db"], strict=True)]
    data["c50_db"] = [None if index % 5 == 0 else value for index, value in enumerate(data["c50_db"])]
    data["null_reasons"] = [["c50_db:no_decays"] if index % 5 == 0 else [] for index in range(rows)]
    data["status"] = ["rejected" if out else "ok" for out in rejected]
    data["gender"] = [["female", "male", None][index % 3] for index in range(rows)]
    data["corpus"] = [corpora[index % len(corpora)] for index in range(rows)]
    data["language"] = [["en", "de", "it"][index % 7 % 3] for index in range(rows)]
    for name in ("utterance_id", "data_source", "split"):
        data[name] = [name] * rows
    data["unit_id"] = range(rows)
    columns = {name: pa.array(list(values), ANNOTATIONS.field(name).type) for name, values in data.items()}
    return conform(pa.table(columns), ANNOTATIONS)


def annotated(root: LocalRoot, waves: list[list[pa.Table]]) -> Plan:
    """Lay waves of shards down as the annotations of a job."""
    for number, shards in enumerate(waves):
        files = []
        for index, shard in enumerate(shards):
            name = f"part-{index}.parquet"
            size = write_parquet(root, f"{wave_folder('annotations', number)}/{name}", shard)
            files.append(ShardInfo(name=name, rows=shard.num_rows, bytes=size))
        rows = sum(shard.num_rows for shard in shards)
        manifest = WaveManifest(
            stage="annotations",
            wave=number,
            rows=rows,
            id_digest="0",
            fingerprint="f",
            files=tuple(files),
            counts={},
            started_at="",
            seconds=0.0,
            versions={},
        )
        write_manifest(root, manifest)
    return Plan(len(waves), 0, "")


def binned(job: Config, plan: Plan) -> dict[str, Any]:
    """Run the stage; return what bins.json holds."""
    root = LocalRoot(job.output)
    with RaySession(job) as session:
        rulers = run_bin(session, job, root, plan)
        assert write_bins(run_bin(session, job, root, plan)) == write_bins(rulers)  # (read, not made again)
    document: dict[str, Any] = json.loads(root.read("bins.json"))
    assert read_bins(json.dumps(document)).rulers == rulers.rulers
    return document


def test_a_ruler_of_one_backend_does_not_judge_another(tmp_path: Path) -> None:
    (tmp_path / "bins.json").touch()
    section = f"{{frozen: {tmp_path}/bins.json}}"
    mos, squim = (config(tmp_path, section, f"{{quality: {quality}}}") for quality in ("dnsmos", "squim"))
    raise_if_measured_otherwise(mos, {"measured_by": measured_by(mos)})
    with pytest.raises(BinsError, match=r"bins\.json: .* quality: dnsmos \(this job: squim, by annotate.features.qual"):
        raise_if_measured_otherwise(squim, {"measured_by": measured_by(mos)})
    unaligned = config(tmp_path, section, aligner="none")
    with pytest.raises(BinsError, match=r"speaking_rate: aligned \(this job: g2p, by annotate\.align\.backend\)"):
        raise_if_measured_otherwise(unaligned, {"measured_by": measured_by(mos)})
    with pytest.raises(BinsError, match=r"speaking_rate: g2p \(this job: aligned"):
        raise_if_measured_otherwise(mos, {"measured_by": measured_by(unaligned)})
    # (which aligner it is makes no difference in kind)
    raise_if_measured_otherwise(
        config(tmp_path, section, aligner="ctc, models: {en: an/id}"), {"measured_by": measured_by(mos)}
    )


@pytest.mark.parametrize(
    ("said", "lacking"),
    [
        ({}, "quality, room, speaking_rate"),
        ({"measured_by": None}, "quality, room, speaking_rate"),
        ({"measured_by": {"quality": "dnsmos", "room": "signal"}}, "speaking_rate"),
    ],
)
def test_rulers_that_do_not_say_what_measured_them_are_refused(
    tmp_path: Path, said: dict[str, Any], lacking: str
) -> None:
    (tmp_path / "bins.json").touch()
    with pytest.raises(BinsError, match=rf"bins\.json: measured_by: it does not say .* {lacking}; make"):
        raise_if_measured_otherwise(config(tmp_path, f"{{frozen: {tmp_path}/bins.json}}"), said)


@pytest.mark.parametrize("waves", [1, 4, 5, 6, 1279, 1280, 1281, 10_000])
def test_tasks_are_neither_many_nor_small_however_many_the_waves(waves: int) -> None:
    files = [[f"{wave}/a", f"{wave}/b"] for wave in range(waves)]
    wave_rows = 20_000
    tasks = shared_out(files, waves * wave_rows)
    assert [wave for task in tasks for wave in task] == files
    assert len(tasks) <= MOST_TASKS
    assert all(len(task) * wave_rows >= ROWS_A_TASK for task in tasks[:-1])
    # and not much larger than that takes
    assert len(tasks[0]) < 2 * max(5, -(-waves // MOST_TASKS))


def test_waves_and_shards_make_what_one_table_does(local_ray: None, tmp_path: Path) -> None:
    whole = annotations(900, seed=1)
    shards = [whole.slice(start, 75) for start in range(0, 900, 75)]
    section = "{unknown_gender: all_speakers, by_language: [speaking_rate, average_pitch], min_count: 60}"
    job = config(tmp_path, section)
    plan = annotated(LocalRoot(job.output), [shards[7:9], [], shards[:4], shards[4:7], shards[9:]])
    document = binned(job, plan)
    good = whole.filter(pa.array([status == "ok" for status in whole["status"].to_pylist()]))
    expected = json.loads(write_bins(build_rulers(lambda: [good], job.bin)))
    assert {key: document[key] for key in expected} == expected
    every = {(r["attribute"], r["corpus"], r["language"], r["gender"]): r for r in document["rulers"]}
    assert every["noise_level", ALL, None, None]["count"] == 810
    assert every["noise_level", ALL, None, None]["low"] > -20.0  # (that of rejected rows)
    assert every["average_pitch", "a", "de", EVERYONE]["count"] < every["average_pitch", ALL, None, EVERYONE]["count"]
    assert {entry["judged_by"]["corpus"] for entry in document["rulers"]} == {"a", "b", ALL}
    assert document["unknown"]["reverberation"] == {"no_decays": sum(v is None for v in good["c50_db"].to_pylist())}
    for attribute in ATTRIBUTES:
        held = [sum(g["categories"].values()) for g in document["groups"] if g["attribute"] == attribute]
        assert sum(held) + sum(document["unknown"][attribute].values()) == 810


def test_quantiles_take_one_pass_less_and_come_out_the_same(local_ray: None, tmp_path: Path) -> None:
    job = config(tmp_path, "{method: quantile}")
    parts = [annotations(200, seed) for seed in (1, 2)]
    document = binned(job, annotated(LocalRoot(job.output), [[part] for part in parts]))
    good = [part.filter(pa.array([s == "ok" for s in part["status"].to_pylist()])) for part in parts]
    assert document["rulers"] == json.loads(write_bins(build_rulers(lambda: good, job.bin)))["rulers"]
    with pytest.raises(StaleOutputError, match="method"), RaySession(job) as session:
        run_bin(session, config(tmp_path, "{method: equal_width}"), LocalRoot(job.output), Plan(2, 0, ""))


def frozen_bins(tmp_path: Path, section: str = "{}") -> Path:
    """Make the bins of corpora a and b elsewhere; return their file."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    job = config(folder, section)
    binned(job, annotated(LocalRoot(job.output), [[annotations(300, seed=5)]]))
    return Path(job.output) / "bins.json"


def test_frozen_bins_judge_other_data_and_say_what_they_lack(
    local_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = frozen_bins(tmp_path, "{unknown_gender: all_speakers, by_language: [noise_level]}")
    given = json.loads(file.read_text())
    given["rulers"] = [ruler for ruler in given["rulers"] if ruler["attribute"] != "reverberation"]
    file.write_text(json.dumps(given))
    job = config(tmp_path, f"{{frozen: {file}, unknown_gender: all_speakers}}")
    other = annotations(400, seed=6, corpora="ac")
    with caplog.at_level(logging.WARNING, "sift_ray.pipeline.bin"):
        document = binned(job, annotated(LocalRoot(job.output), [[other]]))
    assert document["rulers"] == given["rulers"]
    assert "no rulers of corpus c for average_pitch, pitch_variation, speaking_rate" in caplog.text
    assert "no ruler for 280 values of reverberation" in caplog.text
    assert document["unknown"]["reverberation"] == {"no_decays": 80, "no_ruler": 280}
    judges = {(g["attribute"], g["corpus"]): g["judged_by"]["corpus"] for g in document["groups"]}
    assert judges["noise_level", "a"] == "a"
    assert {judge for (_, corpus), judge in judges.items() if corpus == "c"} == {ALL}
    # what is counted is this data, not that which made the rulers
    held = [sum(g["categories"].values()) for g in document["groups"] if g["attribute"] == "noise_level"]
    assert sum(held) == 360
    # and once more: bins of frozen bins are the same bins
    again = tmp_path / "again"
    again.mkdir()
    second = config(again, f"{{frozen: {tmp_path}/out/bins.json, unknown_gender: all_speakers}}")
    repeated = binned(second, annotated(LocalRoot(second.output), [[other.slice(200)], [other.slice(0, 200)]]))
    for key in ("rulers", "groups", "unknown", "method", "min_count"):
        assert repeated[key] == document[key]


def test_a_config_that_refuses_unknown_gender_is_obeyed_under_frozen_bins(local_ray: None, tmp_path: Path) -> None:
    file = frozen_bins(tmp_path, "{unknown_gender: all_speakers}")
    job = config(tmp_path, f"{{frozen: {file}}}")
    document = binned(job, annotated(LocalRoot(job.output), [[annotations(300, seed=8)]]))
    assert EVERYONE not in {ruler["gender"] for ruler in document["rulers"]}
    assert document["unknown"]["average_pitch"] == {"unknown_gender": 90}


def test_frozen_bins_on_s3_are_read(local_ray: None, seaweed: Seaweed, tmp_path: Path) -> None:
    file = frozen_bins(tmp_path)
    seaweed.client.put_object(Bucket=seaweed.bucket, Key="frozen/bins/mine.json", Body=file.read_bytes())
    job = config(
        tmp_path,
        f"{{frozen: 's3://{seaweed.bucket}/frozen/bins/mine.json'}}",
        more=f"storage: {{endpoint_url: '{seaweed.endpoint}'}}\n",
    )
    document = binned(job, annotated(LocalRoot(job.output), [[annotations(200, seed=7)]]))
    assert document["rulers"] == json.loads(file.read_text())["rulers"]
    # one that is gone is not missed, and another file under that name is told from the first
    seaweed.client.delete_object(Bucket=seaweed.bucket, Key="frozen/bins/mine.json")
    assert binned(job, Plan(1, 0, "")) == document
    seaweed.client.put_object(Bucket=seaweed.bucket, Key="frozen/bins/mine.json", Body=file.read_bytes() + b"\n")
    with pytest.raises(StaleOutputError, match="frozen"), RaySession(job) as session:
        run_bin(session, job, LocalRoot(job.output), Plan(1, 0, ""))


def test_what_frozen_bins_lack_is_said(tmp_path: Path) -> None:
    shown, job = annotations(300, seed=5), config(tmp_path, "{unknown_gender: all_speakers}")
    rulers = build_rulers(lambda: [shown], job.bin)
    assert list(gaps(rulers, job.bin, None)) == []
    refusing = rulers.without_everyone()
    counted = count([shown], refusing).put_into(refusing)
    assert list(gaps(counted, config(tmp_path).bin, None)) == []
    assert list(gaps(counted, job.bin, None)) == [
        f"no ruler of all speakers for {attribute}: those of unknown gender have no category"
        for attribute in ("average_pitch", "pitch_variation")
    ]


def test_settings_that_frozen_bins_do_not_follow_are_said(tmp_path: Path) -> None:
    shown = annotations(300, seed=5)
    rulers = build_rulers(lambda: [shown], BinConfig(min_count=8))
    made_with = {key: attribute.outlier_std for key, attribute in ATTRIBUTES.items()}

    def said(section: str, outlier_std: Mapping[str, float] | None = made_with) -> list[str]:
        return list(gaps(rulers, config(tmp_path, section).bin, outlier_std))

    assert said("{}") == []  # (a default asks for nothing)
    assert said("{method: equal_width, min_count: 8, outlier_std: {speaking_rate: 5.5}}") == []
    assert said("{method: quantile, min_count: 2, outlier_std: {noise_level: 2}, by_language: [speaking_rate]}") == [
        "no rulers by language for speaking_rate, which bin.by_language asks for: one judges all languages",
        "bin.method quantile is not followed: that of these rulers is equal_width",
        "bin.min_count 2 is not followed: that of these rulers is 8",
    ]
    assert said("{outlier_std: {noise_level: 2, speaking_rate: 5.5}}") == [
        "bin.outlier_std 2 of noise_level is not followed: that of these rulers is 3.5"
    ]
    assert said("{outlier_std: {noise_level: 3.5}}", None) == [
        "bin.outlier_std 3.5 of noise_level is not followed: that of these rulers is unknown"
    ]
    assert said("{outlier_std: {noise_level: 3.5}}", {}) == [
        "bin.outlier_std 3.5 of noise_level is not followed: that of these rulers is none"
    ]


def test_groups_and_languages_that_another_ruler_judges_are_said(tmp_path: Path) -> None:
    many, few = annotations(400, seed=5, corpora="a"), annotations(40, seed=6, corpora="b")
    asked = config(tmp_path, "{by_language: [noise_level]}").bin
    # of 40 clips of b, 11 are in Italian, 13 of women and 13 of men; no Spanish is known
    rulers = build_rulers(lambda: [many, few], BinConfig(min_count=20, by_language=("noise_level",)))
    assert list(gaps(rulers, asked, None)) == [
        "the rulers of corpus b for average_pitch female, average_pitch male, pitch_variation female, "
        "pitch_variation male rest on fewer values than min_count (20): those of all corpora judge it"
    ]
    spanish = few.set_column(few.schema.get_field_index("language"), "language", pa.array(["es"] * 40, pa.string()))
    counted = count([spanish], rulers).put_into(rulers)
    assert list(gaps(counted, asked, None))[1:] == ["no ruler of es for noise_level: one of all languages judges them"]
    # and a corpus that has rulers of women alone
    women = Rulers([r for r in rulers.rulers.values() if r.gender != "male" or r.corpus != "b"], method="", min_count=2)
    counted = count([few], women).put_into(women)
    assert list(gaps(counted, asked, None)) == [
        "no rulers of corpus b for average_pitch male, pitch_variation male: those of all corpora judge it"
    ]


def test_bins_say_what_settled_them_and_frozen_ones_what_was_not_followed(
    local_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = frozen_bins(tmp_path, "{outlier_std: {noise_level: 2}}")
    given = json.loads(file.read_text())
    assert given["outlier_std"]["noise_level"] == 2
    assert given["outlier_std"]["speaking_rate"] == ATTRIBUTES["speaking_rate"].outlier_std
    asked = "method: quantile, min_count: 2, by_language: [speaking_rate]"
    job = config(tmp_path, f"{{frozen: {file}, {asked}}}")
    plan = annotated(LocalRoot(job.output), [[annotations(300, seed=8)]])
    document = binned(job, plan)
    assert f"{file}: bin.method quantile is not followed" in caplog.text
    assert f"{file}: bin.min_count 2 is not followed" in caplog.text
    assert f"{file}: no rulers by language for speaking_rate" in caplog.text
    assert (document["method"], document["min_count"]) == ("equal_width", 20)
    assert document["outlier_std"] == given["outlier_std"]
    # what has no effect on them is not what they were made from
    assert document["made_from"]["bin"] == {"frozen": str(file), "unknown_gender": "refuse"}
    caplog.clear()
    later = config(tmp_path, f"{{frozen: {file}, min_count: 4}}")
    with RaySession(later) as session:
        run_bin(session, later, LocalRoot(job.output), plan)
    assert f"{file}: bin.min_count 4 is not followed" in caplog.text
    assert "bin.method" not in caplog.text


def test_the_copy_of_frozen_bins_outlives_their_file(local_ray: None, tmp_path: Path) -> None:
    file = frozen_bins(tmp_path)
    job = config(tmp_path, f"{{frozen: {file}}}")
    root = LocalRoot(job.output)
    plan = annotated(root, [[annotations(200, seed=8)]])
    missing = tmp_path / "moved.json"
    file.rename(missing)
    sentence = rf"^{file}: the frozen bins can't be read \(FileNotFoundError: .*\): put the file back, name another"
    with pytest.raises(BinsError, match=sentence), RaySession(job) as session:
        run_bin(session, job, root, plan)
    assert not root.exists("bins.json")
    missing.rename(file)
    binned(job, plan)
    before = load_rulers(job, root, plan)
    file.rename(missing)
    document = binned(job, plan)
    after = load_rulers(job, root, plan)
    assert (after[0].rulers, after[1:]) == (before[0].rulers, before[1:])
    assert document["made_from"]["frozen"]
    # another path is another file, and one that is not there
    other = config(tmp_path, f"{{frozen: {tmp_path}/other.json}}")
    with pytest.raises(BinsError, match=r"other\.json: the frozen bins can't be read"):
        load_rulers(other, root, plan)
    # a changed one is told, even where it is no bins.json any more
    file.write_text(missing.read_text() + " ")
    with pytest.raises(StaleOutputError, match="frozen: was"):
        load_rulers(job, root, plan)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BinsError, match="not UTF-8"):
        load_rulers(job, root, plan)


@pytest.mark.parametrize("text", ["[]", '{"made_from": 3}', "{}"])
def test_a_bins_json_of_no_job_is_refused(tmp_path: Path, text: str) -> None:
    job = config(tmp_path)
    root = LocalRoot(job.output)
    plan = annotated(root, [[annotations(10, seed=1)]])
    root.put("bins.json", text.encode())
    with pytest.raises(BinsError, match=r"out/bins\.json: not the bins\.json of a job"):
        load_rulers(job, root, plan)
