from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sift_ray.config import Config
from sift_ray.config_file import parse_config
from sift_ray.pipeline.stages import (
    annotate_stage,
    instruct_stage,
    plan_stage,
    summarise_annotations,
    summarise_instructions,
    summarise_utterances,
)
from sift_ray.schema import ANNOTATIONS, INSTRUCTIONS, UTTERANCES


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
    for key in ("concurrent_batches=9", "vllm.tensor_parallel_size=4", "vllm.gpu_memory_utilization=0.5"):
        assert mark(config(text, f"instruct.{key}")) == mark(plain)


def utterance(number: int, **more: Any) -> dict[str, Any]:
    base = {
        "unit_id": number,
        "utterance_id": f"u{number}",
        "corpus": "c",
        "data_source": "c_en",
        "language": "en",
        "split": "train",
        "duration_s": 3600.0,
        "status": "ok",
    }
    return {**base, **more}


def bad(number: int, stage: str, reason: str) -> dict[str, Any]:
    return utterance(number, status="rejected", reject_stage=stage, reject_reason=reason, duration_s=None)


def test_utterances_are_counted_by_corpus_language_and_split() -> None:
    rows = [utterance(1), utterance(2, split="dev", duration_s=None), bad(3, "plan", "missing_audio")]
    counts = summarise_utterances(pa.Table.from_pylist(rows, schema=UTTERANCES))
    assert counts == {
        "status": {"ok": 2, "rejected": 1},
        "utterances": {"c/en/train": 1, "c/en/dev": 1},
        "hours": {"c/en/train": 1.0},
        "rejects": {"plan/missing_audio": 1},
    }


def test_annotations_count_what_was_not_aligned_and_not_measured() -> None:
    rows = [
        utterance(1, words=[], pitch_median_hz=120.0, null_reasons=[]),
        utterance(2, alignment_reason="low_confidence", null_reasons=["c50_db:too_short", "snr_db:too_short"]),
        utterance(3, alignment_reason="low_confidence", null_reasons=["c50_db:too_short"]),
        bad(4, "decode", "silent"),
    ]
    counts = summarise_annotations(pa.Table.from_pylist(rows, schema=ANNOTATIONS))
    assert counts["aligned"] == {"en": 1}
    assert counts["unaligned"] == {"en/low_confidence": 2}
    assert counts["unknown"] == {"c50_db:too_short": 2, "snr_db:too_short": 1}
    assert counts["rejects"] == {"decode/silent": 1}


def test_words_are_counted_where_there_are_transcripts_and_oov_where_there_is_a_dictionary() -> None:
    rows = [
        utterance(1, phonemes="hələʊ wɜːld", oov_words=1, unpronounced_words=1),
        utterance(2, phonemes=None, oov_words=2, unpronounced_words=2),
        utterance(3),  # no transcript
        utterance(4, language="de", phonemes="halo", unpronounced_words=0),
        bad(5, "decode", "silent"),
    ]
    counts = summarise_annotations(pa.Table.from_pylist(rows, schema=ANNOTATIONS))
    assert counts["lexicon"] == {
        "en/words": 5,
        "en/oov": 3,
        "en/unpronounced": 3,
        "de/words": 1,
        "de/unpronounced": 0,
    }


def test_instructions_count_pairs_rules_and_tokens() -> None:
    def row(number: int, *pairs: tuple[bool, str | None], **more: Any) -> dict[str, Any]:
        return {
            "unit_id": number,
            "task": "open_ended",
            "language": "de",
            "split": "train",
            "data_source": "c_de",
            "utterance_ids": ["u"],
            "audio_uris": ["/u.wav"],
            "model": "org/model",
            "prompt_hash": "0",
            "pairs": [
                {
                    "question": "q",
                    "answer": "a",
                    "accepted": accepted,
                    "reason": reason,
                    "evidence": [],
                    "generator": "org/model",
                    "attempt": attempt,
                }
                for attempt, (accepted, reason) in enumerate(pairs)
            ],
            **more,
        }

    rows = [
        row(1, (False, "language"), (True, None), finish_reason="stop", prompt_tokens=100, cached_tokens=80),
        row(2, (False, "language"), (False, "length"), finish_reason="length", generated_tokens=7),
        row(3),
    ]
    counts = summarise_instructions(pa.Table.from_pylist(rows, schema=INSTRUCTIONS))
    assert counts == {
        "requests": {"all": 3, "answered": 1},
        "asked": {"open_ended/org/model": 3},
        "pairs": {"open_ended/de/org/model/accepted": 1, "open_ended/de/org/model/rejected": 3},
        "rejects": {"open_ended/language": 2, "open_ended/length": 1},
        "attempts": {"open_ended/0/rejected": 2, "open_ended/1/accepted": 1, "open_ended/1/rejected": 1},
        "finish": {"stop": 1, "length": 1, "unknown": 1},
        "tokens": {"prompt": 100, "cached": 80, "generated": 7},
    }


def test_an_empty_shard_counts_nothing() -> None:
    counts = summarise_instructions(INSTRUCTIONS.empty_table())
    assert counts["requests"] == {"all": 0, "answered": 0}
    assert counts["pairs"] == {}
