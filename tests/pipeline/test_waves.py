"""The stage runner on a real local Ray: what it marks as done, and what it refuses to."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import ray.data

from sift_ray.config import Config
from sift_ray.pipeline.preflight import TEMPLATE_CPUS, needs
from sift_ray.pipeline.progress import Progress
from sift_ray.pipeline.session import RaySession
from sift_ray.pipeline.wave_flow import WAVES_UNDER_WAY, Flow
from sift_ray.pipeline.wave_pieces import of_wave, open_piece
from sift_ray.pipeline.wave_run import run_waves
from sift_ray.pipeline.waves import (
    Budget,
    BudgetExceededError,
    Expected,
    LostRowsError,
    Stage,
    StaleOutputError,
    check_ingredients,
    table_digest,
)
from sift_ray.storage import LocalRoot, StorageError, WaveManifest, read_manifest

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_ray")]

SCHEMA = pa.schema([pa.field("unit_id", pa.int64(), nullable=False), pa.field("value", pa.float64())])
ROWS = 40


def stage(value: float = 1.0, **more: Any) -> Stage:
    return Stage("numbers", SCHEMA, {"value": value}, lambda t: {"status": {"ok": t.num_rows}}, **more)


def rows(wave: int, count: int = ROWS) -> pa.Table:
    return pa.table({"unit_id": np.arange(wave * 1000, wave * 1000 + count), "extra": ["x"] * count})


@dataclass(frozen=True)
class ReadNumbers:
    """Reads some of a wave's rows, in pieces of ten."""

    counts: dict[int, int] = field(default_factory=dict)  # of rows, where it is not ROWS
    share: Callable[[pa.Table], pa.Table] = lambda table: table
    seen: str | None = None  # a folder that gets a file for each wave that is read

    def __call__(self, wave: int) -> tuple[Expected, Iterable[pa.Table]]:
        if self.seen:
            (Path(self.seen) / str(wave)).touch()
        table = rows(wave, self.counts.get(wave, ROWS))
        mine = self.share(table)
        pieces = (mine.slice(start, 10) for start in range(0, mine.num_rows, 10))
        return Expected(table.num_rows, table_digest(table)), pieces


def valued(piece: pa.Table, value: float, change: Callable[[pa.Table], pa.Table]) -> pa.Table:
    wave, table = open_piece(piece)
    table = change(table.append_column("value", pa.array([value] * table.num_rows)))
    return of_wave(wave, table)


class Run:
    """Runs the stage, counting which waves were really started."""

    def __init__(self, folder: Path) -> None:
        self.root = LocalRoot(folder)
        self.started: list[int] = []

    def going(
        self,
        of: Stage,
        waves: int = 2,
        change: Callable[[pa.Table], pa.Table] = lambda t: t,
        reading: Sequence[ReadNumbers] = (ReadNumbers(),),
        wave_rows: int = ROWS,
        then: Sequence[Callable[[ray.data.Dataset], ray.data.Dataset]] = (),
        waiting: int = 0,
    ) -> Generator[WaveManifest, None, None]:
        def start(unfinished: Sequence[int]) -> list[Flow]:
            self.started += unfinished
            return [Flow(read, partial(go_on, step), waiting) for read, step in zip_longest(reading, then)]

        def go_on(step: Any, pieces: ray.data.Dataset, progress: Progress) -> ray.data.Dataset:
            return work(pieces, progress) if step is None else step(work(pieces, progress))

        def work(pieces: ray.data.Dataset, progress: Progress) -> ray.data.Dataset:
            each = partial(valued, value=of.ingredients["value"], change=change)
            return pieces.map_batches(each, batch_size=1, batch_format="pyarrow")

        session = RaySession(Config(output=self.root.uri, corpora=({"type": "demo", "path": self.root.uri},)))
        return run_waves(session, self.root, of, range(waves), start, wave_rows)

    def __call__(self, of: Stage, *arguments: Any, **named: Any) -> list[WaveManifest]:
        return list(self.going(of, *arguments, **named))

    def files(self, wave: int) -> list[str]:
        return [name for name in self.root.names(f"numbers/wave={wave:05d}") if name != "_MANIFEST.json"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "out")


