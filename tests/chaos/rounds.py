"""Rounds of the long form: a build with an output of its own, and faults that are drawn for it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from signal import SIGSEGV
from typing import Final

from sift_ray.report.summary import summarise
from sift_ray.storage import LocalRoot, OutputRoot, open_root

from ..faulty_proxy import FaultyProxy
from ..ray_head import Head
from ..seaweed import Seaweed
from .build import Build, Outcome, Strike, survive
from .cluster import NODE_CPUS, hooks_path
from .content import content_by_id
from .job import job_config
from .moments import STAGES, Moment, after_mark, any_time, before_mark
from .processes import runs_actor
from .small_disk import NoSmallDiskError, SmallDisk, small_disk
from .strikes import AddNode, FillDisk, JumpClock, KillDriver, KillNode, KillWorker, StoreAway, Twin

PATIENCE_S: Final = 420.0
_SPARE_RUNS: Final = 4  # that may fail by a fault that the command does not survive, such as a store that is away
_AWAY_S: Final = (2.0, 40.0)
_FULL_S: Final = (1.0, 8.0)  # (a run that can't even take the lease ends in three)
_DISK_MIB: Final = 64
_NODE_LATE_S: Final = (0.0, 20.0)
_SHARES: Final = (0.0, 0.1, 0.2)
_HOURS: Final = (-2.0, 0.0, 2.0)
DISK: Final = "on disk"
STORE: Final = "in the store"
SMALL_DISK: Final = "on a small disk"
_PLACES: Final = {DISK: 0.4, STORE: 0.4, SMALL_DISK: 0.2}
"""Where a round's output lies, and how often."""
_WITH_ACTORS: Final = (("plan", "after"), ("annotate", "before"), ("annotate", "after"), ("release", "before"))
"""Moments with actors at work at them, or soon after; a strike that waits for ever holds up those behind it."""


@dataclass(frozen=True)
class Arena:
    """What all rounds share.

    Attributes:
        folder: for configs, logs and outputs on disk.
        corpora: the demo's.
        expected: the content of the undisturbed release.
        clock: the file by which clocks are shifted.
    """

    folder: Path
    head: Head
    store: Seaweed
    proxy: FaultyProxy
    corpora: Path
    expected: dict[str, str]
    clock: Path


def play(arena: Arena, number: int, dice: random.Random) -> tuple[str, Outcome]:
    """Play one round; return what it was and how it went.

    Raises:
        AssertionError: the release is not that of an undisturbed build, or the build did not come to an end.
    """
    place = dice.choices(*zip(*_PLACES.items(), strict=True))[0]
    share = dice.choice(_SHARES) if place == STORE else 0.0
    what = f"{place}, {share:.0%} of requests fail" if place == STORE else place
    name = f"round-{number}"
    folder = arena.folder / name
    folder.mkdir()
    with ExitStack() as stack:
        stack.callback(_calm, arena)
        arena.proxy.share = share
        disk = None
        if place == SMALL_DISK:
            try:
                disk = stack.enter_context(small_disk(folder / "disk", _DISK_MIB))
            except NoSmallDiskError as error:
                what = f"{DISK}, as no small one can be mounted ({error})"
        if disk is not None:
            build, strikes = build_on_disk(arena, folder, disk), draw_filling(dice, disk.seen)
        else:
            build, strikes = build_in(arena, folder, name, place), draw(arena, dice, place == STORE)
        outcome = survive(build, strikes, runs=len(strikes) + _SPARE_RUNS, patience_s=PATIENCE_S, all_fall=False)
        compare(build.root, arena.expected)
    shutil.rmtree(folder)
    return what, outcome


def _calm(arena: Arena) -> None:
    """Take back what a round may have left wrong."""
    arena.clock.unlink(missing_ok=True)
    arena.proxy.down, arena.proxy.share = False, 0.0


def build_in(arena: Arena, folder: Path, name: str, place: str) -> Build:
    """Return the command of a round on the arena's cluster, with its output on disk or in the store."""
    if place == STORE:
        output, section = f"s3://{arena.store.bucket}/{name}", f"storage: {{endpoint_url: '{arena.proxy.endpoint}'}}\n"
        root = open_root(output, arena.store.storage)
    else:
        output, section = str(folder / "out"), ""
        root = open_root(output)
    return build_on(arena.head, folder, root, job_config(output, arena.corpora, section))


def build_on_disk(arena: Arena, folder: Path, disk: SmallDisk) -> Build:
    """Return the command of a round on a disk that may fill up, where only a Ray of its own sees it."""
    config = folder / "job.yaml"
    config.write_text(job_config(str(disk.folder / "out"), arena.corpora))
    return Build(
        config,
        LocalRoot(disk.seen / "out"),
        folder / "log",
        environment={"RAY_ADDRESS": None, "PYTHONPATH": hooks_path(), "RAY_WITHOUT_DASHBOARD": "1"},
        prefix=disk.prefix,
        options=("--set", "ray.num_cpus=6"),
    )


