"""The whole way on the demo corpus: what comes out is complete, true to the tables, and loads."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sift_ray.config_instruct import UNANSWERABLE_TASKS, WORD_TIMES
from sift_ray.instruct.unanswerable import TOPICS, askable_topics
from sift_ray.instruct.verify import verify
from sift_ray.metadata.categories import ATTRIBUTES, KEYS
from sift_ray.metadata.record import Fact
from sift_ray.pipeline.build import build
from sift_ray.release.layout import SPLIT_FOLDERS, SPLIT_NAMES, task_folder
from sift_ray.release.versions import published_folder
from sift_ray.report.summary import as_json, summarise
from sift_ray.schema import CLOSED_ENDED, LANGUAGES, RELEASE, TASKS

from ..conftest import Job

pytestmark = pytest.mark.integration

ASKED = tuple(task for task in TASKS if task != WORD_TIMES)
"""The tasks of a job whose config does not name the one that is only done on demand."""


def stage_rows(job: Job, stage: str) -> list[dict[str, Any]]:
    files = sorted((job.folder / stage).glob("wave=*/*.parquet"))
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]


def release_rows(job: Job) -> list[dict[str, Any]]:
    return [
        row
        for file in sorted((job.folder / "release").rglob("*.parquet"))
        for row in pq.read_table(file, partitioning=None).to_pylist()
    ]


@pytest.fixture(scope="module")
def rows(finished_job: Job) -> list[dict[str, Any]]:
    return release_rows(finished_job)


def test_every_task_and_language_has_samples(rows: list[dict[str, Any]]) -> None:
    found = Counter((row["task"], row["language"]) for row in rows)
    assert set(found) == {(task, language) for task in ASKED for language in LANGUAGES}


def test_planned_is_annotated(finished_job: Job) -> None:
    planned = {row["unit_id"] for row in stage_rows(finished_job, "utterances")}
    annotated = [row["unit_id"] for row in stage_rows(finished_job, "annotations")]
    assert len(annotated) == len(set(annotated))
    assert set(annotated) == planned


def test_most_of_the_demo_is_measured_and_aligned(finished_job: Job) -> None:
    annotated = stage_rows(finished_job, "annotations")
    ok = [row for row in annotated if row["status"] == "ok"]
    assert len(ok) == len(annotated)
    assert np.mean([row["words"] is not None for row in ok]) >= 0.8
    assert np.mean([row["pitch_median_hz"] is not None for row in ok]) >= 0.9
    for row in ok:
        assert (row["words"] is None) == (row["alignment_reason"] is not None)
        assert row["quality_backend"] == "dnsmos_ovrl"
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert np.isfinite(numbers).all()


def test_sample_ids_are_unique(rows: list[dict[str, Any]]) -> None:
    ids = [row["sample_id"] for row in rows]
    assert len(ids) == len(set(ids))


def test_rows_lie_where_they_belong(finished_job: Job) -> None:
    published = published_folder(finished_job.root)
    assert published is not None
    version = finished_job.folder / published
    assert {path.name for path in version.parent.iterdir()} == {"README.md", version.name}
    for file in version.rglob("*"):
        if file.is_dir() or file.name == "README.md":
            continue
        table = pq.read_table(file, partitioning=None)
        assert table.schema.equals(RELEASE)
        folder = file.parent.relative_to(version).as_posix()
        for row in table.to_pylist():
            assert folder == f"{SPLIT_FOLDERS[row['split']]}/{task_folder(row['task'])}/{row['language']}"
            assert row["data_source"].endswith(f"_{row['language']}")


def test_messages_have_the_reference_form(finished_job: Job, rows: list[dict[str, Any]]) -> None:
    sources = {row["utterance_id"]: row["data_source"] for row in stage_rows(finished_job, "utterances")}
    for row in rows:
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        parts = [("audio" if p["audio_path"] else "text") for p in user["content"]]
        answer = [("audio" if p["audio_path"] else "text") for p in assistant["content"]]
        for part in (*user["content"], *assistant["content"]):
            assert (part["text"] is None) != (part["audio_path"] is None)
        paths = [Path(p["audio_path"]) for m in (user, assistant) for p in m["content"] if p["audio_path"]]
        stems = [path.stem for path in paths]
        assert stems == row["utterance_ids"]
        for path, stem in zip(paths, stems, strict=True):
            assert path.parent.as_posix() == sources[stem]
        match row["task"]:
            case "closed_ended_comparison":
                assert (parts, answer) == (["audio", "audio", "text"], ["text"])
                assert row["id"] == f"comparison_{stems[0]}__{stems[1]}"
            case "controllable_generation":
                assert (parts, answer) == (["text"], ["audio"])
                assert row["id"] == stems[0]
            case _:
                assert (parts, answer) == (["audio", "text"], ["text"])
                assert row["id"] == stems[0]


ACCENTS = {
    "England English": "English",
    "United States English": "American",
    "Scottish English": "Scottish",
    "English": "English",
    "Scottish": "Scottish",
    "Deutschland Deutsch": "German",
    "Français de France": "French",
    "Français de Belgique": "Belgian",
    "Italiano standard": "Italian",
    "España: Norte peninsular": "Northern Spanish",
    "México": "Mexican",
}
"""What the demo's corpora call an accent, and its name in English."""


