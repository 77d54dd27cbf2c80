"""Tokens a second through the instruct stage against bare vLLM, and what a pair costs in tokens.

    python -m tests.benchmarks.instruct [--requests N] [--tasks TASK ...] [--languages CODE ...] [--threads N]
        [--constrain value|json] [--arms ARM ...] [--engine-core N] [--json FILE]

SmolLM2 on CPU with the demo's settings, on requests planned from synthetic annotations. The arms, one after another:

- bare: `vllm.LLM.generate`, given all prompts at once;
- ray.data.llm: the same prompts, already tokens, through `ray.data.llm` to Parquet;
- stage: the stage as it is, from annotations on disk to verified pairs on disk, no request asked twice;
- retries: the stage with the demo's retries, for what pairs cost.

The first three ask vLLM the same: tokens, sampling, grammars, the engine's arguments and threads. In each the engine
first answers a request of every task and language, which is not counted: importing, loading, the first grammars and
the prompts' common beginnings are then done. The clock runs from there, in `bare` until the call returns, else until
the last Parquet file is written. So stragglers, Ray, parsing, verifying and writing count; start-up does not, nor what
is done before it: the stage plans a wave's requests first.

vLLM on a CPU uses every core it finds, so that on a small machine whatever else runs takes from it. With
--engine-core its processes have one core to themselves, and all else has the others, as beside a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from sift_ray.config_instruct import WORD_TIMES
from sift_ray.schema import LANGUAGES, TASKS
from tests.benchmarks.instruct_job import DEMO, settings, write_job

GOAL: Final = 0.95
MILLIONS: Final = 50
ARMS: Final = ("bare", "ray.data.llm", "stage", "retries")
LONGEST_S: Final = 3600


def run(arm: str, folder: Path, engine_core: int | None = None) -> dict[str, Any]:
    """Run one arm in a process of its own; return what it measured."""
    started = time.time()
    command = [sys.executable, "-m", "tests.benchmarks.instruct", "--child", arm, str(folder)]
    command += [] if engine_core is None else [str(engine_core)]
    log = folder / "log"
    with log.open("wb") as stream:
        done = subprocess.run(command, stdout=stream, stderr=stream, timeout=LONGEST_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{arm} failed:\n" + log.read_text(errors="replace")[-4000:])
    found: dict[str, Any] = json.loads((folder / "measured.json").read_text())
    found["seconds"] = found["ended"] - found["began"]
    found["start_up_s"] = found["began"] - started
    found["tokens_a_second"] = found["generated_tokens"] / found["seconds"]
    return found


def child(arm: str, folder: str, engine_core: str | None = None) -> None:
    """Run one arm here."""
    from tests.benchmarks import instruct_arms
    from tests.benchmarks.instruct_job import read_job

    job = read_job(Path(folder), None if engine_core is None else int(engine_core))
    instruct_arms.set_environment(job)
    instruct_arms.leave(job.engine_core)
    found = instruct_arms.ARMS[arm](job)
    (job.folder / "measured.json").write_text(json.dumps(found))


def by_task(written: Path) -> dict[str, dict[str, float]]:
    """Return the counts of a finished stage's rows by task, and of all."""
    table = pa.concat_tables(pq.read_table(file, partitioning=None) for file in sorted(written.glob("*/*.parquet")))
    counts: dict[str, Counter[str]] = {task: Counter() for task in (*TASKS, "all")}
    for row in table.to_pylist():
        accepted = [pair["attempt"] for pair in row["pairs"] if pair["accepted"]]
        found = {name: row[name] for name in ("prompt_tokens", "cached_tokens", "generated_tokens")}
        found |= {"requests": 1, "accepted": len(accepted), "accepted_at_once": accepted.count(0)}
        for task in (row["task"], "all"):
            counts[task].update(found)
    return {task: dict(count) for task, count in counts.items() if count}