def build_on(head: Head, folder: Path, root: OutputRoot, config: str) -> Build:
    """Return the command of a job on a cluster; its config and log lie in `folder`, which is made."""
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(config)
    return Build(
        folder / "job.yaml",
        root,
        folder / "log",
        environment={**head.environment, "RAY_ADDRESS": head.address},
        sessions=lambda: [node.session for node in head.nodes],
    )


def undisturbed(head: Head, folder: Path, corpora: Path) -> Outcome:
    """Build once without a fault, into `folder`/out.

    Raises:
        AssertionError: it fails.
    """
    root = LocalRoot(folder / "out")
    return survive(build_on(head, folder, root, job_config(root.uri, corpora)), [], runs=1, patience_s=PATIENCE_S)


def compare(root: OutputRoot, expected: dict[str, str]) -> None:
    """Check that a release is complete and, row for row, as expected.

    Raises:
        AssertionError: it is not.
    """
    assert summarise(root).complete
    found = content_by_id(root)
    lost, more = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    other = sorted(name for name in set(found) & set(expected) if found[name] != expected[name])
    assert found == expected, f"lost {lost[:5]}, too many {more[:5]}, changed {other[:5]}"


def draw(arena: Arena, dice: random.Random, in_store: bool) -> list[Strike]:
    """Draw two to five faults, in the order in which their moments come."""
    strikes: list[Strike] = []
    for stage, edge in _marks(dice, 2, 5):
        strikes += dice.choice(_kinds(arena, dice, stage, edge, in_store))()
    return strikes


def draw_filling(dice: random.Random, disk: Path) -> list[Strike]:
    """Draw one to three faults of a build whose disk fills up, in the order of their moments; one fills it."""
    marks = _marks(dice, 1, 3)
    filling = dice.randrange(len(marks))
    strikes: list[Strike] = []
    for number, (stage, edge) in enumerate(marks):
        moment, where = _at(stage, edge)
        if number == filling or dice.random() < 0.5:
            ballast = disk / f"ballast-{number}"
            strikes.append(FillDisk(f"disk full {where}", moment, ballast, dice.uniform(*_FULL_S)))
        else:
            strikes.append(KillDriver(f"driver killed {where}", moment))
    return strikes


def _marks(dice: random.Random, least: int, most: int) -> list[tuple[str, str]]:
    """Draw stages, and whether it is before or after their marks, in the order of a build."""
    marks = [(stage, edge) for stage in STAGES for edge in ("before", "after")]
    return [marks[number] for number in sorted(dice.choices(range(len(marks)), k=dice.randint(least, most)))]


def _at(stage: str, edge: str) -> tuple[Moment, str]:
    """Return a moment, and what it is called."""
    return (before_mark if edge == "before" else after_mark)(stage), f"{edge} a mark of {stage}"


def _kinds(
    arena: Arena, dice: random.Random, stage: str, edge: str, in_store: bool
) -> list[Callable[[], list[Strike]]]:
    """Return what makes each kind of fault at a mark of a stage; a node that is lost brings one that is added."""
    moment, where = _at(stage, edge)
    kinds: list[Callable[[], list[Strike]]] = [
        lambda: [KillDriver(f"driver killed {where}", moment)],
        lambda: [JumpClock(f"clock set {where}", moment, arena.clock, 3600 * dice.choice(_HOURS))],
        lambda: [Twin(f"started a second time {where}", moment)],
    ]
    if (stage, edge) != ("plan", "before"):  # (the driver plans by itself)
        kinds += [
            lambda: [KillWorker(f"worker killed {where}", moment, dice=dice)],
            lambda: [KillWorker(f"worker segfaults {where}", moment, number=SIGSEGV, dice=dice)],
            lambda: [
                KillNode(f"node killed {where}", moment, arena.head),
                AddNode("node added", any_time, arena.head, NODE_CPUS, dice.uniform(*_NODE_LATE_S)),
            ],
        ]
    if (stage, edge) in _WITH_ACTORS:
        kinds.append(lambda: [KillWorker(f"actor killed {where}", moment, runs_actor, dice=dice)])
    if in_store:
        kinds.append(lambda: [StoreAway(f"store away {where}", moment, arena.proxy, dice.uniform(*_AWAY_S))])
    return kinds


def restore(arena: Arena, nodes: int) -> None:
    """Bring the cluster back to its number of nodes (a round may end before a lost one was replaced)."""
    if (missing := nodes - len(arena.head.nodes)) > 0:
        arena.head.add_nodes(missing, NODE_CPUS)