def recomputed(row: dict[str, Any], bins: dict[str, Any], fact: Fact) -> str | None:
    """The value of a fact from the tables alone: the edges of bins.json, none of the package's own mapping."""
    if fact.key in ATTRIBUTES:
        attribute = ATTRIBUTES[fact.key]
        source = row if fact.position == 0 else row["words"][fact.position - 1]
        column = attribute.column if fact.position == 0 else attribute.word_column
        assert column is not None
        value = source[column]
        edges = edges_of(bins, fact.key, row["corpus"], row["gender"])
        if value is None or edges is None:
            return None
        return attribute.labels[sum(value > edge for edge in edges[1:-1])]
    if fact.key == "word":
        word = row["words"][fact.position - 1]
        assert word["position"] == fact.position
        return str(word["word"])
    if fact.key == "accent":
        return ACCENTS[row["accent"]]
    column = {"age_category": "age"}.get(fact.key, fact.key)
    return None if row[column] is None else str(row[column])


def edges_of(bins: dict[str, Any], attribute: str, corpus: str, gender: str | None) -> list[float] | None:
    """The edges that judge a group: its own where it is large enough, else those of all corpora."""
    if attribute not in ("average_pitch", "pitch_variation"):
        gender = None
    elif gender is None:
        return None
    rulers = {(r["attribute"], r["corpus"], r["gender"]): r for r in bins["rulers"]}
    own = rulers.get((attribute, corpus, gender))
    if own is not None and own["count"] >= bins["min_count"]:
        return list(own["edges"])
    return list(rulers[attribute, "*", gender]["edges"])


def test_evidence_is_what_the_tables_say(finished_job: Job, rows: list[dict[str, Any]]) -> None:
    bins = json.loads((finished_job.folder / "bins.json").read_text())
    annotated = {r["utterance_id"]: r for r in stage_rows(finished_job, "annotations")}
    checked: Counter[str] = Counter()
    for row in rows:
        if row["task"] in CLOSED_ENDED:
            assert row["evidence"], f"{row['sample_id']} rests on nothing"
        for evidence in row["evidence"]:
            if evidence["value"] is None:
                continue
            fact = Fact.from_row(evidence)
            source = annotated[row["utterance_ids"][fact.audio]]
            assert recomputed(source, bins, fact) == fact.value, (row["sample_id"], fact)
            checked[fact.key] += 1
    assert set(ATTRIBUTES) <= set(checked)
    assert {"gender", "transcript", "word"} <= set(checked)


def is_untold(row: dict[str, Any]) -> bool:
    """Whether an answer says that something can't be told: the evidence is then a topic without a value."""
    return any(fact["value"] is None for fact in row["evidence"])


def test_what_cannot_be_told_is_known_of_nobody(finished_job: Job, rows: list[dict[str, Any]]) -> None:
    transcripts = {row["utterance_id"]: row["transcript"] for row in stage_rows(finished_job, "annotations")}
    untold = [row for row in rows if is_untold(row)]
    assert untold
    assert len(untold) < 0.2 * len(rows)
    for row in untold:
        assert row["task"] in UNANSWERABLE_TASKS
        askable = askable_topics(row["language"], transcripts[row["id"]])
        for fact in row["evidence"]:
            assert (fact["value"], fact["ordinal"], fact["audio"], fact["position"]) == (None, None, 0, 0)
            assert fact["key"] in askable
    assert not set(TOPICS) & set(KEYS)