def test_each_wave_is_written_whole_and_marked_last(run: Run) -> None:
    manifests = run(stage())
    assert sorted(manifest.wave for manifest in manifests) == [0, 1]
    for manifest in manifests:
        wave = manifest.wave
        folder = Path(run.root.uri) / f"numbers/wave={wave:05d}"
        table = pq.read_table([folder / f.name for f in manifest.files], partitioning=None)
        assert table.schema.equals(SCHEMA)
        assert sorted(table["unit_id"].to_pylist()) == rows(wave)["unit_id"].to_pylist()
        assert manifest.rows == ROWS
        assert sum(f.rows for f in manifest.files) == ROWS
        assert manifest.counts["status"] == {"ok": ROWS}
        assert sorted(f.name for f in manifest.files) == run.files(wave)
        assert (folder / "_MANIFEST.json").stat().st_mtime_ns >= max(
            (folder / f.name).stat().st_mtime_ns for f in manifest.files
        )


def test_finished_waves_are_not_started_again(run: Run) -> None:
    first = sorted(run(stage()), key=lambda manifest: manifest.wave)
    assert run(stage()) == first
    assert run.started == [0, 1]


def test_a_wave_without_its_manifest_is_deleted_and_run_again(run: Run) -> None:
    before = run(stage())
    folder = Path(run.root.uri) / "numbers/wave=00001"
    (folder / "_MANIFEST.json").unlink()
    (folder / "part-99999.parquet").write_bytes(b"half a file of a killed run")
    after = run(stage())
    assert run.started == [0, 1, 1]
    content = [{m.wave: (m.rows, m.id_digest, m.counts["status"]) for m in manifests} for manifests in (before, after)]
    assert content[0] == content[1]
    assert not (folder / "part-99999.parquet").exists()


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_wave_whose_file_is_damaged_is_run_again(run: Run, damage: str) -> None:
    run(stage())
    manifest = read_manifest(run.root, "numbers", 0)
    assert manifest is not None
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
    with pytest.raises(LostRowsError, match=r"numbers wave 2 of 2"):
        run(stage(), change=lambda t: change(t) if 1003 in t["unit_id"].to_pylist() else t)
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
    run(stage())
    manifest = read_manifest(run.root, "numbers", 1)
    assert manifest is not None
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


