from pathlib import Path

import pytest

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline.stages import annotate_stage, instruct_stage, plan_stage
from sift_ray.storage import Counts


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "clips.tsv").write_text("id\n")
    return f"output: {tmp_path}/out\ncorpora: [{{type: manifest, name: mine, path: {tmp_path}/clips.tsv}}]\n"


def config(text: str, *overrides: str) -> Config:
    return parse_config(text, "job.yaml", overrides)


@pytest.mark.parametrize(
    "override",
    [
        "annotate.features.pool.actors=[2, 8]",
        "annotate.features.pool.num_gpus=0.25",
        "annotate.features={device: cuda, pool: {num_gpus: 1}}",
        "annotate.features.engine=torch",
        "annotate.features.batch_s=60",
        "annotate.features.brouhaha_model=someone/else",  # not asked for
        "instruct.vllm.max_num_seqs=9",
        "annotate.decode.pool.batch_rows=3",
        "annotate.error_budget=0.5",
        "annotate.align.pool.actors=[3, 9]",
        "annotate.align.ctc={batch_s: 9}",  # of a backend that is not chosen
        "annotate.align.mfa={beam: 20}",
        # of training; the models' fingerprints stand for these
        "annotate.align.seed=7",
        "annotate.align.recipe=monophone",
        "annotate.align.train_hours=1",
        "annotate.align.min_train_s=1",
        "output=elsewhere",
        "ray.num_cpus=99",
    ],
)
def test_how_a_stage_runs_does_not_change_its_fingerprint(text: str, override: str) -> None:
    changed, plain = (annotate_stage(c, "rows", {}) for c in (config(text, override), config(text)))
    assert changed.fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    "override",
    [
        "annotate.features.pitch_floor=60",
        "annotate.features.quality=none",
        "annotate.features.quality=squim",
        "annotate.features.room=brouhaha",
        "annotate.features.octave_cost=0.02",
        "annotate.features.labels=[{column: gender, model: someone/genders}]",
        "annotate.decode.max_s=30",
        "annotate.align.min_score=0.9",
    ],
)
def test_what_a_stage_makes_does(text: str, override: str) -> None:
    changed, plain = (annotate_stage(c, "rows", {}) for c in (config(text, override), config(text)))
    assert changed.fingerprint != plain.fingerprint


CTC = "annotate.align={{backend: ctc, models: {{en: some/model}}, ctc: {{{}}}}}"
MFA = "annotate.align={{backend: mfa, models: {{en: english_mfa}}, dictionaries: {{en: english_mfa}}, mfa: {{{}}}}}"


@pytest.mark.parametrize(("backend", "key"), [(CTC, "dtype: float16"), (MFA, "beam: 20"), (MFA, "retry_beam: 80")])
def test_the_chosen_backends_section_counts(text: str, backend: str, key: str) -> None:
    marks = {annotate_stage(config(text, backend.format(more)), "rows", {}).fingerprint for more in ("", key)}
    assert len(marks) == 2


def test_the_device_and_the_batch_of_a_backend_do_not(text: str) -> None:
    marks = {
        annotate_stage(config(text, CTC.format(more)), "rows", {}).fingerprint
        for more in ("", "device: cpu", "batch_s: 7")
    }
    assert len(marks) == 1


@pytest.mark.parametrize("key", ["dictionaries", "g2p"])
def test_a_lexicon_counts_by_its_content_and_not_by_its_path(text: str, tmp_path: Path, key: str) -> None:
    marks = []
    for name, content in (("a", b"one w a n\n"), ("b", b"one w a n\n"), ("a", b"one w o n\n")):
        (tmp_path / name).write_bytes(content)
        marks.append(annotate_stage(config(text, f"annotate.align.{key}={{en: {tmp_path}/{name}}}"), "rows", {}))
    assert marks[0].fingerprint == marks[1].fingerprint != marks[2].fingerprint
    assert annotate_stage(config(text), "rows", {}).fingerprint != marks[0].fingerprint


def test_other_weights_at_the_same_path_are_another_stage(text: str, tmp_path: Path) -> None:
    weights = tmp_path / "squim.pth"
    marks = set()
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        squim = config(text, f"annotate.features={{quality: squim, squim_model: {weights}}}")
        marks.add(annotate_stage(squim, "rows", {}).fingerprint)
    assert len(marks) == 2


