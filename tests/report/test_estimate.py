from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from sift_ray.cli import CONFIG_WRONG, JOB_FAILED, app
from sift_ray.config import Config
from sift_ray.config_file import ConfigError, load_config, parse_config
from sift_ray.pipeline.plan_preview import Cell, Preview
from sift_ray.report.estimate import estimate
from sift_ray.report.estimate_corpus import planned_corpus, previewed_corpus, told_corpus
from sift_ray.report.estimate_job import rates_of_job
from sift_ray.report.estimate_rates import default_rates
from sift_ray.report.estimate_table import as_json, render
from sift_ray.report.estimate_terms import Corpus, Estimate, EstimateError
from sift_ray.schema import TASKS
from sift_ray.storage import Counts, LocalRoot, ShardInfo, WaveManifest, put_json, write_manifest

PRODUCTION = Path(__file__).parents[2] / "jobs/production.yaml"
ROUND: Mapping[str, Any] = {
    "plan": 3600.0,
    "decode": 100.0,
    "features": 50.0,
    "features_gpu": 500.0,
    "align": 200.0,
    "align_train": 10.0,
    "bin": 3600.0,
    "requests": 1000.0,
    "tokens": 10.0,
    "tokens_engine": 1000.0,
    "templates": 100.0,
    "verify": 1000.0,
    "release": 1000.0,
    "utterance_s": 10.0,
    "accepted": 0.5,
    "pair_tokens": 50.0,
    "utterance_bytes": 100.0,
    "annotation_bytes": 10.0,
    "pair_bytes": 20.0,
    "sample_bytes": 30.0,
}
MACHINES: list[Mapping[str, Any]] = [
    {"name": "cpu", "price_per_hour": 1.0, "cores": 10, "core_speed": 0.5},
    {"name": "one_gpu", "price_per_hour": 2.0, "cores": 8, "gpus": 1},
    {"name": "two_gpus", "price_per_hour": 9.0, "cores": 16, "gpus": 2},
]
OPEN_ENDED: Mapping[str, Any] = {"pairs": 4, "fraction": 0.5}


def config_of(instruct: Mapping[str, Any] | None = None, **sections: Any) -> Config:
    """Return a config whose one task is open_ended, with round rates."""
    tasks: dict[str, Any] = {task: {"fraction": 0.0} for task in TASKS}
    made = {
        "output": "/nowhere",
        "corpora": [{"type": "manifest", "name": "mine", "path": "clips.tsv"}],
        "instruct": {"tasks": tasks | {"open_ended": OPEN_ENDED}} | dict(instruct or {}),
        "estimate": {"rates": ROUND, "machines": MACHINES, "storage_per_tb_month": 20.0},
    }
    return parse_config(json.dumps(made | sections), "job.yaml", check_paths=False)


def made_for(hours: Mapping[str, float], config: Config) -> Estimate:
    rates = default_rates(config)
    seconds = sum(hours.values()) * 3600
    return estimate(Corpus(hours, seconds / rates.utterance_s, "a test"), rates, config)


GPUS = {"engine": "vllm", "pool": {"actors": [1, 4], "num_cpus": 4, "num_gpus": 2}}


