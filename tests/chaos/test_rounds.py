"""What is drawn for the long form, and whom its strikes find: without a cluster."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from signal import SIGKILL, SIGSEGV
from typing import Any

import numpy as np
import pytest
import soundfile as sf

import sift_ray

from .build import Strike
from .cluster import hooks_path
from .killer_clip import doom_one
from .moments import STAGES
from .processes import WATCHING_ACTORS, WORKING_ACTORS, runs_actor, runs_map_worker, runs_task
from .rounds import Arena, draw, draw_filling
from .strikes import AddNode, FillDisk, JumpClock, KillDriver, KillNode, KillWorker, StoreAway, Twin

SEEDS = range(300)
EDGES = ("before", "after")


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    nothing: Any = object()  # of what runs, a strike only keeps hold until it falls
    return Arena(tmp_path, nothing, nothing, nothing, tmp_path, {}, tmp_path / "shift_s")


def drawn(arena: Arena, seed: int, in_store: bool) -> list[Strike]:
    return draw(arena, random.Random(f"{seed}-1"), in_store)


def told(strike: Strike) -> dict[str, Any]:
    """Return all that tells a strike from another one: moments are functions, and told by the name."""
    values = {name: value for name, value in vars(strike).items() if isinstance(value, (str, int, float))}
    return {**values, "kind": kind_of(strike)}


def kind_of(strike: Strike) -> tuple[Any, ...]:
    if isinstance(strike, KillWorker):
        return KillWorker, strike.number, strike.busy
    return (type(strike),)


def test_a_seed_draws_the_same_strikes_again_and_another_seed_others(arena: Arena) -> None:
    for in_store in (False, True):
        rounds = [[told(strike) for strike in drawn(arena, seed, in_store)] for seed in SEEDS]
        assert rounds == [[told(strike) for strike in drawn(arena, seed, in_store)] for seed in SEEDS]
        assert len({str(strikes) for strikes in rounds}) > len(SEEDS) * 0.9


@pytest.mark.parametrize("in_store", [False, True])
def test_every_kind_of_fault_is_drawn_and_at_every_mark(arena: Arena, in_store: bool) -> None:
    strikes = [strike for seed in SEEDS for strike in drawn(arena, seed, in_store)]
    kinds = {(one,) for one in (KillDriver, KillNode, AddNode, JumpClock, Twin, *([StoreAway] if in_store else []))}
    killed = {(KillWorker, SIGKILL, runs_task), (KillWorker, SIGSEGV, runs_task), (KillWorker, SIGKILL, runs_actor)}
    counts = Counter(kind_of(strike) for strike in strikes)
    assert counts.keys() == kinds | killed
    assert min(counts.values()) >= 10, counts
    marks = {f"{edge} a mark of {stage}" for edge in EDGES for stage in STAGES}
    assert {mark for mark in marks for strike in strikes if strike.name.endswith(mark)} == marks


def test_strikes_come_in_the_order_of_their_moments_and_a_lost_node_is_replaced(arena: Arena) -> None:
    order = [f"{edge} a mark of {stage}" for stage in STAGES for edge in EDGES]
    for seed in SEEDS:
        strikes = drawn(arena, seed, in_store=True)
        assert 2 <= sum(not isinstance(strike, AddNode) for strike in strikes) <= 5
        places = [place for strike in strikes for place, mark in enumerate(order) if strike.name.endswith(mark)]
        assert places == sorted(places)
        lost = [place for place, strike in enumerate(strikes) if isinstance(strike, KillNode)]
        added = [place - 1 for place, strike in enumerate(strikes) if isinstance(strike, AddNode)]
        assert lost == added


def test_a_small_disk_fills_up_once_at_least_at_any_mark_and_has_room_again(tmp_path: Path) -> None:
    order = [f"{edge} a mark of {stage}" for stage in STAGES for edge in EDGES]
    full_at = set()
    for seed in SEEDS:
        strikes = draw_filling(random.Random(seed), tmp_path)
        assert [told(strike) for strike in strikes] == [
            told(strike) for strike in draw_filling(random.Random(seed), tmp_path)
        ]
        filling = [strike for strike in strikes if isinstance(strike, FillDisk)]
        assert filling
        assert len({strike.ballast for strike in filling}) == len(filling)
        assert all(strike.seconds is not None and strike.seconds > 0 for strike in filling)
        places = [place for strike in strikes for place, mark in enumerate(order) if strike.name.endswith(mark)]
        assert len(places) == len(strikes) <= 3
        assert places == sorted(places)
        full_at |= {order.index(strike.name.removeprefix("disk full ")) for strike in filling}
    assert full_at == set(range(len(order)))


def test_one_clip_of_the_demo_kills_its_decoder_and_no_other_clip_does(tmp_path: Path) -> None:
    silence = np.zeros(1600, np.int16)
    for name in ("p901_001_mic1", "p901_001_mic2", "p901_002_mic1"):
        sf.write(tmp_path / f"{name}.flac", silence, 16000)
    assert doom_one(tmp_path) == "p901_001"
    deaths = tmp_path / "deaths"
    environment = {**os.environ, "PYTHONPATH": hooks_path(), "KILLER_DEATHS": str(deaths)}
    ends = {}
    for clip in sorted(tmp_path.glob("*.flac")):
        command = [sys.executable, "-c", "import sys, soundfile; print(len(soundfile.read(sys.argv[1])[0]))", str(clip)]
        ends[clip.stem] = subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL).returncode
    assert ends == {"p901_001_mic1": -SIGSEGV, "p901_001_mic2": -SIGSEGV, "p901_002_mic1": 0}
    assert deaths.read_text().split() == ["-c", "-c"]


def test_no_strike_waits_for_workers_where_there_are_none(arena: Arena) -> None:
    """It would hold up those behind it."""
    strikes = [strike for seed in SEEDS for strike in drawn(arena, seed, in_store=True)]
    early = {type(strike) for strike in strikes if strike.name.endswith("before a mark of plan")}
    assert early == {KillDriver, JumpClock, Twin, StoreAway}
    for strike in strikes:
        if isinstance(strike, KillWorker) and strike.busy is runs_actor:  # templates and rulers are made by tasks
            assert not strike.name.endswith((" of bin", " of instruct"))


@pytest.mark.parametrize(
    ("title", "what"),
    [
        ("ray::MapBatches(decode_piece)", {runs_task}),
        ("ray::explode", {runs_task}),
        ("ray::MapWorker(MapBatches(Measuring)).submit", {runs_actor, runs_map_worker}),
        ("ray::MapWorker(MapBatches(Aligning))", {runs_actor, runs_map_worker}),
        ("ray::_MapWorker.__init__", {runs_actor, runs_map_worker}),
        ("ray::GroupWriters.write", {runs_actor}),
        ("ray::RowCounter.add", set()),
        ("ray::WaveGate.begin", set()),
        ("ray::_StatsActor.update", set()),
        ("ray::JobSupervisor.run", set()),
        ("ray::IDLE", set()),
        ("python -m sift_ray build", set()),
    ],
)
def test_a_strike_finds_workers_by_what_they_do(title: str, what: set[Any]) -> None:
    assert {found for found in (runs_task, runs_actor, runs_map_worker) if found(title)} == what


def test_every_actor_of_the_job_is_known_by_its_name() -> None:
    made = set()
    for file in Path(sift_ray.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            # ray.remote(…)(Class), ray.remote(Class) and @ray.remote before a class
            if isinstance(node, ast.Call) and ast.unparse(node.func).split("(")[0] == "ray.remote":
                made |= {part.id for part in node.args if isinstance(part, ast.Name)}
            if isinstance(node, ast.ClassDef) and any("ray.remote" in ast.unparse(d) for d in node.decorator_list):
                made.add(node.name)
    assert made == {"GroupWriters", "RowCounter", "WaveGate"}
    assert made <= {*WORKING_ACTORS, *WATCHING_ACTORS}
