"""Faults of every kind strike a build on a real cluster: what it ends with is what an undisturbed one ends with.

The long form, with faults in random order, is `make chaos`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sift_ray.storage import LocalRoot, open_root

from ..chaos.build import Build, Strike, survive
from ..chaos.cluster import NODE_CPUS, chaos_cluster
from ..chaos.content import content_by_id, paths_of
from ..chaos.job import job_config
from ..chaos.moments import STAGES, after_mark, any_time, before_mark
from ..chaos.processes import runs_map_worker
from ..chaos.rounds import build_on, compare, undisturbed
from ..chaos.small_disk import NoSmallDiskError, small_disk
from ..chaos.strikes import AddNode, FillDisk, JumpClock, KillDriver, KillNode, KillWorker, StoreAway, Twin
from ..faulty_proxy import FAULTS, faulty_proxy
from ..ray_head import Head
from ..seaweed import Seaweed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

PATIENCE_S = 420.0
"""For one run of the command; with nothing else running it takes 15 to 60 s."""


@dataclass(frozen=True)
class Cluster:
    head: Head
    clock: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    clock = tmp_path_factory.mktemp("clock") / "shift_s"
    with chaos_cluster(clock) as head:
        yield Cluster(head, clock)


@pytest.fixture(scope="module")
def expected(cluster: Cluster, demo_corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The content of a release that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "job"
    undisturbed(cluster.head, folder, demo_corpora)
    return content_by_id(LocalRoot(folder / "out"))


def kills(*stages: str) -> list[KillDriver]:
    """SIGKILL of the driver in each stage, before it has marked what it wrote, and just after."""
    return [
        KillDriver(f"driver killed {word} a mark of {stage}", moment(stage))
        for stage in stages
        for word, moment in (("before", before_mark), ("after", after_mark))
    ]


def test_the_driver_is_killed_in_each_stage_before_and_after_its_marks(
    cluster: Cluster, expected: dict[str, str], demo_corpora: Path, tmp_path: Path
) -> None:
    """One of its runs is started twice at the same time."""
    output = tmp_path / "out"
    config = job_config(str(output), demo_corpora)
    build = build_on(cluster.head, tmp_path / "job", LocalRoot(output), config)
    # (a run that plans is over before the second one has said that it may not)
    strikes: list[Strike] = [*kills("plan"), Twin("started twice at once", any_time), *kills(*STAGES[1:])]
    outcome = survive(build, strikes, runs=2 * len(STAGES) + 1, patience_s=PATIENCE_S)
    print(outcome.told())
    assert outcome.exits == [-signal.SIGKILL] * (2 * len(STAGES)) + [0]
    compare(build.root, expected)


def test_workers_actors_and_nodes_are_lost_and_the_clock_jumps(
    cluster: Cluster, expected: dict[str, str], demo_corpora: Path, tmp_path: Path
) -> None:
    """All in one run of the command, which must not fail."""
    output = tmp_path / "out"
    config = job_config(str(output), demo_corpora)
    build = build_on(cluster.head, tmp_path / "job", LocalRoot(output), config)
    head, clock = cluster.head, cluster.clock
    annotating, instructing = before_mark("annotate"), before_mark("instruct")
    planned, annotated = after_mark("plan"), after_mark("annotate")
    binned, instructed = after_mark("bin"), after_mark("instruct")
    strikes: list[Strike] = [
        KillWorker("a decoder segfaults", planned, lambda name: "decode_piece" in name, signal.SIGSEGV),
        KillWorker("an actor killed in annotate", planned, runs_map_worker),
        JumpClock("two hours forward", annotating, clock, 7200.0),
        KillNode("a node killed in annotate", annotated, head),
        AddNode("a node added late", any_time, head, NODE_CPUS),
        JumpClock("four hours back", any_time, clock, -7200.0),
        KillWorker("a worker killed in instruct", binned),
        KillNode("a node killed in instruct", instructing, head),
        AddNode("another added late", any_time, head, NODE_CPUS),
        JumpClock("the clock is right again", instructed, clock, 0.0),
    ]
    outcome = survive(build, strikes, runs=1, patience_s=PATIENCE_S)
    print(outcome.told())
    assert outcome.exits == [0]
    compare(build.root, expected)


def test_the_store_fails_one_request_in_five_and_goes_away(
    cluster: Cluster, seaweed: Seaweed, expected: dict[str, str], demo_corpora: Path, tmp_path: Path
) -> None:
    """During one whole build: 500, 503, a connection cut in the middle of what is sent either way, and half a minute
    without any answer."""
    output = f"s3://{seaweed.bucket}/struck"
    with faulty_proxy(seaweed.endpoint, share=0.2, seed=8) as proxy:
        section = f"storage: {{endpoint_url: '{proxy.endpoint}'}}\n"
        config = job_config(output, demo_corpora, section)
        build = build_on(cluster.head, tmp_path / "job", open_root(output, seaweed.storage), config)
        away = StoreAway("the store is away for 30 s", before_mark("annotate"), proxy, 30.0)
        outcome = survive(build, [away], runs=1, patience_s=PATIENCE_S)
        print(outcome.told(), dict(proxy.faults), proxy.cut, proxy.passed)
    assert outcome.exits == [0]
    assert min(proxy.faults[fault] for fault in FAULTS) >= 10, proxy.faults
    assert min(proxy.cut[method] for method in ("GET", "PUT")) >= 3, proxy.cut
    compare(build.root, expected)


def test_a_full_disk_is_said_and_the_same_command_goes_on_once_there_is_room(
    expected: dict[str, str], demo_corpora: Path, tmp_path: Path
) -> None:
    try:
        with small_disk(tmp_path / "disk", 64) as disk:
            config = tmp_path / "job.yaml"
            config.write_text(job_config(str(disk.folder / "out"), demo_corpora))
            build = Build(
                config,
                LocalRoot(disk.seen / "out"),
                tmp_path / "log",
                environment={"RAY_ADDRESS": None},
                prefix=disk.prefix,
                options=("--set", "ray.num_cpus=6"),
            )
            full = FillDisk("the disk is full", after_mark("annotate"), disk.seen / "ballast")
            with pytest.raises(AssertionError, match="not done after 1 runs"):
                survive(build, [full], runs=1, patience_s=PATIENCE_S)
            assert "No space left on device" in build.complaint()
            assert "release.json" not in paths_of(build.root)
            full.empty()
            outcome = survive(build, [], runs=1, patience_s=PATIENCE_S)
            print(outcome.told())
            compare(build.root, expected)
    except NoSmallDiskError as error:
        pytest.skip(f"no small disk can be mounted here: {error}")