def test_a_job_by_hand() -> None:
    # 100 h are 360,000 s, 36,000 utterances, 18,000 requests, 72,000 pairs, 3.6 million tokens, 36,000 accepted
    config = config_of(
        GPUS,
        annotate={
            "features": {"pool": {"actors": [1, 5], "num_cpus": 2}},
            "align": {"pool": {"actors": [1, 5]}, "train_hours": 20},
        },
    )
    made = made_for({"en": 90.0, "de": 10.0}, config)
    hours = {step: line.core_hours for step, line in made.lines.items()}
    assert hours == pytest.approx(
        {
            "plan": 10 / 3600,
            "align_train": 3.0,  # 20 h and 10 h at ten times real time
            "decode": 1.0,
            "features": 2.0,
            "align": 0.5,
            "bin": 10 / 3600,
            "requests": 18 / 3600,
            "instruct": 0.0,  # an engine of two GPUs takes an hour
            "verify": 72 / 3600,
            "release": 36 / 3600,
        }
    )
    assert made.lines["instruct"].gpu_hours == pytest.approx(2.0)
    assert made.core_hours == pytest.approx(6.5 + (10 + 10 + 18 + 72 + 36) / 3600)
    assert made.gpu_hours == pytest.approx(2.0)
    assert (made.requests, made.pairs, made.tokens) == pytest.approx((18_000, 72_000, 3.6e6))
    assert made.accepted == pytest.approx({"open_ended": 36_000})
    assert made.tokens_per_accepted == pytest.approx(100)
    assert made.storage == pytest.approx(
        {"utterances": 3.6e6, "annotations": 3.6e6, "instructions": 1.44e6, "release": 1.08e6}
    )
    assert made.storage_money == pytest.approx(9.72e6 / 1e12 * 20)
    # cpu has 5 measured cores for 1 an hour; one_gpu has 8 for 2, so the former; verifying costs nothing more
    money = {step: line.money for step, line in made.lines.items()}
    assert money["features"] == pytest.approx(2.0 / 5)
    assert money["align_train"] == pytest.approx(3.0 / 5)
    assert money["instruct"] == pytest.approx(9.0)
    assert made.lines["instruct"].machine == "two_gpus"
    assert made.lines["instruct"].machine_hours == pytest.approx(1.0)
    assert (money["verify"], made.lines["verify"].machine) == (None, None)
    assert made.machine_money == pytest.approx(9.0 + (made.core_hours - 72 / 3600) / 5)
    assert made.money == pytest.approx(9.0 + (made.core_hours - 72 / 3600) / 5 + 9.72e6 / 1e12 * 20)


def test_wall_hours_are_those_of_the_largest_pools() -> None:
    config = config_of(
        GPUS,
        annotate={
            "features": {"pool": {"actors": [1, 5], "num_cpus": 2}},
            "align": {"pool": {"actors": [1, 5]}, "train_hours": 20},
        },
    )
    made = made_for({"en": 90.0, "de": 10.0}, config)
    wall = {step: line.wall_hours for step, line in made.lines.items()}
    assert wall["features"] == pytest.approx(2.0 / 10 / 0.5)  # ten cores of half the speed
    assert wall["align"] == pytest.approx(0.5 / 5 / 0.5)
    assert wall["align_train"] == pytest.approx(2.0 / 0.5)  # the language with 20 h; the other runs beside it
    assert wall["instruct"] == pytest.approx(2.0 / 8)
    assert wall["requests"] == pytest.approx(18 / 3600 / 0.5)
    assert (wall["decode"], wall["bin"]) == (None, None)
    one_by_one = ("plan", "align_train", "features", "requests", "instruct", "release")
    assert made.wall_hours == pytest.approx(sum(wall[step] or 0.0 for step in one_by_one))


def test_a_machine_is_as_full_as_its_cores_allow() -> None:
    # an actor takes half a GPU and 8 cores: one_gpu holds one by its cores, and is busy for all of its hour
    pool = {"actors": [1, 4], "num_cpus": 8, "num_gpus": 0.5}
    made = made_for({"en": 100.0}, config_of({"engine": "vllm", "pool": pool}))
    assert made.gpu_hours == pytest.approx(0.5)
    assert made.lines["instruct"].machine_hours == pytest.approx(1.0)
    assert made.lines["instruct"].machine == "one_gpu"
    assert made.lines["instruct"].money == pytest.approx(2.0)


def test_a_machine_that_is_named_is_used() -> None:
    section = {"rates": ROUND, "machines": MACHINES, "use": {"decode": "two_gpus"}}
    made = made_for({"en": 100.0}, config_of(GPUS, estimate=section))
    assert made.lines["decode"].machine == "two_gpus"
    assert made.lines["decode"].money == pytest.approx(9.0 / 16)
    assert made.lines["align"].machine == "cpu"


def test_actors_that_fit_on_no_machine_are_told() -> None:
    section = {"rates": ROUND, "machines": MACHINES[:2]}
    with pytest.raises(EstimateError, match="instruct: an actor takes 2 GPUs and 4 cores, and no machine"):
        made_for({"en": 1.0}, config_of(GPUS, estimate=section))
    with pytest.raises(EstimateError, match="and one_gpu has not as many"):
        made_for(
            {"en": 1.0},
            config_of(GPUS, estimate={"rates": ROUND, "machines": MACHINES, "use": {"instruct": "one_gpu"}}),
        )