def test_the_order_of_labels_is_nothing_and_main_is_the_default_revision(text: str) -> None:
    gender, age = "{column: gender, model: a/b}", "{column: age, model: c/d}"
    orders = (f"{gender}, {age}", f"{age}, {gender}", f"{gender.replace('}', ', revision: main}')}, {age}")
    marks = {
        annotate_stage(config(text, f"annotate.features.labels=[{labels}]"), "rows", {}).fingerprint
        for labels in orders
    }
    assert len(marks) == 1


def test_another_alignment_model_or_other_rows_are_another_stage(text: str) -> None:
    one, two = (annotate_stage(config(text), "rows", {"de": mark}).fingerprint for mark in ("a", "b"))
    other = annotate_stage(config(text), "other rows", {"de": "a"}).fingerprint
    assert len({one, two, other}) == 3


@pytest.mark.parametrize("override", ["plan.wave_rows=7", "corpora.0.version='2'", "corpora.0.languages=[de]"])
def test_another_way_of_reading_is_another_plan(text: str, override: str) -> None:
    assert plan_stage(config(text, override)).fingerprint != plan_stage(config(text)).fingerprint


def test_instructions_depend_on_prompts_bins_and_sampling(text: str) -> None:
    def mark(c: Config, annotations: str = "a", bins: str = "b", prompts: str = "p", weights: str = "w") -> str:
        return instruct_stage(c, annotations, bins, {"prompts": prompts}, {"model": weights}).fingerprint

    plain = config(text)
    others = [mark(plain, annotations="x"), mark(plain, bins="x"), mark(plain, prompts="x"), mark(plain, weights="x")]
    others.append(mark(config(text, "instruct.sampling.temperature=1.0")))
    assert len({*others, mark(plain)}) == 6
    for key in (
        "concurrent_batches=9",
        "vllm.tensor_parallel_size=4",
        "vllm.gpu_memory_utilization=0.5",
        "error_budget=0.5",
        "fault_budget=0.5",
    ):
        assert mark(config(text, "instruct.pool.num_gpus=4", f"instruct.{key}")) == mark(plain)


def test_faults_and_rejects_have_a_budget_each(text: str) -> None:
    stage = instruct_stage(config(text, "instruct.error_budget=0.9"), "a", "b", {}, {})
    counts: Counts = {"requests": {"all": 50, "answered": 10}, "faults": {"judge_failed": 1, "internal_error": 4}}
    told = {budget.name: (budget.allowed, budget.share(counts), budget.reasons) for budget in stage.budgets}
    assert told == {
        "instruct.fault_budget": (0.05, 0.1, "faults"),
        "instruct.error_budget": (0.9, 0.8, "rejects"),
    }
    assert all(budget.share({}) == 0 for budget in stage.budgets)
    (rejects,) = annotate_stage(config(text, "annotate.error_budget=0.5"), "rows", {}).budgets
    status: Counts = {"status": {"ok": 6, "rejected": 4}, "rejects": {"plan/speaker_in_two_splits": 1}}
    assert (rejects.name, rejects.allowed, rejects.share(status)) == ("annotate.error_budget", 0.5, 0.3)


SERVED = "instruct={{engine: openai, models: {{default: a/b}}, {}}}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("instruct.vllm.start_attempts=1", "instruct.vllm.start_attempts=9"),
        (SERVED.format("openai: {base_url: http://one:1}"), SERVED.format("openai: {base_url: http://two:2}")),
        (
            SERVED.format("openai: {concurrency: 9}"),
            SERVED.format("openai: {retries: 9, api_key_env: KEY}"),
        ),
        # of an engine that is not used
        ("instruct.openai.structured=none", "instruct.openai.structured=json_schema"),
        (SERVED.format("vllm: {dtype: float16}"), SERVED.format("vllm: {dtype: auto}")),
    ],
)
def test_how_an_engine_is_reached_does_not_change_what_is_written(text: str, before: str, after: str) -> None:
    one, two = (instruct_stage(config(text, override), "a", "b", {}, {}) for override in (before, after))
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SERVED.format("openai: {structured: none}"), SERVED.format("openai: {structured: json_schema}")),
        ("instruct.retries=1", "instruct.retries=2"),
        ("instruct.judge={}", "instruct.judge={threshold: 9}"),
        ("instruct.vllm.dtype=auto", "instruct.vllm.dtype=float16"),
        ("instruct.tasks.open_ended.unanswerable=0", "instruct.tasks.open_ended.unanswerable=1"),
    ],
)
def test_what_an_engine_is_asked_for_does(text: str, before: str, after: str) -> None:
    one, two = (instruct_stage(config(text, override), "a", "b", {}, {}) for override in (before, after))
    assert one.fingerprint != two.fingerprint