def test_every_closed_ended_answer_says_what_its_evidence_says(rows: list[dict[str, Any]]) -> None:
    """The verifier is given the evidence alone: a claim beyond it would be unknown, one against it false."""
    closed = [row for row in rows if row["task"] in CLOSED_ENDED]
    for row in closed:
        question = row["messages"][0]["content"][-1]["text"]
        answer = row["messages"][1]["content"][0]["text"]
        evidence = [Fact.from_row(fact) for fact in row["evidence"] if fact["value"] is not None]
        unknown = [fact["key"] for fact in row["evidence"] if fact["value"] is None]
        verdict = verify(row["task"], row["language"], question, answer, evidence, unknown=unknown)
        assert verdict.accepted, (row["sample_id"], verdict.reason, verdict.detail, question, answer)
        assert set(verdict.evidence) == set(evidence), row["sample_id"]
        assert set(verdict.unknown) == set(unknown), row["sample_id"]


def test_an_answer_does_not_fit_other_evidence(rows: list[dict[str, Any]]) -> None:
    """Change one category of the evidence, and the answer must be refused: the check above can fail."""
    changed = 0
    for row in rows:
        if row["task"] != "closed_ended_acoustic_level" or row["evidence"][0]["key"] not in ATTRIBUTES:
            continue
        fact = Fact.from_row(row["evidence"][0])
        labels = ATTRIBUTES[fact.key].labels
        other = fact._replace(value=labels[(labels.index(fact.value) + 1) % len(labels)])
        question = row["messages"][0]["content"][-1]["text"]
        answer = row["messages"][1]["content"][0]["text"]
        assert not verify(row["task"], row["language"], question, answer, [other]).accepted, (question, answer, other)
        changed += 1
    assert changed >= 50


def test_compared_recordings_are_in_the_order_that_is_said(finished_job: Job, rows: list[dict[str, Any]]) -> None:
    """Of two recordings the one with the higher label measures higher, too."""
    annotated = {r["utterance_id"]: r for r in stage_rows(finished_job, "annotations")}
    checked = 0
    for row in rows:
        if row["task"] != "closed_ended_comparison":
            continue
        by_key: dict[str, dict[int, str]] = {}
        for fact in row["evidence"]:
            by_key.setdefault(fact["key"], {})[fact["audio"]] = fact["value"]
        for key, values in by_key.items():
            if key in ATTRIBUTES and len(values) == 2 and values[0] != values[1]:
                labels, column = ATTRIBUTES[key].labels, ATTRIBUTES[key].column
                first, second = (annotated[name][column] for name in row["utterance_ids"])
                assert (labels.index(values[0]) < labels.index(values[1])) == (first < second), row["sample_id"]
                checked += 1
    assert checked >= 8


def test_a_second_build_does_nothing(finished_job: Job) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished_job.folder.rglob("*") if p.is_file()}
    build(finished_job.config)
    after = {p: p.stat().st_mtime_ns for p in finished_job.folder.rglob("*") if p.is_file()}
    assert after == before


def test_the_summary_counts_what_is_there(finished_job: Job, rows: list[dict[str, Any]]) -> None:
    summary = summarise(finished_job.root)
    assert summary.complete
    assert summary.release is not None
    assert sum(summary.release["rows"].values()) == len(rows)
    assert summary.release["generators"] == dict(Counter(row["generator"] for row in rows))
    pairs = summary.stages["instructions"].counts["pairs"]
    accepted = sum(count for label, count in pairs.items() if label.endswith("/accepted"))
    assert accepted == len(rows)
    told = as_json(summary)
    assert told["mix"]["all"]["untold"] == sum(map(is_untold, rows))
    assert {task: part["accepted"] for task, part in told["mix"].items() if task != "all"} == {
        task: sum(row["task"] == task for row in rows) for task in ASKED
    }
    # the templates were all that was asked, so there is but one rung, and no token was made
    assert {row["rung"] for row in told["yields"]} == {"template"}
    assert (
        sum(row["answered"] for row in told["yields"]) == summary.stages["instructions"].counts["requests"]["answered"]
    )
    assert told["mix"]["all"]["per_1000_tokens"] is None


@pytest.mark.parametrize("task", ASKED)
def test_hugging_face_datasets_loads_every_config(
    finished_job: Job, rows: list[dict[str, Any]], task: str, tmp_path: Path
) -> None:
    import datasets

    loaded = datasets.load_dataset(str(finished_job.folder / "release"), task, cache_dir=str(tmp_path))
    for split, name in SPLIT_NAMES.items():
        expected = {r["sample_id"]: r for r in rows if r["task"] == task and r["split"] == split}
        if not expected:  # (a handful of clips in dev and test holds no two of one corpus to compare)
            assert task == "closed_ended_comparison"
            assert split != "train"
            continue
        assert set(loaded[name]["sample_id"]) == set(expected)
        for row in loaded[name]:
            assert row["messages"] == expected[row["sample_id"]]["messages"]