def test_without_prices_there_is_no_money() -> None:
    made = made_for({"en": 100.0}, config_of(GPUS, estimate={"rates": ROUND}))
    assert (made.machine_money, made.money) == (None, None)
    assert made.lines["instruct"].gpu_hours == pytest.approx(2.0)


def test_templates_take_no_tokens_and_are_all_accepted() -> None:
    made = made_for({"en": 100.0}, config_of({"engine": "template"}))
    assert set(made.lines).isdisjoint({"instruct", "verify"})
    assert made.lines["templates"].core_hours == pytest.approx(180 / 3600)
    assert (made.tokens, made.tokens_per_accepted) == (0, None)
    assert made.accepted == pytest.approx({"open_ended": 72_000})


def test_a_task_may_go_to_both() -> None:
    task = {"open_ended": {**OPEN_ENDED, "engine_share": 0.25}}
    zero = {name: {"fraction": 0.0} for name in TASKS}
    made = made_for({"en": 100.0}, config_of({**GPUS, "tasks": zero | task}))
    assert made.lines["templates"].amount == pytest.approx(13_500)
    assert made.lines["verify"].amount == pytest.approx(18_000)
    assert made.tokens == pytest.approx(0.9e6)
    assert made.accepted == pytest.approx({"open_ended": 9_000 + 54_000})


def test_what_was_never_measured_says_so() -> None:
    rates = default_rates(
        parse_config(
            "output: out\ncorpora: [{type: manifest, name: mine, path: clips.tsv}]\n"
            "annotate: {features: {pool: {num_gpus: 1}}}\n",
            "job.yaml",
            check_paths=False,
        )
    )
    assert {step: rate.source.basis for step, rate in rates.steps.items() if rate.gpu} == {
        "features": "assumed",
        "instruct": "assumed",
    }
    assert rates.steps["decode"].source.basis == "measured"
    assert {rate.source.basis for rate in rates.tasks.values()} == {"assumed"}
    other = config_of(annotate={"features": {"quality": "squim"}}, estimate={})
    assert default_rates(other).steps["features"].source.basis == "assumed"
    assert default_rates(config_of()).steps["decode"].source.basis == "given"


@settings(deadline=None)
@given(
    hours=st.dictionaries(st.sampled_from(("en", "de", "fr")), st.floats(0.5, 1e5), min_size=1),
    engine=st.sampled_from(("vllm", "template")),
    features_gpus=st.sampled_from((0, 0.25, 1)),
)
def test_twice_the_hours_cost_twice_as_much(hours: dict[str, float], engine: str, features_gpus: float) -> None:
    config = config_of(
        {**GPUS, "engine": engine},
        annotate={"features": {"pool": {"num_gpus": features_gpus}}, "align": {"train_hours": 0.25}},
    )
    once = made_for(hours, config)
    twice = made_for({language: 2 * number for language, number in hours.items()}, config)
    assert set(once.lines) == set(twice.lines)
    for step, line in once.lines.items():
        times = 1 if step == "align_train" else 2  # of each language 15 minutes are trained on, whatever there is
        assert twice.lines[step].money == (None if line.money is None else pytest.approx(times * line.money))
        assert twice.lines[step].core_hours == pytest.approx(times * line.core_hours)
        assert twice.lines[step].gpu_hours == pytest.approx(times * line.gpu_hours)
    assert twice.storage_money == pytest.approx(2 * once.storage_money)
    assert twice.accepted == pytest.approx({task: 2 * number for task, number in once.accepted.items()})


def test_14_000_hours_as_the_clusters_are_sized_for() -> None:
    config = load_config(PRODUCTION, check_paths=False)
    made = estimate(
        told_corpus("en=7500,de=3000,fr=1900,it=600,es=1000", default_rates(config)), default_rates(config), config
    )
    assert {step: round(made.lines[step].core_hours) for step in ("decode", "align", "align_train")} == {
        "decode": 58,
        "align": 84,
        "align_train": 9,
    }
    assert made.lines["features"].gpu_hours == pytest.approx(28)
    assert made.money is not None


# ---- how much there is ----


def test_hours_told_on_the_command_line() -> None:
    corpus = told_corpus("en=6000, de=2000", default_rates(config_of()))
    assert corpus.hours == {"en": 6000, "de": 2000}
    assert corpus.utterances == pytest.approx(8000 * 360)