def print_speeds(found: Mapping[str, Mapping[str, float]]) -> None:
    """Print a line for each arm that is measured against `bare`."""
    print("| arm | requests | tokens generated | s | tokens/s | of bare | prompt tokens from the cache | start-up s |")
    print("|---|---|---|---|---|---|---|---|")
    for arm, of in found.items():
        speed = of["tokens_a_second"]
        ratio = f"{speed / found['bare']['tokens_a_second']:.2f}" if "bare" in found and arm != "retries" else "–"
        cached = f"{of['cached_tokens'] / of['prompt_tokens']:.1%}".replace("%", " %") if "cached_tokens" in of else "–"
        counts = f"{of['rows']:,.0f} | {of['generated_tokens']:,.0f} | {of['seconds']:.1f}"
        print(f"| {arm} | {counts} | {speed:.1f} | {ratio} | {cached} | {of['start_up_s']:.0f} |")
    if {"bare", "stage"} <= set(found):
        reached = found["stage"]["tokens_a_second"] / found["bare"]["tokens_a_second"]
        print(f"\nThe stage has {reached:.2f} of bare vLLM's speed (the goal is {GOAL}).")


def print_yields(title: str, tasks: Mapping[str, Mapping[str, float]]) -> None:
    """Print what each task's pairs cost."""
    print(f"\n{title}\n")
    print("| task | requests | pairs accepted | at once | prompt tokens a request | from the cache ", end="")
    print(f"| tokens generated | accepted per 1,000 tokens | million tokens for {MILLIONS} million pairs |")
    print("|---|---|---|---|---|---|---|---|---|")
    for task, of in tasks.items():
        requests, accepted, generated = of["requests"], of["accepted"], of["generated_tokens"]
        cached = f"{of['cached_tokens'] / max(of['prompt_tokens'], 1):.1%}".replace("%", " %")
        cost = f"{MILLIONS * generated / accepted:,.0f}" if accepted else "–"
        print(
            f"| {task} | {requests} | {accepted} | {of['accepted_at_once']} | {of['prompt_tokens'] / requests:,.0f} "
            f"| {cached} | {generated:,} | {1000 * accepted / max(generated, 1):.2f} | {cost} |"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the arms and print what they took."""
    known = tuple(yaml.safe_load(DEMO.read_text(encoding="utf-8"))["instruct"]["tasks"])
    options = argparse.ArgumentParser(prog="python -m tests.benchmarks.instruct")
    options.add_argument("--requests", type=int, default=384, help="about so many")
    options.add_argument("--tasks", nargs="+", choices=known, default=[task for task in known if task != WORD_TIMES])
    options.add_argument("--languages", nargs="+", choices=LANGUAGES, default=LANGUAGES)
    options.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    options.add_argument("--constrain", choices=("value", "json"), default="value", help="json: long, of all facts")
    options.add_argument("--threads", type=int, default=1, help="of vLLM's model")
    options.add_argument("--sequences", type=int, default=64, help="that vLLM decodes at once")
    options.add_argument("--engine-core", type=int, help="the one core that vLLM's processes stay on")
    options.add_argument("--json", type=Path, help="a file for all that was measured")
    chosen = options.parse_args(argv)
    found: dict[str, Any] = {}
    yields: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="sift-ray-benchmark-") as scratch:
        for arm in chosen.arms:
            folder = Path(scratch) / arm
            document = settings(
                folder / "out",
                chosen.tasks,
                constrain=chosen.constrain,
                threads=chosen.threads,
                sequences=chosen.sequences,
                retries=1 if arm == "retries" else 0,
            )
            write_job(folder, document, chosen.requests, chosen.languages)
            found[arm] = run(arm, folder, chosen.engine_core)
            if arm in ("stage", "retries"):
                yields[arm] = by_task(folder / "out" / "instructions")
    print(
        f"{chosen.constrain}, {len(chosen.tasks)} tasks, {' '.join(chosen.languages)}, {chosen.threads} threads of "
        f"{os.cpu_count()} cores, at most {chosen.sequences} sequences at once"
        f"{'' if chosen.engine_core is None else ', vLLM on one core'}\n"
    )
    print_speeds(found)
    for arm, tasks in yields.items():
        print_yields({"stage": "Asked once", "retries": "Asked again once where refused"}[arm], tasks)
    if chosen.json:
        chosen.json.write_text(json.dumps({"arms": found, "tasks": yields}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5])
    else:
        main()
