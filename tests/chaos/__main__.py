"""`python -m tests.chaos --seed 0 --minutes 30`: builds under faults in random order, against an undisturbed one.

A cluster of several nodes and an object store run all the while. Each round is a build with an output of its own, on
disk, in the store, or (on a Ray of its own) on a disk that fills up, and a few faults drawn by the seed; its command is
run again until it ends well, and its release must be row for row the undisturbed one. One of the corpora's clips breaks
every decoder that reads it. A seed draws the same rounds again; at which row a fault strikes is up to the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ..conftest import DEMO_MINUTES  # (before the rest: it sets the environment that Ray finds)

# isort: split
from sift_ray.corpora.demo import write_demo
from sift_ray.storage import LocalRoot

from ..faulty_proxy import faulty_proxy
from ..seaweed import running_seaweed
from .cluster import chaos_cluster
from .content import content_by_id
from .killer_clip import doom_one
from .rounds import Arena, play, restore, undisturbed

NODES = 2


def main() -> int:
    """Play rounds until the time is up; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Builds under faults, drawn by a seed.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="no round begins later than this")
    parser.add_argument("--folder", type=Path, help="where all of it is kept; else it is deleted at the end")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        else:
            folder = options.folder.absolute()
            folder.mkdir(parents=True)
        corpora, clock, deaths = folder / "corpora", folder / "shift_s", folder / "deaths"
        write_demo(corpora, seed=0, minutes=DEMO_MINUTES)
        doomed = doom_one(corpora)
        os.environ["KILLER_DEATHS"] = str(deaths)
        (folder / "store").mkdir()
        store = stack.enter_context(running_seaweed(folder / "store"))
        proxy = stack.enter_context(faulty_proxy(store.endpoint, seed=options.seed))
        head = stack.enter_context(chaos_cluster(clock, NODES))
        seconds = undisturbed(head, folder / "undisturbed", corpora).seconds
        assert deaths.exists(), f"{doomed} was to break its decoder"
        expected = content_by_id(LocalRoot(folder / "undisturbed/out"))
        print(f"undisturbed: {len(expected)} samples in {seconds:.0f} s", flush=True)
        arena = Arena(folder, head, store, proxy, corpora, expected, clock)
        code = rounds(arena, options.seed, options.minutes)
        print(f"{doomed} broke {len(deaths.read_text().split())} decoders")
        return code


def rounds(arena: Arena, seed: int, minutes: float) -> int:
    """Play rounds for so many minutes, and say how each went; 1 if one went wrong, which is the last then."""
    began, number, strikes, runs = time.monotonic(), 0, 0, 0
    while time.monotonic() - began < 60 * minutes:
        number += 1
        restore(arena, NODES)
        try:
            what, outcome = play(arena, number, random.Random(f"{seed}-{number}"))
        except AssertionError as error:
            print(f"round {number} of seed {seed}: {error}", file=sys.stderr)
            return 1
        strikes, runs = strikes + len(outcome.struck), runs + len(outcome.exits)
        print(f"round {number}, {what}: as undisturbed\n{outcome.told()}", flush=True)
    print(f"seed {seed}: {number} rounds, {strikes} faults, {runs} runs in {(time.monotonic() - began) / 60:.1f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main())