@pytest.mark.parametrize("text", ["6000", "en=", "en=-1", "en=0", "en=inf", "xx=1", "en=1,en=2", ""])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not LANGUAGE=HOURS"):
        told_corpus(text, default_rates(config_of()))


def test_a_dry_look_takes_unknown_durations_from_the_others() -> None:
    preview = Preview(100)
    preview.cells["mine", "de", "train"] = Cell(utterances=30, hours=0.2, no_duration=10)
    preview.cells["mine", "en", "dev"] = Cell(utterances=10, hours=0.1)
    corpus = previewed_corpus(preview)
    assert corpus.utterances == 40
    assert corpus.hours == pytest.approx({"de": 0.2 * 40 / 30, "en": 0.1 * 40 / 30})
    assert "10 utterances is taken from the others" in corpus.source


def test_a_dry_look_at_no_duration_asks_for_hours() -> None:
    preview = Preview(100)
    preview.cells["mine", "de", "train"] = Cell(utterances=30, no_duration=30)
    with pytest.raises(EstimateError, match="--hours en=6000"):
        previewed_corpus(preview)


# ---- the rates of a job that has run ----


def a_wave(root: LocalRoot, stage: str, number: int, rows: int, seconds: float, size: int, counts: Counts) -> None:
    write_manifest(
        root,
        WaveManifest(
            stage=stage,
            wave=number,
            rows=rows,
            id_digest="0",
            fingerprint="f",
            files=(ShardInfo(name="part-0.parquet", rows=rows, bytes=size),),
            counts=counts,
            started_at="2026-01-02T00:00:00+00:00",
            seconds=seconds,
            versions={},
        ),
    )


@pytest.fixture
def job(tmp_path: Path) -> LocalRoot:
    """Two waves of half an hour of German, of which the second has no instructions yet."""
    root = LocalRoot(tmp_path)
    put_json(root, "plan.json", {"waves": 2, "rows": 400, "fingerprint": "f", "seconds": 2.0})
    audio: Counts = {"utterances": {"c/de/train": 180}, "hours": {"c/de/train": 0.5}}
    for number in (0, 1):
        a_wave(root, "utterances", number, 200, 0.1, 20_000, {**audio, "utterances": {"c/de/train": 200}})
        a_wave(root, "annotations", number, 200, 10.0, 36_000, audio)
    written: Counts = {
        "requests": {"all": 90, "answered": 80},
        "asked": {"open_ended/mixtral": 90},
        "pairs": {
            "open_ended/de/first/accepted": 150,
            "open_ended/de/first/false_claim": 120,
            "open_ended/de/retry/accepted": 30,
            "open_ended/de/fallback/accepted": 60,
        },
        "tokens": {"open_ended/prompt": 9_000, "open_ended/cached": 0, "open_ended/generated": 18_000},
    }
    a_wave(root, "instructions", 0, 90, 20.0, 7_200, written)
    put_json(root, "instructions/_STAGE.json", {"ingredients": {"instruct": {"tasks": {"open_ended": OPEN_ENDED}}}})
    return root


def test_a_finished_job_tells_its_rates(job: LocalRoot) -> None:
    rates = rates_of_job(job, config_of(GPUS), cpus=4, gpus=2)
    assert {step: rate.per_second for step, rate in rates.steps.items()} == pytest.approx(
        {
            "plan": 200,
            "annotate": 3600 / 20 / 4,
            "instruct": 18_000 / 20 / 2,
            "align_train": 10.0,
            "bin": 3600.0,
            "release": 1000.0,
        }
    )
    assert [step for step, rate in rates.steps.items() if rate.gpu] == ["instruct"]
    assert rates.steps["annotate"].source.basis == "measured"
    assert rates.steps["annotate"].source.where.endswith("2026-01-02")
    task = rates.tasks["open_ended"]
    assert (task.requests, task.by_model, task.pairs) == pytest.approx((0.5, 1.0, 4.0))  # of the 180 of the first wave
    assert (task.tokens, task.accepted, task.accepted_by_model) == pytest.approx((200, 240 / 90, 2.0))
    assert rates.utterance_s == pytest.approx(10.0)
    assert rates.bytes == pytest.approx({"utterances": 100, "annotations": 20, "instructions": 20, "release": 30})
    assert {table: source.basis for table, source in rates.sizes.items()} == {
        "utterances": "measured",
        "annotations": "measured",
        "instructions": "measured",
        "release": "given",
    }