def test_waves_begin_in_order_and_few_are_under_way(run: Run, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    done, most = [], 0
    # files of a piece: what waits for others to fill one never lets more waves begin
    for manifest in run.going(stage(), 14, slow, (ReadNumbers(seen=str(seen)),), wave_rows=10):
        done.append(manifest.wave)
        most = max(most, len(list(seen.iterdir())) - len(done))
    assert sorted(done) == list(range(14))
    began = sorted(seen.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    assert [int(file.name) for file in began] == list(range(14))
    # a wave may be held up by a slow worker for any time; that none ends before one that began long before is sure
    assert all(wave - place < WAVES_UNDER_WAY for place, wave in enumerate(done))
    # (one more where the file that ends a wave ends the next as well, which is told after it)
    assert most <= WAVES_UNDER_WAY + 1


def slow(table: pa.Table) -> pa.Table:
    time.sleep(0.02)
    return table


def test_the_times_of_waves_add_up_to_the_stages(run: Run) -> None:
    began = time.monotonic()
    manifests = run(stage(), 3)
    took = time.monotonic() - began
    assert 0 < sum(manifest.seconds for manifest in manifests) <= took
    for manifest in manifests:
        held = manifest.counts["held"]
        assert held["gpu_s"] == 0.0
        assert 0 < held["cpu_s"] <= 6 * manifest.seconds + 0.01


def test_waves_smaller_than_a_file_are_not_waited_for_in_vain(run: Run) -> None:
    manifests = run(stage(), 30, wave_rows=5000)
    assert sorted(manifest.wave for manifest in manifests) == list(range(30))


@pytest.mark.timeout(180)
def test_rows_that_fill_no_batch_are_not_waited_for_in_vain(run: Run) -> None:
    def gather(dataset: ray.data.Dataset) -> ray.data.Dataset:
        return dataset.map_batches(as_it_is, batch_size=256, batch_format="pyarrow", num_cpus=0.25)

    counts = dict.fromkeys(range(9), 20)
    assert len(run(stage(), 9, reading=[ReadNumbers(counts)], then=[gather], waiting=256)) == 9


def as_it_is(batch: pa.Table) -> pa.Table:
    return batch


class AsItIs:
    def __call__(self, batch: pa.Table) -> pa.Table:
        return batch


@pytest.mark.timeout(180)
def test_the_cpus_that_a_stage_is_said_to_need_are_enough(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def tasks(dataset: ray.data.Dataset) -> ray.data.Dataset:
        return dataset.map_batches(as_it_is, batch_size=4, batch_format="pyarrow", num_cpus=TEMPLATE_CPUS)

    def actors(dataset: ray.data.Dataset) -> ray.data.Dataset:
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=1)
        return dataset.map_batches(AsItIs, batch_size=4, batch_format="pyarrow", num_cpus=1, compute=pool)

    instruct = {"tasks": {"open_ended": {"engine_share": 0.5}}, "pool": {"num_cpus": 1, "num_gpus": 0}}
    config = Config(output="out", corpora=({"type": "demo", "path": "out"},), instruct=instruct)
    cpus, _ = needs(config, "instructions")
    options = ray.data.DataContext.get_current().execution_options
    monkeypatch.setattr(options, "resource_limits", ray.data.ExecutionResources(cpu=cpus))
    halves = [ReadNumbers(share=partial(share_of, rest=rest)) for rest in (0, 1)]
    assert len(run(stage(), 3 * WAVES_UNDER_WAY, reading=halves, then=[tasks, actors])) == 3 * WAVES_UNDER_WAY


def test_a_wave_that_nothing_goes_into_is_finished_too(run: Run) -> None:
    manifests = {m.wave: m for m in run(stage(), 4, reading=(ReadNumbers({0: 0, 2: 0, 3: 7}),))}
    assert [manifests[wave].rows for wave in range(4)] == [0, ROWS, 0, 7]
    assert manifests[2].files == ()
    assert run(stage(), 4) == [manifests[wave] for wave in range(4)]


def test_a_stage_that_nothing_goes_into_is_finished(run: Run) -> None:
    assert [m.rows for m in run(stage(), 2, reading=(ReadNumbers({0: 0, 1: 0}),))] == [0, 0]


def test_several_flows_share_their_waves(run: Run) -> None:
    even, odd = (partial(share_of, rest=rest) for rest in (0, 1))
    manifests = run(stage(), 3, reading=(ReadNumbers(share=even), ReadNumbers(share=odd)))
    for manifest in manifests:
        folder = Path(run.root.uri) / f"numbers/wave={manifest.wave:05d}"
        table = pq.read_table([folder / f.name for f in manifest.files], partitioning=None)
        assert sorted(table["unit_id"].to_pylist()) == rows(manifest.wave)["unit_id"].to_pylist()


def share_of(table: pa.Table, rest: int) -> pa.Table:
    return table.filter(pa.array([unit % 2 == rest for unit in table["unit_id"].to_pylist()]))


def test_files_are_of_about_the_size_that_is_wanted(run: Run) -> None:
    (alone,) = run(stage(), 1, reading=(ReadNumbers({0: 400}),), wave_rows=100)
    assert sorted(file.rows for file in alone.files) == [100, 100, 100, 100]


def test_files_are_never_larger_than_is_wanted_and_at_most_one_a_wave_comes_of_a_batch(run: Run) -> None:
    manifests = run(stage(), 2, reading=(ReadNumbers({0: 400, 1: 400}),), wave_rows=100)
    sizes = [file.rows for manifest in manifests for file in manifest.files]
    assert max(sizes) <= 100
    # (rows come in any order, so that each batch of 100 may hold rows of both waves)
    assert len(sizes) <= 2 * 800 / 100


def test_what_attempts_left_beside_a_waves_files_is_deleted_before_it_is_marked(run: Run) -> None:
    def leave_a_file(table: pa.Table) -> pa.Table:
        folder = Path(run.root.uri) / f"numbers/wave={table['unit_id'][0].as_py() // 1000:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part-of-an-attempt.parquet").write_bytes(b"half")
        return table

    for manifest in run(stage(), change=leave_a_file):
        assert run.files(manifest.wave) == sorted(file.name for file in manifest.files)


def test_a_run_that_is_left_keeps_what_was_finished(run: Run) -> None:
    with closing(run.going(stage(), 12, slow)) as manifests:
        first = next(manifests)
    assert read_manifest(run.root, "numbers", first.wave) == first
    assert len(run(stage(), 12)) == 12
    assert run.started.count(first.wave) == 1
    assert run.started.count(11) == 2
