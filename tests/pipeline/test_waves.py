"""The wave runner on a real local Ray: what it marks as done, and what it refuses to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import ray.data

from sift_ray.config import Config
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.waves import (
    Budget,
    BudgetExceededError,
    Expected,
    LostRowsError,
    Stage,
    StaleOutputError,
    check_ingredients,
    run_waves,
    table_digest,
)
from sift_ray.storage import LocalRoot, StorageError, WaveManifest, read_manifest

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]

SCHEMA = pa.schema([pa.field("unit_id", pa.int64(), nullable=False), pa.field("value", pa.float64())])
ROWS = 40


def stage(value: float = 1.0, **more: Any) -> Stage:
    return Stage("numbers", SCHEMA, {"value": value}, lambda t: {"status": {"ok": t.num_rows}}, **more)


def rows(wave: int) -> pa.Table:
    return pa.table({"unit_id": np.arange(wave * 1000, wave * 1000 + ROWS), "extra": ["x"] * ROWS})


class Run:
    """Runs the stage, counting which waves were really started."""

    def __init__(self, folder: Path) -> None:
        self.root = LocalRoot(folder)
        self.started: list[int] = []

    def __call__(
        self, of: Stage, waves: int = 2, change: Callable[[pa.Table], pa.Table] = lambda t: t
    ) -> list[WaveManifest]:
        def start(wave: int, progress: Progress) -> tuple[ray.data.Dataset, Expected]:
            self.started.append(wave)
            table = rows(wave)
            dataset = ray.data.from_arrow(table).repartition(4)
            value = of.ingredients["value"]
            dataset = dataset.map_batches(
                lambda t: t.append_column("value", pa.array([value] * t.num_rows)), batch_format="pyarrow"
            )
            return dataset.map_batches(change, batch_format="pyarrow"), Expected(ROWS, table_digest(table))

        session = RaySession(Config(output=self.root.uri, corpora=({"type": "demo", "path": self.root.uri},)))
        return list(run_waves(session, self.root, of, range(waves), start))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "out")


def test_each_wave_is_written_whole_and_marked_last(run: Run) -> None:
    manifests = run(stage())
    for wave, manifest in enumerate(manifests):
        folder = Path(run.root.uri) / f"numbers/wave={wave:05d}"
        table = pq.read_table([folder / f.name for f in manifest.files], partitioning=None)
        assert table.schema.equals(SCHEMA)
        assert sorted(table["unit_id"].to_pylist()) == rows(wave)["unit_id"].to_pylist()
        assert manifest.rows == ROWS
        assert sum(f.rows for f in manifest.files) == ROWS
        assert manifest.counts == {"status": {"ok": ROWS}}
        assert (folder / "_MANIFEST.json").stat().st_mtime_ns >= max(
            (folder / f.name).stat().st_mtime_ns for f in manifest.files
        )


def test_finished_waves_are_not_started_again(run: Run) -> None:
    first = run(stage())
    assert run(stage()) == first
    assert run.started == [0, 1]


def test_a_wave_without_its_manifest_is_deleted_and_run_again(run: Run) -> None:
    before = run(stage())
    folder = Path(run.root.uri) / "numbers/wave=00001"
    (folder / "_MANIFEST.json").unlink()
    (folder / "part-99999.parquet").write_bytes(b"half a file of a killed run")
    after = run(stage())
    assert run.started == [0, 1, 1]
    assert (after[1].rows, after[1].id_digest) == (before[1].rows, before[1].id_digest)
    assert not (folder / "part-99999.parquet").exists()


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_wave_whose_file_is_damaged_is_run_again(run: Run, damage: str) -> None:
    manifest = run(stage())[0]
    file = Path(run.root.uri) / "numbers/wave=00000" / manifest.files[0].name
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-10])
    run(stage())
    assert run.started == [0, 1, 0]


def test_finished_waves_survive_the_loss_of_the_stages_record(run: Run) -> None:
    run(stage())
    run.root.delete("numbers/_STAGE.json")
    run(stage())
    assert run.started == [0, 1]
    run.root.delete("numbers/_STAGE.json")
    with pytest.raises(StaleOutputError, match=r"has lost its _STAGE.json"):
        run(stage(2.0))


def test_a_folder_that_is_not_ours_is_left_alone(run: Run) -> None:
    run.root.put("numbers/thesis.tex", b"years of work")
    with pytest.raises(StorageError, match=r"thesis.tex, which is not of a job"):
        run(stage())
    assert run.root.read("numbers/thesis.tex") == b"years of work"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t.filter(pc.not_equal(t["unit_id"], 1003)), id="a row lost"),
        pytest.param(lambda t: pa.concat_tables([t, t.slice(0, 1)]), id="rows doubled"),
        pytest.param(
            lambda t: t.set_column(0, "unit_id", pc.if_else(pc.equal(t["unit_id"], 1003), 9, t["unit_id"])),
            id="one row in place of another",
        ),
    ],
)
def test_rows_that_are_not_those_expected_leave_the_wave_undone(
    run: Run, change: Callable[[pa.Table], pa.Table]
) -> None:
    with pytest.raises(LostRowsError):
        run(stage(), change=lambda t: change(t) if pc.max(t["unit_id"]).as_py() >= 1000 else t)
    assert read_manifest(run.root, "numbers", 0) is not None
    assert read_manifest(run.root, "numbers", 1) is None


def test_other_ingredients_stop_the_stage_and_name_the_difference(run: Run) -> None:
    run(stage(1.0))
    with pytest.raises(StaleOutputError, match=r"value: was 1.0, is 2.0(.|\n)*--restart-from numbers"):
        run(stage(2.0))
    assert run.started == [0, 1]


def test_a_look_ahead_leaves_no_record_and_sees_other_ingredients(run: Run) -> None:
    check_ingredients(run.root, stage(1.0), record=False)
    assert run.root.names("numbers") == []
    check_ingredients(run.root, stage(2.0), record=False)
    run(stage(2.0))
    check_ingredients(run.root, stage(2.0), record=False)
    with pytest.raises(StaleOutputError, match=r"value: was 2.0, is 1.0"):
        check_ingredients(run.root, stage(1.0), record=False)


def test_a_foreign_wave_is_not_taken_for_ours(run: Run) -> None:
    manifest = run(stage())[1]
    path = "numbers/wave=00001/_MANIFEST.json"
    run.root.put(path, manifest.model_copy(update={"fingerprint": "other"}).model_dump_json().encode())
    with pytest.raises(StaleOutputError, match="does not belong here"):
        run(stage())


def test_a_wave_over_its_budget_fails_loudly(run: Run) -> None:
    kept = Budget("error_budget", 0.3, lambda _: 0.3)
    exceeded = Budget("x.fault_budget", 0.05, lambda _: 0.3, "failed by a fault", "status")
    with pytest.raises(BudgetExceededError, match=r"30.0% failed by a fault, and x.fault_budget allows 5.0%.*ok 40\."):
        run(stage(budgets=(kept, exceeded)))
    with pytest.raises(BudgetExceededError, match=r"30.0% was rejected, and error_budget allows 5.0%"):
        run(stage(budgets=(kept._replace(allowed=0.05),)))
    assert read_manifest(run.root, "numbers", 0) is None


def test_an_error_in_a_worker_reaches_the_caller_and_leaves_the_wave_undone(run: Run) -> None:
    def fail(_: pa.Table) -> pa.Table:
        raise ValueError("the worker's own words")

    with pytest.raises(Exception, match="the worker's own words"):
        run(stage(), change=fail)
    assert read_manifest(run.root, "numbers", 0) is None