def test_a_release_tells_its_bytes_by_format(job: LocalRoot) -> None:
    files = {"parquet": {"bytes": 5_000}, "jsonl": {"bytes": 7_000}}
    record = {"complete": True, "rows": {"train/open_ended/de": 100}, "files": files}
    put_json(job, "release.json", record)
    job.put("release/v-0/train/open_ended/de/part-00000.parquet", b"x" * 900)  # (of a version that is deleted soon)
    assert rates_of_job(job, config_of(GPUS), 4, 2).bytes["release"] == 50
    both = config_of(GPUS, release={"formats": ["jsonl", "parquet"]})
    assert rates_of_job(job, both, 4, 2).bytes["release"] == 120
    put_json(job, "release.json", record | {"files": {"parquet": files["parquet"]}})
    assert rates_of_job(job, both, 4, 2).bytes["release"] == ROUND["sample_bytes"]


def test_its_job_again_takes_what_it_took(job: LocalRoot) -> None:
    config = config_of(GPUS)
    corpus = planned_corpus(job)
    assert corpus is not None
    assert corpus.hours == {"de": 1.0}
    made = estimate(corpus, rates_of_job(job, config, cpus=4, gpus=2), config)
    assert made.lines["annotate"].core_hours == pytest.approx(20 * 4 / 3600)
    assert made.lines["instruct"].gpu_hours == pytest.approx(2 * 20 * 2 / 3600)  # of two waves
    assert made.tokens == pytest.approx(36_000)


def test_manifests_that_tell_what_was_held_need_nothing_else(job: LocalRoot) -> None:
    for number in (0, 1):
        audio: Counts = {"hours": {"c/de/train": 0.5}, "held": {"cpu_s": 80.0 * (number + 1), "gpu_s": 0.0}}
        a_wave(job, "annotations", number, 200, 10.0, 36_000, audio)
    a_wave(job, "instructions", 0, 90, 20.0, 7_200, {"held": {"cpu_s": 80.0}})
    rates = rates_of_job(job, config_of({"engine": "template"}))
    assert rates.steps["annotate"].per_second == pytest.approx(3600 / 240)


def test_nobody_knows_how_many_cpus_there_were(job: LocalRoot) -> None:
    with pytest.raises(EstimateError, match="do not say how many CPUs the job had: add --cpus"):
        rates_of_job(job, config_of())


def test_a_job_without_gpus_tells_no_rate_of_one(job: LocalRoot) -> None:
    config = config_of(GPUS, annotate={"features": {"pool": {"num_gpus": 1}}})
    rates = rates_of_job(job, config, cpus=4)
    assert rates.steps["features"].per_second == 500.0
    assert rates.steps["instruct"].per_second == 500.0
    assert sum("tells no rate of" in note for note in rates.notes) == 2
    both = rates_of_job(job, config, cpus=4, gpus=2)
    assert both.steps["features"].gpu
    assert both.steps["features"].per_second == pytest.approx(3600 / 20 / 2)
    assert both.steps["annotate"].per_second == pytest.approx(3600 / 20 / 4)


def test_who_wrote_there_does_not_write_here(job: LocalRoot) -> None:
    rates = rates_of_job(job, config_of({"engine": "template"}), cpus=4)
    assert rates.steps["templates"].per_second == 100.0
    assert any("a language model wrote" in note for note in rates.notes)


def test_other_fractions_and_pairs_are_taken_in_proportion(job: LocalRoot) -> None:
    asked = {"open_ended": {"pairs": 2, "fraction": 1.0}, "closed_ended_comparison": {"pairs": 4, "fraction": 0.5}}
    base = {task: {"fraction": 0.0} for task in TASKS}
    rates = rates_of_job(job, config_of({**GPUS, "tasks": base | asked}), cpus=4, gpus=2)
    task = rates.tasks["open_ended"]
    assert (task.requests, task.pairs, task.tokens) == pytest.approx((1.0, 2.0, 100))
    assert rates.tasks["closed_ended_comparison"].source.basis == "given"  # nobody asked it there
    assert any("in proportion: open_ended." in note for note in rates.notes)


def test_an_empty_output_tells_nothing(tmp_path: Path) -> None:
    with pytest.raises(EstimateError, match="no wave of annotations is finished"):
        rates_of_job(LocalRoot(tmp_path), config_of(), cpus=2)
    assert planned_corpus(LocalRoot(tmp_path)) is None


# ---- what is printed ----


def test_the_tables_say_what_was_assumed() -> None:
    config = config_of(GPUS, estimate={"machines": MACHINES})
    console = Console(width=140)
    with console.capture() as capture:
        render(made_for({"en": 100.0}, config), console, "prices of [nobody]")
    text = capture.get()
    rows = {line.split()[0]: line.split() for line in text.partition("What is stored")[0].splitlines() if line.split()}
    assert rows["instruct"][-2:] == ["two_gpus", "5.40"]  # 4.32 million tokens, 2,000 a second: 0.6 h for 9 each
    assert "assumed" in rows["instruct"]
    assert "measured" in rows["decode"]
    assert "prices of [nobody]" in text
    assert "Assumed, never measured: the rates of instruct." in text
    assert "100 tokens for an accepted pair" in text


def test_the_json_has_all_that_the_tables_show() -> None:
    told = json.loads(json.dumps(as_json(made_for({"en": 100.0}, config_of(GPUS)))))
    assert set(told) == {
        "corpus",
        "steps",
        "core_hours",
        "gpu_hours",
        "wall_hours",
        "storage_bytes",
        "currency",
        "machine_money",
        "storage_money",
        "money",
        "requests",
        "pairs",
        "tokens",
        "accepted",
        "accepted_pairs",
        "tokens_per_accepted_pair",
        "tasks",
        "sizes",
        "notes",
    }
    assert told["steps"]["instruct"]["rate"]["source"]["basis"] == "given"
    assert told["accepted_pairs"] == pytest.approx(36_000)


# ---- the section and the command ----


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"machines": [MACHINES[0], MACHINES[0]]}, "two of them are named cpu"),
        ({"use": {"decode": "gone"}}, "no machine is named gone; there are none"),
        ({"rates": {"decode": 0}}, "estimate.rates.decode"),
        ({"machines": [{"name": "a", "price_per_hour": -1, "cores": 1}]}, "price_per_hour"),
        ({"use": {"decoding": "cpu"}}, "decoding"),
    ],
)
def test_a_wrong_section_is_refused(section: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config_of(estimate=section)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["estimate", *arguments])


def test_the_command_needs_no_corpus_where_hours_are_told() -> None:
    result = run(str(PRODUCTION), "--hours", "en=8000,de=6000", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["corpus"]["hours"] == {"en": 8000.0, "de": 6000.0}
    assert run(str(PRODUCTION), "--hours", "8000").exit_code == CONFIG_WRONG
    assert run(str(PRODUCTION), "--hours", "en=1", "--cpus", "2").exit_code == CONFIG_WRONG


def test_the_command_reads_the_plan_and_another_jobs_rates(job: LocalRoot, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        f"output: {job.uri}\ncorpora: [{{type: manifest, name: c, path: gone.tsv}}]\ninstruct: {{engine: template}}\n"
    )
    result = run(str(path), "--from", job.uri, "--cpus", "2", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["corpus"]["hours"] == {"de": 1.0}
    assert told["steps"]["annotate"]["core_hours"] == pytest.approx(20 * 2 / 3600)
    refused = run(str(path), "--from", job.uri)
    assert refused.exit_code == JOB_FAILED
    assert "add --cpus" in refused.stderr


def test_the_command_looks_at_the_corpora_where_there_is_no_plan(tmp_path: Path) -> None:
    clips = tmp_path / "clips.tsv"
    clips.write_text("id\taudio\ttranscript\tlanguage\none\ta.wav\ttext\ten\n")
    soundfile.write(tmp_path / "a.wav", [0.1] * 72_000, 8_000)
    path = tmp_path / "job.yaml"
    path.write_text(f"output: {tmp_path / 'out'}\ncorpora: [{{type: manifest, name: c, path: {clips}}}]\n")
    result = run(str(path), "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["corpus"]["hours"] == pytest.approx({"en": 9 / 3600})
    assert not (tmp_path / "out").exists()
